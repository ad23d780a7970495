"""A sandbox over people of our own, homes that are connected to it, and a count of the cases that ran."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

# noqa: F401  (imported early: it preloads the server of processes)
from core.bridge import Bridge
from core.sandbox.server import running
from tests.faults.population import Population, write_files
from tests.stage.clock import BothClocks, FakeClock
from tests.stage.home import Home, connect, copy_home
from tests.stage.sandbox import NOON
from tests.stage.seeds import SEEDS

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
def session_population(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Population]:
    folder = tmp_path_factory.mktemp("population")
    with (
        running(folder, **write_files(folder), clock=lambda: NOON) as server,
        closing(Population(server.url)) as population,
    ):
        yield population


@pytest.fixture
def population(session_population: Population) -> Population:
    """The sandbox without faults or groups, all cohorts empty, its clock at noon."""
    session_population.reset()
    return session_population


@pytest.fixture(scope="session")
def population_template(session_population: Population, tmp_path_factory: pytest.TempPathFactory) -> Path:
    session_population.reset()
    home = Home(tmp_path_factory.mktemp("template") / "home")
    with home.bridge(mixpanel_url=session_population.url) as bridge:
        connect(bridge, session_population)
    return home.path


@pytest.fixture
def home(population_template: Path, tmp_path: Path) -> Home:
    return copy_home(population_template, tmp_path / "home")


@pytest.fixture
def bridge(home: Home, fake_clock: FakeClock) -> Generator[Bridge]:
    with home.bridge(clock=fake_clock.clock) as opened:
        yield opened


@pytest.fixture
def clock(population: Population, fake_clock: FakeClock) -> BothClocks:
    return BothClocks(population, fake_clock)
