"""The bench's goals: each is worked out of rows of one part, and says plainly what was not reached or not measured."""

from __future__ import annotations

from typing import Any

import pytest

from bench import goals
from bench.cases import FULL, OURS, UTILS, Sizes
from bench.goals import Results

FAR = 1_000_000, 50


def row(reader: str, size: int, latency_ms: int, wall_s: float, **more: Any) -> dict[str, Any]:
    case = {"reader": reader, "size": size, "latency_ms": latency_ms, "honors": True}
    return case | {"wall_s": wall_s, "peak_mib": 200.0, "messages": 0} | more


def results(*rows: dict[str, Any]) -> Results:
    return Results({"large-50ms": rows}, Sizes())


def verdict(found: Results, name: str) -> list[str]:
    (line,) = [line for line in goals.table(found).splitlines() if name in line]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.mark.parametrize(("wall_s", "said"), [(3.5, ["0.35", "0.35", "met"]), (3.6, ["0.35", "0.36", "**not met**"])])
def test_a_goal_is_met_up_to_its_limit(wall_s: float, said: list[str]):
    found = results(row(OURS, *FAR, wall_s), row(UTILS, *FAR, 10.0))
    assert verdict(found, "page size honored") == said


def test_a_far_export_is_compared_with_reading_and_all_messages_four_at_a_time():
    found = results(row(OURS, *FAR, 4.0), row(FULL, *FAR, 15.0, messages=880))  # 880 x 0.05 s / 4 = 11 s
    assert verdict(found, "full export at 50 ms") == ["1.2", "1.00", "met"]


def test_the_slower_latency_and_the_most_memory_count():
    rows = [row(OURS, 1_000_000, ms, 3.0) for ms in (0, 50)]
    rows += [row(OURS, 10_000_000, 0, 30.0, peak_mib=290.0), row(OURS, 10_000_000, 50, 36.0, peak_mib=310.0)]
    found = Results({"largest": rows}, Sizes())
    assert verdict(found, "10,000,000 against") == ["11; 300 MiB", "12.00; 310 MiB", "**not met**"]


def test_what_was_not_measured_is_not_said_to_be_met():
    assert verdict(results(row(OURS, *FAR, 3.5)), "page size honored") == ["0.35", "", "not measured"]
    assert verdict(results(), "peak memory of any") == ["250", "", "not measured"]
