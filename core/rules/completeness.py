"""What proves that a cohort was read whole. Pure: facts about the answers in, an error or nothing out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.errors import IncompleteRead

# No cohort takes more: of pages as the vendor makes them, that is a thousand million profiles.
MOST_PAGES = 1_000_000
# So many empty pages, and the cohort has ended: asking on for what a wrong total announced would take days.
_ENOUGH_EMPTY = 10


@dataclass(frozen=True, slots=True)
class PageFacts:
    """One answer: `number` is the page that was asked for, `reported_page` the one it claims, `rows` its profiles.

    `page_size` is what it claims to be paged by, where that matters.
    """

    number: int
    reported_page: int | None
    rows: int
    page_size: int | None = None


class PageLedger:
    """The pages of one session as they arrive, and how many may still be asked for.

    Page 0 announces `total` profiles, `page_size` to a page; the last announced page is the one that they leave not
    full. Only where that is full after all, one more is asked for, to see that the cohort ends there.
    """

    def __init__(self, *, total: int, page_size: int) -> None:
        self.page_size = page_size
        self.last_announced = total // page_size
        self._facts: list[PageFacts] = []
        self._fingerprints = set[int]()
        self._empty = 0

    @property
    def has_ended(self) -> bool:
        """Whether so many pages came empty that no further one is worth asking for."""
        return self._empty >= _ENOUGH_EMPTY

    @property
    def is_end_open(self) -> bool:
        """Whether the last announced page, which arrived, is full, so that another may follow."""
        last = self._find_last()
        return last.number == self.last_announced and last.rows == self.page_size

    def add(self, page: PageFacts, fingerprint: int | None) -> None:
        """Take note of a page. Raises IncompleteRead at once where no further page could make the read whole."""
        prove_page(page, self.page_size)
        if fingerprint is not None and fingerprint in self._fingerprints:
            raise IncompleteRead(f"Page {page.number + 1:,} held the profiles of an earlier page.")
        if fingerprint is not None:
            self._fingerprints.add(fingerprint)
        self._empty += not page.rows
        self._facts.append(page)

    def prove(self, *, with_page_past_end: bool = False) -> None:
        """Check that the pages are all there, and that the cohort ends with them. Raises IncompleteRead.

        `with_page_past_end`: the page after the last announced one has to be among them, and empty.
        """
        prove_pages(self._facts, page_size=self.page_size)
        last = self._find_last()
        if with_page_past_end and (last.number <= self.last_announced or last.rows):
            raise IncompleteRead(f"Page {self.last_announced + 2:,}, past the end of the cohort, is not an empty one.")
        if last.number > self.last_announced and last.rows == self.page_size:
            raise IncompleteRead(
                f"Mixpanel announced {last.number:,} pages at most, and the one after them is full: where the cohort "
                "ends is not known."
            )

    def _find_last(self) -> PageFacts:
        return max(self._facts, key=lambda page: page.number)


def fingerprint(ids: Iterable[str]) -> int | None:
    """Sum up who is on a page, in whatever order; None where it names no one."""
    named = frozenset(ids)
    return hash(named) if named else None


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
        prove_page(page, page_size)
        if page is not ordered[-1] and page.rows != page_size:
            raise _wrong_size(page, page_size)


def prove_page(page: PageFacts, page_size: int) -> None:
    """Check what a page shows by itself. Raises IncompleteRead."""
    if page.reported_page is not None and page.reported_page != page.number:
        raise IncompleteRead(
            f"Mixpanel answered with page {page.reported_page + 1:,} when asked for page {page.number + 1:,}."
        )
    if page.rows > page_size:
        raise _wrong_size(page, page_size)
    if page.page_size not in (None, page_size):
        raise IncompleteRead(f"Page {page.number + 1:,} is one of {page.page_size:,} profiles, not of {page_size:,}.")


def _wrong_size(page: PageFacts, page_size: int) -> IncompleteRead:
    return IncompleteRead(f"Page {page.number + 1:,} held {page.rows:,} profiles instead of {page_size:,}.")


def prove_distinct(*, seen: int, profiles: int) -> None:
    """Check that no profile came twice.

    Raises: IncompleteRead.
    """
    if seen != profiles:
        raise IncompleteRead(f"{seen - profiles:,} profiles came twice, so others may be missing.")
