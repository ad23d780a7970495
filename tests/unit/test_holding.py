"""What an approval lets through: what keeps to what was looked at, number by number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.rules.holding import Hold, furthest_total, is_approved, read_hold, suggest_shrink_limit

SHRINK = Hold("held_shrink", "original:id", "run-1", removed=50, added=10)
TOTAL = Hold("held_total", "original:id", "run-1", total=5_000, profiles=4_990)


@pytest.mark.parametrize("looked_at", [SHRINK, TOTAL])
def test_the_same_again_is_approved_as_it_was_kept(looked_at: Hold):
    assert read_hold(looked_at.as_row()) == looked_at
    assert is_approved(looked_at, [looked_at.as_row()])


@pytest.mark.parametrize("change", [{"removed": 49}, {"added": 0}, {"removed": 0, "added": 9}])
def test_smaller_numbers_are_approved(change: dict[str, int]):
    assert is_approved(replace(SHRINK, **change), [SHRINK.as_row()])


@pytest.mark.parametrize(
    "change",
    [
        {"cause": "held_no_ids"},
        {"matched_by": "simplified:id"},
        {"base": "run-2"},
        {"base": None},
        {"removed": 51},
        {"added": 11},
        {"removed": 1, "added": 11},
        {"doubts": 1},
    ],
)
def test_another_cause_rule_or_base_and_any_larger_number_are_not(change: dict[str, object]):
    assert not is_approved(replace(SHRINK, **change), [SHRINK.as_row()])  # type: ignore[arg-type]


def test_both_numbers_of_a_total_count_and_so_does_how_far_they_lie_apart():
    approvals = [TOTAL.as_row()]

    assert is_approved(replace(TOTAL, total=4_000, profiles=3_990), approvals)
    assert is_approved(replace(TOTAL, total=4_990, profiles=4_985), approvals)
    assert not is_approved(replace(TOTAL, total=5_001, profiles=4_990), approvals)
    assert not is_approved(replace(TOTAL, total=5_000, profiles=4_991), approvals)
    assert not is_approved(replace(TOTAL, total=5_000, profiles=100), approvals)


def test_of_several_approvals_each_is_for_its_own_cause():
    approvals = [TOTAL.as_row(), SHRINK.as_row()]

    assert is_approved(SHRINK, approvals)
    assert is_approved(TOTAL, approvals)
    assert not is_approved(replace(SHRINK, cause="held_no_ids"), approvals)
    assert not is_approved(SHRINK, None)


def test_of_totals_that_differ_the_one_that_disagrees_most_is_looked_at():
    assert furthest_total([53, 48], profiles=50) == 53
    assert furthest_total([51, 47], profiles=50) == 47


@pytest.mark.parametrize(
    ("largest_drop", "percent"),
    [(None, 10), (0.0, 10), (0.04, 10), (0.05, 10), (0.0501, 11), (0.07, 14), (0.333, 67), (0.5, 90), (0.9, 90)],
)
def test_the_suggested_shrink_limit_is_twice_the_largest_drop_and_still_holds_what_empties_a_group(
    largest_drop: float | None, percent: int
):
    assert suggest_shrink_limit(largest_drop) == percent
