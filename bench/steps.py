"""What each step of a read takes by itself: `python -m bench.steps`, in processor seconds a million profiles.

Nothing is sent anywhere: pages as the bench's server makes them go through the steps one after the other, in pages of
the vendor's own size and of the usual one. The median of the rounds, which other work on the machine hardly moves.
"""

from __future__ import annotations

import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from bench.names import PAGE_SIZE, PROPERTY
from bench.people import encode, in_block, make_people
from core.rules import completeness
from core.rules.matching import Matched, MatchRule, is_named, match_page
from core.rules.page_sizes import USUAL
from core.vendors.mixpanel_answers import Page, decode_page
from data.members.collector import Collector

PROFILES, ROUNDS = 200_000, 5
_MEMORY_MB = 80
_KEY = "0123456789abcdef"  # of the members' fingerprint
_RULE = MatchRule()


@dataclass
class Pages:
    """A cohort in pages of one size, as each step leaves it for the next one."""

    bodies: list[bytes]
    snapshot: Path
    decoded: list[Page] = field(default_factory=list[Page])
    matched: list[Matched] = field(default_factory=list[Matched])
    collector: Collector | None = None


def make_pages(page_size: int, folder: Path) -> Pages:
    """Encode a made-up cohort as answers in pages of a size; its snapshot will lie in a folder."""
    chunks = [in_block(chunk, 1) for chunk in encode(make_people(1, PROFILES))]
    step = page_size // PAGE_SIZE
    rows = [b",".join(chunks[start : start + step]) for start in range(0, len(chunks), step)]
    bodies = [_head(number, page_size) + page + b"]}" for number, page in enumerate(rows)]
    return Pages(bodies, folder / f"{page_size}.parquet")


def _head(number: int, page_size: int) -> bytes:
    head: dict[str, Any] = {"page": number, "page_size": page_size, "session_id": "1-BENCH", "status": "ok"}
    if not number:
        head["total"] = PROFILES
    return json.dumps(head)[:-1].encode() + b',"results":['


def decode(pages: Pages) -> None:
    """Make pages of the bytes that arrived."""
    pages.decoded = [decode_page(body, PROPERTY, is_first=not number) for number, body in enumerate(pages.bodies)]


def match(pages: Pages) -> None:
    """Make matched pages of decoded ones."""
    pages.matched = [
        match_page(page.distinct_ids, page.values, _RULE, page=number, is_regular=page.is_regular)
        for number, page in enumerate(pages.decoded)
    ]


def fingerprint(pages: Pages) -> None:
    """Sum up who is on each page."""
    for page, matched in zip(pages.decoded, pages.matched, strict=True):
        named = chain(matched.distinct_ids, filter(is_named, matched.unusable_ids))
        completeness.fingerprint(page.distinct_ids if page.is_regular else named)


def collect(pages: Pages) -> None:
    """Take every page into the collector."""
    assert pages.collector
    for matched in pages.matched:
        pages.collector.add(
            distinct_ids=matched.distinct_ids,
            apptimize_ids=matched.apptimize_ids,
            unusable_ids=matched.unusable_ids,
            reasons=matched.reasons,
        )


def tally(pages: Pages) -> None:
    """Count what was collected."""
    assert pages.collector
    pages.collector.tally()


def sort(pages: Pages) -> None:
    """Keep the members as a snapshot."""
    assert pages.collector
    pages.collector.write(pages.snapshot)


def compare(pages: Pages) -> None:
    """Compare what was collected with a snapshot, as a dry run does: here nothing has changed."""
    assert pages.collector
    pages.collector.compare(pages.snapshot)


# In the order in which a read does them: each works on what the one before has left.
STEPS: tuple[Callable[[Pages], None], ...] = (decode, match, fingerprint, collect, tally, sort, compare)


def measure(pages: Pages, folder: Path) -> dict[str, float]:
    """Do every step once, and return what each took: processor seconds of all threads, a million profiles."""
    took = dict[str, float]()
    pages.collector = Collector(folder, memory_mb=_MEMORY_MB, key=_KEY, prefixes=_RULE.prefixes)
    for step in STEPS:
        gc.collect()
        began_s = time.process_time()
        step(pages)
        took[step.__name__] = (time.process_time() - began_s) * 1_000_000 / PROFILES
    pages.collector.close()
    pages.decoded, pages.matched = [], []
    return took


def _median(page_size: int, folder: Path) -> dict[str, float]:
    pages = make_pages(page_size, folder)
    rounds = [measure(pages, folder) for _ in range(ROUNDS + 1)][1:]  # the first one also loads code
    return {name: statistics.median(took[name] for took in rounds) for name in rounds[0]}


def table(page_sizes: Sequence[int], columns: Sequence[dict[str, float]]) -> list[str]:
    """Lay out what was measured, a row a step."""
    lines = ["| step | " + " | ".join(f"pages of {size:,}" for size in page_sizes) + " |"]
    lines.append("| --- |" + " ---: |" * len(page_sizes))
    for name in columns[0]:
        lines.append(f"| {name} | " + " | ".join(f"{column[name]:.2f} s" for column in columns) + " |")
    return lines


def main() -> None:
    """Measure, and print the table."""
    sizes = (PAGE_SIZE, USUAL)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        columns = [_median(size, Path(folder)) for size in sizes]
    print("\n".join(table(sizes, columns)))


if __name__ == "__main__":
    main()
