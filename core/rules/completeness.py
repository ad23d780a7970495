"""What proves that a cohort was read whole. Pure: facts about the answers in, an error or nothing out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import IncompleteRead


@dataclass(frozen=True)
class PageFacts:
    """One answer: `number` is the page that was asked for, `reported_page` the one it claims, `rows` its profiles."""

    number: int
    reported_page: int | None
    rows: int


def prove_pages(pages: Sequence[PageFacts], *, page_size: int) -> None:
    """Check that the pages are all there, none twice, each full but the last; empty ones after it are past the end.

    Raises: IncompleteRead, naming the first page that is not as it should be.
    """
    ordered = sorted(pages, key=lambda page: page.number)
    while len(ordered) > 1 and not ordered[-1].rows:
        ordered.pop()
    for expected, page in enumerate(ordered):
        if page.number != expected:
            raise IncompleteRead(f"Page {expected + 1:,} of the cohort did not arrive.")
        if page.reported_page is not None and page.reported_page != page.number:
            raise IncompleteRead(
                f"Mixpanel answered with page {page.reported_page + 1:,} when asked for page {page.number + 1:,}."
            )
        is_last = page is ordered[-1]
        if page.rows > page_size or (not is_last and page.rows != page_size):
            raise IncompleteRead(f"Page {page.number + 1:,} held {page.rows:,} profiles instead of {page_size:,}.")


def prove_distinct(*, seen: int, profiles: int) -> None:
    """Check that no profile came twice.

    Raises: IncompleteRead.
    """
    if seen != profiles:
        raise IncompleteRead(f"{seen - profiles:,} profiles came twice, so others may be missing.")
