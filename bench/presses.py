"""How soon a press shows what it does, in a real browser: a part of `python -m bench.pages`, or by itself.

From the press to the first frame that has what was asked for (the page's heading, the dialog, the message), and to the
one after which nothing is drawn any more; and how far things move by themselves while a page is loaded. A machine that
does other work meanwhile says nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.browsing import IS_DRAWN, WINDOW, dashboard, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LIMIT_MS, LIMIT_LOAD_MS, LIMIT_SHIFT = 300, 2000, 0.02
# What moves by itself, and not because of a press half a second before, from the first byte on.
_WATCH_SHIFTS = """
    window.shifts = 0;
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
    }).observe({type: "layout-shift", buffered: true});
"""
# Times one press: from its event to the frame that shows what it does, and to the one after everything is drawn.
_TIME_PRESS = f"""([heading, shown]) => {{
    const isDrawn = {IS_DRAWN}, title = () => document.querySelector("[data-testid=stMain] h1")?.innerText.trim();
    const isShown = () => shown ? document.querySelector(shown) : title() === heading;
    window.took = new Promise(done => {{
        let pressed = 0, answered = 0;
        const note = event => {{ pressed ||= event.timeStamp; }};
        for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, note, {{capture: true, once: true}});
        const look = () => {{
            if (pressed && !answered && isShown())
                requestAnimationFrame(() => {{ answered ||= performance.now() - pressed; }});
            if (pressed && isDrawn(heading) && isShown())
                requestAnimationFrame(() => done([answered, performance.now() - pressed]));
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
            "groups?group=1", "Groups", _choice("Size over time"), "Groups", "[data-testid=stVegaLiteChart] svg.marks"
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
    answered_ms: list[float] = field(default_factory=list[float])
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
    with dashboard(home) as url, open_browser() as browser:
        loads = {name: _load(browser, f"{url}/{name}", heading, rounds) for name, heading in LOADS.items()}
        return loads, {name: _press(browser, url, press, rounds) for name, press in presses().items()}


def _load(browser: Browser, url: str, heading: str, rounds: int) -> Figures:
    took_ms, cpu_ms, shifts = list[float](), list[float](), list[float]()
    for _ in range(rounds):
        context = browser.new_context(viewport=WINDOW)
        context.add_init_script(_WATCH_SHIFTS)
        page = context.new_page()
        processor = _Processor(page)
        page.goto(url, wait_until="commit")
        page.wait_for_function(IS_DRAWN, arg=heading, timeout=60_000)
        took_ms.append(page.evaluate("() => new Promise(done => requestAnimationFrame(() => done(performance.now())))"))
        cpu_ms.append(processor.used_ms())
        page.wait_for_timeout(500)  # what comes late moves things as well
        shifts.append(page.evaluate("window.shifts"))
        context.close()
    print(".", end="", file=sys.stderr, flush=True)
    return Figures(took_ms, cpu_ms, shift=max(shifts))


def _press(browser: Browser, url: str, press: Press, rounds: int) -> Figures:
    """Press in a browser that has seen the page before and not what the press leads to, as a person's at first."""
    took_ms, cpu_ms, answered_ms = list[float](), list[float](), list[float]()
    for number in range(rounds):
        context = browser.new_context(viewport=WINDOW)
        page = context.new_page()
        page.goto(f"{url}/{press.at.format(number=number + 1)}")
        page.wait_for_function(IS_DRAWN, arg=press.from_heading, timeout=60_000)
        page.wait_for_timeout(1500)  # a person looks first
        processor = _Processor(page)
        page.evaluate(_TIME_PRESS, [press.heading, press.shown])
        press.target(page)
        answered, took = page.evaluate("() => window.took")
        answered_ms.append(answered)
        took_ms.append(took)
        cpu_ms.append(processor.used_ms())
        context.close()
    print(".", end="", file=sys.stderr, flush=True)
    return Figures(took_ms, cpu_ms, answered_ms)


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
    lines += [
        "",
        f"| pressed | answered | drawn to its end | at most {LIMIT_MS} ms | processor |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    for name, each in pressed.items():
        took_ms, cpu_ms = each.medians
        answered_ms = statistics.median(each.answered_ms)
        lines.append(
            f"| {name} | {answered_ms:.0f} ms | {took_ms:.0f} ms | {_verdict(took_ms <= LIMIT_MS)} | {cpu_ms:.0f} ms |"
        )
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
