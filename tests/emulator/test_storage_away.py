"""A storage that cannot be used: said at once wherever one looks, and waited for by what works in the background."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from core.access.roles import LOCAL
from core.api import readiness
from core.bridge import Bridge
from core.reports.storage import find_storage_trouble
from core.syncs import one_time
from core.worker import service
from data import workers
from data.models import RunStatus
from data.storage.s3 import IN_BACKGROUND, PERSON_WAITS, Patience
from tests.emulator.test_probes import samples
from tests.stage.api import served
from tests.stage.home import export, newest_run
from tests.stage.machines import Machines, members_of, named
from tests.stage.object_storage import BRIEF
from tests.stage.sandbox import LATER_S, TRIAL, Sandbox
from tests.stage.seeds import few, some

pytestmark = some(4)

AWAY = "The object storage cannot be reached, or broke off its answer."
PATIENT = Patience(request_s=1, part_s=1, overall_s=10)


def look_again(machines: Machines, bridge: Bridge) -> None:
    """Let what is remembered be too old to count, and wait for what comes in its place."""
    machines.clock.ahead_s += 61
    bridge.storage_watch.find_trouble(bridge.storage, bridge.clock.steady_s, wait_s=10)


def test_it_is_said_at_once_by_readiness_numbers_and_reports_and_once_in_the_log(
    machines: Machines, caplog: pytest.LogCaptureFixture
):
    with machines.machine("a") as bridge, served(bridge) as client:
        now = bridge.clock.now()
        workers.sign_on(bridge.engine, "a worker", started_at=now, now=now)
        assert (client.get("/readyz").status_code, samples(client)["storage_usable",]) == (200, 1)

        machines.way.fault = lambda asked: "cut"
        assert find_storage_trouble(bridge, LOCAL) is None, "an answer is remembered for a while"
        look_again(machines, bridge)
        ready = client.get("/readyz")
        asked = len(machines.way.asked)

        assert ready.status_code == 503
        assert [told for told in ready.json()["troubles"] if told.startswith(AWAY) and "AWS_ENDPOINT_URL" in told]
        assert samples(client)["storage_usable",] == 0
        assert len(machines.way.asked) == asked, "not each look asks"
        machines.way.fault = lambda asked: None
        look_again(machines, bridge)
        assert client.get("/readyz").status_code == 200

    said = [record.getMessage() for record in caplog.records if record.name == "core.storage_watch"]
    assert [text.partition(".")[0] for text in said] == [
        "the storage of members cannot be used: The object storage cannot be reached, or broke off its answer",
        "the storage of members can be used again",
    ]


def test_what_hangs_is_waited_for_by_nobody_and_said_after_a_while(machines: Machines):
    gate = threading.Event()
    with machines.machine("a", patience=Patience(30, 30, 30)) as bridge:
        bridge.find_storage_trouble()
        machines.way.fault = lambda asked: "cut" if gate.wait(30) else None
        machines.clock.ahead_s += 30

        began_s = time.monotonic()
        assert bridge.find_storage_trouble() is None
        machines.clock.ahead_s += 21
        trouble = bridge.find_storage_trouble()

        assert time.monotonic() - began_s < 0.4
        assert trouble
        assert trouble.message == f"The storage {machines.storage_url} does not answer."
        gate.set()


def test_a_folder_that_cannot_be_used_keeps_an_installation_from_being_ready(bridge: Bridge):
    now, folder = bridge.clock.now(), bridge.settings.snapshots
    workers.sign_on(bridge.engine, "a worker", started_at=now, now=now)
    folder.rename(folder.with_name("elsewhere"))
    bridge.storage.check()  # a folder that is not there is made when it is needed
    folder.write_text("no folder")

    troubles = readiness.find_troubles(bridge)

    assert len(troubles) == 1
    assert f"The storage folder {folder} cannot be used (Not a directory)" in troubles[0]


def test_every_process_says_at_its_start_that_the_storage_cannot_be_used_and_a_worker_starts_all_the_same(
    machines: Machines, caplog: pytest.LogCaptureFixture
):
    machines.way.fault = lambda asked: "expired"

    with caplog.at_level(logging.WARNING), machines.machine("a") as bridge:
        assert service.once(bridge) == 0

    said = [record.getMessage() for record in caplog.records if record.name == "core.storage_watch"]
    assert len(said) == 1
    assert "refuses these credentials: they have ended. Renew them." in said[0]


@few(1)
@pytest.mark.parametrize(
    ("away_s", "patience", "background"), [(1.5, BRIEF, PATIENT), (20.0, PERSON_WAITS, IN_BACKGROUND)]
)
def test_a_worker_survives_a_storage_that_is_away_for_longer_than_a_person_waits(
    machines: Machines, sandbox: Sandbox, away_s: float, patience: Patience, background: Patience
):
    with machines.machine("a") as one:
        export(one, TRIAL)
    sandbox.at(LATER_S)
    with machines.machine("b", patience=patience, background=background) as other:
        one_time.start_export(other, LOCAL, TRIAL)
        back_at_s = list[float]()

        def fault(asked: object) -> str | None:
            if not back_at_s:
                back_at_s.append(time.monotonic() + away_s)
            return "cut" if time.monotonic() < back_at_s[0] else None

        machines.way.fault = fault
        service.once(other)
        run = newest_run(other)

        assert (run.status, run.write, run.notice) == (RunStatus.SUCCEEDED, "delta", None)
        assert named(other) == machines.objects()
        assert members_of(other, TRIAL) == set(sandbox.group(TRIAL) or {})


def test_a_worker_that_is_asked_to_end_does_not_go_on_waiting_for_its_storage(machines: Machines, sandbox: Sandbox):
    with machines.machine("a", background=Patience(1, 1, 60)) as bridge:
        one_time.start_export(bridge, LOCAL, TRIAL)

        async def end_in_the_middle() -> float:
            stop, asked = asyncio.Event(), asyncio.Event()
            loop = asyncio.get_running_loop()

            def fault(request: object) -> str:
                if len(machines.way.asked) > before + 3:
                    loop.call_soon_threadsafe(asked.set)
                return "cut"

            before = len(machines.way.asked)
            machines.way.fault = fault
            serving = asyncio.create_task(service.Worker(bridge).serve(stop))
            await asyncio.wait_for(asked.wait(), 20)
            stop.set()
            began_s = time.monotonic()
            await serving
            return time.monotonic() - began_s

        assert asyncio.run(end_in_the_middle()) < 8
        assert newest_run(bridge).status == RunStatus.QUEUED
