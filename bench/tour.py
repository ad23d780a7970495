"""What tasks cost in a real browser: `python -m bench.tour [--rounds N] [--only TEXT] [--json FILE]`.

Of each task it counts clicks, keys, seconds and how far one has to scroll, over a home as large as that of
`bench.pages`, with sandbox and worker. The median of the rounds counts; each has a copy of the home as it was filled.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.browsing import WINDOW, open_browser
from bench.tour_home import TourHome
from bench.tour_tasks import TASKS, Task
from bench.walker import Walker

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@dataclass(frozen=True)
class Cost:
    """What one walk through a task has cost."""

    clicks: int
    keys: int
    seconds: float
    scrolled_px: float


def main() -> None:
    """Fill a home, walk, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.tour")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="only tasks with this in their name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep what was measured there, too")
    parser.add_argument("--home", type=Path, help="a folder that was filled before; a new one is kept there")
    asked = parser.parse_args()
    tasks = [task for task in TASKS if asked.only in task.what]
    with tempfile.TemporaryDirectory(prefix="tour-") as folder:
        costs = measure(asked.home or Path(folder) / "filled", Path(folder), tasks, asked.rounds)
    print(table(costs, asked.rounds))
    if asked.json:
        kept = {task.what: [asdict(cost) for cost in taken] for task, taken in costs.items()}
        asked.json.write_text(json.dumps(kept, indent=1), encoding="utf-8")


def measure(filled: Path, folder: Path, tasks: Sequence[Task], rounds: int) -> dict[Task, list[Cost]]:
    """Return what each task costs, each round in a home as it was filled: some tasks change it."""
    from tests.stage.processes import free_port

    port_file = filled / "port"
    port = int(port_file.read_text()) if port_file.exists() else free_port()
    home = TourHome(filled, port)
    if not port_file.exists():
        home.fill()
        port_file.write_text(str(port))
    costs: dict[Task, list[Cost]] = {task: [] for task in tasks}
    for number in range(rounds):
        with home.copy(folder / f"round-{number}") as copied, copied.running() as url, open_browser() as browser:
            for task in tasks:
                costs[task].append(_walk(browser, url, task))
    return costs


def _walk(browser: Browser, url: str, task: Task) -> Cost:
    context = browser.new_context(viewport=WINDOW, timezone_id="Europe/Berlin")
    walker = Walker(context.new_page())
    try:
        walker.begin(f"{url}/{task.at}", task.from_heading)
        task.walk(walker)
        cost = Cost(walker.clicks, walker.keys, walker.took_s, walker.scrolled_px)
    finally:
        context.close()
    print(f"{task.what}: {cost}", file=sys.stderr, flush=True)
    return cost


def table(costs: dict[Task, list[Cost]], rounds: int) -> str:
    """Format the medians."""
    lines = [
        f"{os.cpu_count()} cores, {rounds} rounds; load average at the end: {os.getloadavg()[0]:.1f}.",
        "",
        "| who | wants to | clicks | keys | seconds | scrolled |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for task, taken in costs.items():
        clicks, keys, seconds, scrolled = (
            statistics.median(getattr(cost, name) for cost in taken)
            for name in ("clicks", "keys", "seconds", "scrolled_px")
        )
        lines.append(f"| {task.who} | {task.what} | {clicks:.0f} | {keys:.0f} | {seconds:.1f} | {scrolled:,.0f} px |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
