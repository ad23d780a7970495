"""What nothing waits for: copies on each machine, and the whole storage, which one worker looks through once a day."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, update

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.forgetting import person
from core.settings import Settings
from core.syncs import one_time
from core.worker import service, upkeep
from core.worker.upkeep import Upkeep
from data import installation, leases
from data.engine import write_session
from data.forgetting import ALL
from data.models import LeaseKind, Run, RunStatus
from data.storage.s3 import Patience
from pages.shell import standby
from tests.stage.home import export, newest_run
from tests.stage.machines import Machines, copies, members_of, named
from tests.stage.object_storage import Asked
from tests.stage.sandbox import LATER_S, TRIAL, Sandbox, wait_until
from tests.stage.seeds import LONG

DAY_S = 24 * 3600
LEFT = "run-00000099-0a0a0a0a"


def leave(bridge: Bridge, tmp_path: Path, name: str) -> None:
    """Put a file into the storage that no row names."""
    file = tmp_path / "left"
    file.write_bytes(b"left by a process that died")
    bridge.storage.put_file(file, f"{name}.parquet")


def is_listing(asked: Asked) -> bool:
    return "list-type" in asked.path


def listings(machines: Machines) -> int:
    return sum(map(is_listing, machines.way.asked))


def test_of_all_workers_one_looks_through_the_storage_and_none_does_again_for_a_day(machines: Machines, tmp_path: Path):
    with machines.machine("a") as one, machines.machine("b") as other:
        leave(one, tmp_path, LEFT)
        machines.clock.shift_s += 2 * DAY_S
        machines.way.asked.clear()

        Upkeep(one).search()
        asked = listings(machines)
        for bridge in (other, one):
            machines.clock.shift_s += 11 * 3600
            Upkeep(bridge).search()
        assert (asked, listings(machines)) == (2, 2), "the files, and the associations"
        assert machines.objects() == set()

        machines.clock.shift_s += 3 * 3600
        Upkeep(other).search()
        assert listings(machines) == 4


@LONG
def test_a_look_that_failed_or_was_stopped_is_begun_again_after_an_hour(machines: Machines, tmp_path: Path):
    with machines.machine("a") as bridge:
        leave(bridge, tmp_path, LEFT)
        machines.clock.shift_s += 2 * DAY_S
        machines.way.fault = lambda asked: "expired" if is_listing(asked) else None
        with pytest.raises(Exception, match="they have ended"):
            Upkeep(bridge).search()
        machines.way.fault = lambda asked: None
        machines.clock.shift_s += 59 * 60
        Upkeep(bridge).search()
        assert machines.objects()

        machines.clock.shift_s += 2 * 60
        stopped = Upkeep(bridge)
        stopped.stop()
        stopped.search()
        assert machines.objects()

        machines.clock.shift_s += 3601
        Upkeep(bridge).search()
        assert machines.objects() == set()


def test_nobody_looks_while_somebody_is_forgotten(bridge: Bridge):
    engine, now = bridge.engine, bridge.clock.now()
    leases.acquire(engine, LeaseKind.FORGETTING, ALL, lease_owner="forgets", now=now)
    Upkeep(bridge).search()
    assert installation.take_search(engine, now=now, every=timedelta(days=1)), "it was not taken"

    leases.release(engine, LeaseKind.FORGETTING, ALL, lease_owner="forgets")
    installation.give_search_back(engine, taken_at=now, as_of=now - timedelta(days=1))
    Upkeep(bridge).search()
    assert not installation.take_search(engine, now=now, every=timedelta(days=1))


def test_of_several_that_ask_at_once_one_may_look_and_a_clock_that_was_set_back_stops_none(bridge: Bridge):
    now, day = bridge.clock.now(), timedelta(days=1)

    assert [installation.take_search(bridge.engine, now=now, every=day) for _ in range(3)] == [True, False, False]
    assert not installation.take_search(bridge.engine, now=now - timedelta(minutes=1), every=day)
    assert installation.take_search(bridge.engine, now=now - timedelta(hours=2), every=day)


def test_what_a_row_will_name_stays_however_long_its_run_has_worked(
    machines: Machines, sandbox: Sandbox, tmp_path: Path
):
    with machines.machine("a") as bridge:
        run = export(bridge, TRIAL)
        works = f"run-{run.id or 0:08}-0b0b0b0b"
        for name in (works, LEFT):
            leave(bridge, tmp_path, name)
        set_status(bridge, run, RunStatus.RUNNING)
        machines.clock.shift_s += 3 * DAY_S

        assert upkeep.remove_unnamed(bridge, threading.Event()) == 1
        assert machines.objects() == named(bridge) | {f"{works}.parquet"}

        set_status(bridge, run, RunStatus.INTERRUPTED)
        assert upkeep.remove_unnamed(bridge, threading.Event()) == 1
        assert machines.objects() == named(bridge)


def set_status(bridge: Bridge, run: Run, status: RunStatus) -> None:
    with write_session(bridge.engine) as session:
        session.exec(update(Run).where(col(Run.id) == run.id).values(status=status))


def test_a_storage_that_takes_long_to_list_holds_no_run_up_and_no_end(machines: Machines, sandbox: Sandbox):
    gate, asked = threading.Event(), threading.Event()

    def hang(request: Asked) -> None:
        if is_listing(request):  # whether the storage can be used is asked in the same way, so the second one counts
            if listings(machines) > before + 1:
                asked.set()
            gate.wait(30)

    async def work(bridge: Bridge) -> None:
        stop = asyncio.Event()
        serving = asyncio.create_task(service.Worker(bridge).serve(stop))
        await asyncio.to_thread(asked.wait, 20)
        one_time.start_export(bridge, LOCAL, TRIAL)
        await asyncio.to_thread(wait_until, lambda: newest_run(bridge).status == RunStatus.SUCCEEDED)
        gate.set()
        stop.set()
        await serving

    hours = Patience(request_s=30, part_s=30, overall_s=30)
    with machines.machine("a", patience=hours, background=hours) as bridge:
        before = listings(machines)
        machines.way.fault = hang
        asyncio.run(work(bridge))
        assert members_of(bridge, TRIAL) == set(sandbox.answer(TRIAL).ids)


def test_a_machine_that_has_a_dashboard_alone_tidies_its_copies(machines: Machines, sandbox: Sandbox):
    with machines.machine("a") as one, machines.machine("dashboard") as bridge:
        export(one, TRIAL)
        sandbox.at(LATER_S)
        someone = min(members_of(bridge, TRIAL))
        stale = copies(bridge)
        person.forget_person(one, LOCAL, someone, patience_s=0.0)
        members_of(bridge, TRIAL)
        for path in bridge.snapshots.folder.rglob("*.parquet"):
            os.utime(path, ns=(0, path.stat().st_mtime_ns))  # used long ago
        settings = bridge.settings

        async def serve() -> None:
            tidying = asyncio.create_task(upkeep.serve(settings, first_after_s=0))
            await asyncio.to_thread(wait_until, lambda: not stale & copies(bridge))
            tidying.cancel()
            await asyncio.gather(tidying, return_exceptions=True)

        assert stale
        asyncio.run(serve())
        assert copies(bridge)
        assert copies(bridge) <= machines.objects()


def test_a_dashboard_tidies_as_long_as_it_serves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COHORT_BRIDGE_STORAGE_URL", "s3://bucket/members")

    def at_work() -> bool:
        coroutines: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
        return upkeep.__file__ in {each.cr_code.co_filename for each in coroutines}

    async def serve() -> tuple[bool, bool]:
        async with standby.standing_by():
            await asyncio.sleep(0)
            while_it_serves = at_work()
        return while_it_serves, at_work()

    assert asyncio.run(serve()) == (True, False)


def test_a_home_of_which_nothing_is_copied_needs_no_tidying(tmp_path: Path):
    settings = Settings(home=tmp_path / "home", _env_file=None)  # type: ignore[call-arg]

    asyncio.run(upkeep.serve(settings, first_after_s=0))  # returns
    assert not (tmp_path / "home").exists()
