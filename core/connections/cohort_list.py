"""The project's cohorts, read once per interval and shared by every run, page and command."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlmodel import col, update

from core.bridge import Bridge
from core.errors import CohortNotExportable, CohortUnknown
from core.leases import slots
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_answers import Cohort
from data import cohort_list
from data.engine import StorageError, write_session
from data.models import CohortList, utc_now

SHARED_FOR = timedelta(minutes=15)
_LOOK_AGAIN_S = 0.3
_RENEW_S = 2.0
log = logging.getLogger(__name__)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


async def refresh(bridge: Bridge, client: Mixpanel, project: str) -> list[Cohort]:
    """Ask Mixpanel, at the cost of one counted query, and share the answer."""
    cohorts = await client.list_cohorts()
    await asyncio.to_thread(_share, bridge, project, cohorts)
    return cohorts


async def _read_once(
    bridge: Bridge, client: Mixpanel, project: str, *, since: datetime, reader: str | None
) -> list[Cohort]:
    """Return a list that was read after `since`: another's, if somebody reads it at this moment, else our own."""
    turn = _ReadLock(bridge.engine, project, reader or secrets.token_hex(8))
    renewing = asyncio.create_task(turn.renew_on())
    try:
        while not await asyncio.to_thread(turn.take):
            await asyncio.sleep(_LOOK_AGAIN_S)
        shared = await asyncio.to_thread(_shared_since, bridge, project, since)
        return shared if shared is not None else await refresh(bridge, client, project)
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        await asyncio.shield(asyncio.to_thread(turn.end))


@dataclass
class _ReadLock:
    """Whose turn it is to read the list. A lease: a reader that does not move for its length, by our clock, is dead."""

    engine: Engine
    project: str
    reader: str
    _seen: tuple[str | None, datetime | None] = (None, None)
    _seen_at_s: float = 0.0
    # A call in a thread outlives the task that was cancelled while it waited for it: none takes after the end.
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: bool = False

    def take(self) -> bool:
        with self._lock:
            return not self._ended and self._take()

    def _take(self) -> bool:
        with write_session(self.engine) as session:
            held = session.get(CohortList, self.project)
            if held is None:
                # Older than anything that is asked for: only the place where readers meet.
                held = CohortList(project=self.project, read_at=_NEVER, cohorts=[])
            elif held.reader is not None and not self._is_dead(held):
                return False
            held.reader, held.reader_since = self.reader, utc_now()
            session.add(held)
            return True

    def _is_dead(self, held: CohortList) -> bool:
        if self._seen != (held.reader, held.reader_since):
            self._seen, self._seen_at_s = (held.reader, held.reader_since), time.monotonic()
        return time.monotonic() - self._seen_at_s > slots.SLOT_LEASE_S

    async def renew_on(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                await asyncio.to_thread(self._write, self.reader, utc_now())
            except StorageError as exc:
                log.warning("turn to read the cohorts not renewed reason=%s", exc)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            self._write(None, None)

    def _write(self, reader: str | None, since: datetime | None) -> None:
        with write_session(self.engine) as session:
            session.exec(
                update(CohortList)
                .where(col(CohortList.project) == self.project, col(CohortList.reader) == self.reader)
                .values(reader=reader, reader_since=since)
            )


def get_shared(bridge: Bridge, project: str) -> list[Cohort] | None:
    """Return the shared list if it was read within the last interval."""
    return _shared_since(bridge, project, bridge.clock.now() - SHARED_FOR)


def _shared_since(bridge: Bridge, project: str, since: datetime) -> list[Cohort] | None:
    shared = cohort_list.get(bridge.engine, project)
    # One from the future is from before the clock was set back: how old it is cannot be known.
    if shared is None or not since <= shared.read_at <= bridge.clock.now():
        return None
    return [Cohort(**cohort) for cohort in shared.cohorts]


def read_at(bridge: Bridge, project: str) -> datetime | None:
    """Return when the shared list was read."""
    shared = cohort_list.get(bridge.engine, project)
    return shared.read_at if shared and shared.read_at != _NEVER else None


def _share(bridge: Bridge, project: str, cohorts: list[Cohort]) -> None:
    rows = [dataclasses.asdict(cohort) for cohort in cohorts]
    cohort_list.share(bridge.engine, project, rows, now=bridge.clock.now())


async def find(bridge: Bridge, client: Mixpanel, project: str, cohort_id: int, *, reader: str | None = None) -> Cohort:
    """Find an exportable cohort; when the shared list lacks it, the list is read again before it is called unknown.

    `reader` names who asks, so that the turn to read can be freed when their process dies.

    Raises: CohortUnknown, CohortNotExportable, VendorError, NoQuerySlot.
    """
    began = bridge.clock.now()
    shared = await asyncio.to_thread(get_shared, bridge, project)
    if shared is None:
        shared = await _read_once(bridge, client, project, since=began - SHARED_FOR, reader=reader)
    cohort = _pick(shared, cohort_id)
    if cohort is None:
        cohort = _pick(await _read_once(bridge, client, project, since=began, reader=reader), cohort_id)
    if cohort is None:
        raise CohortUnknown(f"Mixpanel has no cohort {cohort_id} in this project (any more).")
    if cohort.of_groups:
        raise CohortNotExportable(f"Cohort {cohort_id} is a group-analytics cohort: its members are not users.")
    return cohort


def _pick(cohorts: list[Cohort], cohort_id: int) -> Cohort | None:
    return next((cohort for cohort in cohorts if cohort.id == cohort_id), None)
