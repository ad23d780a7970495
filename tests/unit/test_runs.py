"""Claiming and recording: one process does a run, one run writes a group, and no end is recorded by who lost it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import col

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.clock import LeaseTimes
from core.leases import slots
from core.rules import due_times
from core.syncs import held_runs
from core.worker import inline_run, run_execution, service
from core.worker.run_execution import watch_runs
from core.worker.run_tasks import RunTasks
from data import doubt, leases, query_slots, run_queue, run_records, runs, syncs
from data.engine import read_session, write_session
from data.models import (
    Connection,
    ConnectionKind,
    DoubtCause,
    Group,
    Lease,
    LeaseKind,
    Run,
    RunFilter,
    RunStatus,
    Sync,
    SyncKind,
)
from data.run_outcome import Delivered, GroupOutcome, NewBase, ReadCounts, RunOutcome, RunProgress
from data.run_queue import RunRequest
from data.sync_runs import supersede_held
from data.syncs import Placed, SyncPlace
from tests.stage.claims import claimable
from tests.stage.clock import FakeClock


def claim(bridge: Bridge, run: Run, lease_owner: str = "one") -> bool:
    return run_queue.claim(bridge.engine, run.id or 0, lease_owner=lease_owner, now=bridge.clock.now())


def lease_on(bridge: Bridge, run: Run) -> Lease:
    (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN, keys=[str(run.id)])
    return lease


def interrupt(bridge: Bridge, lease: Lease) -> bool:
    return run_execution.interrupt(bridge, lease)


def succeeded(**parts: Any) -> RunOutcome:
    return RunOutcome(RunStatus.SUCCEEDED, finished_at=datetime(2026, 11, 23, 12, tzinfo=UTC), **parts)


def get_destination(bridge: Bridge, run: Run) -> Connection:
    with read_session(bridge.engine) as session:
        return session.get_one(Connection, session.get_one(Group, run.group_id).destination_id)


def again(bridge: Bridge, run: Run) -> Run:
    current = runs.get(bridge.engine, run.id or 0)
    assert current is not None
    return current


def test_a_run_is_claimed_by_one_of_many_who_try_at_once(bridge: Bridge, group_with_runs: list[Run]):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: claim(bridge, group_with_runs[0], f"owner-{number}"), range(16)))

    assert won.count(True) == 1


def test_a_second_run_of_a_group_waits_until_the_first_has_ended(bridge: Bridge, group_with_runs: list[Run]):
    first, second, _ = group_with_runs
    assert claim(bridge, first)

    assert not claim(bridge, second, "two")
    assert claimable(bridge) == []

    run_records.record(bridge.engine, first.id or 0, succeeded(), lease_owner="one")
    assert claim(bridge, second, "two")


def test_a_run_that_was_queued_by_its_own_process_is_not_taken_by_a_worker(bridge: Bridge, group_with_runs: list[Run]):
    run = group_with_runs[0]
    with write_session(bridge.engine) as session:
        run_queue.keep_for(session, run, "terminal", now=bridge.clock.now())

    assert run.id not in claimable(bridge)
    assert not claim(bridge, run, "worker")
    assert claim(bridge, run, "terminal")


def test_a_lease_that_was_lost_can_neither_be_renewed_nor_recorded_nor_doubted(
    bridge: Bridge, group_with_runs: list[Run]
):
    run = group_with_runs[0]
    claim(bridge, run)
    interrupt(bridge, lease_on(bridge, run))

    assert run_queue.heartbeat(bridge.engine, run.id or 0, lease_owner="one") == (False, False)
    assert not run_records.record(bridge.engine, run.id or 0, succeeded(), lease_owner="one")
    assert not run_records.mark_in_doubt(bridge.engine, run.id or 0, run.group_id, lease_owner="one")
    assert again(bridge, run).status == RunStatus.INTERRUPTED


def test_the_end_of_a_run_and_what_it_means_for_its_group_are_recorded_together(
    bridge: Bridge, group_with_runs: list[Run]
):
    run = group_with_runs[0]
    claim(bridge, run)
    run_records.mark_in_doubt(bridge.engine, run.id or 0, run.group_id, lease_owner="one")

    outcome = succeeded(
        counts=ReadCounts(profiles=4, members=3, duplicates=1),
        group=GroupOutcome(
            get_destination(bridge, run), NewBase("run-1", 3, "rule"), Delivered("Payers", in_full=True)
        ),
    )
    run_records.record(bridge.engine, run.id or 0, outcome, lease_owner="one")

    with read_session(bridge.engine) as session:
        group = session.get_one(Group, run.group_id)
    assert (group.members, group.in_doubt) == (3, False)
    assert (group.base_run_id, group.base_snapshot, group.base_match) == (run.id, "run-1", "rule")
    assert (group.delivered_name, group.delivered_at) == ("Payers", outcome.finished_at)
    assert group.full_at == group.verified_at == outcome.finished_at
    assert (again(bridge, run).profiles, again(bridge, run).members, again(bridge, run).duplicates) == (4, 3, 1)
    assert again(bridge, run).status == RunStatus.SUCCEEDED
    assert leases.list_held(bridge.engine, LeaseKind.RUN) == []


def test_a_group_whose_destination_was_moved_meanwhile_stays_in_doubt(bridge: Bridge, group_with_runs: list[Run]):
    run = group_with_runs[0]
    claim(bridge, run)
    before = get_destination(bridge, run)
    with write_session(bridge.engine) as session:
        session.get_one(Connection, before.id).folder = "elsewhere"

    outcome = succeeded(group=GroupOutcome(before, delivered=Delivered("Payers", in_full=False)))
    run_records.record(bridge.engine, run.id or 0, outcome, lease_owner="one")

    with read_session(bridge.engine) as session:
        group = session.get_one(Group, run.group_id)
    assert (group.in_doubt, group.delivered_name, group.full_at) == (True, "Payers", None)


def test_a_group_that_something_else_put_in_doubt_meanwhile_stays_in_doubt(bridge: Bridge, group_with_runs: list[Run]):
    run = group_with_runs[0]
    claim(bridge, run)
    run_records.mark_in_doubt(bridge.engine, run.id or 0, run.group_id, lease_owner="one")
    with write_session(bridge.engine) as session:
        assert doubt.put_in_doubt(session, col(Group.id) == run.group_id, cause=DoubtCause.CONNECTION) == 1

    delivered = GroupOutcome(get_destination(bridge, run), delivered=Delivered("Payers", in_full=True), doubts=0)
    run_records.record(bridge.engine, run.id or 0, succeeded(group=delivered), lease_owner="one")

    with read_session(bridge.engine) as session:
        group = session.get_one(Group, run.group_id)
    assert (group.in_doubt, group.doubt_cause, group.delivered_name) == (True, DoubtCause.CONNECTION, "Payers")


def test_a_waiting_run_is_not_taken_up_before_its_time(bridge: Bridge, group_with_runs: list[Run]):
    run = group_with_runs[0]
    claim(bridge, run)
    now = bridge.clock.now()
    at = now + timedelta(minutes=5)
    run_queue.wait(bridge.engine, run.id or 0, lease_owner="one", until=at, keep=False, now=now)

    assert run.id not in claimable(bridge)
    assert run.id in claimable(bridge, now=at)


def test_a_dead_run_is_recovered_by_a_run_that_overwrites_in_full(bridge: Bridge, group_with_runs: list[Run]):
    run = group_with_runs[2]
    claim(bridge, run)

    interrupt(bridge, lease_on(bridge, run))

    newest = runs.list_runs(bridge.engine, RunFilter())[0]
    assert (newest.status, newest.force_full, newest.sync_id) == (RunStatus.QUEUED, True, run.sync_id)


def test_a_run_that_moved_since_is_not_interrupted(bridge: Bridge, group_with_runs: list[Run]):
    run = group_with_runs[0]
    claim(bridge, run)
    seen = lease_on(bridge, run)
    run_queue.heartbeat(bridge.engine, run.id or 0, lease_owner="one", progress=RunProgress("reading", profiles=5))

    assert not interrupt(bridge, seen)
    assert again(bridge, run).profiles == 5


def test_a_silent_run_is_dead_after_a_lease_by_the_watchers_own_steady_clock(
    bridge: Bridge, group_with_runs: list[Run], fake_clock: FakeClock
):
    run = group_with_runs[0]
    claim(bridge, run)
    finder = watch_runs(bridge)

    seen = [finder.look()]
    fake_clock.ahead_s = bridge.lease_times.lease_s - 1
    seen.append(finder.look())
    fake_clock.ahead_s = bridge.lease_times.lease_s + 2
    seen.append(finder.look())

    assert seen == [0, 0, 1]
    assert again(bridge, run).status == RunStatus.INTERRUPTED


def test_a_queued_run_is_cancelled_at_once_and_a_running_one_is_asked_to_stop(
    bridge: Bridge, group_with_runs: list[Run]
):
    running, queued, _ = group_with_runs
    claim(bridge, running)

    run_queue.ask_to_cancel(bridge.engine, queued.id or 0, now=bridge.clock.now())
    run_queue.ask_to_cancel(bridge.engine, running.id or 0, now=bridge.clock.now())

    assert again(bridge, queued).status == RunStatus.CANCELLED
    assert again(bridge, running).status == RunStatus.RUNNING
    assert run_queue.heartbeat(bridge.engine, running.id or 0, lease_owner="one") == (True, True)


def test_runs_are_filtered_counted_and_paged_newest_first(bridge: Bridge, group_with_runs: list[Run]):
    claim(bridge, group_with_runs[0])

    queued = RunFilter(statuses=[RunStatus.QUEUED], text="pay")

    assert runs.count_runs(bridge.engine, queued) == 2
    assert [run.id for run in runs.list_runs(bridge.engine, queued, limit=1)] == [group_with_runs[2].id]
    assert runs.count_runs(bridge.engine, RunFilter(text="%")) == 0


def test_what_a_dead_run_held_besides_is_free_for_others_at_once(bridge: Bridge, group_with_runs: list[Run]):
    run = group_with_runs[0]
    claim(bridge, run)
    parts_owner = run_queue.parts_owner("one", run.id or 0)
    slots.RequestSlots(bridge, "mixpanel.com/1", lease_owner=parts_owner).take()
    leases.acquire(
        bridge.engine, LeaseKind.COHORT_LIST, "mixpanel.com/1", lease_owner=parts_owner, now=bridge.clock.now()
    )

    interrupt(bridge, lease_on(bridge, run))

    assert query_slots.list_held(bridge.engine, "mixpanel.com/1") == []
    assert leases.list_held(bridge.engine, LeaseKind.COHORT_LIST) == []


def test_a_watcher_is_undecided_about_a_run_until_it_moves_or_is_gone(bridge: Bridge, group_with_runs: list[Run]):
    run = group_with_runs[0]
    claim(bridge, run)
    watch = watch_runs(bridge)

    watch.look()
    told = [watch.undecided]
    run_queue.heartbeat(bridge.engine, run.id or 0, lease_owner="one")
    watch.look()
    told.append(watch.undecided)
    run_records.record(bridge.engine, run.id or 0, succeeded(), lease_owner="one")
    watch.look()
    told.append(watch.undecided)

    assert told == [True, False, False]


def test_a_run_whose_task_was_stopped_before_its_first_step_is_handed_back(
    bridge: Bridge, group_with_runs: list[Run], monkeypatch: pytest.MonkeyPatch
):
    claimed = list[int]()
    fill = RunTasks.fill

    async def claim_and_stop() -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def fill_and_stop(runs: RunTasks) -> None:
            fill(runs)
            claimed.append(runs.claimed)
            loop.call_soon_threadsafe(task.cancel)  # as a signal does, before what was claimed gets a task

        monkeypatch.setattr(RunTasks, "fill", fill_and_stop)
        await service.Worker(bridge).once()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(claim_and_stop())

    assert claimed == [1]
    assert {again(bridge, run).status for run in group_with_runs} == {RunStatus.QUEUED}


def test_a_worker_whose_clock_is_a_little_behind_does_not_take_a_slot_for_one_of_before_the_clock_was_set():
    now = datetime.now(UTC)
    sync = Sync(kind="recurring", mixpanel_id=1, group_id=1, project_id=1, cohort_id=1, every_minutes=15)

    due = []
    for minutes in (0, 14, 15, 19, 21, 75):
        sync.next_run_at = now + timedelta(minutes=minutes)
        due.append(due_times.is_due(sync.next_run_at, sync.every_minutes or 0, now))

    assert due == [True, False, False, False, True, True]


def test_a_run_that_ends_while_another_looks_at_it_is_not_in_its_way(bridge: Bridge, group_with_runs: list[Run]):
    """The other looks twice: between the first look, and the end of the second, the run is alive and then over."""
    first, second = group_with_runs[:2]
    quick = replace(bridge, lease_times=LeaseTimes(heartbeat_s=0.01))
    assert claim(bridge, first, "one")
    with write_session(bridge.engine) as session:
        leases.claim(session, LeaseKind.RUN, second.id, lease_owner="two", now=bridge.clock.now())
    looks = 0

    def end_during_the_second_look(*execution: Any) -> None:
        nonlocal looks
        if execution[2].startswith("SELECT run.") and "run.dry_run IS " in execution[2]:
            looks += 1
            if looks == 2:
                assert run_records.record(bridge.engine, first.id or 0, succeeded(), lease_owner="one")

    event.listen(bridge.engine, "after_cursor_execute", end_during_the_second_look)
    asyncio.run(inline_run.InlineRun(quick, second.id or 0, "two", patience_s=0.0).claim())

    assert looks == 2
    assert again(bridge, second).status == RunStatus.RUNNING


def test_how_users_are_matched_is_compared_as_it_is_when_the_export_is_queued(
    bridge: Bridge, group_with_runs: list[Run]
):
    """The connection was read before: what an admin changed of it since must not pass the comparison."""
    with write_session(bridge.engine) as session:
        run = session.get_one(Run, group_with_runs[0].id)
        kept = session.get_one(Sync, run.sync_id)
        group = session.get_one(Group, run.group_id)
        read_before = session.get_one(Connection, kept.mixpanel_id)
        destination = session.get_one(Connection, group.destination_id)
        made_at = bridge.clock.now()
        other = Connection(
            side="mixpanel", kind=ConnectionKind.MIXPANEL, name="second", project_id=1, created_at=made_at
        )
        session.add(other)
        session.flush()
        same = {"group_id": group.id, "project_id": 1, "cohort_id": 7, "created_at": made_at}
        session.add(Sync(kind=SyncKind.RECURRING, mixpanel_id=other.id, **same))
    with write_session(bridge.engine) as session:
        session.get_one(Connection, read_before.id).match_property = "$user_id"
    compared: list[str] = []

    syncs.start_one_time(
        bridge.engine,
        SyncPlace(read_before, destination, 7),
        RunRequest("manual", "local"),
        arrange=lambda present: Placed(present or group, group.cohort_name, group.name),
        check_matching=lambda _, mine, __, ___: compared.append(mine.match_property),
        now=bridge.clock.now(),
    )

    assert compared == ["$user_id"]


def test_a_lease_whose_run_is_gone_keeps_no_other_run_from_being_recovered(
    bridge: Bridge, group_with_runs: list[Run], fake_clock: FakeClock
):
    run = group_with_runs[0]
    claim(bridge, run)
    assert leases.acquire(bridge.engine, LeaseKind.RUN, 0, lease_owner="gone", now=bridge.clock.now())
    finder = watch_runs(bridge)
    finder.look()
    fake_clock.ahead_s = bridge.lease_times.lease_s + 1

    finder.look()

    assert again(bridge, run).status == RunStatus.INTERRUPTED
    assert leases.list_held(bridge.engine, LeaseKind.RUN) == []


def test_what_is_approved_of_a_superseded_hold_is_what_was_looked_at_and_not_what_became_of_it(
    bridge: Bridge, group_with_runs: list[Run]
):
    hold = {"cause": "held_shrink", "matched_by": "", "base": None, "doubts": 0, "removed": 5, "added": 0}
    older, newer, _ = (run.id or 0 for run in group_with_runs)
    with write_session(bridge.engine) as session:
        for run_id in (older, newer):
            run = session.get_one(Run, run_id)
            run.status, run.hold = RunStatus.HELD, hold | {"total": None, "profiles": None}
            session.add(run)
        session.flush()
        supersede_held(session, group_with_runs[0].group_id, by=newer)

    queued = held_runs.apply_held(bridge, LOCAL, older)

    assert queued.held_run_id == newer
    assert queued.approvals
    assert "superseded_by_run_id" not in queued.approvals[-1]
