"""One sandbox a module, set anew for each test, and homes of Cohort Bridge that are connected to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.sandbox.server import running
from tests.emulator.stage import NOON, Home, Revival, Sandbox, connect, copy_of, kill_half_way


@pytest.fixture(scope="session", autouse=True)
def commands_are_forked(forks: None) -> None:
    """Each test here may run commands."""


@pytest.fixture(scope="module")
def module_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with (
        running(tmp_path_factory.mktemp("sandbox"), clock=lambda: NOON) as server,
        closing(Sandbox(server.url)) as sandbox,
    ):
        yield sandbox


@pytest.fixture
def sandbox(module_sandbox: Sandbox) -> Sandbox:
    """A sandbox without faults, groups or memory of requests, its clock at noon."""
    module_sandbox.reset()
    return module_sandbox


@pytest.fixture(scope="module")
def connected_template(
    module_sandbox: Sandbox, migrated_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    module_sandbox.reset()
    home = copy_of(migrated_template, tmp_path_factory.mktemp("template") / "home")
    with home.bridge(mixpanel_url=module_sandbox.url) as bridge:
        connect(bridge, module_sandbox)
    return home.path


@pytest.fixture
def home(connected_template: Path, tmp_path: Path) -> Home:
    """A home that is connected to the sandbox on both sides, and has exported nothing yet."""
    return copy_of(connected_template, tmp_path / "home")


@pytest.fixture
def empty_home(tmp_path: Path) -> Home:
    """A home on its first day: nothing is connected, nothing even exists."""
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def made_good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Revival]:
    """An export that was killed half way, and a worker that came up then: other tests run while its lease runs out."""
    with (
        running(tmp_path_factory.mktemp("sandbox"), clock=lambda: NOON) as server,
        closing(Sandbox(server.url)) as sandbox,
    ):
        home = Home(tmp_path_factory.mktemp("killed") / "home")
        with home.bridge(mixpanel_url=server.url) as bridge:
            connect(bridge, sandbox)
        kill_half_way(sandbox, home)
        up_at = bridge.clock.now()
        worker = home.start("worker")
        yield Revival(sandbox, home, up_at)
        worker.terminate()
        home.finish(worker)
