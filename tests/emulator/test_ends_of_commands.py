"""Whatever ends a command, or a run in a worker, leaves nothing queued or running that no one works on."""

from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from core.access.roles import LOCAL
from core.associate import actions, running
from core.bridge import Bridge
from core.errors import StorageFailed
from core.export.progress import Progress
from core.leases.lease import new_lease_owner
from core.syncs import one_time, runs
from core.worker import inline_run, service
from data import leases, run_queue
from data.engine import write_session
from data.models import LeaseKind, Run, RunLogRow
from tests.stage.home import Home, newest_run
from tests.stage.sandbox import POWER, WEB, Sandbox, wait_until
from tests.stage.seeds import LONG, few

CANCELLED, FAILED = "cancelled", "failed"
WAYS = [
    (KeyboardInterrupt(), CANCELLED, "cancelled", "The run was stopped."),
    (SystemExit(3), CANCELLED, "cancelled", "The run was stopped."),
    (asyncio.CancelledError(), CANCELLED, "cancelled", "The run was stopped."),
    (BrokenPipeError(), CANCELLED, "cancelled", "The run was stopped: no one reads any more what it prints."),
    (MemoryError(), FAILED, "out_of_memory", "The memory of this machine was not enough."),
    (KeyError("x"), FAILED, "unexpected", "This stopped on an error that Cohort Bridge did not foresee."),
    (RecursionError(), FAILED, "unexpected", "This stopped on an error that Cohort Bridge did not foresee."),
    (StorageFailed("The disk is full."), FAILED, "storage_failed", "The disk is full."),
]


def names(way: Any) -> str | None:
    return type(way).__name__ if isinstance(way, BaseException) else None


def held(bridge: Bridge) -> list[str]:
    return [lease.lease_owner for kind in LeaseKind for lease in leases.list_held(bridge.engine, kind)]


@pytest.mark.parametrize("claimed", [False, True], ids=["queued", "claimed"])
@pytest.mark.parametrize(("way", "status", "code", "message"), WAYS, ids=names)
def test_a_run_ends_with_its_command_and_says_why(
    home: Home, way: BaseException, status: str, code: str, message: str, claimed: bool
):
    lease_owner = new_lease_owner()
    with home.bridge() as bridge:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

        def work() -> None:
            with inline_run.no_run_left(bridge, lease_owner):
                run = one_time.start_export(bridge, LOCAL, POWER, trigger="cli", lease_owner=lease_owner)
                if claimed:
                    run_queue.claim(bridge.engine, run.id or 0, lease_owner=lease_owner, now=bridge.clock.now())
                raise way

        with pytest.raises(type(way)):
            work()

        ended = newest_run(bridge)
        assert (ended.status, ended.error_code, ended.error_message) == (status, code, message)
        assert ended.error_advice
        assert ended.finished_at
        assert held(bridge) == []
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


def test_only_the_runs_of_the_command_itself_end_with_it(home: Home):
    with home.bridge() as bridge:
        others = one_time.start_export(bridge, LOCAL, WEB, lease_owner="another")
        with inline_run.no_run_left(bridge, "mine"):
            one_time.start_export(bridge, LOCAL, POWER, lease_owner="mine")

        assert [(run.id, run.status) for run in runs.active_runs(bridge, LOCAL)] == [(others.id, "queued")]
        assert held(bridge) == ["another"]


@pytest.mark.parametrize(("way", "stage"), [(KeyboardInterrupt(), "cancelled"), (KeyError(), "failed")], ids=names)
def test_an_association_ends_with_its_command(home: Home, way: BaseException, stage: str):
    with home.bridge() as bridge:

        def work() -> None:
            with running.no_association_left(bridge, "mine"):
                file = io.BytesIO(b"distinct_id,apptimize_id\nu-1,i_1\n")
                actions.start_association(bridge, LOCAL, file, lease_owner="mine")
                raise way

        with pytest.raises(type(way)):
            work()

        (ended,) = actions.list_associations(bridge, LOCAL)
        assert (ended.stage, held(bridge)) == (stage, [])


def test_what_no_one_foresaw_in_the_midst_of_an_export_ends_its_run_and_frees_what_it_held(
    sandbox: Sandbox, home: Home
):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=20)
    lease_owner = new_lease_owner()

    def fail(progress: Progress) -> None:
        if progress.step == "reading":
            raise KeyError("not foreseen")

    with home.bridge() as bridge:

        def work() -> None:
            with inline_run.no_run_left(bridge, lease_owner):
                run = one_time.start_export(bridge, LOCAL, POWER, trigger="cli", lease_owner=lease_owner)
                asyncio.run(
                    inline_run.carry_out_here(bridge, run.id or 0, lease_owner=lease_owner, patience_s=0.0, watch=fail)
                )

        with pytest.raises(KeyError):
            work()

        assert (newest_run(bridge).status, newest_run(bridge).error_code) == (FAILED, "unexpected")
        assert held(bridge) == []


def is_there(bridge: Bridge) -> bool:
    return bool(runs.list_runs(bridge, LOCAL))


def is_reading(bridge: Bridge) -> bool:
    return newest_run(bridge).step == "reading"


@few(2)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("moment", [is_there, is_reading])
def test_a_signal_at_any_moment_ends_an_export_and_its_run(
    sandbox: Sandbox, home: Home, number: signal.Signals, moment: Callable[[Bridge], bool]
):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)
    with home.bridge() as bridge:
        process = home.start("export", str(POWER), "--json")
        wait_until(partial(is_there, bridge))
        wait_until(partial(moment, bridge))

        process.send_signal(number)
        done = home.finish(process, within_s=10)

        assert (done.code, done.json["status"]) == (1, "cancelled")
        assert (newest_run(bridge).status, held(bridge)) == ("cancelled", [])


@LONG
def test_an_export_under_nohup_continues_when_its_terminal_is_closed(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=2)
    process = home.start("export", str(POWER), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    sandbox.wait_for("engage", page=1)

    process.send_signal(signal.SIGHUP)

    assert home.finish(process).code == 0
    assert sandbox.group(POWER) == sandbox.answer(POWER).group


@LONG
def test_a_worker_whose_terminal_is_closed_hands_its_run_back(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=60)
    with home.bridge() as bridge:
        one_time.start_export(bridge, LOCAL, POWER)
        process = home.start("worker")
        sandbox.wait_for("engage", page=1)

        process.send_signal(signal.SIGHUP)
        done = home.finish(process, within_s=10)

        assert (done.code, newest_run(bridge).status, held(bridge)) == (0, "queued", [])


def test_what_no_one_foresaw_in_a_worker_ends_that_run_alone(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        broken, sound = (one_time.start_export(bridge, LOCAL, cohort) for cohort in (POWER, WEB))
        with write_session(bridge.engine) as session:
            session.add(RunLogRow(run_id=broken.id or 0, log={"no": "run log"}))

        service.once(bridge)

        ended = {run.id: run for run in runs.list_runs(bridge, LOCAL)}
        assert (_end_of(ended, broken), _end_of(ended, sound)) == ((FAILED, "unexpected"), ("succeeded", None))
        assert held(bridge) == []


def _end_of(ended: dict[int | None, Run], run: Run) -> tuple[str, str | None]:
    return ended[run.id].status, ended[run.id].error_code


def test_the_next_export_ends_the_run_of_a_command_that_was_killed_and_leaves_none(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)
    killed = home.start("export", str(POWER))
    sandbox.wait_for("engage", page=1)
    killed.kill()
    killed.communicate()
    sandbox.clear_faults()

    done = home.run("export", str(POWER), "--json", within_s=15)

    assert (done.code, done.json["status"]) == (0, "succeeded")
    with home.bridge() as bridge:
        assert [run.status for run in runs.list_runs(bridge, LOCAL)] == ["succeeded", "interrupted"]
        assert held(bridge) == []
    assert sandbox.group(POWER) == sandbox.answer(POWER).group
