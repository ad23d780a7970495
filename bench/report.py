"""The results as a table, and as docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.people import PAGE_SIZE

OURS = "Cohort Bridge"
UTILS = "mixpanel-utils"
UTILS_DEFAULT = "mixpanel-utils (its own 2)"
HEADLESS = "mixpanel-headless"
FETCH = "httpx alone (not decoded)"
FULL = "full export"
IN_FLIGHT = 5

_HEADER = (
    "| profiles | latency | reader | wall | times floor | times mixpanel-utils | peak memory | processor | requests |",
    "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Format the results as a Markdown table, fastest and slowest of the repeats beside the median."""
    rows = [
        _row(result, results) for result in sorted(results, key=lambda result: (result["size"], result["latency_ms"]))
    ]
    return "\n".join([*_HEADER, *rows])


def _row(result: dict[str, Any], results: Sequence[dict[str, Any]]) -> str:
    walls = [sample["wall_s"] for sample in result["samples"]]
    floor_s = floor(result["size"], result["latency_ms"])
    utils = find(results, UTILS, result["size"], result["latency_ms"])
    cells = (
        f"{result['size']:,}",
        f"{result['latency_ms']} ms",
        result["reader"],
        f"{result['wall_s']:.2f} s ({min(walls):.2f} to {max(walls):.2f})",
        f"{result['wall_s'] / floor_s:.2f}" if floor_s and result["reader"] != FULL else "",
        f"{result['wall_s'] / utils['wall_s']:.2f}" if utils and result["reader"] != FULL else "",
        f"{result['peak_mib']:.0f} MiB",
        f"{result['cpu_s']:.2f} s",
        f"{result['requests']:,}",
    )
    return f"| {' | '.join(cells)} |"


def floor(size: int, latency_ms: int) -> float:
    """The seconds that no reader can beat: all pages, five at a time, each at its latency."""
    return size / PAGE_SIZE * latency_ms / 1000 / IN_FLIGHT


def find(results: Sequence[dict[str, Any]], reader: str, size: int, latency_ms: int) -> dict[str, Any] | None:
    """Return the result of a case, None if it was not measured."""
    case = (reader, size, latency_ms)
    return next((row for row in results if (row["reader"], row["size"], row["latency_ms"]) == case), None)


def goals(results: Sequence[dict[str, Any]]) -> str:
    """Format each goal, with whether the results meet it."""
    large, small = (find(results, OURS, size, 50) for size in (1_000_000, 100_000))
    quick, utils = find(results, OURS, 1_000_000, 0), find(results, UTILS, 1_000_000, 0)
    if not (large and small and quick and utils):
        return ""
    peaks = [
        max(row["peak_mib"] for row in results if (row["reader"], row["size"]) == (OURS, size))
        for size in (1_000_000, 100_000)
    ]
    measured = (
        ("1,000,000 at 50 ms: times the floor", large["wall_s"] / floor(1_000_000, 50), 1.1),
        ("1,000,000 at 0 ms: times mixpanel-utils", quick["wall_s"] / utils["wall_s"], 0.7),
        ("peak memory at 1,000,000, MiB", peaks[0], 250),
        ("peak memory, times that of 100,000", peaks[0] / peaks[1], 1.5),
    )
    lines = ["| goal | at most | measured | |", "| --- | ---: | ---: | --- |"]
    for name, value, most in measured:
        shown = f"{value:.0f}" if most > 10 else f"{value:.2f}"
        lines.append(f"| {name} | {most} | {shown} | {'met' if value <= most else '**not met**'} |")
    return "\n".join(lines)


def machine(results: Sequence[dict[str, Any]]) -> str:
    """Format in a line what was measured on, and how busy that was."""
    loads = [sample["load"] for row in results for sample in row["samples"]]
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("mixpanel-utils", "mixpanel-headless", "httpx", "msgspec", "duckdb")
    )
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores shared by reader and server, Linux "
        f"{platform.machine()}, Python {platform.python_version()}; {versions}. Load average before each measurement: "
        f"{min(loads):.1f} to {max(loads):.1f}."
    )


def write(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Put the results between the two marks of the document; what people wrote around them stays."""
    begin, end = "<!-- measured -->", "<!-- /measured -->"
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    parts = [machine(results), table(results), goals(results)]
    path.write_text(f"{before}{begin}\n\n" + "\n\n".join(filter(None, parts)) + f"\n\n{end}{after}", encoding="utf-8")
