"""Several workers on one database, clocks that are set, a database that is locked, a disk that is full."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.leases import workers
from core.rules import due_times
from core.sandbox.server import running
from core.syncs import cohorts, one_time, recurring, runs
from core.worker import service
from data.engine import write_session
from data.models import RunStatus
from tests.faults import process
from tests.faults.conftest import Tally
from tests.faults.population import (
    COHORTS,
    ONE,
    TWO,
    Population,
    all_runs,
    assert_counts_add_up,
    changed,
    last,
    list_unfinished,
    sync_once,
    write_files,
)
from tests.faults.process import WallClock
from tests.stage.clock import FakeClock
from tests.stage.home import Home, connect, group_row
from tests.stage.sandbox import wait_until
from tests.stage.seeds import SEEDS, few, some

pytestmark = some(3)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("workers", [2, 4] if SEEDS else [3])
def test_workers_on_one_database_run_each_slot_once_and_keep_the_groups_right(tmp_path: Path, workers: int, ran: Tally):
    clock = WallClock(start_s=NOON, steady_s=time.monotonic(), speed=300)  # fifteen minutes in three seconds
    rng = random.Random(workers)
    cohorts = COHORTS[:4]
    with (
        running(tmp_path / "sandbox", **write_files(tmp_path), clock=clock.now_s) as server,
        closing(Population(server.url)) as population,
    ):
        home = Home(tmp_path / "home")
        with home.bridge(mixpanel_url=population.url, clock=clock.clock) as bridge:
            connect(bridge, population)
            numbers = {cohort: rng.sample(range(3200), 300) for cohort in cohorts}
            for cohort in cohorts:
                population.set(cohort, numbers[cohort])
                recurring.add_sync(bridge, LOCAL, cohort)
            # The lease is real time: the clocks run ahead, the machine does not.
            started = [process.start(home, "worker", clock=clock, lease_s=20) for _ in range(workers)]
            rounds = 6 if SEEDS else 2
            for _ in range(rounds):
                done = len(all_runs(bridge))
                for cohort in cohorts:
                    numbers[cohort] = changed(rng, numbers[cohort], by=20)
                    population.set(cohort, numbers[cohort])
                wait_until(lambda done=done: len(all_runs(bridge)) >= done + len(cohorts), within_s=60)
            after = last(bridge).id or 0  # whatever is queued after this one reads what is there now
            wait_until(
                lambda: (
                    {run.cohort_id for run in all_runs(bridge) if (run.id or 0) > after and _is_done(run)}
                    == set(cohorts)
                ),
                within_s=60,
            )
            for worker in started:
                process.stop(worker)

            slots = Counter((run.sync_id, _slot(run)) for run in all_runs(bridge) if run.trigger == "schedule")
            assert max(slots.values()) == 1
            assert {run.status for run in all_runs(bridge)} <= {RunStatus.SUCCEEDED, RunStatus.QUEUED}
            for cohort in cohorts:
                assert population.members(cohort) == population.expected_members(cohort)
            assert_counts_add_up(all_runs(bridge))
            ran("runs by several workers", len(all_runs(bridge)))


def _is_done(run) -> bool:
    return run.status == RunStatus.SUCCEEDED


def _slot(run) -> int:
    """The number of the slot that a run was queued in, on its sync's own grid."""
    first = due_times.next_slot(run.sync_id, 15, after=datetime.fromtimestamp(0, UTC)).timestamp()
    return math.floor((run.queued_at.timestamp() - first) / 900)


@few(1)
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_by_an_hour_neither_stalls_a_worker_nor_makes_it_run_twice(
    home: Home, bridge: Bridge, population: Population, hours: int, ran: Tally, tmp_path: Path
):
    moved_by = tmp_path / "moved-by"
    moved_by.write_text("0")
    population.set(ONE, range(50))
    recurring.add_sync(bridge, LOCAL, ONE)
    worker = process.start(home, "worker", clock=WallClock(moved_by=str(moved_by)))
    wait_until(lambda: last_status(bridge) == RunStatus.SUCCEEDED)
    population.set(ONE, range(40))

    moved_by.write_text(str(hours * 3600))

    wait_until(lambda: len(all_runs(bridge)) == 2 and not list_unfinished(bridge))
    process.stop(worker)
    assert population.members(ONE) == population.expected_members(ONE)
    assert len(all_runs(bridge)) == 2
    ran("clocks set")


def last_status(bridge: Bridge) -> str | None:
    known_runs = all_runs(bridge)
    return known_runs[-1].status if known_runs else None


@few(1)
@pytest.mark.parametrize("change", ["ends", "begins"])
def test_a_change_of_daylight_saving_time_does_not_stall_a_worker(
    home: Home, bridge: Bridge, population: Population, change: str, ran: Tally
):
    """The time zone of the process is made so that its summer ends, or begins, in two seconds."""
    at = datetime.fromtimestamp(math.ceil(time.time()) + 2, UTC)
    moment = f"J{at.timetuple().tm_yday - (_is_leap(at.year) and at.month > 2)}"
    seconds = at.hour * 3600 + at.minute * 60 + at.second + (3600 if change == "ends" else 0)
    then = f"{moment}/{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    zone = f"WIN0SUM-1,J1/0,{then}" if change == "ends" else f"WIN0SUM-1,{then},J365/23"
    worker_process = process.start(home, "worker", env={"TZ": zone})
    wait_until(lambda: workers.worker_is_up(bridge, LOCAL))
    wait_until(lambda: time.time() > at.timestamp() + 0.5)
    population.set(ONE, range(50))

    recurring.add_sync(bridge, LOCAL, ONE)

    wait_until(lambda: population.members(ONE) == population.expected_members(ONE) and not list_unfinished(bridge))
    process.stop(worker_process)
    assert [run.status for run in all_runs(bridge)] == [RunStatus.SUCCEEDED]
    ran("clocks set")


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def test_a_clock_that_is_set_back_while_runs_wait_does_not_leave_them_waiting_for_longer_than_an_hour(
    bridge: Bridge, population: Population, fake_clock: FakeClock, ran: Tally
):
    fake_clock.start_s = NOON
    population.limit(hourly_limit=2)
    cohorts.list_cohorts(bridge, LOCAL)
    population.set(ONE, range(50))
    one_time.start_export(bridge, LOCAL, ONE)
    service.once(bridge)
    run = one_time.start_export(bridge, LOCAL, TWO)
    service.once(bridge)
    assert last(bridge).status == RunStatus.WAITING

    fake_clock.shift_s = -3 * 3600
    service.once(bridge)  # no one knows how long ago the queries were: they count for an hour from now
    fake_clock.shift_s += 3601
    population.forget_requests()
    service.once(bridge)  # one for the list of cohorts, one for the pages

    assert runs.get_run(bridge, LOCAL, run.id or 0).status == RunStatus.SUCCEEDED
    ran("clocks set")


def test_a_database_that_is_locked_for_a_while_steals_no_lease_and_loses_no_run(
    home: Home, bridge: Bridge, population: Population, ran: Tally
):
    locked_s, lease_s = (20.0, None) if SEEDS else (3.0, 10.0)
    population.set(ONE, range(1500))
    population.fault("slow", target="mixpanel", seconds=0.5)
    recurring.add_sync(bridge, LOCAL, ONE)
    worker = process.start(home, "worker", lease_s=lease_s)
    population.wait_for("engage")

    with write_session(bridge.engine) as other:
        other.connection()  # from here on it is the one that may write
        time.sleep(locked_s)  # this is what is tested: nothing can be written for so long

    wait_until(lambda: not list_unfinished(bridge), within_s=40)
    process.stop(worker)
    assert [run.status for run in all_runs(bridge)] == [RunStatus.SUCCEEDED]
    assert population.members(ONE) == population.expected_members(ONE)
    ran("storage faults")


def test_a_disk_that_is_full_while_a_snapshot_is_written_fails_the_run_and_leaves_the_group_as_it_was(
    home: Home, bridge: Bridge, population: Population, ran: Tally
):
    sync_once(bridge, population, range(100))
    before = population.members(ONE)
    population.set(ONE, range(3000))
    recurring.run_now(bridge, LOCAL, 1)

    status = process.run(home, "worker", "--once", disk_is_full=True)

    failed = last(bridge)
    files = sorted(path.name for path in bridge.snapshots.folder.iterdir())
    assert status == 0
    assert (failed.status, failed.error_code) == (RunStatus.FAILED, "storage_failed")
    assert population.members(ONE) == before
    assert [name for name in files if name.endswith(".part")] == []
    recurring.run_now(bridge, LOCAL, 1)
    service.once(bridge)
    assert population.members(ONE) == population.expected_members(ONE)
    assert not group_row(bridge, ONE).in_doubt
    ran("storage faults")
