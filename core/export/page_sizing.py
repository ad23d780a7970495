"""The size of the pages that a run asks for, and what it leaves for the next runs of the project to know."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from core.clock import Clock
from core.rules import page_sizes as rules
from core.rules.page_sizes import Doubt, SizeFacts, Unproven
from core.settings import VENDOR
from data import page_sizes
from data.engine import Engine, StorageError
from data.query_models import PageSize

log = logging.getLogger(__name__)

# A read without a size that follows failures of the moment asks so often whether the server is there at all.
_TRIES_AFTER_FAILURES = 2


class PageSizing:
    """Decides what one run asks for: `size` is that, None for the vendor's own pages.

    `choose` it first; then say how each read ended: `drop`, `settle`, `fail`; and `close` it, whatever happened.
    `tries`: how often the first page of a read is asked for, None for as often as everything else.
    """

    def __init__(
        self, engine: Engine, clock: Clock, *, setting: int | str | None, project: str, lease_owner: str
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._project = project
        self._lease_owner = lease_owner
        self._is_number = isinstance(setting, int)
        self._wanted = None if setting == VENDOR else rules.USUAL if setting is None else int(setting)
        self._known = SizeFacts()
        self._is_trying = False  # and the mark of it is in the database
        self._is_settling = False  # a read without a size will show what a doubt is worth
        self._announced_with: int | None = None  # profiles, by a first page that was not believed
        # A call in a thread outlives the task that was cancelled while it waited for it: none tries after the close.
        self._lock = threading.Lock()
        self._is_closed = False
        self.size: int | None = None
        self.tries: int | None = None

    async def choose(self, *, listed: int | None, group_id: int) -> None:
        """Decide whether to ask for a size, from what the list counts and what the group's last read found."""
        if self._wanted and listed is not None and rules.is_worth_it(self._wanted, listed=listed):
            await asyncio.to_thread(self._choose, self._wanted, listed, group_id)

    def _choose(self, wanted: int, listed: int, group_id: int) -> None:
        with self._lock:
            if not self._is_closed:
                self._choose_now(wanted, listed, group_id)

    def _choose_now(self, wanted: int, listed: int, group_id: int) -> None:
        engine, now = self._engine, self._clock.now()
        facts = self._known = _facts(page_sizes.get(engine, self._project, wanted))
        size = facts.offered or wanted
        last = page_sizes.last_profiles(engine, group_id)
        if facts.is_refused(now) or not rules.fills(size, listed=listed, last=last):
            return
        if facts.doubt or not facts.is_proven:
            found = page_sizes.begin_trial(
                engine, self._project, wanted, mark=Doubt.TRYING, lease_owner=self._lease_owner, now=now
            )
            self._is_trying, self._is_settling = found == "begun", found == "in doubt"
            # Who set a number wants exactly that: it waits for no other run's trial.
            if not self._is_trying and not (self._is_number and found == "taken"):
                return
        self.size = size

    def prove_first(self, *, page_size: int, rows: int, total: int) -> None:
        """Check that a first page shows what was asked for, where something was. Raises IncompleteRead."""
        if self.size is None:
            return
        try:
            may_offer = self._known.offered is None
            rules.prove_first(asked=self.size, page_size=page_size, rows=rows, total=total, may_offer=may_offer)
        except Unproven:
            self._announced_with = total
            raise

    async def drop(self, exc: BaseException) -> bool:
        """Ask for no size any more in this run, if a read with one failed by what may be the size's fault.

        Returns whether it is to be read once more.
        """
        doubt = rules.doubt_after(exc) if self.size is not None else None
        if doubt is None:
            return False
        log.info("page size dropped project=%s size=%s doubt=%s reason=%s", self._project, self.size, doubt, exc)
        await asyncio.to_thread(self._doubt, doubt, exc)
        if rules.is_of_the_moment(exc):
            self.tries = _TRIES_AFTER_FAILURES
        return True

    def _doubt(self, doubt: Doubt, exc: BaseException) -> None:
        offered = exc.offered if isinstance(exc, Unproven) else None
        self._remember(partial(rules.after_doubt, doubt=doubt, offered=offered))
        self.size, self._is_settling = None, True

    async def settle(self, *, profiles: int) -> None:
        """Remember that the cohort was read whole, with the size or without."""
        if self.size is not None:
            if self._is_trying or self._known != rules.after_whole(self._known):
                await asyncio.to_thread(self._remember, rules.after_whole)
            self.size = None
        elif self._is_settling:
            held_back = self._announced_with is not None and self._announced_with < profiles
            now = self._clock.now()
            without = partial(rules.after_whole_without, now=now, held_back=held_back)
            await asyncio.to_thread(self._remember, without)

    async def fail(self, exc: BaseException) -> None:
        """Remember what the error that ends a run says of the size, where it had not read the cohort whole yet."""
        with suppress(StorageError):  # the run fails by its own error
            if self.size is not None:
                if doubt := rules.doubt_after(exc):
                    await asyncio.to_thread(self._doubt, doubt, exc)
            elif self._is_settling and rules.clears(exc):
                await asyncio.to_thread(self._remember, rules.after_failure_without)

    def close(self) -> None:
        """Take back that a size is tried, where nothing came of it."""
        with self._lock:
            self._is_closed = True
            if self._is_trying:
                with suppress(StorageError):
                    self._remember(rules.after_failure_without)

    def _remember(self, change: Callable[[SizeFacts], SizeFacts]) -> None:
        assert self._wanted is not None
        self._is_trying = self._is_settling = False

        def apply(row: PageSize) -> None:
            facts = change(_facts(row))
            row.is_proven, row.offered_size, row.refused_at = facts.is_proven, facts.offered, facts.refused_at
            row.failures, row.doubt = facts.failures, facts.doubt

        page_sizes.change(self._engine, self._project, self._wanted, apply, lease_owner=self._lease_owner)


def _facts(row: PageSize) -> SizeFacts:
    doubt = Doubt(row.doubt) if row.doubt else None
    return SizeFacts(row.is_proven, row.offered_size, row.refused_at, row.failures, doubt)
