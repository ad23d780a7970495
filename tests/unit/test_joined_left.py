"""Who joined and left in a period, and since when members are in: as the group's whole past says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import NotFound
from core.reports.joined_left import Period, PeriodPage, joined_and_left_csv, list_joined_and_left
from core.reports.members_since import list_since
from core.reports.memberships import CHANGES_KEPT_FOR
from core.reports.user_lookup import UserLookup, look_up_user
from data.engine import write_session
from data.models import Group, Run, RunStatus
from tests.stage.rows import change_row

# One after the other: what the group held after each of its runs.
PAST = ("a b c d", "a b c d e", "b c d e f g", "b c d e f g", "b g h", "a g h i j k l m")


@dataclass(frozen=True)
class Past:
    """A group with runs that were an hour apart, and who joined and left with each, told a second way."""

    bridge: Bridge
    group: Group
    runs: list[Run]

    @property
    def rows(self) -> list[tuple[int, str, str]]:
        """Every run with who joined and left, newest first."""
        return [
            (self.runs[number].id or 0, kind, member)
            for number in reversed(range(len(PAST)))
            for kind, members in (("added", joined(number)), ("removed", left(number)))
            for member in members
        ]

    def page(self, period: Period | None = None, **which: int) -> PeriodPage:
        return list_joined_and_left(self.bridge, LOCAL, self.group.id or 0, period or Period(), **which)

    def change(self, number: int, **values: object) -> None:
        change_row(self.bridge, Run, self.runs[number].id, **values)


def joined(number: int) -> list[str]:
    before = PAST[number - 1].split() if number else []
    return sorted(set(PAST[number].split()) - set(before))


def left(number: int) -> list[str]:
    before = PAST[number - 1].split() if number else []
    return sorted(set(before) - set(PAST[number].split()))


def shown(page: PeriodPage) -> list[tuple[int, str, str]]:
    return [(row.change.run_id, row.kind, row.member.apptimize_id if row.member else "") for row in page.rows]


def keep(bridge: Bridge, name: str, members: Sequence[str]) -> None:
    with bridge.snapshots.collector() as collector:
        collector.add(distinct_ids=[f"user {id}" for id in members], apptimize_ids=list(members))
        bridge.snapshots.make(name, collector.write)


@pytest.fixture
def past(bridge: Bridge, group_with_runs: list[Run]) -> Past:
    """A group's past as its runs leave it behind; the fourth of them changed nothing."""
    first, now = group_with_runs[0], bridge.clock.now()
    runs, base = list[Run](), ""
    with write_session(bridge.engine) as session:
        group = session.get_one(Group, first.group_id)
        for number, members in enumerate(PAST):
            added, removed = joined(number), left(number)
            run = Run(
                sync_id=first.sync_id, group_id=group.id or 0, cohort_id=7, cohort_name="", group_name="",
                destination="", trigger="schedule", actor="schedule", status=RunStatus.SUCCEEDED, queued_at=now,
                finished_at=now - timedelta(hours=len(PAST) - number), members=len(members.split()), added=len(added),
                removed=len(removed), unchanged=len(members.split()) - len(added),
            )  # fmt: skip
            session.add(run)
            session.flush()
            if added or removed:
                run.snapshot = f"run-{run.id:08}"
                keep(bridge, run.snapshot, members.split())
                run.difference = f"difference-{run.id:08}" if base else run.snapshot
                if base:
                    bridge.snapshots.keep_difference(run.difference, run.snapshot, base)
                base = run.snapshot
            runs.append(run)
        group.base_snapshot, group.base_run_id, group.members = base, runs[-1].id, 8
        group.delivered_at = runs[-1].finished_at
    return Past(bridge, group, runs)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_every_page_shows_who_joined_and_left_the_newest_run_first(past: Past, rows: int):
    pages = [past.page(offset=offset, limit=rows) for offset in range(0, len(past.rows), rows)]

    assert [row for page in pages for row in shown(page)] == past.rows
    assert (pages[0].joined, pages[0].left, pages[0].runs) == (14, 6, 5)
    assert pages[0].total == len(past.rows) == sum(page.shown for page in pages)
    assert pages[0].known_since is None
    assert pages[0].rows[0].member
    assert pages[0].rows[0].member.distinct_id == "user a"


def test_one_way_and_a_period_are_chosen(past: Past):
    at = [run.finished_at for run in past.runs]

    only_left = past.page(Period(kind="removed"))
    two_runs = past.page(Period(at[1], at[4]))

    assert shown(only_left) == [row for row in past.rows if row[1] == "removed"]
    assert (only_left.joined, only_left.left, only_left.runs) == (0, 6, 3)
    assert {row.change.run_id for row in two_runs.rows} == {past.runs[1].id, past.runs[2].id}
    assert not past.page(Period(until=at[0])).total


def test_what_is_downloaded_is_the_whole_list(past: Past):
    lines = list(joined_and_left_csv(past.bridge, LOCAL, past.group.id or 0, Period()))

    assert lines[0] == "\ufefftime,change,apptimize_id,distinct_id,run\r\n"
    cells = [line.strip().split(",") for line in lines[1:]]
    assert [(int(run), kind, member) for _, kind, member, _, run in cells] == past.rows
    assert cells[0][0] == past.runs[-1].finished_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def test_runs_that_do_not_count_are_in_no_list(past: Past):
    past.change(1, dry_run=True)
    past.change(4, status=RunStatus.FAILED)

    assert {row.change.run_id for row in past.page().rows} == {past.runs[number].id for number in (0, 2, 5)}


def test_of_a_file_that_is_gone_damaged_or_swapped_only_the_counts_are_told(past: Past):
    snapshots, names = past.bridge.snapshots, [run.difference or "" for run in past.runs]
    snapshots.remove(names[1])
    snapshots.path(names[2]).write_bytes(b"PAR1 and no more")
    snapshots.path(names[4]).replace(snapshots.path(names[5]))

    page = past.page()

    lost = [row for row in page.rows if row.member is None]
    assert {(row.change.run_id, row.kind): row.people for row in lost} == {
        (past.runs[number].id, kind): len(members)
        for number in (1, 2, 4, 5)
        for kind, members in (("added", joined(number)), ("removed", left(number)))
        if members
    }
    assert shown(page)[-4:] == past.rows[-4:]
    assert page.shown == page.total == len(past.rows)
    lines = list(joined_and_left_csv(past.bridge, LOCAL, past.group.id or 0, Period()))
    assert any('"6 added, ids not kept"' in line for line in lines)


def test_what_is_no_longer_kept_is_said(past: Past):
    now = past.bridge.clock.now()
    with write_session(past.bridge.engine) as session:
        session.get_one(Group, past.group.id).created_at = now - timedelta(days=400)

    for period in (Period(), Period(now - timedelta(days=300))):
        begin = past.page(period).known_since
        assert begin
        assert abs(begin - (now - CHANGES_KEPT_FOR)) < timedelta(minutes=5)
    assert past.page(Period(now - timedelta(days=30))).known_since is None


def test_a_page_needs_only_the_files_of_its_own_rows(past: Past):
    for run in past.runs[:-1]:
        if run.difference and run.difference != run.snapshot:
            past.bridge.snapshots.remove(run.difference)

    assert shown(past.page(limit=7)) == past.rows[:7]


def test_ids_of_another_kind_in_the_past_are_noticed(past: Past):
    past.change(0, matched_by="property:crm id")

    assert past.page().has_other_ids
    assert not past.page(Period(past.runs[1].finished_at)).has_other_ids


def test_a_group_that_there_is_not_is_said(bridge: Bridge):
    with pytest.raises(NotFound, match="There is no group 9"):
        list_joined_and_left(bridge, LOCAL, 9, Period())
    with pytest.raises(NotFound, match="There is no group 9"):
        list_since(bridge, LOCAL, 9, ["a"])


# --- since when ----------------------------------------------------------------------------------------------------


def since(past: Past, *, look_through: int = 100) -> dict[str, datetime | None]:
    members = PAST[-1].split()
    known = list_since(past.bridge, LOCAL, past.group.id or 0, members, look_through=look_through)
    return {member: known[member].since for member in members}


def test_each_member_of_a_page_is_told_since_when(past: Past):
    at = [run.finished_at for run in past.runs]

    assert since(past) == {"a": at[5], "g": at[2], "h": at[4], **dict.fromkeys("ijklm", at[5])}


def test_who_was_in_before_what_was_looked_through_is_said_to_be_in_since_before_that(past: Past):
    at = [run.finished_at for run in past.runs]

    known = list_since(past.bridge, LOCAL, past.group.id or 0, ["g", "h"], look_through=2)

    assert (known["g"].since, known["g"].kept_since) == (None, at[4])
    assert known["h"].since == at[4]


def test_nothing_is_made_up_of_what_came_before_a_file_that_is_gone(past: Past):
    """Somebody may have left and come back with that run."""
    at = [run.finished_at for run in past.runs]
    past.bridge.snapshots.remove(past.runs[4].difference or "")

    known = list_since(past.bridge, LOCAL, past.group.id or 0, ["a", "g", "h"])

    assert known["a"].since == at[5]
    assert [(known[id].since, known[id].kept_since) for id in ("g", "h")] == [(None, at[5])] * 2


def look_up(past: Past, member: str) -> UserLookup:
    return look_up_user(past.bridge, LOCAL, member)


def test_a_lookup_reaches_over_no_file_that_is_gone(past: Past):
    at = [run.finished_at for run in past.runs]
    past.bridge.snapshots.remove(past.runs[4].difference or "")

    [joined_since] = look_up(past, "a").groups
    [unknown] = look_up(past, "g").groups
    [history] = look_up(past, "g").histories
    [may_have_come_back] = look_up(past, "f").groups

    assert (joined_since.since, joined_since.run_id) == (at[5], past.runs[5].id)
    assert (unknown.is_member, unknown.since, unknown.kept_since) == (True, None, at[5])
    assert [(each.since, each.until, each.is_in) for each in history.memberships] == [
        (None, None, True),
        (at[2], None, False),
    ]
    assert (may_have_come_back.is_member, may_have_come_back.reason) == (False, None)


def test_a_lookup_tells_nothing_of_before_the_newest_change_if_its_file_is_gone(past: Past):
    past.bridge.snapshots.remove(past.runs[5].difference or "")

    [answer] = look_up(past, "g").groups
    [removed] = look_up(past, "c").groups

    assert (answer.since, answer.kept_since) == (None, past.group.delivered_at)
    assert (removed.is_member, removed.reason, removed.since) == (False, None, None)


def test_what_a_run_changed_that_waited_for_longer_than_a_later_one_comes_after_it(past: Past):
    """Whichever was queued first, the one that ended last wrote last."""
    at = [run.finished_at for run in past.runs]
    columns = ("finished_at", "difference", "snapshot", "added", "removed", "unchanged", "members")
    for number, other in ((2, 4), (4, 2)):
        past.change(number, **{name: getattr(past.runs[other], name) for name in columns})

    [history] = look_up(past, "f").histories
    rows = [row for row in past.page().rows if row.member and row.member.apptimize_id == "f"]

    assert [(each.since, each.until) for each in history.memberships] == [(at[2], at[4])]
    assert [(row.kind, row.change.at) for row in rows] == [("removed", at[4]), ("added", at[2])]
