"""A sandbox over people of our own, homes that are connected to it, and a count of the cases that ran."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

# noqa: F401  (imported early: it preloads the server of processes)
from core.bridge import Bridge
from core.sandbox.server import running
from data import models
from tests.faults.crowd import SEEDS, Crowd, write_files
from tests.stage.clock import FakeClock
from tests.stage.home import Home, connect, copy_of
from tests.stage.sandbox import NOON

_cases = pytest.StashKey[dict[str, int]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_cases] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counted = terminalreporter.config.stash[_cases]
    if counted:
        told = ", ".join(f"{number} {what}" for what, number in sorted(counted.items()))
        form = f"{SEEDS} seeds" if SEEDS else "the short form"
        terminalreporter.write_line(f"Fault cases ({form}): {sum(counted.values())} in all: {told}.")


class Tally:
    """Counts the cases that ran, for the summary."""

    def __init__(self, counted: dict[str, int]) -> None:
        self._counted = counted

    def __call__(self, what: str, number: int = 1) -> None:
        self._counted[what] = self._counted.get(what, 0) + number


@pytest.fixture(scope="session")
def ran(pytestconfig: pytest.Config) -> Tally:
    return Tally(pytestconfig.stash[_cases])


@pytest.fixture(scope="session")
def session_crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    folder = tmp_path_factory.mktemp("crowd")
    with running(folder, **write_files(folder), clock=lambda: NOON) as server, closing(Crowd(server.url)) as crowd:
        yield crowd


@pytest.fixture
def crowd(session_crowd: Crowd) -> Crowd:
    """The sandbox without faults or groups, all cohorts empty, its clock at noon."""
    session_crowd.reset()
    return session_crowd


@pytest.fixture(scope="session")
def crowd_template(session_crowd: Crowd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    session_crowd.reset()
    home = Home(tmp_path_factory.mktemp("template") / "home")
    with home.bridge(mixpanel_url=session_crowd.url) as bridge:
        connect(bridge, session_crowd)
    return home.path


@pytest.fixture
def home(crowd_template: Path, tmp_path: Path) -> Home:
    return copy_of(crowd_template, tmp_path / "home")


@pytest.fixture
def bridge(home: Home, fake_clock: FakeClock) -> Generator[Bridge]:
    with home.bridge(clock=fake_clock.clock) as opened:
        yield opened


class BothClocks:
    """The sandbox's clock, and the one of `bridge`: both stand at noon until they are moved."""

    def __init__(self, crowd: Crowd, fake_clock: FakeClock) -> None:
        self.crowd = crowd
        self.fake_clock = fake_clock
        fake_clock.start_s = NOON

    def pass_minutes(self, minutes: float) -> None:
        self.fake_clock.shift_s += minutes * 60
        self.crowd.at(self.fake_clock.shift_s)


@pytest.fixture
def clock(crowd: Crowd, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> BothClocks:
    monkeypatch.setattr(models, "wall_s", fake_clock.now_s)
    return BothClocks(crowd, fake_clock)
