"""Results as they are kept, in bench-results/: one file each time a part is measured, the newest counts."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.cases import Case, Sample
from bench.measure import ROOT

FOLDER = ROOT / "bench-results"
_LIBRARIES = ("mixpanel-utils", "mixpanel-headless", "httpx", "msgspec", "duckdb")

Row = dict[str, Any]


def rows_of(taken: Mapping[Case, Sequence[Sample]], failed: Mapping[Case, str] | None = None) -> list[Row]:
    """Return what is kept of each case: its samples, the median of what varies, the most of what may not grow.

    Of those that failed it is why.
    """
    rows = [
        {**asdict(case), **_middle(samples), "samples": [asdict(sample) for sample in samples]}
        for case, samples in taken.items()
    ]
    return rows + [{**asdict(case), "failed": why} for case, why in (failed or {}).items()]


def _middle(samples: Sequence[Sample]) -> dict[str, Any]:
    names = dict.fromkeys(name for sample in samples for name in sample.steps)
    more = dict.fromkeys(name for sample in samples for name in sample.more)
    return {
        "wall_s": statistics.median(sample.wall_s for sample in samples),
        "peak_mib": max(sample.peak_mib for sample in samples),
        "cpu_s": statistics.median(sample.cpu_s for sample in samples),
        "server_cpu_s": statistics.median(sample.server_cpu_s for sample in samples),
        "requests": max(sample.requests for sample in samples),
        "messages": max(sample.messages for sample in samples),
        "steps": {name: statistics.median(sample.steps.get(name, 0.0) for sample in samples) for name in names},
        "more": {name: statistics.median(sample.more.get(name, 0.0) for sample in samples) for name in more},
    }


def keep(part: str, rows: Sequence[Row], *, quick: bool, text: str = "") -> Path:
    """Keep what a part gave: rows, or the text of a measurement of its own."""
    FOLDER.mkdir(exist_ok=True)
    kind = "quick-" if quick else ""
    path = FOLDER / f"{kind}{part}-{time.strftime('%Y-%m-%dT%H%M%S', time.gmtime())}.json"
    path.write_text(json.dumps({"part": part, "machine": _machine(), "rows": list(rows), "text": text}, indent=1))
    return path


def _machine() -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def newest(part: str, *, quick: bool = False) -> dict[str, Any] | None:
    """Return what the newest measurement of a part gave, None without any."""
    files = sorted(FOLDER.glob(f"{'quick-' if quick else ''}{part}-2*.json"))
    return json.loads(files[-1].read_text()) if files else None
