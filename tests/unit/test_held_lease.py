"""Work that is held: it runs on with its lease and ends without it; watchers recover a stalled one, once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest

from core.bridge import Bridge
from core.clock import LEASE_TIMES, SHARED_LEASE_TIMES, LeaseTimes
from core.errors import LeaseLost, RunCancelled
from core.leases.lease import HeldLease
from core.leases.lock import in_turn
from core.leases.slots import IN_FLIGHT, RequestSlots
from core.leases.watch import LeaseWatch
from core.worker import run_execution, service
from data import leases, run_queue, run_records, runs
from data.engine import StorageError
from data.leases import Renewal
from data.models import Lease, LeaseKind, Run, RunStatus
from data.run_outcome import RunOutcome
from tests.stage.clock import FakeClock
from tests.stage.sandbox import wait_until

HOUR_S = 3600.0


def quick(bridge: Bridge) -> Bridge:
    return replace(bridge, lease_times=LeaseTimes(heartbeat_s=0.01, lease_s=45.0, fresh_s=5.0))


def holding(bridge: Bridge, run: Run, heard: Callable[[Renewal], None] = lambda _: None) -> HeldLease:
    """Claim a run, and hold it; `heard` is told of each heartbeat."""
    run_id = run.id or 0
    assert run_queue.claim(bridge.engine, run_id, lease_owner="one", now=bridge.clock.now())

    async def renew() -> Renewal:
        renewal = await asyncio.to_thread(run_queue.heartbeat, bridge.engine, run_id, lease_owner="one")
        heard(renewal)
        return renewal

    return HeldLease(bridge, "run", run_id, renew)


def take_over(bridge: Bridge) -> None:
    """Let another process find the owner dead, as soon as no heartbeat comes between its look and that."""

    def interrupt() -> bool:
        (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN)
        return run_execution.interrupt(bridge, lease)

    wait_until(interrupt)


def cancel(bridge: Bridge) -> None:
    (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN)
    run_queue.ask_to_cancel(bridge.engine, int(lease.key), now=bridge.clock.now())


async def _wait_for_ever(held_lease: HeldLease, meanwhile: Callable[[], None] = lambda: None) -> None:
    with held_lease.reasons():  # a heartbeat may see at once what is done meanwhile
        await asyncio.to_thread(meanwhile)
        await asyncio.wait_for(asyncio.Event().wait(), 20)


@pytest.mark.parametrize(("disturb", "reason"), [(take_over, LeaseLost), (cancel, RunCancelled)])
def test_work_ends_when_its_lease_is_lost_or_it_is_cancelled(
    bridge: Bridge, group_with_runs: list[Run], disturb: Callable[[Bridge], None], reason: type[Exception]
):
    async def work() -> bool:
        held_lease = holding(quick(bridge), group_with_runs[0])
        async with held_lease.kept():
            with pytest.raises(reason):
                await _wait_for_ever(held_lease, partial(disturb, bridge))
        task = asyncio.current_task()
        return task is not None and task.cancelling() == 0

    assert asyncio.run(work())


def test_what_no_one_foresaw_beside_a_heartbeat_ends_the_work_and_not_the_heartbeats(
    bridge: Bridge, group_with_runs: list[Run]
):
    """Heartbeats that end in silence would let the work go on without a lease."""
    heartbeats: list[Renewal] = []

    async def work() -> None:
        more = asyncio.Event()

        def fail(renewal: Renewal) -> None:
            heartbeats.append(renewal)
            if len(heartbeats) > 2:
                more.set()
            raise KeyError("not foreseen")

        held_lease = holding(quick(bridge), group_with_runs[0], fail)
        async with held_lease.kept():
            with pytest.raises(KeyError, match="not foreseen"):
                await _wait_for_ever(held_lease)
            await asyncio.wait_for(more.wait(), 20)

    asyncio.run(work())

    assert [renewal.ours for renewal in heartbeats[:3]] == [True] * 3


def test_a_heartbeat_that_takes_long_is_not_written_over_one_that_began_after_it(
    bridge: Bridge, group_with_runs: list[Run]
):
    """A process that dies is judged by the step it had recorded last."""
    step, written = "finding", list[str]()

    async def work() -> None:
        nonlocal step
        slow, go_on = asyncio.Event(), asyncio.Event()

        async def renew() -> Renewal:
            told = step
            if told == "finding":
                slow.set()
                await go_on.wait()
            written.append(told)
            return Renewal(ours=True, cancel_asked=False)

        held_lease = HeldLease(quick(bridge), "run", group_with_runs[0].id or 0, renew)
        async with held_lease.kept():
            await asyncio.wait_for(slow.wait(), 20)
            step = "reading"
            begun = asyncio.create_task(held_lease.renew())
            await asyncio.sleep(0)  # it asks for its turn
            go_on.set()
            await asyncio.wait_for(begun, 20)

    asyncio.run(work())

    assert written[:2] == ["finding", "reading"]


def test_a_heartbeat_after_the_end_was_recorded_does_not_end_the_work_as_lost(
    bridge: Bridge, group_with_runs: list[Run]
):
    heartbeats: list[Renewal] = []

    async def work() -> str:
        after_the_end = asyncio.Event()

        def hear(renewal: Renewal) -> None:
            heartbeats.append(renewal)
            if not renewal.ours:
                after_the_end.set()

        held_lease = holding(quick(bridge), group_with_runs[0], hear)
        async with held_lease.kept():
            with held_lease.reasons():
                held_lease.end()
                outcome = RunOutcome(RunStatus.SUCCEEDED, finished_at=bridge.clock.now())
                await asyncio.to_thread(
                    run_records.record, bridge.engine, group_with_runs[0].id or 0, outcome, lease_owner="one"
                )
                await asyncio.wait_for(after_the_end.wait(), 20)
                return "tidied up"

    assert asyncio.run(work()) == "tidied up"
    assert not heartbeats[-1].ours
    run = runs.get(bridge.engine, group_with_runs[0].id or 0)
    assert run
    assert run.status == RunStatus.SUCCEEDED


def test_on_one_machine_the_lease_is_asked_for_before_a_message_only_when_the_last_heartbeat_is_old(
    bridge: Bridge, group_with_runs: list[Run], fake_clock: FakeClock
):
    async def check() -> None:
        held_lease = holding(replace(bridge, lease_times=LEASE_TIMES), group_with_runs[0])
        take_over(bridge)
        await held_lease.check()
        fake_clock.ahead_s = LEASE_TIMES.fresh_s
        with pytest.raises(LeaseLost):
            await held_lease.check()

    asyncio.run(check())


def test_a_machine_whose_clocks_all_stood_still_begins_no_message_beside_its_successor(
    bridge: Bridge, group_with_runs: list[Run]
):
    stopped_s = bridge.clock.steady_s()
    paused = replace(bridge.clock, steady_s=lambda: stopped_s, elapsed_s=lambda: stopped_s)

    async def check() -> None:
        held_lease = holding(replace(bridge, clock=paused, lease_times=SHARED_LEASE_TIMES), group_with_runs[0])
        await held_lease.check()
        take_over(bridge)
        with pytest.raises(LeaseLost):
            await held_lease.check()

    asyncio.run(check())


@pytest.mark.parametrize("shift_s", [-HOUR_S, HOUR_S])
def test_a_wall_clock_that_is_set_neither_loses_nor_steals_a_lease(
    bridge: Bridge, group_with_runs: list[Run], fake_clock: FakeClock, shift_s: float
):
    recovered: list[Lease] = []
    watch = LeaseWatch(bridge, LeaseKind.RUN, lambda lease: not recovered.append(lease))

    async def check() -> None:
        held_lease = holding(bridge, group_with_runs[0])
        watch.look()
        fake_clock.shift_s = shift_s
        watch.look()
        await held_lease.renew()
        watch.look()

    asyncio.run(check())

    assert recovered == []


def test_what_stands_still_is_recovered_once_and_only_after_a_lease_since_its_last_heartbeat(
    bridge: Bridge, fake_clock: FakeClock
):
    leases.acquire(bridge.engine, LeaseKind.RUN, 1, lease_owner="one", now=bridge.clock.now())
    watches = [LeaseWatch(bridge, LeaseKind.RUN, lambda lease: _end(bridge, lease)) for _ in range(2)]
    lease_s = bridge.lease_times.lease_s
    recovered: list[int] = []
    for ahead_s, moves in [(0.0, False), (lease_s - 1, True), (lease_s + 1, False), (2 * lease_s + 2, False)]:
        fake_clock.ahead_s = ahead_s
        if moves:
            leases.heartbeat(bridge.engine, LeaseKind.RUN, 1, lease_owner="one")
        recovered += [watch.look() for watch in watches]

    assert recovered == [0, 0, 0, 0, 0, 0, 1, 0]


def test_while_the_database_cannot_be_asked_no_one_dies(bridge: Bridge, fake_clock: FakeClock):
    leases.acquire(bridge.engine, LeaseKind.RUN, 1, lease_owner="one", now=bridge.clock.now())
    watch = LeaseWatch(bridge, LeaseKind.RUN, lambda lease: _end(bridge, lease))

    assert _look_around_an_outage(bridge, fake_clock, watch.look) == [0, 0, 0, 1]


def test_while_the_database_cannot_be_asked_no_slot_is_taken_from_who_holds_it(bridge: Bridge, fake_clock: FakeClock):
    holder, other = (RequestSlots(bridge, "mixpanel.com/1") for _ in range(2))
    holder.take()

    assert _look_around_an_outage(bridge, fake_clock, other.take) == [0, 0, 0, IN_FLIGHT]


def _look_around_an_outage(bridge: Bridge, fake_clock: FakeClock, look: Callable[[], int]) -> list[int]:
    """Look before an outage, after it, and once a lease has passed twice; in between the look fails."""
    lease_s = bridge.lease_times.lease_s
    looked = [look()]
    fake_clock.ahead_s = lease_s - 1
    _rename(bridge, "lease", "gone")
    with pytest.raises(StorageError):
        look()
    _rename(bridge, "gone", "lease")
    for ahead_s in (lease_s + 1, 2 * lease_s, 2 * lease_s + 2):
        fake_clock.ahead_s = ahead_s
        looked.append(look())
    return looked


def _rename(bridge: Bridge, before: str, after: str) -> None:
    with leases.write_session(bridge.engine) as session:
        session.connection().exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")


def _end(bridge: Bridge, lease: Lease) -> bool:
    with leases.write_session(bridge.engine) as session:
        return leases.end_if_unmoved(session, lease)


def test_how_long_a_heartbeat_stands_still_is_added_up_across_watchers_and_set_back_by_the_next_one(
    bridge: Bridge, fake_clock: FakeClock
):
    leases.acquire(bridge.engine, LeaseKind.RUN, 1, lease_owner="one", now=bridge.clock.now())
    first, second = (LeaseWatch(bridge, LeaseKind.RUN, lambda _: False) for _ in range(2))
    seen: list[int] = []

    def look(ahead_s: float, *watches: LeaseWatch) -> None:
        fake_clock.ahead_s = ahead_s
        for watch in watches:
            watch.look()
        (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN)
        seen.append(round(lease.still_s))

    look(0, first, second)
    look(3, first, second)  # too soon to write
    look(6, first, second)
    look(12, second, first)
    third = LeaseWatch(bridge, LeaseKind.RUN, lambda _: False)  # the others are gone: it continues from what is written
    look(20, third)
    look(30, third)
    leases.heartbeat(bridge.engine, LeaseKind.RUN, 1, lease_owner="one")
    look(31, third)

    assert seen == [0, 0, 6, 12, 12, 22, 0]


def test_watchers_that_each_live_shorter_than_a_lease_find_out_together_what_is_dead(
    bridge: Bridge, fake_clock: FakeClock
):
    bridge = replace(bridge, lease_times=LEASE_TIMES)
    leases.acquire(bridge.engine, LeaseKind.RUN, 1, lease_owner="one", now=bridge.clock.now())
    recovered: list[int] = []
    for _ in range(12):
        watch = LeaseWatch(bridge, LeaseKind.RUN, lambda lease: _end(bridge, lease))
        watch.look()
        fake_clock.ahead_s += 4
        recovered.append(watch.look())
        watch.note()
        fake_clock.ahead_s += HOUR_S  # no one watches: that it does not move then says nothing

    assert recovered == [0] * 11 + [1]


def test_a_heartbeat_is_set_back_for_the_watchers_that_come_after_as_well(bridge: Bridge, fake_clock: FakeClock):
    bridge = replace(bridge, lease_times=LEASE_TIMES)
    leases.acquire(bridge.engine, LeaseKind.RUN, 1, lease_owner="one", now=bridge.clock.now())
    recovered: list[int] = []
    for number in range(4):
        watch = LeaseWatch(bridge, LeaseKind.RUN, lambda lease: _end(bridge, lease))
        watch.look()
        fake_clock.ahead_s += 20
        if number == 1:
            leases.heartbeat(bridge.engine, LeaseKind.RUN, 1, lease_owner="one")
        recovered.append(watch.look())
        watch.note()

    assert recovered == [0, 0, 0, 0]
    assert leases.list_held(bridge.engine, LeaseKind.RUN)[0].still_s == pytest.approx(40, abs=2)


@pytest.mark.parametrize("seed", range(4))
def test_of_watchers_that_come_go_freeze_and_overlap_none_adds_a_second_twice(
    bridge: Bridge, fake_clock: FakeClock, seed: int
):
    rng, recovered = random.Random(seed), list[Lease]()

    def watcher() -> LeaseWatch:
        return LeaseWatch(bridge, LeaseKind.RUN, lambda lease: not recovered.append(lease))

    leases.acquire(bridge.engine, LeaseKind.RUN, 1, lease_owner="one", now=bridge.clock.now())
    watches, moved_at_s = [watcher() for _ in range(3)], fake_clock.steady_s()
    for _ in range(60):
        fake_clock.ahead_s += rng.choice((0.5, 2, 7, 20))
        fake_clock.shift_s = rng.choice((-HOUR_S, 0, HOUR_S))
        watch = rng.choice(watches)  # the others are frozen meanwhile
        recovered.clear()
        watch.look()
        true_s = fake_clock.steady_s() - moved_at_s
        (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN)
        assert lease.still_s <= true_s
        assert not recovered or true_s > bridge.lease_times.lease_s
        if rng.random() < 0.3:
            watch.note()
            watches[watches.index(watch)] = watcher()
        if recovered or rng.random() < 0.1:
            leases.heartbeat(bridge.engine, LeaseKind.RUN, 1, lease_owner="one")
            moved_at_s = fake_clock.steady_s()


@pytest.mark.parametrize(
    ("database_s", "steady_s", "counted"), [(4, 20, 4), (HOUR_S, 20, 20), (HOUR_S, 0, 0), (-HOUR_S, 20, 0)]
)
def test_no_more_counts_than_passed_by_the_databases_clock_and_by_the_watchers_own(
    bridge: Bridge, fake_clock: FakeClock, database_s: float, steady_s: float, counted: float
):
    leases.acquire(bridge.engine, LeaseKind.RUN, 1, lease_owner="one", now=bridge.clock.now())
    at_database = FakeClock(start_s=0.0)
    clock = replace(bridge.clock, now=at_database.clock.now, wall=bridge.clock.now)
    watch = LeaseWatch(replace(bridge, clock=clock), LeaseKind.RUN, lambda _: False)
    watch.look()
    at_database.shift_s, fake_clock.ahead_s = database_s, steady_s
    watch.look()
    watch.note()

    assert leases.list_held(bridge.engine, LeaseKind.RUN)[0].still_s == pytest.approx(counted, abs=1)


def test_a_worker_that_is_ended_writes_down_what_it_saw(bridge: Bridge, group_with_runs: list[Run]):
    leases.acquire(bridge.engine, LeaseKind.RUN, group_with_runs[0].id, lease_owner="one", now=bridge.clock.now())

    enough = threading.Event()

    class Looking(service.Worker):
        """Tells when it has looked for the dead twice: what passed in between is what it saw."""

        looks = 0

        def look_for_dead(self) -> None:
            super().look_for_dead()
            self.looks += 1
            if self.looks == 2:
                enough.set()

    async def be_ended() -> None:
        task = asyncio.create_task(Looking(quick(bridge)).once())
        assert await asyncio.to_thread(enough.wait, 30)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(be_ended())

    (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN, keys=[str(group_with_runs[0].id)])
    assert lease.still_s > 0


def test_of_many_who_wait_for_their_turn_one_after_the_other_has_it_and_a_dead_one_is_passed_over(
    bridge: Bridge, fake_clock: FakeClock
):
    inside: list[int] = []
    most: list[int] = []

    async def one(number: int) -> None:
        async with in_turn(bridge, LeaseKind.COHORT_LIST, "project", lease_owner=f"waiting-{number}"):
            inside.append(number)
            most.append(len(inside))
            await asyncio.sleep(0)
            inside.remove(number)

    async def all_of_them() -> None:
        waiting = [asyncio.create_task(one(number)) for number in range(3)]
        while not _still(bridge):
            fake_clock.ahead_s += 1
            await asyncio.sleep(0.01)
        fake_clock.ahead_s += bridge.lease_times.lease_s
        await asyncio.wait_for(asyncio.gather(*waiting), 30)

    leases.acquire(bridge.engine, LeaseKind.COHORT_LIST, "project", lease_owner="dead", now=bridge.clock.now())
    asyncio.run(all_of_them())

    assert most == [1, 1, 1]
    assert leases.list_held(bridge.engine, LeaseKind.COHORT_LIST) == []


def _still(bridge: Bridge) -> bool:
    return any(lease.still_s for lease in leases.list_held(bridge.engine, LeaseKind.COHORT_LIST))
