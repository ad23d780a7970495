"""What all tests share: a home of their own, and no setting of the machine that runs them."""

from __future__ import annotations

import atexit
import gc
import itertools
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from core.bridge import Bridge, open_bridge
from core.settings import Settings
from tests.stage import databases
from tests.stage.clock import FakeClock
from tests.stage.home import copy_connected, copy_home, forked_commands
from tests.stage.memory import use_memory
from tests.stage.sandbox import Sandbox, sandbox_at_noon
from tests.stage.seeds import SEEDS, is_short
from tests.stage.statements import share_statements
from tests.stage.trust import trust_few

# Nothing that is imported or collected is garbage: see pytest_collection_finish.
gc.disable()
use_memory()
trust_few()
share_statements()
databases.use_server()

settings.register_profile("short", max_examples=12, deadline=None)
settings.register_profile("long", max_examples=300 * SEEDS or 1, deadline=None)
settings.load_profile("long" if SEEDS else "short")
# Folders whose files take long, of which the first two wait for much of that time.
_LONG = ("faults", "browser", "emulator")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is long, unless it is asked for, and begin with what takes longest."""
    if not SEEDS:
        left_out = {*(item for item in items if item.get_closest_marker("long")), *_beyond_few(items)}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    _order(items)


def _beyond_few(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield what the short form leaves out: of a test's cases, or a file's tests, those beyond the few that it has."""
    families = dict[tuple[Path, str], list[pytest.Item]]()
    for item in items:
        if item.get_closest_marker("long"):
            continue
        if item.get_closest_marker("few"):
            families.setdefault((item.path, item.nodeid.partition("[")[0]), []).append(item)
        elif item.get_closest_marker("some"):
            families.setdefault((item.path, ""), []).append(item)
    for (_, name), cases in families.items():
        marker = cases[0].get_closest_marker("few" if name else "some")
        assert marker is not None
        yield from (case for turn, case in enumerate(cases) if not is_short(turn, of=len(cases), number=marker.args[0]))


def _order(items: list[pytest.Item]) -> None:
    """Begin with what takes long, one file of each such folder in turn; each file stays whole, in its own order.

    So no worker of `make test` is left alone with a long file at the end, and what waits runs beside what computes.
    """
    files = dict.fromkeys(item.path for item in items)
    turns = {folder: itertools.count() for folder in _LONG}
    turn = {path: next(turns.get(path.parent.name, itertools.repeat(len(files)))) for path in files}
    items.sort(key=lambda item: turn[item.path])


def pytest_collection_finish() -> None:
    """Spare later searches for garbage all that is imported by now: Streamlit makes one after each run of a page.

    And search less often than Python would: what tests leave is small, and the searches took a twentieth of the time.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)  # extensions complain of what is left of them at the end, pytest searches before
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[None]:
    """Settings come from the test alone, and nothing is written outside its folder, or kept on a server after it."""
    for name in list(os.environ):
        if name.startswith("COHORT_BRIDGE_") and name != "COHORT_BRIDGE_REQUIRE_BROWSER":
            monkeypatch.delenv(name)
    monkeypatch.setenv("COHORT_BRIDGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COHORT_BRIDGE_METRICS_ADDRESS", "off")  # tests that run side by side share the ports
    yield
    databases.drop_below(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for groups, as an admin names one."""
    made = tmp_path / "groups"
    made.mkdir()
    return made


@pytest.fixture(scope="session")
def migrated_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that holds nothing but a database of today's schema and a key: copied sooner than it is made."""
    home = tmp_path_factory.mktemp("migrated") / "home"
    open_bridge(Settings(home=home, _env_file=None)).engine.dispose()
    return home


@pytest.fixture
def fake_clock() -> FakeClock:
    """The clock of `bridge`: the real one, until it is moved."""
    return FakeClock()


@pytest.fixture
def bridge(migrated_template: Path, tmp_path: Path, fake_clock: FakeClock) -> Generator[Bridge]:
    """A real database and real folders; passing failures are retried within half a second."""
    copy_home(migrated_template, tmp_path / "home")
    settings = Settings(home=tmp_path / "home", retry_over_s=0.5, _env_file=None)
    opened = open_bridge(settings, clock=fake_clock.clock)
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="session")
def fork_server() -> Generator[None]:
    """Let commands be forked from a process that has imported the program once."""
    with forked_commands():
        yield


@pytest.fixture(scope="module")
def module_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Generator[Sandbox]:
    with sandbox_at_noon(tmp_path_factory.mktemp("sandbox")) as sandbox:
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
    """A home that is connected to the sandbox on both sides, and has exported nothing yet."""
    return copy_connected(migrated_template, tmp_path_factory.mktemp("connected") / "home", module_sandbox).path
