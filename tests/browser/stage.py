"""The whole product as real processes, and a browser in front of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from sqlalchemy import Connection, text

from core.access.roles import LOCAL
from core.bridge import open_bridge
from core.cli.up import connect_sandbox
from core.sandbox.people import SLOT_S
from core.settings import Settings
from core.syncs import one_time, runs
from data.engine import make_engine
from data.models import UNFINISHED
from tests.stage import databases
from tests.stage.home import FORK_SERVERS, Home
from tests.stage.processes import ROOT, clean_environment, find_chromium, free_port
from tests.stage.sandbox import wait_until

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]
# A page here ends sooner than what is spent on making its scripts quick would pay.
ARGUMENTS += ["--js-flags=--no-opt,--no-maglev,--always-sparkplug,--no-lazy-feedback-allocation"]
# The addresses of the pages that everyone on this machine may open, and their headings.
PAGES = {
    "": "Overview",
    "cohorts": "Cohorts",
    "syncs": "Syncs",
    "groups": "Groups",
    "overlap": "Overlap",
    "users": "Look up a user",
    "history": "History",
    "matching": "Matching",
    "connections": "Connections",
    "practice": "How to connect for real",
    "alerts": "Alerts",
    "people": "People",
    "audit": "Audit log",
}
# An export of a practice cohort takes two or three seconds; machines that build are slow.
EXPORT_MS = 45_000
_ROW_PX, _HEADER_PX = 33, 34
# Where a row is ticked, and where its name is pressed, from the left edge of its list.
TICK_PX, NAME_PX = 16.5, 68.0
# Asked of all grids at once, again and again: one of the page before may go away between two questions.
_GRIDS_ARE_DRAWN = """() => [...document.querySelectorAll("[data-testid=stDataFrame]")]
    .every(grid => !grid.offsetParent || [...grid.querySelectorAll("canvas")].some(canvas => canvas.offsetParent))"""

# Whether its text is light on a dark ground.
_IS_DARK = """isDark => isDark === getComputedStyle(document.querySelector("[data-testid=stMain]"))
    .color.match(/\\d+/g).slice(0, 3).every(part => part > 127)"""
# A press that falls into the drawing of what the one before brought hits nothing: the button has moved meanwhile.
_IS_AT_REST = """() => {
    const app = document.querySelector("[data-testid=stApp]");
    const moves = document.getAnimations().filter(move => move.effect?.getComputedTiming().iterations !== Infinity);
    return (!app || app.dataset.testScriptState === "notRunning") && !moves.some(move => move.playState === "running");
}"""

# Ends once the script of the address has begun: until then the page before looks as if it were drawn to its end.
_TURN_TO = """url => new Promise(done => {
    const app = document.querySelector("[data-testid=stApp]");
    const begun = new MutationObserver(() => { begun.disconnect(); done(); });
    begun.observe(app, { attributeFilter: ["data-test-script-state"] });
    history.pushState({}, "", url);
    dispatchEvent(new PopStateEvent("popstate"));
})"""


@contextmanager
def browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        try:
            yield opened
        finally:
            opened.close()


@dataclass(frozen=True)
class Everything:
    """What `python -m core up` runs."""

    url: str
    sandbox: str
    home: Path

    def core(self, *arguments: str) -> str:
        """Run a command on the same home, and return what it printed."""
        home = Home(self.home, env=_own_settings(self))
        return (home.run(*arguments) if FORK_SERVERS else home.finish(home.start(*arguments))).out

    def fault(self, name: str, **options: Any) -> None:
        httpx.put(f"{self.sandbox}/sandbox/api/faults", json={name: options}).raise_for_status()

    def shift(self, seconds: float) -> None:
        """Set the sandbox's clock: membership changes with it."""
        self._set_clock(shift_seconds=seconds)

    def begin_slot(self) -> None:
        """Set the sandbox's clock to the beginning of its next time slot: until that ends cohorts stay as they are."""
        now = httpx.get(f"{self.sandbox}/sandbox/api/clock").raise_for_status().json()["now"]
        self._set_clock(now=(now // SLOT_S + 1) * SLOT_S)

    def _set_clock(self, **to: float) -> None:
        httpx.put(f"{self.sandbox}/sandbox/api/clock", json=to).raise_for_status()

    def group_id(self, cohort: int) -> int:
        """Return the id of the cohort's group."""
        return self._get_newest("run", cohort, "group_id")

    def newest_run_id(self, cohort: int) -> int:
        """Return the id of the cohort's newest run."""
        return self._get_newest("run", cohort, "id")

    def recurring_sync_id(self, cohort: int) -> int:
        """Return the id of the cohort's newest recurring sync."""
        return self._get_newest("sync", cohort, "id", "kind = 'recurring'")

    def preview(self, cohort: int) -> None:
        """Ask for a preview as the dashboard does, and wait for the worker."""
        bridge = open_bridge(Settings(home=self.home, _env_file=None))
        run = one_time.start_export(bridge, LOCAL, cohort, to="default", dry_run=True)
        wait_until(lambda: runs.get_run(bridge, LOCAL, run.id or 0).status not in UNFINISHED, within_s=EXPORT_MS / 1000)
        bridge.engine.dispose()

    def hold(self, cohort: int, *, by: int = 3) -> int:
        """Let an export find a total that is wrong by so many, as others do from now on; returns the held run."""
        self.fault("total_wrong", by=by)
        self.core("export", str(cohort), "--to", "default")
        return self.newest_run_id(cohort)

    def _get_newest(self, table: str, cohort: int, column: str, which: str = "true") -> int:
        query = f"SELECT {column} FROM {table} WHERE cohort_id = :cohort AND {which} ORDER BY id DESC LIMIT 1"
        with self.database() as database:
            return database.execute(text(query), {"cohort": cohort}).scalar_one()

    @contextmanager
    def database(self) -> Generator[Connection]:
        """The home's database; what is changed there is committed at the end."""
        engine = make_engine(Settings(home=self.home, _env_file=None).database_url)  # type: ignore[call-arg]
        with engine.begin() as connection:
            yield connection
        engine.dispose()

    def clear_faults(self) -> None:
        httpx.delete(f"{self.sandbox}/sandbox/api/faults").raise_for_status()


def _environment(everything: Everything) -> dict[str, str]:
    return clean_environment() | _own_settings(everything)


def _own_settings(everything: Everything) -> dict[str, str]:
    return {
        "COHORT_BRIDGE_HOME": str(everything.home),
        **databases.environment(everything.home),
        # What is entered as Mixpanel's is asked of the sandbox.
        "COHORT_BRIDGE_MIXPANEL_URL": everything.sandbox,
        "COHORT_BRIDGE_RETRY_OVER_S": "0.5",
    }


@contextmanager
def up(home: Path, *, path: str = "", **more: str) -> Generator[Everything]:
    """Start sandbox, worker and dashboard as `make run` does, served below a path, and end them as Ctrl-C does."""
    port, sandbox_port = free_port(), free_port()
    everything = Everything(f"http://127.0.0.1:{port}{path}", f"http://127.0.0.1:{sandbox_port}", home)
    command = [sys.executable, "-m", "core", "up", "--port", str(port), "--sandbox-port", str(sandbox_port)]
    with start_process(command, _environment(everything) | more) as process:
        assert process.stdout
        said = list[str]()
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        assert process.poll() is None, "".join(said)
        assert f" {everything.url}\n" in "".join(said), "the address that it prints is where it is"
        yield everything
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, "Ctrl-C is a good end"


@contextmanager
def services(home: Path) -> Generator[Everything]:
    """Start what `up` starts, each forked from a process that has imported it, and end it."""
    port, sandbox_port = free_port(), free_port()
    everything = Everything(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}", home)
    with ExitStack() as stack:
        stack.enter_context(_forked(everything, "sandbox", f"--port={sandbox_port}"))
        wait_until(lambda: _answers(f"{everything.sandbox}/sandbox/api/project"))
        bridge = open_bridge(Settings(home=home, _env_file=None))  # type: ignore[call-arg]
        stack.callback(bridge.engine.dispose)
        with ThreadPoolExecutor(1) as thread:  # this one has Playwright's loop
            thread.submit(connect_sandbox, bridge, everything.sandbox).result()
        stack.enter_context(_forked(everything, "worker"))
        stack.enter_context(_forked(everything, "dashboard", f"--server.port={port}", "--server.headless=true"))
        wait_until(lambda: _answers(f"{everything.url}/_stcore/health"))
        yield everything


@contextmanager
def _forked(everything: Everything, name: str, *arguments: str) -> Generator[None]:
    """Run one of the services, its output where `up` puts it."""
    log = everything.home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**_environment(everything), "PYTHONPATH": str(ROOT)}
    pid = FORK_SERVERS[0].start(
        arguments if name == "dashboard" else (name, *arguments),
        env=environment,
        folder=ROOT,
        out=log,
        err=log,
        be="dashboard" if name == "dashboard" else "service",
    )
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        assert FORK_SERVERS[0].wait(pid, within_s=30) in (0, -signal.SIGTERM), log.read_text()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


@contextmanager
def dashboard_alone(home: Path) -> Generator[Everything]:
    """Start the dashboard on a home where nothing is connected, and no worker is up."""
    port = free_port()
    everything = Everything(f"http://127.0.0.1:{port}", "http://127.0.0.1:1", home)
    command = [sys.executable, "app.py", f"--server.port={port}"]
    command.append(f"--secrets.files={home / 'no-sign-in.toml'}")
    with start_process(command, _environment(everything)) as process:
        assert process.stdout
        for line in process.stdout:
            if "URL" in line:
                break
        yield everything


@contextmanager
def start_process(command: list[str], environment: dict[str, str]) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        if process.stdout:
            process.stdout.close()


def go(page: Page, url: str, heading: str) -> None:
    """Open an address and wait until the page is drawn to its end."""
    page.goto(url)
    settled(page, heading)


def turn_to(page: Page, url: str, heading: str) -> None:
    """Turn to another address of the dashboard that is open, as the way back does: nothing is loaded again.

    For walks through many pages: to load the dashboard takes the browser longer than to draw a page.
    """
    wait_for_rest(page)
    page.evaluate(_TURN_TO, url)
    settled(page, heading)


def settled(page: Page, heading: str) -> None:
    expect(page.get_by_role("heading", name=heading, exact=True, level=1)).to_be_visible()
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    _loaded(page)


def _loaded(page: Page) -> None:
    """Wait for elements that load their code when they are first needed: a grey bar at first, then an empty frame."""
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    page.wait_for_function(_GRIDS_ARE_DRAWN)


def press(target: Locator) -> None:
    """Press what is there once the page is at rest, like a person who looks first."""
    wait_for_rest(target.page)  # until then a dialog may hold what it showed before as well
    target.wait_for()
    wait_for_rest(target.page)
    target.click()


def wait_for_rest(page: Page) -> None:
    """Wait until the page's script has ended, and nothing on it moves."""
    page.wait_for_function(_IS_AT_REST)


def turn(page: Page, *, scheme: Literal["light", "dark"]) -> None:
    """Have the system's setting be light or dark, which the page follows, and wait until it does."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(_IS_DARK, arg=scheme == "dark")
    wait_for_rest(page)


def press_in_row(page: Page, table: str, text: str) -> None:
    """Press the button at the start of the row that holds this text: the grid is drawn on a canvas."""
    _click_in_row(find_grid(page, table), text, NAME_PX)


def tick_row(page: Page, text: str) -> None:
    """Tick the row of the first list that holds this text."""
    _click_in_row(page.get_by_test_id("stDataFrame").first, text, TICK_PX)


def find_grid(page: Page, table: str) -> Locator:
    """Find the list of this name, or the first one where none has it."""
    grid = page.get_by_test_id("stDataFrame").filter(has=page.get_by_role("region", name=table, exact=True))
    return (grid if grid.count() else page.get_by_test_id("stDataFrame")).first


def _click_in_row(grid: Locator, text: str, x: float) -> None:
    y = find_row(grid, text)
    grid.scroll_into_view_if_needed()
    box = grid.bounding_box()
    assert box
    grid.page.mouse.click(box["x"] + x, box["y"] + y)


def find_row(grid: Locator, text: str) -> float:
    """Return how far below the top of a grid the row is that holds this text, once the page is at rest."""
    cell = find_cell(grid, text)
    wait_for_rest(grid.page)
    number = int((cell.get_attribute("id") or "").rsplit("-", 1)[1])
    return _HEADER_PX + _ROW_PX * number + _ROW_PX / 2


def find_cell(grid: Locator, text: str) -> Locator:
    """Find a cell in the grid's text for screen readers."""
    cell = grid.locator("canvas td").filter(has_text=text).first
    cell.wait_for(state="attached")
    return cell


def plain_text(locator: Locator) -> str:
    """What is read on the screen, without the invisible joiners."""
    return locator.inner_text().replace("\u2060", "")


def picture(page: Page, path: Path) -> None:
    """Take a picture of the whole page, which scrolls inside the window."""
    size = page.viewport_size
    assert size
    path.parent.mkdir(parents=True, exist_ok=True)
    _loaded(page)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": min(max(height, size["height"]), 3000)})
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    # The grids redraw themselves for the new size, within a frame or two.
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.screenshot(path=path, animations="disabled")
    page.set_viewport_size(size)
