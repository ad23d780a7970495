"""A worker that is killed at any step of a run: after a restart the group equals its cohort, and nothing is left."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from sqlmodel import delete, select

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.syncs import recurring
from data.engine import read_session, write_session
from data.models import Lease, RunStatus
from data.query_models import CohortList, PageSize
from tests.faults import process
from tests.faults.conftest import Tally
from tests.faults.population import (
    ONE,
    TWO,
    Population,
    all_runs,
    assert_counts_add_up,
    changed,
    last,
    list_unfinished,
    some,
    sync_once,
)
from tests.faults.process import Kill, WallClock
from tests.stage.home import Home
from tests.stage.sandbox import wait_until
from tests.stage.seeds import LONG, SEEDS, few

# How often a run of some 1,500 changing members takes each step.
_TIMES = {"ask": 3, "page": 2, "message": 4}
EVERY_STEP = [
    Kill(step, when, nth)
    for step in process.STEPS
    if step not in ("commit", "trial")
    for nth in range(1, _TIMES.get(step, 1) + 1)
    for when in ("before", "after")
]
# The short form: where most can go wrong.
SHORT = [
    Kill("claim", "after"),
    Kill("ask", "after", 2),
    Kill("snapshot", "after"),
    Kill("doubt", "after"),
    Kill("message", "after", 3),
    Kill("record", "before"),
    Kill("record", "after"),
]


def prepare(bridge: Bridge, population: Population, rng: random.Random) -> list[int]:
    """Start a sync and let it run once; the killed run then has a difference of several messages."""
    numbers = rng.sample(range(3200), 1500)
    sync_once(bridge, population, numbers)
    assert population.members(ONE) == population.expected_members(ONE)
    numbers = changed(rng, numbers, by=1200)
    population.set(ONE, numbers)
    recurring.run_now(bridge, LOCAL, 1)
    return numbers


def assert_recovered(bridge: Bridge, population: Population, cohort: int = ONE) -> None:
    assert list_unfinished(bridge) == []
    assert population.members(cohort) == population.expected_members(cohort)
    assert_counts_add_up(all_runs(bridge))


@few(2)
@pytest.mark.parametrize("seed", range(max(1, SEEDS)))
@pytest.mark.parametrize("kill", EVERY_STEP if SEEDS else SHORT, ids=str)
def test_a_worker_that_is_killed_at_a_step_leaves_nothing_that_the_next_does_not_make_good(
    home: Home, bridge: Bridge, population: Population, kill: Kill, seed: int, ran: Tally
):
    rng = random.Random(f"{kill} {seed}")
    numbers = prepare(bridge, population, rng)
    forget_cohorts(bridge)

    status = process.run(home, "worker", "--once", kill=kill)

    assert status == -signal.SIGKILL
    killed = last(bridge)
    if killed.status == RunStatus.SUCCEEDED:
        assert population.members(ONE) == population.expected_members(ONE)
    else:
        assert killed.status in (RunStatus.QUEUED, RunStatus.RUNNING)
    population.set(ONE, changed(rng, numbers, by=rng.choice((1, 30, 900))))
    if killed.status == RunStatus.SUCCEEDED:
        recurring.run_now(bridge, LOCAL, 1)
    assert process.run(home, "worker", "--once") == 0
    assert_recovered(bridge, population)
    ran("kills")


# A call in a thread goes on when the task that waits for it is stopped: the short form has those that take something.
STOPPED_IN = [
    Kill(step, when, by=signal.SIGTERM)
    for step in process.STEPS
    for when in ("before", "after")
    if SEEDS or (step, when) in (("claim", "before"), ("trial", "before"), ("record", "before"))
]


@few(1)
@pytest.mark.parametrize("stop", STOPPED_IN, ids=str)
def test_a_worker_that_is_stopped_at_a_step_holds_nothing_any_more_and_the_next_goes_on_with_the_same_run(
    home: Home, bridge: Bridge, population: Population, stop: Kill, ran: Tally
):
    env = {"COHORT_BRIDGE_PAGE_SIZE": "100"}
    population.set(ONE, range(1500))
    recurring.add_sync(bridge, LOCAL, ONE)

    assert process.run(home, "worker", "--once", kill=stop, env=env) == 0

    with read_session(bridge.engine) as session:
        assert session.exec(select(Lease)).all() == []
        assert {size.doubt for size in session.exec(select(PageSize)).all()} <= {None}
    # Before the first commit nothing is queued that is due.
    assert {run.status for run in all_runs(bridge)} <= {RunStatus.QUEUED, RunStatus.SUCCEEDED}
    assert process.run(home, "worker", "--once", env=env) == 0
    assert [run.status for run in all_runs(bridge)] == [RunStatus.SUCCEEDED]
    assert_recovered(bridge, population)
    ran("stops")


def test_a_run_that_dies_again_while_it_reads_is_tried_again_after_a_minute_and_not_before(
    home: Home, bridge: Bridge, population: Population, tmp_path: Path, ran: Tally
):
    prepare(bridge, population, random.Random(1))
    for _ in range(2):
        assert process.run(home, "worker", "--once", kill=Kill("page", "before")) == -signal.SIGKILL
        assert last(bridge).step == "reading"
        ran("kills")
    moved_by = tmp_path / "moved-by"
    moved_by.write_text("0")
    clock = WallClock(moved_by=str(moved_by))

    assert process.run(home, "worker", "--once", clock=clock) == 0
    (waiting,) = list_unfinished(bridge)
    assert waiting.waiting_until
    moved_by.write_text("61")
    assert process.run(home, "worker", "--once", clock=clock) == 0

    assert waiting.status == RunStatus.QUEUED
    assert last(bridge).id == waiting.id
    assert_recovered(bridge, population)


def forget_cohorts(bridge: Bridge) -> None:
    """Let the shared list of cohorts count as never read."""
    with write_session(bridge.engine) as session:
        session.exec(delete(CohortList))


@pytest.mark.parametrize("seed", range(SEEDS * 12 or 1))
def test_a_worker_that_is_killed_around_any_commit_and_again_while_it_makes_that_good_loses_nothing(
    home: Home, bridge: Bridge, population: Population, seed: int, ran: Tally
):
    rng = random.Random(seed)
    population.set(ONE, some(rng))
    recurring.add_sync(bridge, LOCAL, ONE)
    for _ in range(3):
        kill = Kill("commit", rng.choice(("before", "after")), rng.randrange(1, 16))
        process.run(home, "worker", "--once", kill=kill)
        population.set(ONE, some(rng))
        recurring.run_now(bridge, LOCAL, 1)
        ran("kills")

    assert process.run(home, "worker", "--once") == 0
    recurring.run_now(bridge, LOCAL, 1)
    assert process.run(home, "worker", "--once") == 0
    assert_recovered(bridge, population)


def test_a_killed_worker_gives_back_its_turn_to_read_the_cohorts_and_its_places_in_flight(
    home: Home, bridge: Bridge, population: Population, ran: Tally
):
    for cohort in (ONE, TWO):
        population.set(cohort, range(1100))
        recurring.add_sync(bridge, LOCAL, cohort)
    assert process.run(home, "worker", "--once", kill=Kill("ask", "before")) == -signal.SIGKILL

    began = time.monotonic()
    assert process.run(home, "worker", "--once", lease_s=8) == 0

    assert time.monotonic() - began < 2 * 8  # the run's lease has to end, and nothing else is waited for after it
    for cohort in (ONE, TWO):
        assert population.members(cohort) == population.expected_members(cohort)
    ran("kills")


@LONG
def test_a_worker_of_the_command_line_works_again_within_seconds_of_a_kill_and_a_restart(
    home: Home, bridge: Bridge, population: Population, ran: Tally
):
    population.set(ONE, range(2500))
    population.set(TWO, range(100))
    for cohort in (ONE, TWO):
        recurring.add_sync(bridge, LOCAL, cohort)
    population.fault("slow", target="mixpanel", path="engage", seconds=20)
    first = home.start("worker")
    try:
        population.wait_for("engage")
    finally:
        first.kill()
        first.communicate()
    population.clear_faults()

    began = time.monotonic()
    second = home.start("worker")
    try:
        wait_until(lambda: not list_unfinished(bridge), within_s=60)
        took_s = time.monotonic() - began
    finally:
        second.terminate()
        home.finish(second)

    assert took_s < 30  # the real lease would take 45
    for cohort in (ONE, TWO):
        assert population.members(cohort) == population.expected_members(cohort)
    assert RunStatus.INTERRUPTED in {run.status for run in all_runs(bridge)}
    ran("kills")
