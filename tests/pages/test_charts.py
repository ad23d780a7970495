"""The size of a group over time: what its axis and its bars are drawn by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.reports.overview import Size
from pages.parts import vega
from pages.parts.charts import axis_begin, tallest_bar

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def sizes(*runs: tuple[int, int, int]) -> list[Size]:
    return [
        Size(BEGAN + timedelta(hours=number), members, added, removed, number)
        for number, (members, added, removed) in enumerate(runs)
    ]


@pytest.mark.parametrize(
    ("members", "begin"),
    [
        ([100, 10, 60], 0),  # it moves: from zero
        ([100_000, 100_000], 0),  # it never moved: a straight line looks the same anywhere
        ([100_000, 100_012, 99_997], 99_990),
        ([7], 0),
        ([0, 0], 0),
        ([1_000_000, 1_199_999], 900_000),
    ],
)
def test_the_axis_begins_at_zero_but_for_a_group_that_hardly_moves(members: list[int], begin: int):
    assert axis_begin(sizes(*((size, 0, 0) for size in members))) == begin


@pytest.mark.parametrize(
    ("heights", "edge"),
    [
        ([100_000, 12, 3, 15, 4], 15),  # the first import beside days
        ([100_000], None),  # nothing is flattened by it
        ([100_000, 12], 12),
        ([12, 3, 15, 4], None),
        ([1000, 400, 160, 60, 25, 10], None),  # no gap: the picture is as it is
        ([90_000, 100_000, *range(5, 15)], 14),  # a renamed property was mended a day later
        ([1000, 100, 10, 1], 100),  # no more are cut than one in five, or one
    ],
)
def test_few_bars_that_flatten_all_others_are_cut_at_the_edge(heights: list[int], edge: int | None):
    assert tallest_bar(sizes(*((0, height, 0) for height in heights))) == edge
    assert tallest_bar(sizes(*((0, 0, height) for height in heights))) == edge


def test_a_screen_reader_is_told_of_a_chart_as_a_whole_and_of_none_of_its_marks():
    bars = vega.layer([{"down": -3}], {"type": "bar"}, {"y": vega.count("down")})

    assert vega.chart(bars)["config"] == {"mark": {"aria": False}}
