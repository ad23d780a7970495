"""An association that this process holds: what is recorded of it is recorded under its lease, or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

from core.associate.retrying import failure_to_retry
from core.bridge import Bridge
from core.errors import LeaseLost, NotFound
from core.leases.lease import HeldLease
from core.run_log import RunLog
from core.threads import for_heartbeat
from data import associations
from data.associations import Ending
from data.leases import Renewal
from data.members.association_rows import ImportSummary
from data.models import Association, AssociationBatch

log = logging.getLogger(__name__)

_TAKEN_OVER = "The association was taken over by another process."


class HeldAssociation:
    """Make it after the claim. `watch` is given the row after each heartbeat. Every method may raise LeaseLost."""

    def __init__(
        self,
        bridge: Bridge,
        association_id: int,
        *,
        lease_owner: str,
        watch: Callable[[Association], None] | None = None,
    ) -> None:
        self.id = association_id
        self.lease = HeldLease(bridge, "association", association_id, self._renew, after=self._after_heartbeat)
        self._engine = bridge.engine
        self._lease_owner = lease_owner
        self._watch = watch
        self.run_log = RunLog(clock=bridge.clock)

    def load(self) -> Association:
        """Return the association as it is recorded. Raises NotFound."""
        association = associations.get(self._engine, self.id)
        if association is None:
            raise NotFound(f"There is no association {self.id}.")
        return association

    @contextmanager
    def kept(self) -> Generator[None]:
        """Let no other process take the association while inside, for what must not replace its successor's work."""
        with associations.held(self._engine, self.id, lease_owner=self._lease_owner) as ours:
            if not ours:
                raise LeaseLost(_TAKEN_OVER)
            yield

    async def begin_batch(self, last_row: int) -> None:
        """Commit that a batch is about to be sent: whatever happens then, its rows are not reported as never sent.

        Raises: LeaseLost, RunCancelled.
        """
        renewal = await asyncio.to_thread(
            associations.begin_batch, self._engine, self.id, lease_owner=self._lease_owner, last_row=last_row
        )
        self.lease.accept(renewal)

    async def record_batch(self, batch: AssociationBatch, *, requests: int) -> None:
        """Record the outcome of a batch."""
        if not await asyncio.to_thread(
            associations.record_batch, self._engine, batch, lease_owner=self._lease_owner, requests=requests
        ):
            raise LeaseLost(_TAKEN_OVER)

    async def record_check(self, summary: ImportSummary, bundle: str | None) -> None:
        """Record what a check came to, and the object that has it; give the lease up."""
        self.lease.end()
        ours = await asyncio.to_thread(
            associations.record_check,
            self._engine,
            self.id,
            lease_owner=self._lease_owner,
            summary=summary,
            bundle=bundle,
        )
        self._note_end(ours, "checked")

    async def record_end(self, ending: Ending) -> None:
        """Record how the association ended, and give the lease up."""
        self.lease.end()
        ours = await asyncio.to_thread(
            associations.record_end, self._engine, self.id, lease_owner=self._lease_owner, ending=ending
        )
        self._note_end(ours, ending.stage)

    def _note_end(self, ours: bool, stage: str) -> None:
        if not ours:
            raise LeaseLost("The association was taken over by another process before it was recorded.")
        log.info("association let go association_id=%s stage=%s", self.id, stage)

    async def _renew(self) -> Renewal:
        retry = failure_to_retry(self.run_log)
        return await for_heartbeat(
            associations.heartbeat, self._engine, self.id, lease_owner=self._lease_owner, retry=retry
        )

    async def _after_heartbeat(self) -> None:
        if self._watch:
            self._watch(await asyncio.to_thread(self.load))
