"""One sandbox a module, reset for each test, and homes of Cohort Bridge that are connected to it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from core.bridge import Bridge
from tests.stage.api import Api, exported_api
from tests.stage.clock import BothClocks, FakeClock
from tests.stage.home import Home, connect, copy_home
from tests.stage.machines import Machines, machines_of
from tests.stage.sandbox import POWER, Sandbox, sandbox_at_noon


@pytest.fixture(scope="session", autouse=True)
def commands_are_forked(fork_server: None) -> None:
    """Each test here may run commands."""


@pytest.fixture
def home(connected_template: Path, tmp_path: Path) -> Home:
    """A home that is connected to the sandbox on both sides, and has exported nothing yet."""
    return copy_home(connected_template, tmp_path / "home")


@pytest.fixture
def clock(sandbox: Sandbox, fake_clock: FakeClock) -> BothClocks:
    return BothClocks(sandbox, fake_clock)


@pytest.fixture
def bridge(home: Home, fake_clock: FakeClock) -> Generator[Bridge]:
    with home.bridge(clock=fake_clock.clock) as opened:
        yield opened


@pytest.fixture
def machines(home: Home, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Generator[Machines]:
    """Machines that share the connected home's database and key, and a bucket."""
    with machines_of(home, fake_clock, monkeypatch) as opened:
        yield opened


@pytest.fixture(scope="module")
def api(module_sandbox: Sandbox, connected_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Api]:
    """For tests that change nothing which others look at."""
    module_sandbox.reset()
    with exported_api(connected_template, tmp_path_factory.mktemp("api") / "home") as made:
        yield made


@pytest.fixture
def empty_home(tmp_path: Path) -> Home:
    """A home on its first day: nothing is connected, nothing even exists."""
    return Home(tmp_path / "home")


@dataclass(frozen=True)
class Recovery:
    """An export that was killed half way, and when the worker started that is to recover it."""

    sandbox: Sandbox
    home: Home
    worker_started_at: datetime


def kill_half_way(sandbox: Sandbox, home: Home) -> None:
    """Start an export, and kill its process while it reads."""
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)
    process = home.begin("export", str(POWER))
    sandbox.wait_for("engage", page=1)
    process.kill()
    sandbox.clear_faults()


@pytest.fixture(scope="session")
def recovery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recovery]:
    """An export that was killed half way, and a worker that started then: other tests run while its lease runs out."""
    with sandbox_at_noon(tmp_path_factory.mktemp("sandbox")) as sandbox:
        home = Home(tmp_path_factory.mktemp("killed") / "home")
        with home.bridge(mixpanel_url=sandbox.url) as bridge:
            connect(bridge, sandbox)
        kill_half_way(sandbox, home)
        started_at = bridge.clock.now()
        worker = home.begin("worker")
        yield Recovery(sandbox, home, started_at)
        worker.terminate()
        home.finish(worker)
