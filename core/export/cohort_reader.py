"""Read a cohort whole, or not at all: pages of one query session, matched and collected as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Protocol, cast

from core.errors import CohortBridgeError, IncompleteRead, SessionLost, VendorSurprise
from core.export.page_sizing import PageSizing
from core.export.progress import Progress
from core.rules import completeness
from core.rules.matching import MatchRule, is_named, match_page
from core.threads import WorkerThread
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_answers import Page
from data.engine import StorageError
from data.members.collector import Collector, Tally

# A lost session is read again from page 0, at most twice; a `total` that disagrees is read once more.
_SESSIONS_LOST = 2
_TOTALS_WRONG = 1
# Pages that are fetched or wait to be decoded: more than may be in flight, so that slots refill while others decode;
# of large ones, whose bytes wait in memory, as many as take so many profiles, but enough to be fetched while one is
# decoded.
_PAGES_AHEAD, _PROFILES_AHEAD, _LEAST_AHEAD = 10, 80_000, 3


class CheckTotal(Protocol):
    """Raises RunHeld where pages that are whole disagree with what was announced, unless a person let that through."""

    def __call__(self, *, profiles: int, totals: Sequence[int]) -> None: ...


class ResizableSemaphore(asyncio.Semaphore):
    """How many requests may be in flight; can be raised or lowered while they are."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self._width = width
        self._owed = 0

    def resize(self, width: int) -> None:
        """Let `width` requests be in flight from now on; those above it are waited for, not stopped."""
        change, self._width = width - self._width, width
        while change > 0:
            change -= 1
            self.release()
        self._owed += -change
        while self._owed and not self.locked():
            self._value -= 1  # a place that no request is in goes at once
            self._owed -= 1

    @property
    def settled(self) -> bool:
        """Whether no more requests are in flight than may be."""
        return not self._owed

    def release(self) -> None:
        """Give back one place, or pay for one that was taken away."""
        if self._owed > 0:
            self._owed -= 1
        else:
            super().release()


@dataclass
class CohortReader:
    """Reads one cohort through `client`, as many requests at a time as `in_flight` allows.

    `announce` is told how many pages follow, once the first says so and if any do.
    """

    client: Mixpanel
    rule: MatchRule
    cohort_id: int
    in_flight: ResizableSemaphore
    thread: WorkerThread
    new_collector: Callable[[], Collector]
    progress: Progress
    check_total: CheckTotal
    announce: Callable[[int], Awaitable[None]]
    sizing: PageSizing
    tally: Tally | None = None  # of the latest session whose pages were all there
    _pages: completeness.PageLedger = field(init=False)  # of the session that is read

    @asynccontextmanager
    async def whole(self) -> AsyncGenerator[tuple[Tally, Collector]]:
        """Read until the pages prove that the cohort is whole; the collector is closed at the end.

        Raises: IncompleteRead, RunHeld, VendorError, CohortRefused, NoQuerySlot, StorageError.
        """
        lost, totals = 0, list[int]()
        while True:
            opening = asyncio.ensure_future(self.thread.run(self.new_collector))  # while page 0 is on its way
            try:
                try:
                    collector, total = await self._read_session(opening)
                    tally = await self._prove(collector)
                except CohortBridgeError as exc:
                    is_lost = isinstance(exc, SessionLost)
                    lost += is_lost
                    if lost <= _SESSIONS_LOST and (await self.sizing.drop(exc) or is_lost):
                        continue
                    raise
                if tally.profiles == total:
                    await self.sizing.settle(profiles=tally.profiles)
                    yield tally, collector
                    return
                totals.append(total)
                disagrees = IncompleteRead("The pages disagree with the total.")
                if not await self.sizing.drop(disagrees) and len(totals) > _TOTALS_WRONG:
                    self.check_total(profiles=tally.profiles, totals=totals)
                    await self.sizing.fail(disagrees)  # without a size they do so as well
                    yield tally, collector
                    return
            finally:
                await asyncio.shield(self._close(opening))

    async def _close(self, opening: asyncio.Future[Collector]) -> None:
        with suppress(StorageError):  # that it could not be opened was raised already
            await self.thread.run((await opening).close)

    async def _prove(self, collector: Collector) -> Tally:
        self.progress.begin("checking")
        tally = await self.thread.run(collector.tally)
        completeness.prove_distinct(seen=tally.seen, profiles=tally.profiles)
        self.tally = tally
        return tally

    async def _read_session(self, opening: asyncio.Future[Collector]) -> tuple[Collector, int]:
        """Read all pages of a new session into the collector; returns it and the total that page 0 announced."""
        self.progress.begin("reading")
        self.progress.profiles, self.progress.pages = 0, 0
        size = self.sizing.size
        first = await self.client.first_page(
            self.cohort_id, self.rule.match_property, page_size=size, gate=self.in_flight, tries=self.sizing.tries
        )
        total, self._pages = _open_ledger(first)
        self.sizing.prove_first(page_size=self._pages.page_size, rows=len(first.distinct_ids), total=total)
        last = self._pages.last_announced
        self.progress.expected, self.progress.pages_expected = total, last + 1
        if last:
            await self.announce(last)
        collector = await opening
        await self.thread.run(partial(self._take, collector, first, 0))
        # Where a size was asked for, the end that was announced is not believed: the page after it has to be empty.
        await self._read_rest(collector, first, last if size is None else last + 1)
        if size is None and self._pages.is_end_open:
            await self._fetch(collector, first, last + 1)
        self._pages.prove(with_page_past_end=size is not None)
        return collector, total

    async def _read_rest(self, collector: Collector, first: Page, last: int) -> None:
        """Read page 1 to the last one, as long as any page holds somebody."""
        numbers = iter(range(1, last + 1))

        async def fetch_next() -> None:
            for number in numbers:
                await self._fetch(collector, first, number)
                if self._pages.has_ended:
                    return

        tasks = [asyncio.create_task(fetch_next()) for _ in range(min(last, _pages_ahead(self._pages.page_size)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, collector: Collector, first: Page, number: int) -> None:
        if not first.session_id:
            raise VendorSurprise("Mixpanel gave no session to read further pages from.", code="mixpanel_no_session")
        await self.client.next_page(
            self.cohort_id,
            self.rule.match_property,
            session_id=first.session_id,
            number=number,
            page_size=self.sizing.size,
            gate=self.in_flight,
            run=lambda decode: self.thread.run(partial(self._decode, decode, collector, number)),
        )

    def _decode(self, decode: Callable[[], Page], collector: Collector, number: int) -> Page:
        """Decode and take in one go: each way to the thread and back costs as much as half a page."""
        page = decode()
        self._take(collector, page, number)
        return page

    def _take(self, collector: Collector, page: Page, number: int) -> None:
        size = page.page_size if self.sizing.size is not None else None
        facts = completeness.PageFacts(number, page.reported_page, rows=len(page.distinct_ids), page_size=size)
        completeness.prove_page(facts, self._pages.page_size)  # before more is made of a page that is far too long
        matched = match_page(page.distinct_ids, page.values, self.rule, page=number, is_regular=page.is_regular)
        named = chain(matched.distinct_ids, filter(is_named, matched.unusable_ids))
        ids = cast("list[str]", page.distinct_ids) if page.is_regular else named
        self._pages.add(facts, completeness.fingerprint(ids))
        collector.add(
            distinct_ids=matched.distinct_ids,
            apptimize_ids=matched.apptimize_ids,
            unusable_ids=matched.unusable_ids,
            reasons=matched.reasons,
        )
        self.progress.pages += number <= self._pages.last_announced
        self.progress.profiles += len(page.distinct_ids)


def _pages_ahead(page_size: int) -> int:
    return max(_LEAST_AHEAD, min(_PAGES_AHEAD, _PROFILES_AHEAD // page_size))


def _open_ledger(first: Page) -> tuple[int, completeness.PageLedger]:
    """Return what the first page announces of a cohort. Raises VendorSurprise where no read could end by it."""
    if first.total is None or first.page_size is None:
        raise VendorSurprise("Mixpanel did not say how many profiles the cohort has.", code="mixpanel_no_total")
    ledger = completeness.PageLedger(total=first.total, page_size=first.page_size)
    if ledger.last_announced > completeness.MOST_PAGES:
        raise VendorSurprise(
            f"Mixpanel announced {first.total:,} profiles with a “page_size” of {first.page_size:,}: too many pages.",
            code="mixpanel_odd_number",
        )
    return first.total, ledger
