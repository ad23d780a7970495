"""One association at work: check its file, or write what was confirmed. The process that calls it holds the lease."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx

from core import clock
from core.associate import rows
from core.associate.files import import_rows, outcome_lines
from core.associate.target import connection_to_write, known_profiles
from core.bridge import Bridge, storage_errors
from core.connections.project import project_for
from core.errors import CohortBridgeError, LeaseLost, NotFound, RunCancelled, StorageFailed, VendorSurprise
from core.export.outcome import error_values
from core.leases import lease
from core.rules.matching import MAX_LENGTH, PREFIXES
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_ingestion import BATCH_ROWS, Ingestion
from core.vendors.retry import RetryPlan
from data import associations
from data.engine import StorageError
from data.members.association_rows import ImportSummary, RawRow, RowToWrite
from data.members.files import replacing
from data.models import Association, AssociationBatch, Connection, ImportStage, Member, utc_now

log = logging.getLogger(__name__)

# Of the rows that were written, so many are asked for afterwards: that Mixpanel accepted them proves nothing.
_LOOKED_UP = 50
_ALIAS_NOT_SAID = "Mixpanel refused a part of the aliases and did not say which."
# Between two looks whether the reading of a file is to stop.
_ROWS_A_LOOK = 5000
DEAD = {
    "error_code": "interrupted",
    "error_message": "The process that did this ended several times without getting further.",
    "error_advice": "Check the machine's memory and disk, then continue.",
}


class Associating:
    """One association at work: make it after the claim, and call `run` once. `watch` is told the row as it moves."""

    def __init__(
        self,
        bridge: Bridge,
        association_id: int,
        *,
        owner: str,
        http: httpx.AsyncClient,
        watch: Callable[[Association], None] | None = None,
    ) -> None:
        self._bridge = bridge
        self._id = association_id
        self._owner = owner
        self._http = http
        self._watch = watch
        self._rows = import_rows(bridge, association_id)
        self._retry = RetryPlan(over_s=bridge.settings.retry_over_s)
        self._ended_by: CohortBridgeError | None = None
        self._stopping = threading.Event()
        self._beaten_at_s = clock.steady_s()
        self._written: list[Member] = []

    async def run(self) -> Association:
        """Do what the association waits for and return it as recorded; failures are recorded in it, not raised.

        Raises: LeaseLost when another took over, asyncio.CancelledError when this process is asked to stop. What was
        recorded of it until then stays, and is not done again.
        """
        task = asyncio.current_task()
        assert task is not None
        heart = asyncio.create_task(self._beat_on(task))
        try:
            with storage_errors():
                found = await asyncio.to_thread(self._load)
                await (self._check(found) if found.stage == ImportStage.CHECKING else self._write(found))
        except asyncio.CancelledError:
            if isinstance(self._ended_by, RunCancelled):
                task.uncancel()
                await self._end(ImportStage.CANCELLED, {})
            elif self._ended_by:
                raise self._ended_by from None
            else:
                raise
        except LeaseLost:
            raise
        except CohortBridgeError as exc:
            stage = ImportStage.CANCELLED if isinstance(exc, RunCancelled) else ImportStage.FAILED
            await self._end(stage, error_values(exc) if stage == ImportStage.FAILED else {})
        finally:
            self._stopping.set()
            heart.cancel()
            with suppress(asyncio.CancelledError):
                await heart
        return await asyncio.to_thread(self._load)

    def _load(self) -> Association:
        found = associations.get(self._bridge.engine, self._id)
        if found is None:
            raise NotFound(f"There is no association {self._id}.")
        return found

    # --- checking --------------------------------------------------------------------------------------------------

    async def _check(self, found: Association) -> None:
        values = await asyncio.to_thread(self._judge, found)
        await self._let_go(values | {"stage": ImportStage.CHECKED})

    def _judge(self, found: Association) -> dict[str, Any]:
        if self._rows.upload.is_file():
            with self._rows.upload.open("rb") as file:
                read = rows.read_rows(file, expects_prefix=found.expects_prefix)
                self._rows.keep(self._stoppable(read))
            self._rows.upload.unlink(missing_ok=True)
        judged = self._judge_rows(found)
        return {
            "rows": judged.rows,
            "writable": judged.writable,
            "problems": judged.problems,
            "effects": judged.effects | ({"taken": judged.taken} if judged.taken else {}),
        }

    def _judge_rows(self, found: Association, tries: int = 3) -> ImportSummary:
        """Judge the rows by what is known now; a reading that a newer one replaces meanwhile is asked for again."""
        known = known_profiles(self._bridge, found.project_id)
        try:
            return self._rows.judge(
                prefix=found.prefix,
                prefixes=PREFIXES if found.expects_prefix else (),
                known=known,
                longest=MAX_LENGTH,
                within=self._held(),
            )
        except StorageError:
            if tries <= 1 or all(one.is_file() for one in (*known.members, *known.excluded)):
                raise
            return self._judge_rows(found, tries - 1)

    @contextmanager
    def _held(self) -> Generator[None]:
        """Keep the lease while inside, or stop: a check that stood still must not replace the plan of the next one."""
        with associations.held(self._bridge.engine, self._id, owner=self._owner) as ours:
            if not ours:
                raise LeaseLost("The association was taken over by another process.")
            yield

    def _stoppable(self, read: Iterable[RawRow]) -> Iterator[RawRow]:
        for number, row in enumerate(read):
            if number % _ROWS_A_LOOK == 0 and self._stopping.is_set():
                raise RunCancelled("The check was stopped.")
            yield row

    # --- writing ---------------------------------------------------------------------------------------------------

    async def _write(self, found: Association) -> None:
        connection, token = await asyncio.to_thread(connection_to_write, self._bridge, found)
        client = Ingestion(
            self._http,
            project_for(self._bridge, connection),
            token,
            self._still_ours,
            retry=self._retry,
            requests=found.requests,
        )
        await asyncio.to_thread(self._rows.begin_writing)
        after = await asyncio.to_thread(associations.last_row, self._bridge.engine, self._id)
        async with self._batches(after) as take:
            while rows := await take():
                await self._write_batch(client, found, rows)
        looked_up = await self._look_up(connection, found.match_property)
        await self._end(ImportStage.DONE, looked_up | {"requests": client.requests})

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
            # A thread that reads goes on when its task is cancelled: what it reads from is closed after it.
            if taking:
                await asyncio.gather(taking, return_exceptions=True)
            batches.close()

    async def _write_batch(self, client: Ingestion, found: Association, rows: list[RowToWrite]) -> None:
        """Send a batch, and record its outcome. One that was sent and not recorded is sent again, which is no harm."""
        await self._begin(found, rows[-1].row)
        answered = await client.set_ids([row.member for row in rows], found.match_property)
        unsure = {index: reason for index, reason in answered.items() if reason == associations.NOT_SAID}
        refused = {index: reason for index, reason in answered.items() if index not in unsure}
        at_s = int(found.created_at.timestamp())
        unaliased = (await self._alias(client, rows, refused, at_s) if found.aliases else {}) | unsure
        batch = AssociationBatch(
            association_id=self._id,
            start=rows[0].row,
            end=rows[-1].row,
            size=len(rows),
            refused={str(rows[index].row): reason for index, reason in refused.items()},
            unaliased={str(rows[index].row): reason for index, reason in unaliased.items()},
        )
        ours = await asyncio.to_thread(
            associations.record_batch, self._bridge.engine, batch, owner=self._owner, requests=client.requests
        )
        if not ours:
            raise LeaseLost("The association was taken over by another process.")
        self._written = [row.member for index, row in enumerate(rows) if index not in answered][:_LOOKED_UP]
        if len(answered) == len(rows) == BATCH_ROWS:
            raise VendorSurprise(
                f"Mixpanel took no row of a whole batch of {BATCH_ROWS:,}.",
                advice="The outcomes say why. Going on starts with the rows after it.",
                code="batch_refused",
            )

    async def _begin(self, found: Association, last_row: int) -> None:
        """Commit that a batch is about to be sent: whatever happens then, its rows are not told as never sent."""
        await asyncio.to_thread(connection_to_write, self._bridge, found)
        ours, cancel = await asyncio.to_thread(
            associations.heartbeat, self._bridge.engine, self._id, owner=self._owner, values={"begun": last_row}
        )
        if not ours:
            raise LeaseLost("The association was taken over by another process.")
        if cancel:
            raise RunCancelled("The association was cancelled.")
        self._beaten_at_s = clock.steady_s()

    async def _alias(
        self, client: Ingestion, rows: list[RowToWrite], refused: dict[int, str], at_s: int
    ) -> dict[int, str]:
        """Alias the rows that were written; an id that is the distinct id itself needs none."""
        wanted = [
            index
            for index, row in enumerate(rows)
            if index not in refused and row.member.apptimize_id != row.member.distinct_id
        ]
        if not wanted:
            return {}
        found = await client.alias([rows[index].member for index in wanted], at_s=at_s)
        return {
            wanted[index]: _ALIAS_NOT_SAID if reason == associations.NOT_SAID else reason
            for index, reason in found.items()
        }

    async def _look_up(self, connection: Connection, match_property: str) -> dict[str, int]:
        """Ask for some of what was written: a token of no project is accepted, and what it brings goes nowhere."""
        if not self._written:
            return {}
        client = Mixpanel(
            self._http, project_for(self._bridge, connection), self._bridge.engine, retry=RetryPlan(1, over_s=1.0)
        )
        try:
            profiles = await client.profiles([member.distinct_id for member in self._written], match_property)
        except CohortBridgeError as exc:
            log.info("association not looked up association_id=%s reason=%s", self._id, exc.name)
            return {}
        values = {value for value in profiles.values if isinstance(value, str)}
        return {
            "looked_up": len(self._written),
            "found": sum(member.apptimize_id in values for member in self._written),
        }

    # --- the lease -------------------------------------------------------------------------------------------------

    async def _beat_on(self, task: asyncio.Task[Any]) -> None:
        while True:
            await asyncio.sleep(lease.HEARTBEAT_S)
            try:
                with storage_errors():
                    ours, cancel = await asyncio.to_thread(
                        associations.heartbeat, self._bridge.engine, self._id, owner=self._owner
                    )
                    if self._watch:
                        self._watch(await asyncio.to_thread(self._load))
            except StorageFailed as exc:
                log.warning("heartbeat missed association_id=%s reason=%s", self._id, exc)
                continue
            self._beaten_at_s = clock.steady_s()
            if not ours or cancel:
                lost = LeaseLost("The association was taken over by another process.")
                self._ended_by = RunCancelled("The association was cancelled.") if ours else lost
                self._stopping.set()
                task.cancel()
                return

    async def _still_ours(self) -> None:
        """Check the lease before a request: a process that slept must not write beside its successor."""
        if clock.steady_s() - self._beaten_at_s < lease.FRESH_S:
            return
        with storage_errors():
            ours, cancel = await asyncio.to_thread(
                associations.heartbeat, self._bridge.engine, self._id, owner=self._owner
            )
        if not ours:
            raise LeaseLost("The association was taken over by another process.")
        if cancel:
            raise RunCancelled("The association was cancelled.")
        self._beaten_at_s = clock.steady_s()

    async def _end(self, stage: ImportStage, values: dict[str, Any]) -> None:
        with storage_errors():
            await asyncio.to_thread(self._save_outcomes)
            await self._let_go(values | {"stage": stage, "finished_at": utc_now(), "cancel_asked": False})

    async def _let_go(self, values: dict[str, Any]) -> None:
        # From here on the lease is given up: the heart must not take that for losing it.
        if not await asyncio.to_thread(
            associations.let_go, self._bridge.engine, self._id, owner=self._owner, values=values
        ):
            raise LeaseLost("The association was taken over by another process before it was recorded.")
        log.info("association let go association_id=%s stage=%s", self._id, values["stage"])

    def _save_outcomes(self) -> None:
        """Write the outcome of every row to a file: whole, or not at all."""
        if not self._rows.has_plan:
            return
        try:
            with replacing(self._rows.outcomes) as part, part.open("w", encoding="utf-8", newline="") as file:
                file.writelines(outcome_lines(self._bridge, self._id))
        except (StorageError, OSError) as exc:
            # They are put together whenever they are asked for; the end itself must be recorded.
            log.warning("outcomes not saved association_id=%s reason=%s", self._id, exc)
