"""Write the rows that a person confirmed, batch by batch, and look some of the profiles up afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from core.associate.held import HeldAssociation
from core.associate.target import connection_to_write
from core.bridge import Bridge
from core.connections.project import project_for
from core.connections.query_budget import budget_for
from core.errors import CohortBridgeError, VendorSurprise
from core.vendors.http import HttpClient
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_ingestion import BATCH_ROWS, Ingestion
from core.vendors.retry import RetryPlan
from data import associations
from data.associations import LookUp
from data.members.association_rows import ImportRows, RowToWrite
from data.models import Association, AssociationBatch, Connection, Member

log = logging.getLogger(__name__)

# Of the rows that were written, so many are looked up afterwards: that Mixpanel accepted them proves nothing.
_LOOKED_UP = 50
_ALIAS_NOT_REPORTED = "Mixpanel refused a part of the aliases and did not say which."


@dataclass(frozen=True)
class Written:
    """What writing came to: requests in all, and what a check of some of the profiles showed, if there was one."""

    requests: int
    look_up: LookUp | None


class Writing:
    """The writing of one association, from the first row without an outcome."""

    def __init__(self, bridge: Bridge, held_association: HeldAssociation, rows: ImportRows, http: HttpClient) -> None:
        self._bridge = bridge
        self._held = held_association
        self._rows = rows
        self._http = http
        self._last_written: list[Member] = []

    async def run(self, association: Association) -> Written:
        """Write all rows. Raises: LeaseLost, RunCancelled, NotConnected, SettingsError, VendorError, StorageError."""
        connection, token = await asyncio.to_thread(connection_to_write, self._bridge, association)
        client = Ingestion(
            self._http,
            project_for(self._bridge, connection),
            token,
            self._held.lease.check,
            retry=RetryPlan(over_s=self._bridge.settings.retry_over_s),
            requests=association.requests,
            tries=self._held.run_log,
        )
        self._held.run_log.step("writing")
        await asyncio.to_thread(self._rows.begin_writing)
        after = await asyncio.to_thread(associations.last_row, self._bridge.engine, self._held.id)
        async with self._batches(after) as take:
            while rows := await take():
                await self._write_batch(client, association, rows)
        look_up = await self._look_up(connection, association.match_property)
        return Written(client.requests, look_up)

    @asynccontextmanager
    async def _batches(self, after: int) -> AsyncGenerator[Callable[[], Awaitable[list[RowToWrite] | None]]]:
        """Open the rows to write; give the function that takes the next batch of them, which alone is in memory."""
        batches = self._rows.batches(after=after, size=BATCH_ROWS)
        taking: asyncio.Future[Any] | None = None

        async def take() -> list[RowToWrite] | None:
            nonlocal taking
            taking = asyncio.ensure_future(asyncio.to_thread(next, batches, None))
            return await asyncio.shield(taking)

        try:
            yield take
        finally:
            # A thread that reads continues when its task is cancelled: what it reads from is closed after it.
            if taking:
                await asyncio.gather(taking, return_exceptions=True)
            batches.close()

    async def _write_batch(self, client: Ingestion, association: Association, rows: list[RowToWrite]) -> None:
        """Send a batch, and record its outcome. One that was sent and not recorded is sent again, which is no harm."""
        await asyncio.to_thread(connection_to_write, self._bridge, association)
        await self._held.begin_batch(rows[-1].row)
        answered = await client.set_ids([row.member for row in rows], association.match_property)
        unsure = {index: associations.NOT_REPORTED for index, reason in answered.items() if reason is None}
        refused = {index: reason for index, reason in answered.items() if reason is not None}
        unaliased = unsure
        if association.aliases:
            unaliased = await self._alias(client, association, rows, refused) | unsure
        batch = AssociationBatch(
            association_id=self._held.id,
            start=rows[0].row,
            end=rows[-1].row,
            size=len(rows),
            refused={str(rows[index].row): reason for index, reason in refused.items()},
            unaliased={str(rows[index].row): reason for index, reason in unaliased.items()},
        )
        await self._held.record_batch(batch, requests=client.requests)
        self._last_written = [row.member for index, row in enumerate(rows) if index not in answered][:_LOOKED_UP]
        if len(answered) == len(rows) == BATCH_ROWS:
            raise VendorSurprise(
                f"Mixpanel took no row of a whole batch of {BATCH_ROWS:,}.",
                advice="The outcomes say why. Resuming starts with the rows after it.",
                code="batch_refused",
            )

    async def _alias(
        self, client: Ingestion, association: Association, rows: list[RowToWrite], refused: dict[int, str]
    ) -> dict[int, str]:
        """Alias the rows that were written; an id that is the distinct id itself needs none."""
        indexes = [
            index
            for index, row in enumerate(rows)
            if index not in refused and row.member.apptimize_id != row.member.distinct_id
        ]
        if not indexes:
            return {}
        # The same time whenever the rows are sent again: an event that was sent twice then counts once.
        at_s = int(association.created_at.timestamp())
        answered = await client.alias([rows[index].member for index in indexes], at_s=at_s)
        return {indexes[index]: _ALIAS_NOT_REPORTED if reason is None else reason for index, reason in answered.items()}

    async def _look_up(self, connection: Connection, match_property: str) -> LookUp | None:
        """Ask for some of what was written: a token of no project is accepted, and what it brings goes nowhere."""
        members = self._last_written
        if not members:
            return None
        project = project_for(self._bridge, connection)
        client = Mixpanel(self._http, project, budget_for(self._bridge, project.key), retry=RetryPlan(1, over_s=1.0))
        try:
            profiles = await client.profiles([member.distinct_id for member in members], match_property)
        except CohortBridgeError as exc:
            log.info("association not looked up association_id=%s reason=%s", self._held.id, exc.code)
            return None
        values = {value for value in profiles.values if isinstance(value, str)}
        return LookUp(asked=len(members), found=sum(member.apptimize_id in values for member in members))
