"""Do one association: check its file, or write what was confirmed. The process that calls it holds the lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from core.associate import bundles
from core.associate.checking import Checking
from core.associate.files import import_rows, outcome_lines
from core.associate.held import HeldAssociation
from core.associate.writing import Writing
from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, LeaseLost, RunCancelled
from core.export.outcome import failure_from
from core.threads import WorkerThread
from core.vendors.http import HttpClient
from data.associations import Ending
from data.engine import StorageError
from data.failure import Failure
from data.members.association_rows import ImportRows
from data.members.files import replacing
from data.models import Association, ImportStage

log = logging.getLogger(__name__)

DEAD = Failure(
    "interrupted",
    "The process that did this ended several times without getting further.",
    "Check the machine's memory and disk, then continue.",
)


def ending_after(exc: CohortBridgeError, *, now: datetime) -> Ending:
    """Build the end of an association that an error ended: cancelled by someone, or failed."""
    if isinstance(exc, RunCancelled):
        return Ending(ImportStage.CANCELLED, now)
    return Ending(ImportStage.FAILED, now, failure=failure_from(exc))


class AssociationJob:
    """The work on one association: make it after the claim, and call `run` once. `watch` is given the row meanwhile."""

    def __init__(
        self,
        bridge: Bridge,
        association_id: int,
        *,
        lease_owner: str,
        http: HttpClient,
        watch: Callable[[Association], None] | None = None,
    ) -> None:
        self._bridge = bridge
        self._held = HeldAssociation(bridge, association_id, lease_owner=lease_owner, watch=watch)
        self._rows: ImportRows | None = None
        self._http = http

    async def run(self) -> Association:
        """Do what the association waits for and return it as recorded; failures are recorded in it, not raised.

        Raises: LeaseLost when another took over, asyncio.CancelledError when this process is asked to stop. What was
        recorded of it until then stays, and is not done again.
        """
        async with self._held.lease.kept():
            await self._run()
        return await asyncio.to_thread(self._held.load)

    async def _run(self) -> None:
        try:
            with storage_errors(), self._held.lease.reasons():
                association = await asyncio.to_thread(self._held.load)
                rows = self._rows = await asyncio.to_thread(import_rows, self._bridge, self._held.id)
                is_check = association.stage == ImportStage.CHECKING
                await (self._check(association, rows) if is_check else self._write(association, rows))
        except LeaseLost:
            raise
        except CohortBridgeError as exc:
            self._held.lease.end()  # a heartbeat that finds it cancelled must not stop what records the end
            await self._end(ending_after(exc, now=self._bridge.clock.now()))

    async def _check(self, association: Association, rows: ImportRows) -> None:
        checking, bundle = Checking(self._bridge, self._held, rows), None
        thread = WorkerThread("check", stops_with=asyncio.current_task())
        try:
            summary = await thread.run(partial(checking.run, association))
            if bundles.are_used(self._bridge):
                bundle = await thread.run(partial(bundles.keep_folder, self._bridge, rows.folder))
        finally:
            checking.stop()
            await asyncio.shield(asyncio.to_thread(thread.shutdown))
        await self._held.record_check(summary, bundle)
        if bundle is not None:
            await asyncio.to_thread(self._take_bundle, rows, bundle)

    def _take_bundle(self, rows: ImportRows, bundle: str) -> None:
        """Let the folder here be that of the new bundle; what cannot be removed now goes with what no row names."""
        try:
            bundles.take_name(self._bridge, self._held.id, rows.folder, bundle)
        except (StorageError, OSError) as exc:
            log.warning("bundle not removed association_id=%s reason=%s", self._held.id, exc)

    async def _write(self, association: Association, rows: ImportRows) -> None:
        written = await Writing(self._bridge, self._held, rows, self._http).run(association)
        now = self._bridge.clock.now()
        await self._end(Ending(ImportStage.DONE, now, requests=written.requests, look_up=written.look_up))

    async def _end(self, ending: Ending) -> None:
        with storage_errors():
            await asyncio.to_thread(self._save_outcomes)
            await self._held.record_end(ending)

    def _save_outcomes(self) -> None:
        """Keep the outcome of every row in a file: whole, or not at all."""
        if self._rows is None or not self._rows.has_plan:
            return
        try:
            with replacing(self._rows.outcomes) as part, part.open("w", encoding="utf-8", newline="") as file:
                file.writelines(outcome_lines(self._bridge, self._held.id))
        except (StorageError, OSError) as exc:
            # They are put together whenever they are asked for; the end itself must be recorded.
            log.warning("outcomes not saved association_id=%s reason=%s", self._held.id, exc)
