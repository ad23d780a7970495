"""Processes that are told to stop, or just die: what they leave behind, and who recovers it."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from subprocess import Popen

import pytest

from core.access.roles import LOCAL
from core.clock import Clock
from core.leases import workers
from core.syncs import one_time, runs
from core.worker import service
from data import leases
from data.models import LeaseKind
from tests.emulator.conftest import Recovery
from tests.stage.home import Home, export, newest_run
from tests.stage.sandbox import POWER, WEB, Sandbox, wait_until
from tests.stage.seeds import LONG, few

# Begun here already: the worker that recovers the dead run does so while these tests run.
pytestmark = pytest.mark.usefixtures("recovery")


def press_ctrl_c(process: Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


@few(1)
@pytest.mark.parametrize("end", [press_ctrl_c, Popen.terminate])
def test_an_export_that_is_stopped_is_recorded_as_cancelled(sandbox: Sandbox, home: Home, end: object):
    sandbox.fill(POWER, {"i_before": "u-before"})
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)
    process = home.start("export", str(POWER), "--json")
    sandbox.wait_for("engage", page=1)

    end(process)  # type: ignore[operator]
    done = home.finish(process, within_s=10)

    assert (done.code, done.json["status"], done.json["error"]["code"]) == (1, "cancelled", "cancelled")
    assert done.err.count("\n") == 1
    assert sandbox.group(POWER) == {"i_before": "u-before"}
    with home.bridge() as bridge:
        assert newest_run(bridge).status == "cancelled"


@LONG
def test_an_export_that_is_stopped_between_two_messages_leaves_the_group_whole(sandbox: Sandbox, home: Home):
    before = {"i_before": "u-before"}
    sandbox.fill(POWER, before)
    sandbox.forget_requests()
    sandbox.fault("slow", target="apptimize", page=3, seconds=30)
    process = home.start("export", str(POWER))
    sandbox.wait_for("cohort-sync", page=3)

    press_ctrl_c(process)
    done = home.finish(process, within_s=10)

    assert done.code == 1
    assert sandbox.group(POWER) == before
    sandbox.clear_faults()
    with home.bridge() as bridge:
        assert export(bridge, POWER).status == "succeeded"
    assert sandbox.group(POWER) == sandbox.answer(POWER).group


@LONG
@few(1)
@pytest.mark.parametrize("kind", ["engage", "cohort-sync"])
def test_an_export_that_is_killed_leaves_the_group_as_it_was_and_a_later_one_works(
    sandbox: Sandbox, home: Home, kind: str
):
    before = {"i_before": "u-before"}
    sandbox.fill(POWER, before)
    sandbox.forget_requests()
    sandbox.fault("slow", target="mixpanel" if kind == "engage" else "apptimize", page=2, seconds=30)
    process = home.start("export", str(POWER))
    sandbox.wait_for(kind, page=2)
    process.kill()
    process.communicate()
    left = sandbox.group(POWER)
    sandbox.clear_faults()

    with home.bridge(clock=fast_clock()) as bridge:
        run = export(bridge, POWER)
        dead = runs.get_run(bridge, LOCAL, 1)

    assert left == before
    assert (dead.status, dead.error_code) == ("interrupted", "interrupted")
    assert (run.status, sandbox.group(POWER)) == ("succeeded", sandbox.answer(POWER).group)


def fast_clock() -> Clock:
    """A clock whose steady part, by which leases end, runs twenty times as fast."""
    start = time.monotonic()
    return Clock(steady_s=lambda: start + 20 * (time.monotonic() - start))


def test_a_worker_that_is_terminated_hands_its_run_back_within_seconds(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=60)
    with home.bridge() as bridge:
        one_time.start_export(bridge, LOCAL, POWER)
        up = home.begin("worker")
        sandbox.wait_for("engage", page=1)

        up.terminate()
        done = home.finish(up, within_s=10)

        handed_back = newest_run(bridge)
        held_leases = leases.list_held(bridge.engine, LeaseKind.RUN)
        sandbox.clear_faults()
        asyncio.run(service.Worker(bridge).once())
        run = newest_run(bridge)
    assert (done.code, done.out) == (0, "")
    assert (handed_back.status, held_leases) == ("queued", [])
    assert (run.id, run.status) == (handed_back.id, "succeeded")
    assert sandbox.group(POWER) == sandbox.answer(POWER).group


def test_a_worker_that_waits_for_work_ends_at_once_and_signs_off(home: Home):
    with home.bridge() as bridge:
        up = home.start("worker")
        wait_until(lambda: workers.worker_is_up(bridge, LOCAL))

        press_ctrl_c(up)
        done = home.finish(up, within_s=10)

        assert (done.code, done.out) == (0, "")
        assert not workers.worker_is_up(bridge, LOCAL)


@LONG
@pytest.mark.sqlite_file
def test_a_worker_ends_in_time_whoever_holds_the_database(home: Home):
    with (
        home.bridge() as bridge,
        closing(sqlite3.connect(home.path / "cohort_bridge.db", isolation_level=None)) as another,
    ):
        up = home.start("worker")
        wait_until(lambda: workers.worker_is_up(bridge, LOCAL))
        another.execute("BEGIN IMMEDIATE")

        up.terminate()
        done = home.finish(up, within_s=27)  # each write waits for 30 s

    assert (done.code, done.out) == (0, "")
    assert "ends with work left" in done.err


def test_a_worker_does_what_is_queued_while_it_is_up(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        up = home.begin("worker")
        wait_until(lambda: workers.worker_is_up(bridge, LOCAL))

        for cohort in (WEB, POWER):
            one_time.start_export(bridge, LOCAL, cohort)
        wait_until(lambda: not runs.active_runs(bridge, LOCAL))

        assert [run.status for run in runs.list_runs(bridge, LOCAL)] == ["succeeded", "succeeded"]
        up.terminate()
        home.finish(up, within_s=10)
    assert sandbox.group(WEB) == sandbox.answer(WEB).group
    assert sandbox.group(POWER) == sandbox.answer(POWER).group


def test_a_run_whose_process_died_is_recovered_within_seconds_of_a_worker(recovery: Recovery):
    sandbox, home = recovery.sandbox, recovery.home

    with home.bridge() as bridge:
        wait_until(lambda: newest_run(bridge).status == "succeeded", within_s=60)

        last, first = runs.list_runs(bridge, LOCAL)
    assert (last.status, first.status) == ("succeeded", "interrupted")
    assert last.finished_at
    assert last.finished_at - recovery.worker_started_at < timedelta(seconds=30)  # the real lease would take 45
    assert sandbox.group(POWER) == sandbox.answer(POWER).group
