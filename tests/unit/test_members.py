"""One user's membership history: it equals what happened, as far back as is kept, and tells how far that is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.reports.memberships import Membership, list_memberships, list_memberships_over_gaps
from data.models import Group, MembershipChange
from data.run_stats import Change

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
US = "i_us"
groups = st.lists(st.frozensets(st.sampled_from([US, "i_a", "i_b"])), min_size=1, max_size=12)


def at(number: int) -> datetime:
    return BEGAN + timedelta(hours=number)


def history(member_sets: list[frozenset[str]]) -> tuple[list[Change], dict[str, MembershipChange]]:
    """The runs that a group's past leaves behind: one for each time that its members changed."""
    changes: list[Change] = []
    ways: dict[str, MembershipChange] = {}
    before: frozenset[str] = frozenset()
    for number, now in enumerate(member_sets):
        added, removed = now - before, before - now
        if added or removed:
            is_whole = added == now
            changes.append(Change(number, 1, f"d{number}", at(number), len(added), len(removed), is_whole))
            if US in added | removed:
                ways[f"d{number}"] = "added" if US in added else "removed"
        before = now
    return changes, ways


def expected(member_sets: list[frozenset[str]]) -> list[tuple[datetime, datetime | None]]:
    """When the member was in, told a second way: by looking at each moment."""
    spans: list[tuple[datetime, datetime | None]] = []
    for number, now in enumerate(member_sets):
        was_in = bool(spans) and spans[-1][1] is None
        if US in now and not was_in:
            spans.append((at(number), None))
        elif US not in now and was_in:
            spans[-1] = (spans[-1][0], at(number))
    return spans


def stays(member_sets: list[frozenset[str]], *, forgotten: int = 0, gone: int | None = None) -> list[Membership]:
    changes, ways = history(member_sets)
    group = Group(id=1, destination_id=1, project_id=1, cohort_id=1, cohort_name="", name="")
    group.delivered_at = at(len(member_sets))
    return list_memberships_over_gaps(group, cut(changes[forgotten:], gone), ways, is_in=US in member_sets[-1])


def cut(changes: list[Change], gone: int | None) -> list[list[Change]]:
    """Part the changes where the file of one is gone."""
    return [changes] if gone is None or gone >= len(changes) else [changes[:gone], changes[gone + 1 :]]


@given(groups)
def test_a_history_tells_each_membership_with_its_beginning_and_its_end(member_sets: list[frozenset[str]]):
    assert [(membership.since, membership.until) for membership in stays(member_sets)] == expected(member_sets)


@given(groups, st.integers(0, 12))
def test_what_is_no_longer_kept_is_said_and_not_made_up(member_sets: list[frozenset[str]], forgotten: int):
    changes, _ = history(member_sets)
    forgotten = min(forgotten, len(changes))
    true = expected(member_sets)

    told = stays(member_sets, forgotten=forgotten)

    assert [membership.is_in for membership in told[-1:]] == [US in member_sets[-1]] * len(told[-1:])
    for membership in told:
        if membership.since is None:
            # It began before what is kept: some true stay reaches into it, and ends when this one does.
            assert any(until == membership.until and since <= (membership.kept_since or at(0)) for since, until in true)
        else:
            assert (membership.since, membership.until) in true
    kept_from = changes[forgotten].at if forgotten < len(changes) else None
    if kept_from:
        told_in_full = [(membership.since, membership.until) for membership in told if membership.since]
        assert told_in_full == [stay for stay in true if stay[0] >= kept_from]


@given(groups, st.integers(0, 11))
def test_nothing_is_told_to_last_beyond_a_change_whose_file_is_gone(member_sets: list[frozenset[str]], gone: int):
    changes, _ = history(member_sets)
    kept_again_at = changes[gone + 1].at if gone + 1 < len(changes) else at(len(member_sets))
    true = expected(member_sets)

    told = stays(member_sets, gone=gone)

    assert any(membership.is_in for membership in told) is (US in member_sets[-1])
    for membership in told:
        starts = [since for since, until in true if membership.until in (None, until)]
        assert membership.since in starts if membership.since else any(since <= kept_again_at for since in starts)
        if gone < len(changes) and membership.since and membership.since < changes[gone].at:
            assert not membership.is_in
            assert membership.until is None or membership.until < changes[gone].at


def test_after_a_base_was_lost_and_all_was_recorded_again_no_membership_is_told_twice_or_too_long():
    """A run without a base records everyone it finds as added: who is not among them had left by then."""
    group = Group(id=1, destination_id=1, project_id=1, cohort_id=1, cohort_name="", name="")
    changes = [Change(1, 1, "d1", at(1), 2, 0, True), Change(2, 1, "d2", at(2), 3, 0, True)]

    memberships = list_memberships(group, changes, {"d1": "added", "d2": "added"}, is_in=True)
    left = list_memberships(group, changes, {"d1": "added"}, is_in=False)

    assert [(membership.since, membership.until) for membership in memberships] == [(at(1), None)]
    assert [(membership.since, membership.until, membership.is_in) for membership in left] == [(at(1), at(2), False)]
