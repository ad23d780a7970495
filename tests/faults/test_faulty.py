"""Every fault of the vendors while members join and leave: no run says that it succeeded and is wrong."""

from __future__ import annotations

import random

import pytest
from pydantic import SecretStr
from sqlmodel import col, delete

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import destinations
from core.sandbox import faults
from core.syncs import listing, one_time, recurring, runs
from core.worker import service
from data.engine import write_session
from data.models import Lease, LeaseKind, RunStatus, SyncState
from tests.faults import process
from tests.faults.conftest import Tally
from tests.faults.population import (
    ONE,
    Population,
    all_runs,
    assert_counts_add_up,
    changed,
    last,
    list_unfinished,
    sync_once,
)
from tests.stage.clock import BothClocks
from tests.stage.home import Home, export, group_row
from tests.stage.seeds import LONG, SEEDS, few, some

pytestmark = some(4)

# What each fault alone comes to is `tests/emulator/test_faults.py`'s matter: the short form tries every third one here.
CASES = [
    (name, target)
    for name, fault in faults.KNOWN.items()
    for target in fault.targets
    if target in ("mixpanel", "apptimize")
][:: 1 if SEEDS else 3]


def run_next_slot(bridge: Bridge, clock: BothClocks, *, minutes: float = 15) -> None:
    clock.pass_minutes(minutes)
    service.once(bridge)


def assert_right_if_it_says_so(bridge: Bridge, population: Population) -> None:
    if last(bridge).status == RunStatus.SUCCEEDED:
        assert population.members(ONE) == population.expected_members(ONE)
        assert not group_row(bridge, ONE).in_doubt


@few(5)
@pytest.mark.parametrize(("name", "target"), CASES)
def test_no_run_under_a_fault_says_that_it_succeeded_and_is_wrong_and_the_next_without_it_is_right(
    bridge: Bridge, population: Population, clock: BothClocks, name: str, target: str, ran: Tally
):
    rng = random.Random(f"{name} {target}")
    numbers = rng.sample(range(3200), 1300 if SEEDS else 300)
    sync = sync_once(bridge, population, numbers)
    for _ in range(max(1, SEEDS)):
        options = {"target": target, "after": rng.randrange(4)} | rng.choice(({}, {"times": 1}, {"times": 7}))
        population.fault(name, **options, **({"seconds": 0.05} if name == "slow" else {}))
        for _ in range(2 if SEEDS else 1):
            numbers = changed(rng, numbers, by=rng.choice((5, 1100)) if SEEDS else 100)
            population.set(ONE, numbers)
            run_next_slot(bridge, clock)
            assert_right_if_it_says_so(bridge, population)
            ran("runs under faults")
        population.clear_faults()
        numbers = changed(rng, numbers, by=20)
        population.set(ONE, numbers)
        if listing.get_sync(bridge, LOCAL, sync.id or 0).sync.state == SyncState.PAUSED:
            recurring.resume_sync(bridge, LOCAL, sync.id or 0)

        run_next_slot(bridge, clock)

        assert last(bridge).status == RunStatus.SUCCEEDED
        assert population.members(ONE) == population.expected_members(ONE)
        assert list_unfinished(bridge) == []
    assert RunStatus.INTERRUPTED not in {run.status for run in all_runs(bridge)}
    assert_counts_add_up(all_runs(bridge))


@few(1)
@pytest.mark.parametrize("failing", ["server_error", "reset_after", "reset_before", "apptimize_failure_200"])
def test_people_whom_half_a_delivery_added_and_who_leave_then_are_not_left_in_the_group(
    bridge: Bridge, population: Population, clock: BothClocks, failing: str, ran: Tally
):
    sync_once(bridge, population, range(500))
    population.set(ONE, range(2600))
    population.fault(failing, target="apptimize", after=1)  # the first of two messages with new members is taken
    run_next_slot(bridge, clock)
    half = population.members(ONE) or frozenset()
    failed = last(bridge)
    population.clear_faults()
    population.set(ONE, range(400, 700))

    run_next_slot(bridge, clock)

    assert failed.status in (RunStatus.FAILED, RunStatus.QUEUED)
    assert failed.write is None
    assert len(half) > 1000
    assert last(bridge).write == "full"
    assert population.members(ONE) == population.expected_members(ONE)
    ran("runs under faults")


def test_people_whom_a_one_time_export_added_between_two_runs_and_who_leave_then_are_not_left_in_the_group(
    bridge: Bridge, population: Population, clock: BothClocks, ran: Tally
):
    sync_once(bridge, population, range(500))
    population.set(ONE, range(600))
    clock.pass_minutes(5)
    export(bridge, ONE)
    population.set(ONE, range(550))

    run_next_slot(bridge, clock, minutes=10)

    assert (last(bridge).trigger, last(bridge).write) == ("schedule", "delta")
    assert population.members(ONE) == population.expected_members(ONE)
    ran("runs under faults")


def test_a_one_time_export_that_fails_half_way_makes_the_next_run_of_the_sync_overwrite_in_full(
    bridge: Bridge, population: Population, clock: BothClocks, ran: Tally
):
    sync_once(bridge, population, range(500))
    population.set(ONE, range(2600))
    population.fault("server_error", target="apptimize", after=1)
    export(bridge, ONE)
    population.clear_faults()
    population.set(ONE, range(400))

    run_next_slot(bridge, clock)

    assert last(bridge).write == "full"
    assert population.members(ONE) == population.expected_members(ONE)
    ran("runs under faults")


@LONG
def test_a_group_that_is_led_elsewhere_while_it_is_written_stays_in_doubt(
    home: Home, bridge: Bridge, population: Population, ran: Tally
):
    population.set(ONE, range(100))
    recurring.add_sync(bridge, LOCAL, ONE)
    population.fault("slow", target="apptimize", seconds=2)
    work = process.start(home, "worker", "--once", lease_s=None)
    population.wait_for("cohort-sync")

    destinations.connect_endpoint(bridge, LOCAL, url=f"{population.endpoint}/", token=SecretStr(population.token))

    assert process.finish(work) == 0
    assert last(bridge).status == RunStatus.SUCCEEDED
    assert group_row(bridge, ONE).in_doubt
    recurring.run_now(bridge, LOCAL, 1)
    service.once(bridge)
    assert last(bridge).write == "full"
    ran("runs under faults")


def test_a_base_that_was_damaged_counts_as_gone_and_the_group_is_overwritten_in_full(
    bridge: Bridge, population: Population, clock: BothClocks, ran: Tally
):
    sync_once(bridge, population, range(100))
    base = bridge.snapshots.path(group_row(bridge, ONE).base_snapshot or "")
    base.write_bytes(base.read_bytes()[:100])
    population.set(ONE, range(50))

    run_next_slot(bridge, clock)

    assert (last(bridge).status, last(bridge).write) == (RunStatus.SUCCEEDED, "full")
    assert population.members(ONE) == population.expected_members(ONE)
    ran("runs under faults")


def test_a_run_whose_places_in_flight_were_taken_while_it_was_held_up_takes_new_ones(
    home: Home, bridge: Bridge, population: Population, ran: Tally
):
    population.set(ONE, range(2500))
    population.fault("slow", target="mixpanel", seconds=1.5, page=0)
    run = one_time.start_export(bridge, LOCAL, ONE)
    work = process.start(home, "worker", "--once", lease_s=None)
    population.wait_for("engage", page=0)
    with write_session(bridge.engine) as session:
        session.exec(delete(Lease).where(col(Lease.kind) == LeaseKind.QUERY_SLOT))

    assert process.finish(work) == 0
    assert runs.get_run(bridge, LOCAL, run.id or 0).status == RunStatus.SUCCEEDED
    ran("runs under faults")
