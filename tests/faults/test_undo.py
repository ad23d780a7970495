"""Rolling back, and what people ask for while that waits or works: the last word is the one that holds."""

from __future__ import annotations

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.clock import LeaseTimes
from core.syncs import one_time, recurring, runs, undo
from core.worker import service
from data import run_queue
from data.models import Run, RunStatus
from tests.faults.population import ONE, Population, last, sync_once
from tests.stage.home import Home, export
from tests.stage.seeds import few


@pytest.fixture
def waiting(bridge: Bridge, population: Population) -> Run:
    """A rollback of a recurring sync's group that waits for a worker."""
    sync = sync_once(bridge, population, range(20))
    first = last(bridge)
    population.set(ONE, range(10, 40))
    recurring.run_now(bridge, LOCAL, sync.id or 0)
    service.once(bridge)
    return undo.undo_to(bridge, LOCAL, first.id or 0)


def ask(bridge: Bridge, how: str) -> None:
    if how == "export at once":
        export(bridge, ONE)
    elif how == "export":
        one_time.start_export(bridge, LOCAL, ONE)
    elif how == "run":
        recurring.run_now(bridge, LOCAL, 1)
    else:
        recurring.resume_sync(bridge, LOCAL, 1)


HOW = pytest.mark.parametrize("how", ["export", "resume", "export at once", "run"])


@few(1)
@HOW
def test_what_is_asked_for_after_an_undo_takes_the_place_of_the_undo_that_waits(
    bridge: Bridge, population: Population, waiting: Run, how: str
):
    ask(bridge, how)
    service.once(bridge)

    assert population.members(ONE) == population.expected_members(ONE)
    assert runs.get_run(bridge, LOCAL, waiting.id or 0).status == RunStatus.CANCELLED


@few(1)
@pytest.mark.parametrize("how", ["run", "export", "resume"])
def test_an_undo_whose_process_dies_is_not_done_after_what_was_asked_for_meanwhile(
    home: Home, bridge: Bridge, population: Population, waiting: Run, how: str
):
    assert run_queue.claim(bridge.engine, waiting.id or 0, lease_owner="dead", now=bridge.clock.now())
    ask(bridge, how)

    with home.bridge(lease_times=LeaseTimes(heartbeat_s=0.1, lease_s=0.5, fresh_s=0.3)) as worker:
        service.once(worker)  # watches the lease, which does not move, until it is dead
        service.once(worker)

    assert population.members(ONE) == population.expected_members(ONE)


def test_an_export_that_is_asked_for_after_an_undo_of_a_one_time_export_is_not_that_undo(
    bridge: Bridge, population: Population
):
    for numbers in (range(20), range(10, 40)):
        population.set(ONE, numbers)
        one_time.start_export(bridge, LOCAL, ONE)
        service.once(bridge)
    back = undo.undo_to(bridge, LOCAL, 1)

    asked_for = one_time.start_export(bridge, LOCAL, ONE)
    service.once(bridge)

    assert asked_for.id != back.id
    assert population.members(ONE) == population.expected_members(ONE)


def test_a_preview_leaves_an_undo_that_waits(bridge: Bridge, population: Population, waiting: Run):
    one_time.start_export(bridge, LOCAL, ONE, dry_run=True)
    service.once(bridge)

    assert runs.get_run(bridge, LOCAL, waiting.id or 0).status == RunStatus.SUCCEEDED
