"""Statistics of runs: freshness, slots, budget and sizes, as they are worked out from rows."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.errors import NotAllowed, NotFound, SettingsError
from core.reports import overview
from core.reports.group_state import group_states
from core.syncs import listing, recurring
from core.syncs.checks import checked_tags
from data import alert_states, attention, cohort_reads, run_records
from data import run_stats as rows
from data.engine import read_session, write_session
from data.models import Connection, Group, Run, RunStatus, Sync, SyncKind, SyncState


@pytest.fixture
def sync(bridge: Bridge, group_with_runs: list[Run]) -> Sync:
    """A recurring sync that is a day old, of a group that has runs."""
    with write_session(bridge.engine) as session:
        first = session.get_one(Sync, group_with_runs[0].sync_id)
        first.kind, first.every_minutes, first.state = SyncKind.RECURRING, 60, SyncState.ACTIVE
        first.created_at = bridge.clock.now() - timedelta(days=1)
        session.add(first)
    return first


def ended(bridge: Bridge, sync: Sync, *, hours_ago: float, status: str = RunStatus.SUCCEEDED, **values: object) -> Run:
    at = bridge.clock.now() - timedelta(hours=hours_ago)
    facts = {"trigger": "schedule", "actor": "schedule", "cohort_id": 1, "members": 5, "queued_at": at,
             "finished_at": at, **values}  # fmt: skip
    run = Run(sync_id=sync.id, group_id=sync.group_id, cohort_name="", group_name="", destination="",
              status=status, **facts)  # type: ignore[arg-type]  # fmt: skip
    with write_session(bridge.engine) as session:
        session.add(run)
    return run


def test_a_group_is_late_after_two_intervals_and_a_paused_one_never(bridge: Bridge, sync: Sync):
    def fresh() -> overview.Freshness:
        return overview.freshness(bridge, LOCAL, [listing.get_sync(bridge, LOCAL, sync.id or 0)])[0]

    with write_session(bridge.engine) as session:
        group = session.get_one(Group, sync.group_id)
        group.verified_at = bridge.clock.now() - timedelta(minutes=100)
        session.add(group)
    assert not fresh().is_late

    with write_session(bridge.engine) as session:
        group.verified_at = bridge.clock.now() - timedelta(minutes=140)
        session.add(group)
    assert fresh().is_late

    recurring.pause_sync(bridge, LOCAL, sync.id or 0)
    assert not fresh().is_late


def test_sizes_keep_the_last_of_each_step_and_add_up_what_changed(bridge: Bridge, sync: Sync):
    for hours, members, added in ((50.2, 1, 1), (30, 5, 4), (1.02, 6, 1), (1.01, 8, 2)):
        ended(bridge, sync, hours_ago=hours, members=members, added=added)
    ended(bridge, sync, hours_ago=2, members=99, dry_run=True)
    ended(bridge, sync, hours_ago=2, members=99, status=RunStatus.FAILED)

    points = rows.sizes(
        bridge.engine, sync.group_id, since=bridge.clock.now() - timedelta(hours=40), bucket_s=24 * 3600
    )

    assert (points[-1].members, points[-1].added) == (8, 3) if len(points) == 2 else (8, 7)
    assert sum(point.added for point in points) == 7
    assert overview.sizes(bridge, LOCAL, sync.group_id, over=timedelta(minutes=1)) == []


def test_days_end_at_midnight_in_utc_and_not_at_noon(bridge: Bridge, sync: Sync):
    midnight = bridge.clock.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    for hour, members in ((11.9, 1), (12.1, 2), (23.9999, 3), (24, 4), (24.6, 6), (24.6, 5)):
        ended(bridge, sync, hours_ago=0, finished_at=midnight + timedelta(hours=hour), members=members, added=1)

    days = rows.sizes(bridge.engine, sync.group_id, since=midnight, bucket_s=24 * 3600)
    hours = rows.sizes(bridge.engine, sync.group_id, since=midnight, bucket_s=3600)

    def trends(hour: float) -> dict[int, list[int]]:
        return rows.trends(bridge.engine, since=midnight + timedelta(hours=hour), until=bridge.clock.now())

    assert trends(0) == {sync.group_id: [3, 5]}
    assert trends(23) == {sync.group_id: [3, 5]}
    assert trends(24) == {sync.group_id: [5]}
    assert trends(24.7) == {}
    assert [(day.members, day.added) for day in days] == [(3, 3), (5, 3)]
    assert [hour.members for hour in hours] == [1, 2, 3, 5]


def test_a_run_that_was_overtaken_made_the_size_that_it_left(bridge: Bridge, sync: Sync):
    """It waited for a query while another run of its group, with the larger number, came and went."""
    for minutes, members in ((1, 7), (3, 5), (61, 4), (63, 2)):
        ended(bridge, sync, hours_ago=minutes / 60, members=members)
    with write_session(bridge.engine) as session:
        session.get_one(Group, sync.group_id).delivered_at = bridge.clock.now()
    since = bridge.clock.now() - timedelta(hours=2)

    assert rows.sizes(bridge.engine, sync.group_id, since=since, bucket_s=24 * 3600)[-1].members == 7
    assert rows.trends(bridge.engine, since=since, until=bridge.clock.now())[sync.group_id][-1] == 7
    by_minute = rows.sizes(bridge.engine, sync.group_id, since=since, bucket_s=1)
    assert [point.members for point in by_minute] == [2, 4, 5, 7]
    settled_by = group_states(bridge, LOCAL)[sync.group_id].settled_by
    assert settled_by
    assert settled_by.members == 7


def test_the_largest_drop_is_what_runs_took_by_themselves(bridge: Bridge, sync: Sync):
    def largest(changes: int = 100) -> float | None:
        return rows.largest_drop(bridge.engine, sync.group_id, changes=changes)

    assert largest() is None
    ended(bridge, sync, hours_ago=9, difference="d1", added=100)  # the first one
    assert largest() == 0.0
    ended(bridge, sync, hours_ago=8, difference="d2", removed=7, unchanged=93)
    ended(bridge, sync, hours_ago=7, difference="d3", removed=2, unchanged=91, added=50)
    for let_through in ({"approved": True}, {"trigger": "undo"}, {"dry_run": True}, {"status": RunStatus.HELD}):
        ended(bridge, sync, hours_ago=6, difference="d4", removed=60, unchanged=40, **let_through)

    assert largest() == pytest.approx(0.07)
    assert largest(changes=1) == pytest.approx(2 / 93)


@pytest.fixture
def overtaken(bridge: Bridge, sync: Sync) -> tuple[Run, Run]:
    """A run that waited for a query, and the one with the larger number that came and went meanwhile."""

    def read(name: str, *, hours_ago: float, removed: int) -> Run:
        return ended(
            bridge, sync, hours_ago=hours_ago, cohort_id=7, difference=f"d{name}", snapshot=f"s{name}",
            excluded=f"e{name}", profiles=11, added=1, removed=removed, unchanged=10 - removed,
        )  # fmt: skip

    last, first = read("1", hours_ago=1, removed=5), read("2", hours_ago=2, removed=1)
    assert (first.id or 0) > (last.id or 0)
    return first, last


def test_of_two_runs_the_one_that_ended_last_wrote_last_and_read_last(
    bridge: Bridge, sync: Sync, overtaken: tuple[Run, Run]
):
    first, last = (run.id for run in overtaken)
    engine, group_id = bridge.engine, sync.group_id
    whole = [read.run for read in cohort_reads.latest_reads(engine)]

    assert [change.run_id for change in rows.changes(engine, None, limit=1)] == [last]
    assert [change.run_id for change in rows.changes(engine, group_id, limit=1)] == [last]
    assert [run.id for run in cohort_reads.newest_reads(engine, sync.project_id)] == [last]
    assert [run.id for run in whole] == [last]
    assert [run.id for run in cohort_reads.list_reads(engine, sync.project_id, 7, limit=2)] == [last, first]
    assert [read.run_id for read in cohort_reads.list_shares(engine, limit=2)] == [last, first]
    assert [run.id for run in rows.kept_runs(engine, group_id)] == [last, first]
    assert rows.largest_drop(engine, group_id, changes=1) == pytest.approx(0.5)
    assert rows.excluded_files(engine)[group_id].name == "e1"
    assert [row.run.id for row in rows.newest_of_each_group(engine)] == [last]
    assert [run.id for run in rows.newest_ended_of_cohort(engine, 7)] == [last]


def test_what_an_overtaken_run_kept_takes_the_place_of_what_ended_before_it(
    bridge: Bridge, sync: Sync, overtaken: tuple[Run, Run]
):
    first, last = (run.id or 0 for run in overtaken)
    engine = bridge.engine
    previews = [
        ended(bridge, sync, hours_ago=hours, dry_run=True, difference=name) for hours, name in ((0, "p1"), (3, "p2"))
    ]

    assert run_records.forget_excluded(engine, first) == []
    assert run_records.forget_excluded(engine, last) == ["e2"]
    assert run_records.forget_previews(engine, previews[1].id or 0) == []
    assert run_records.forget_previews(engine, previews[0].id or 0) == ["p2"]
    assert run_records.forget_snapshots(engine, sync.group_id, keep=1) == ["s2"]


def test_failures_in_a_row_are_those_after_the_success_that_ended_last(bridge: Bridge, sync: Sync):
    ended(bridge, sync, hours_ago=2)  # it waited while the next two came and went
    for hours in (4, 3, 1):
        ended(bridge, sync, hours_ago=hours, status=RunStatus.FAILED)

    with read_session(bridge.engine) as session:
        assert alert_states.count_failures(session, sync.group_id) == 1


def test_a_failure_is_the_last_word_of_a_group_also_where_the_run_was_overtaken(bridge: Bridge, sync: Sync):
    failed = ended(bridge, sync, hours_ago=1, status=RunStatus.FAILED)
    ended(bridge, sync, hours_ago=2)

    assert [row.run.id for row in rows.newest_of_each_group(bridge.engine)] == [failed.id]
    assert attention.list_groups(bridge.engine) == [sync.group_id]


def test_the_last_day_is_counted_by_status_without_dry_runs(bridge: Bridge, sync: Sync, group_with_runs: list[Run]):
    ended(bridge, sync, hours_ago=1)
    ended(bridge, sync, hours_ago=2, status=RunStatus.FAILED)
    ended(bridge, sync, hours_ago=2, dry_run=True)
    ended(bridge, sync, hours_ago=3, status=RunStatus.CANCELLED, step="applied")
    ended(bridge, sync, hours_ago=3, status=RunStatus.CANCELLED, step="done")
    ended(bridge, sync, hours_ago=25)

    counts = overview.count_recent_runs(bridge, LOCAL, timedelta(days=1))

    assert counts == {"queued": len(group_with_runs), "succeeded": 1, "failed": 1, "applied": 1, "cancelled": 1}


def test_many_syncs_are_paused_and_resumed_all_or_none(bridge: Bridge, sync: Sync):
    with write_session(bridge.engine) as session:
        mixpanel = session.get_one(Connection, sync.mixpanel_id)
        mixpanel.base_url, mixpanel.secret = "https://m.invalid", bridge.vault.encrypt("s")
        session.add(mixpanel)
    ids = [sync.id or 0]

    assert recurring.pause_syncs(bridge, LOCAL, ids) == 1
    assert recurring.pause_syncs(bridge, LOCAL, ids) == 0
    with pytest.raises(NotFound):
        recurring.resume_syncs(bridge, LOCAL, [*ids, 999])
    assert listing.get_sync(bridge, LOCAL, ids[0]).sync.state == SyncState.PAUSED
    assert recurring.resume_syncs(bridge, LOCAL, ids) == 1

    with pytest.raises(NotAllowed):
        recurring.pause_syncs(bridge, Actor("Vera", Role.VIEWER), ids)


def test_tags_are_trimmed_once_each_and_bounded():
    assert checked_tags([" b", "A", "b ", " "]) == ["A", "b"]
    for wrong in (["x" * 41], ["a\nb"], [str(number) for number in range(11)]):
        with pytest.raises(SettingsError):
            checked_tags(wrong)
