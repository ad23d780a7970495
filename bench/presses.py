"""How soon a press shows what it does, in a real browser: a part of `python -m bench.pages`, or by itself.

From the press to the first frame after what was asked for is there and nothing is drawn any more; and how far things
move by themselves while a page is loaded. A machine that does other work meanwhile says nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

from bench.measure import ROOT, plain_environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LIMIT_MS, LIMIT_LOAD_MS, LIMIT_SHIFT = 300, 2000, 0.02
_WINDOW = {"width": 1280, "height": 900}
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
# What moves by itself, and not because of a press half a second before, from the first byte on.
_WATCH_SHIFTS = """
    window.shifts = 0;
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
    }).observe({type: "layout-shift", buffered: true});
"""
# Whether a page is drawn to its end: its heading, its parts that load when they are first needed, its grids.
_IS_DRAWN = """heading => {
    const app = document.querySelector("[data-testid=stApp]");
    const title = document.querySelector("[data-testid=stMain] h1");
    return app && app.dataset.testScriptState === "notRunning" && title && title.innerText.trim() === heading
        && !document.querySelector("[data-testid=stSkeleton]")
        && [...document.querySelectorAll("[data-testid=stDataFrame]")]
            .every(grid => !grid.offsetParent || grid.querySelector("canvas"));
}"""
# Times one press: from its event to the frame after the page shows what it does.
_TIME_PRESS = f"""([heading, shown]) => {{
    const isDrawn = {_IS_DRAWN}, isShown = () => !shown || document.querySelector(shown);
    window.took = new Promise(done => {{
        let pressed = 0, begun = false;
        const note = event => {{ pressed ||= event.timeStamp; }};
        for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, note, {{capture: true, once: true}});
        new MutationObserver(() => {{ begun = true; }}).observe(
            document.querySelector("[data-testid=stApp]"), {{attributeFilter: ["data-test-script-state"]}});
        const look = () => {{
            if (pressed && begun && isDrawn(heading) && isShown())
                requestAnimationFrame(() => done(performance.now() - pressed));
            else requestAnimationFrame(look);
        }};
        requestAnimationFrame(look);
    }});
}}"""


@dataclass(frozen=True)
class Press:
    """A press on a page: where, on what, and what shows that it has done what it is for; `{number}` is the round."""

    at: str
    from_heading: str
    target: Callable[[Page], None]
    heading: str
    shown: str = ""


def _link(name: str) -> Callable[[Page], None]:
    # The name of a link's icon stands before its own.
    return lambda page: page.get_by_test_id("stSidebarNavLink").filter(has_text=re.compile(f"{name}$")).click()


def _button(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name, exact=True).first.click()


def _choice(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("radio", name=name, exact=True).first.click()


def presses() -> dict[str, Press]:
    """Name what is pressed."""
    toast, dialog = "[data-testid=stToast]", "[data-testid=stDialog]"
    menu = {
        f"Menu: {name}": Press("", "Overview", _link(name), name)
        for name in ("Cohorts", "Syncs", "Groups", "History", "Matching", "Connections")
    }
    return menu | {
        "Matching: Associate by hand": Press(
            "matching", "Matching", _choice("Associate by hand"), "Matching", "[data-testid=stFileUploader]"
        ),
        "Connections: Change project": Press(
            "connections", "Connections", _button("Change project"), "Connections", dialog
        ),
        "One sync: Run now": Press("syncs?sync={number}", "Syncs", _button("Run now"), "Syncs", toast),
        "One group: Size over time": Press(
            "groups?group=1", "Groups", _choice("Size over time"), "Groups", "[data-testid=stVegaLiteChart] canvas"
        ),
    }


LOADS = {
    "": "Overview",
    "cohorts": "Cohorts",
    "syncs": "Syncs",
    "syncs?sync=7": "Syncs",
    "history": "History",
    "matching": "Matching",
    "connections": "Connections",
}


@dataclass(frozen=True)
class Figures:
    """Milliseconds of each round, how much of the processor the page itself took of them, and how far things moved."""

    took_ms: list[float]
    cpu_ms: list[float]
    shift: float = 0.0

    @property
    def medians(self) -> tuple[float, float]:
        """The time of half of the rounds, and the processor's."""
        return statistics.median(self.took_ms), statistics.median(self.cpu_ms)


class _Processor:
    """The processor time of a page's own thread, which other work of the machine leaves as it is."""

    _PARTS = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")

    def __init__(self, page: Page) -> None:
        self._protocol = page.context.new_cdp_session(page)
        self._protocol.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._before_ms = self._read_ms()

    def _read_ms(self) -> float:
        metrics = self._protocol.send("Performance.getMetrics")["metrics"]
        return sum(each["value"] for each in metrics if each["name"] in self._PARTS) * 1000

    def used_ms(self) -> float:
        """Return how much was used since the beginning."""
        return self._read_ms() - self._before_ms


def measured(home: Path, rounds: int) -> str:
    """Return both tables, or a sentence where there is no browser to measure in."""
    from tests.stage.processes import find_chromium

    if not find_chromium():
        return "There is no Chromium on this machine: how soon a press shows what it does was not measured."
    return table(*measure(home, rounds), rounds)


def measure(home: Path, rounds: int) -> tuple[dict[str, Figures], dict[str, Figures]]:
    """Return how long pages take to load in a browser that has nothing of them, and presses to show what they do."""
    with _dashboard(home) as url, _browser() as browser:
        loads = {name: _load(browser, f"{url}/{name}", heading, rounds) for name, heading in LOADS.items()}
        return loads, {name: _press(browser, url, press, rounds) for name, press in presses().items()}


def _load(browser: Browser, url: str, heading: str, rounds: int) -> Figures:
    took_ms, cpu_ms, shifts = list[float](), list[float](), list[float]()
    for _ in range(rounds):
        context = browser.new_context(viewport=_WINDOW)  # type: ignore[arg-type]
        context.add_init_script(_WATCH_SHIFTS)
        page = context.new_page()
        processor = _Processor(page)
        page.goto(url, wait_until="commit")
        page.wait_for_function(_IS_DRAWN, arg=heading, timeout=60_000)
        took_ms.append(page.evaluate("() => new Promise(done => requestAnimationFrame(() => done(performance.now())))"))
        cpu_ms.append(processor.used_ms())
        page.wait_for_timeout(500)  # what comes late moves things as well
        shifts.append(page.evaluate("window.shifts"))
        context.close()
    print(".", end="", file=sys.stderr, flush=True)
    return Figures(took_ms, cpu_ms, max(shifts))


def _press(browser: Browser, url: str, press: Press, rounds: int) -> Figures:
    """Press in a browser that has seen the page before and not what the press leads to, as a person's at first."""
    took_ms, cpu_ms = list[float](), list[float]()
    for number in range(rounds):
        context = browser.new_context(viewport=_WINDOW)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{url}/{press.at.format(number=number + 1)}")
        page.wait_for_function(_IS_DRAWN, arg=press.from_heading, timeout=60_000)
        page.wait_for_timeout(1500)  # a person looks first
        processor = _Processor(page)
        page.evaluate(_TIME_PRESS, [press.heading, press.shown])
        press.target(page)
        took_ms.append(page.evaluate("() => window.took"))
        cpu_ms.append(processor.used_ms())
        context.close()
    print(".", end="", file=sys.stderr, flush=True)
    return Figures(took_ms, cpu_ms)


@contextmanager
def _browser() -> Generator[Browser]:
    from playwright.sync_api import sync_playwright

    from tests.stage.processes import find_chromium

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_chromium(), args=_ARGUMENTS)
        yield opened
        opened.close()


@contextmanager
def _dashboard(home: Path) -> Generator[str]:
    from tests.stage.processes import free_port

    port = free_port()
    environment = {**plain_environment(), "COHORT_BRIDGE_HOME": str(home)}
    command = [sys.executable, "app.py", f"--server.port={port}", f"--secrets.files={home / 'no-sign-in.toml'}"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        with suppress(URLError, ConnectionError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise TimeoutError("The dashboard did not start.")


def table(loads: dict[str, Figures], pressed: dict[str, Figures], rounds: int) -> str:
    """Format both tables."""
    lines = [
        f"In Chromium, {os.cpu_count()} cores, {rounds} rounds each, nothing of the page cached; load average at the "
        f"end: {os.getloadavg()[0]:.1f}.",
        "",
        f"| loaded | median | at most {LIMIT_LOAD_MS:,} ms | processor | moved | at most {LIMIT_SHIFT} |",
        "| --- | ---: | --- | ---: | ---: | --- |",
    ]
    for name, each in loads.items():
        took_ms, cpu_ms = each.medians
        lines.append(
            f"| /{name} | {took_ms:.0f} ms | {_verdict(took_ms <= LIMIT_LOAD_MS)} | {cpu_ms:.0f} ms "
            f"| {each.shift:.3f} | {_verdict(each.shift <= LIMIT_SHIFT)} |"
        )
    lines += ["", f"| pressed | median | at most {LIMIT_MS} ms | processor |", "| --- | ---: | --- | ---: |"]
    for name, each in pressed.items():
        took_ms, cpu_ms = each.medians
        lines.append(f"| {name} | {took_ms:.0f} ms | {_verdict(took_ms <= LIMIT_MS)} | {cpu_ms:.0f} ms |")
    return "\n".join(lines)


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "**not met**"


def main() -> None:
    """Fill a home as `bench.pages` does, or take one, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.presses")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--home", type=Path, help="a home that was filled before; a new one is kept there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = asked.home or Path(folder) / "home"
        if not home.exists():
            from bench import pages

            pages.fill_home(home)[0].engine.dispose()
        print(measured(home, asked.rounds))


if __name__ == "__main__":
    main()
