"""Nothing is written from an incomplete read."""

from __future__ import annotations

import pytest

from core.errors import IncompleteRead, RunHeld
from core.rules import completeness, holding
from core.rules.completeness import PageFacts
from core.rules.matching import MatchRule


def pages(*rows: int) -> list[PageFacts]:
    return [PageFacts(number=number, reported_page=number, rows=count) for number, count in enumerate(rows)]


@pytest.mark.parametrize("rows", [(0,), (3,), (10,), (10, 0), (10, 10, 3), (10, 10, 0), (10, 3, 0, 0)])
def test_full_pages_up_to_the_last_are_a_whole_read(rows: tuple[int, ...]):
    completeness.prove_pages(pages(*rows), page_size=10)


@pytest.mark.parametrize("rows", [(9, 10), (10, 9, 10), (11,), (10, 0, 3), (0, 10)])
def test_a_page_that_is_short_or_too_long_is_an_incomplete_read(rows: tuple[int, ...]):
    with pytest.raises(IncompleteRead):
        completeness.prove_pages(pages(*rows), page_size=10)


def test_a_page_that_did_not_arrive_is_named():
    with pytest.raises(IncompleteRead, match="Page 2 "):
        completeness.prove_pages([pages(10, 10, 3)[0], pages(10, 10, 3)[2]], page_size=10)


def test_an_answer_for_another_page_is_an_incomplete_read():
    with pytest.raises(IncompleteRead, match="page 1 when asked for page 2"):
        completeness.prove_pages([PageFacts(0, 0, 10), PageFacts(1, 0, 10)], page_size=10)


def test_pages_prove_in_whatever_order_they_arrived():
    completeness.prove_pages(list(reversed(pages(10, 10, 3))), page_size=10)


def test_a_profile_that_is_read_twice_is_an_incomplete_read():
    with pytest.raises(IncompleteRead, match="2 profiles came twice"):
        completeness.prove_distinct(seen=102, profiles=100)


def test_a_total_that_disagrees_is_held_with_both_numbers():
    hold = holding.hold_for_total(profiles=4_990, totals=[5_000, 5_000])

    assert "5,000" in hold.message
    assert "4,990" in hold.message


def test_a_group_is_not_emptied_because_no_profile_has_an_id():
    with pytest.raises(RunHeld, match=r"None of the 500 profiles.*7 members"):
        holding.hold_for_no_ids(profiles=500, members=0, base_members=7, rule=MatchRule())


@pytest.mark.parametrize(("profiles", "members", "base"), [(0, 0, 7), (500, 1, 7), (500, 0, 0)])
def test_an_empty_cohort_and_a_group_that_was_empty_are_no_reason_to_hold(profiles: int, members: int, base: int):
    holding.hold_for_no_ids(profiles=profiles, members=members, base_members=base, rule=MatchRule())
