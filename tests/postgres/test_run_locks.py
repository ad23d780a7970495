"""Runs of many groups are queued, claimed, and end side by side; two that concern one group or one run agree."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import col, select, update

from core.bridge import Bridge
from core.export.progress import Progress
from core.export.run_lease import RunLease
from core.run_log import RunLog
from core.threads import bound_threads
from data import alert_states, associations, due_syncs, leases, run_queue, run_records, sync_pauses
from data.alert_models import AlertChannel
from data.doubt import put_in_doubt
from data.due_syncs import NextRun
from data.engine import read_session, write_session
from data.failure import Failure
from data.forgetting import list_running
from data.models import (
    Association,
    Connection,
    ConnectionKind,
    DoubtCause,
    Group,
    ImportStage,
    Lease,
    LeaseKind,
    Run,
    RunStatus,
    Sync,
    SyncKind,
    SyncState,
)
from data.outbox_models import AlertMessage, AlertState
from data.proof_models import DeliveryCount
from data.run_outcome import Delivered, GroupOutcome, RunOutcome
from data.run_queue import Recovery, RunRequest, new_run
from tests.stage.concurrent import Met, meet

ORDERS = pytest.mark.parametrize("swapped", [False, True])
FAILED = Failure("x", "It failed.", "Try again.")


@dataclass
class Place:
    """Two groups at a destination, each with a recurring sync that is due, and two queued runs."""

    bridge: Bridge
    destination: Connection
    groups: list[Group]
    syncs: list[Sync]
    runs: list[list[Run]]

    def claim(self, run: Run, owner: str = "one") -> bool:
        return run_queue.claim(self.bridge.engine, run.id or 0, lease_owner=owner, now=self.bridge.clock.now())

    def record(self, run: Run, status: RunStatus, owner: str = "one", **values: Any) -> bool:
        outcome = RunOutcome(status, finished_at=self.bridge.clock.now(), **values)
        return run_records.record(self.bridge.engine, run.id or 0, outcome, lease_owner=owner)

    def interrupt(self, lease: Lease) -> bool:
        now = self.bridge.clock.now()
        recovery = Recovery(FAILED, again_at=now)
        return run_queue.interrupt(self.bridge.engine, lease, recover=lambda _: recovery, now=now)

    def queue_due(self) -> int:
        now = self.bridge.clock.now()
        due = [(NextRun(sync.id or 0, 15, sync.next_run_at), now + timedelta(minutes=15)) for sync in self.syncs]
        return due_syncs.queue_scheduled(self.bridge.engine, due, now=now)

    def leases(self) -> list[Lease]:
        return leases.list_held(self.bridge.engine, LeaseKind.RUN)

    def all_runs(self, group: Group | None = None) -> list[Run]:
        with read_session(self.bridge.engine) as session:
            query = select(Run) if group is None else select(Run).where(Run.group_id == group.id)
            return list(session.exec(query.order_by(col(Run.id))).all())

    def group(self, number: int = 0) -> Group:
        with read_session(self.bridge.engine) as session:
            return session.get_one(Group, self.groups[number].id)

    def meet(self, first: Callable[[], Any], second: Callable[[], Any], *, swapped: bool = False) -> Met:
        """Have one begin while the other has all but committed; what came of them stays under their own names."""
        if not swapped:
            return meet(self.bridge.engine, first, second)
        met = meet(self.bridge.engine, second, first)
        return Met(met.second, met.first, met.waited)


@pytest.fixture
def place(bridge: Bridge) -> Place:
    now, groups, syncs, runs = bridge.clock.now(), list[Group](), list[Sync](), list[list[Run]]()
    with write_session(bridge.engine) as session:
        mixpanel = Connection(created_at=now, side="mixpanel", kind=ConnectionKind.MIXPANEL, name="m", project_id=1)
        folder = Connection(created_at=now, side="destination", kind=ConnectionKind.CSV, name="csv", folder="unused")
        session.add_all([mixpanel, folder])
        session.flush()
        for cohort in (7, 8):
            name, destination_id = f"group {cohort}", folder.id or 0
            group = Group(
                created_at=now,
                destination_id=destination_id,
                project_id=1,
                cohort_id=cohort,
                cohort_name=name,
                name=name,
            )
            session.add(group)
            session.flush()
            sync = Sync(
                created_at=now, kind=SyncKind.RECURRING, mixpanel_id=mixpanel.id or 0, group_id=group.id or 0,
                project_id=1, cohort_id=cohort, every_minutes=15, next_run_at=now,
            )  # fmt: skip
            session.add(sync)
            session.flush()
            request = RunRequest("manual", "local")
            queued = [new_run(sync, group, request, destination="csv", now=now) for _ in range(2)]
            session.add_all(queued)
            groups.append(group)
            syncs.append(sync)
            runs.append(queued)
        session.add(AlertChannel(kind="webhook", created_at=now, created_by="a", address="sealed", name="hook"))
    return Place(bridge, folder, groups, syncs, runs)


def end_all_runs(place: Place) -> None:
    with write_session(place.bridge.engine) as session:
        session.exec(update(Run).values(status=RunStatus.SUCCEEDED))


def test_a_run_is_claimed_by_one(place: Place):
    run = place.runs[0][0]

    met = place.meet(lambda: place.claim(run, "one"), lambda: place.claim(run, "two"))

    assert (met.first, met.second) == (True, False)
    assert [lease.lease_owner for lease in place.leases()] == ["one"]


def test_of_a_group_s_runs_one_is_claimed_at_a_time(place: Place):
    one, two = place.runs[0]

    met = place.meet(lambda: place.claim(one, "one"), lambda: place.claim(two, "two"))

    assert (met.first, met.second) == (True, False)
    assert [lease.key for lease in place.leases()] == [str(one.id)]
    assert [run.status for run in place.all_runs(place.groups[0])] == [RunStatus.RUNNING, RunStatus.QUEUED]


def test_workers_take_the_next_without_waiting_for_each_other(place: Place):
    def take(owner: str) -> int:
        run = run_queue.claim_next(place.bridge.engine, lease_owner=owner, now=place.bridge.clock.now())
        return run.id if run else 0

    met = place.meet(lambda: take("one"), lambda: take("two"))

    assert not met.waited
    assert {met.first, met.second} == {place.runs[0][0].id, place.runs[1][0].id}


@ORDERS
@pytest.mark.parametrize("by_id", [True, False])
def test_a_run_is_claimed_before_somebody_is_forgotten_and_seen_by_that_or_not_at_all(
    place: Place, by_id: bool, swapped: bool
):
    engine, now = place.bridge.engine, place.bridge.clock.now()
    run = place.runs[0][0]

    def claim() -> bool:
        return place.claim(run) if by_id else run_queue.claim_next(engine, lease_owner="one", now=now) is not None

    met = place.meet(
        claim,
        lambda: leases.acquire(engine, LeaseKind.FORGETTING, "person", lease_owner="forgetting", now=now),
        swapped=swapped,
    )

    assert (met.first, met.second, met.waited) == (not swapped, True, True)
    assert bool(list_running(engine)) is not swapped


def test_runs_of_two_groups_end_without_waiting_for_each_other(place: Place):
    one, two = place.runs[0][0], place.runs[1][0]
    assert place.claim(one)
    assert place.claim(two)

    met = place.meet(
        lambda: place.record(one, RunStatus.SUCCEEDED), lambda: place.record(two, RunStatus.FAILED, failure=FAILED)
    )

    assert (met.first, met.second, met.waited) == (True, True, False)


@ORDERS
def test_the_end_of_a_run_and_its_death_do_not_both_count(place: Place, swapped: bool):
    run = place.runs[0][0]
    place.claim(run)
    (lease,) = place.leases()

    met = place.meet(lambda: place.record(run, RunStatus.SUCCEEDED), lambda: place.interrupt(lease), swapped=swapped)

    assert (met.first, met.second) == (not swapped, swapped)
    assert [run.trigger for run in place.all_runs(place.groups[0])] == ["manual"] * (3 if swapped else 2)


def test_a_run_that_died_is_recovered_once(place: Place):
    place.claim(place.runs[0][0])
    (lease,) = place.leases()

    met = place.meet(lambda: place.interrupt(lease), lambda: place.interrupt(lease))

    assert (met.first, met.second) == (True, False)
    statuses = [run.status for run in place.all_runs(place.groups[0])]
    assert statuses == [RunStatus.INTERRUPTED, RunStatus.QUEUED, RunStatus.QUEUED]


def test_what_two_runs_of_a_group_make_of_its_sync_is_told_once(place: Place):
    """One that runs fails as another dies that waited: each alone would be the third failure in a row."""
    running, waiting = place.runs[0]
    place.claim(waiting, "two")
    run_queue.wait(
        place.bridge.engine, waiting.id or 0, lease_owner="two", until=place.bridge.clock.now(), keep=True,
        now=place.bridge.clock.now(),
    )  # fmt: skip
    place.claim(running)
    (lease,) = [lease for lease in place.leases() if lease.lease_owner == "two"]
    with write_session(place.bridge.engine) as session:
        for _ in range(2):
            failed = new_run(
                place.syncs[0], place.groups[0], RunRequest("manual", "a"), destination="csv",
                now=place.bridge.clock.now(),
            )  # fmt: skip
            failed.status, failed.finished_at = RunStatus.FAILED, place.bridge.clock.now()
            session.add(failed)

    met = place.meet(lambda: place.record(running, RunStatus.FAILED, failure=FAILED), lambda: place.interrupt(lease))

    assert (met.first, met.second) == (True, True)
    with read_session(place.bridge.engine) as session:
        assert len(session.exec(select(AlertState)).all()) == 1
        assert len(session.exec(select(AlertMessage)).all()) == 1


def test_a_slot_is_queued_once(place: Place):
    end_all_runs(place)

    met = place.meet(place.queue_due, place.queue_due)

    assert (met.first, met.second) == (2, 0)


@ORDERS
def test_a_sync_that_is_paused_as_it_is_due_leaves_nothing_queued(place: Place, swapped: bool):
    end_all_runs(place)
    ids = [sync.id or 0 for sync in place.syncs]

    def pause() -> None:
        sync_pauses.pause(place.bridge.engine, ids, reason="why", now=place.bridge.clock.now())

    place.meet(pause, place.queue_due, swapped=swapped)

    assert [run for run in place.all_runs() if run.status == RunStatus.QUEUED] == []
    with read_session(place.bridge.engine) as session:
        rows = session.exec(select(Sync.state, Sync.next_run_at)).all()
    assert {tuple(row) for row in rows} == {(SyncState.PAUSED, None)}


@ORDERS
def test_a_run_that_is_cancelled_as_it_is_claimed_ends(place: Place, swapped: bool):
    run = place.runs[0][0]

    def cancel() -> None:
        run_queue.ask_to_cancel(place.bridge.engine, run.id or 0, now=place.bridge.clock.now())

    met = place.meet(lambda: place.claim(run), cancel, swapped=swapped)

    after = place.all_runs(place.groups[0])[0]
    assert met.first is not swapped
    assert (after.status, after.cancel_asked) == (
        (RunStatus.CANCELLED, False) if swapped else (RunStatus.RUNNING, True)
    )
    assert len(place.leases()) == int(not swapped)


@ORDERS
def test_a_run_that_is_cancelled_as_it_is_handed_back_ends(place: Place, swapped: bool):
    run = place.runs[0][0]
    place.claim(run)

    def hand_back() -> bool:
        return run_queue.hand_back(place.bridge.engine, run.id or 0, lease_owner="one", now=place.bridge.clock.now())

    def cancel() -> None:
        run_queue.ask_to_cancel(place.bridge.engine, run.id or 0, now=place.bridge.clock.now())

    place.meet(hand_back, cancel, swapped=swapped)

    assert place.all_runs(place.groups[0])[0].status == RunStatus.CANCELLED


@ORDERS
def test_no_run_begins_unseen_while_somebody_is_being_forgotten(place: Place, swapped: bool):
    engine, now = place.bridge.engine, place.bridge.clock.now()

    met = place.meet(
        lambda: place.claim(place.runs[0][0]),
        lambda: leases.acquire(engine, LeaseKind.FORGETTING, "all", lease_owner="two", now=now),
        swapped=swapped,
    )

    assert met.waited
    assert (met.first, met.second) == (not swapped, True)
    assert len(list_running(engine)) == int(not swapped)


@ORDERS
def test_doubt_that_comes_as_a_delivery_is_recorded_stays(place: Place, swapped: bool):
    run, group = place.runs[0][0], place.groups[0]
    place.claim(run)
    run_records.mark_in_doubt(place.bridge.engine, run.id or 0, group.id or 0, lease_owner="one")
    doubts = place.group().doubts
    delivered = GroupOutcome(place.destination, delivered=Delivered(group.name, in_full=True), doubts=doubts)

    def doubt() -> None:
        with write_session(place.bridge.engine) as session:
            put_in_doubt(session, col(Group.id) == group.id, cause=DoubtCause.CONNECTION)

    met = place.meet(lambda: place.record(run, RunStatus.SUCCEEDED, group=delivered), doubt, swapped=swapped)

    assert met.first is True
    assert place.group().in_doubt


def test_deliveries_are_counted_each(place: Place):
    def begin(number: int) -> int | None:
        run, group = place.runs[number][0], place.groups[number]
        return run_records.mark_in_doubt(place.bridge.engine, run.id or 0, group.id or 0, lease_owner="one")

    for runs in place.runs:
        place.claim(runs[0])
    met = place.meet(lambda: begin(0), lambda: begin(1))

    assert {met.first, met.second} == {1, 2}
    with read_session(place.bridge.engine) as session:
        assert session.get_one(DeliveryCount, 1).number == 2


@ORDERS
def test_an_association_that_is_cancelled_as_it_is_claimed_ends(place: Place, swapped: bool):
    now = place.bridge.clock.now()
    with write_session(place.bridge.engine) as session:
        mixpanel = session.exec(select(Connection).where(Connection.side == "mixpanel")).one()
        association = Association(
            mixpanel_id=mixpanel.id or 0, project_id=1, actor="a", source="", match_property="$user_id",
            expects_prefix=True, aliases=False, created_at=now,
        )  # fmt: skip
        session.add(association)
    number = association.id or 0

    met = place.meet(
        lambda: associations.claim(place.bridge.engine, number, lease_owner="one", now=now),
        lambda: associations.cancel(place.bridge.engine, number, now=now),
        swapped=swapped,
    )

    after = associations.get(place.bridge.engine, number)
    assert met.first is not swapped
    assert after
    assert (after.stage, after.cancel_asked) == (
        (ImportStage.CANCELLED, False) if swapped else (ImportStage.CHECKING, True)
    )


@pytest.mark.parametrize("cores", [2, 64])
def test_a_lease_is_renewed_while_all_threads_wait_for_a_writer_that_hangs(
    bridge: Bridge, place: Place, monkeypatch: pytest.MonkeyPatch, cores: int
):
    run_id = place.runs[0][0].id or 0
    assert run_queue.claim(bridge.engine, run_id, lease_owner="one", now=bridge.clock.now())
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    pool: Any = bridge.engine.pool

    async def renew() -> None:
        bound_threads()
        loop, all_wait = asyncio.get_running_loop(), asyncio.Event()

        def note(*_: object) -> None:
            if pool.checkedout() > min(cores + 4, 10):
                loop.call_soon_threadsafe(all_wait.set)

        event.listen(bridge.engine, "checkout", note)
        with write_session(bridge.engine) as session:  # as a process that was frozen
            session.connection()
            waiting = [asyncio.create_task(asyncio.to_thread(set_up, bridge)) for _ in range(40)]
            async with asyncio.timeout(10):
                await all_wait.wait()
                await RunLease(bridge, run_id, "one", Progress(RunLog(clock=bridge.clock))).renew()
        await asyncio.gather(*waiting)

    asyncio.run(renew())


def set_up(bridge: Bridge) -> None:
    alert_states.set_failing_after(bridge.engine, 5)
