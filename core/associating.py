"""One association at work: check its file, or write what was confirmed. The process that calls it holds the lease."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlmodel import col, select

from core import export, rowcheck, spreadsheet
from core.bridge import Bridge, storage_errors
from core.errors import (
    CohortBridgeError,
    LeaseLost,
    NotConnected,
    NotFound,
    RunAlreadyActive,
    RunCancelled,
    SettingsError,
    StorageFailed,
    VendorSurprise,
)
from core.export import error_values, project_of, rule_of
from core.http import connect_http
from core.ingestion import BATCH_ROWS, Ingestion
from core.lease import LeaseWatch
from core.matching import APPTIMIZE_PROPERTY, MAX_LENGTH, PREFIXES, USER_PROPERTY, IdMerge, MatchRule
from core.mixpanel import Mixpanel, RetryPlan
from data import associations
from data.engine import StorageError, reading
from data.models import Association, AssociationBatch, Connection, Group, Run, Stage, utc_now
from data.rows import Judgement, Known, PlannedRow, RawRow, Rows
from data.snapshots import replacing

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
OUTCOME_COLUMNS = ("row", "distinct_id", "apptimize_id", "outcome", "reason")


def rows_of(bridge: Bridge, association_id: int) -> Rows:
    """Return where the rows of an association are kept."""
    home = bridge.settings.home / "associations" / f"{association_id:08d}"
    return Rows(home, scratch=bridge.settings.scratch, memory_mb=bridge.settings.snapshot_memory_mb)


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
        self._rows = rows_of(bridge, association_id)
        self._retry = RetryPlan(over_s=bridge.settings.retry_over_s)
        self._ended_by: CohortBridgeError | None = None
        self._stopping = threading.Event()
        self._beaten_at_s = export.steady_s()
        self._written: list[tuple[str, str]] = []

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
                await (self._check(found) if found.stage == Stage.CHECKING else self._write(found))
        except asyncio.CancelledError:
            if isinstance(self._ended_by, RunCancelled):
                task.uncancel()
                await self._end(Stage.CANCELLED, {})
            elif self._ended_by:
                raise self._ended_by from None
            else:
                raise
        except LeaseLost:
            raise
        except CohortBridgeError as exc:
            stage = Stage.CANCELLED if isinstance(exc, RunCancelled) else Stage.FAILED
            await self._end(stage, error_values(exc) if stage == Stage.FAILED else {})
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
        await self._let_go(values | {"stage": Stage.CHECKED})

    def _judge(self, found: Association) -> dict[str, Any]:
        if self._rows.upload.is_file():
            with self._rows.upload.open("rb") as file:
                read = rowcheck.read_rows(file, expects_prefix=found.expects_prefix)
                self._rows.keep(self._stoppable(read))
            self._rows.upload.unlink(missing_ok=True)
        judged = self._judge_rows(found)
        return {
            "rows": judged.rows,
            "writable": judged.writable,
            "problems": judged.problems,
            "effects": judged.effects | ({"taken": judged.taken} if judged.taken else {}),
        }

    def _judge_rows(self, found: Association, tries: int = 3) -> Judgement:
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
            if tries <= 1 or all(one.is_file() for one in (*known.members, *known.left_out)):
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
            project_of(self._bridge, connection),
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
        await self._end(Stage.DONE, looked_up | {"requests": client.requests})

    @asynccontextmanager
    async def _batches(self, after: int) -> AsyncGenerator[Callable[[], Awaitable[list[tuple[int, str, str]] | None]]]:
        """Open the rows to write; give the function that takes the next batch of them, which alone is in memory."""
        batches = self._rows.batches(after=after, size=BATCH_ROWS)
        taking: asyncio.Future[Any] | None = None

        async def take() -> list[tuple[int, str, str]] | None:
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

    async def _write_batch(self, client: Ingestion, found: Association, rows: list[tuple[int, str, str]]) -> None:
        """Send a batch, and record its outcome. One that was sent and not recorded is sent again, which is no harm."""
        await self._begin(found, rows[-1][0])
        answered = await client.set_ids([(one, other) for _, one, other in rows], found.match_property)
        unsure = {index: reason for index, reason in answered.items() if reason == associations.NOT_SAID}
        refused = {index: reason for index, reason in answered.items() if index not in unsure}
        at_s = int(found.created_at.timestamp())
        unaliased = (await self._alias(client, rows, refused, at_s) if found.aliases else {}) | unsure
        batch = AssociationBatch(
            association_id=self._id,
            start=rows[0][0],
            end=rows[-1][0],
            size=len(rows),
            refused={str(rows[index][0]): reason for index, reason in refused.items()},
            unaliased={str(rows[index][0]): reason for index, reason in unaliased.items()},
        )
        ours = await asyncio.to_thread(
            associations.record_batch, self._bridge.engine, batch, owner=self._owner, requests=client.requests
        )
        if not ours:
            raise LeaseLost("The association was taken over by another process.")
        self._written = [rows[index][1:] for index in range(len(rows)) if index not in answered][:_LOOKED_UP]
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
            associations.beat, self._bridge.engine, self._id, owner=self._owner, values={"begun": last_row}
        )
        if not ours:
            raise LeaseLost("The association was taken over by another process.")
        if cancel:
            raise RunCancelled("The association was cancelled.")
        self._beaten_at_s = export.steady_s()

    async def _alias(
        self, client: Ingestion, rows: list[tuple[int, str, str]], refused: dict[int, str], at_s: int
    ) -> dict[int, str]:
        """Alias the rows that were written; an id that is the distinct id itself needs none."""
        wanted = [index for index, (_, one, other) in enumerate(rows) if index not in refused and one != other]
        if not wanted:
            return {}
        found = await client.alias([rows[index][1:] for index in wanted], at_s=at_s)
        return {
            wanted[index]: _ALIAS_NOT_SAID if reason == associations.NOT_SAID else reason
            for index, reason in found.items()
        }

    async def _look_up(self, connection: Connection, match_property: str) -> dict[str, int]:
        """Ask for some of what was written: a token of no project is accepted, and what it brings goes nowhere."""
        if not self._written:
            return {}
        client = Mixpanel(
            self._http, project_of(self._bridge, connection), self._bridge.engine, retry=RetryPlan(1, over_s=1.0)
        )
        try:
            profiles = await client.profiles([one for one, _ in self._written], match_property)
        except CohortBridgeError as exc:
            log.info("association not looked up association_id=%s reason=%s", self._id, exc.name)
            return {}
        values = {value for value in profiles.values if isinstance(value, str)}
        return {"looked_up": len(self._written), "found": sum(other in values for _, other in self._written)}

    # --- the lease -------------------------------------------------------------------------------------------------

    async def _beat_on(self, task: asyncio.Task[Any]) -> None:
        while True:
            await asyncio.sleep(export.BEAT_S)
            try:
                with storage_errors():
                    ours, cancel = await asyncio.to_thread(
                        associations.beat, self._bridge.engine, self._id, owner=self._owner
                    )
                    if self._watch:
                        self._watch(await asyncio.to_thread(self._load))
            except StorageFailed as exc:
                log.warning("heartbeat missed association_id=%s reason=%s", self._id, exc)
                continue
            self._beaten_at_s = export.steady_s()
            if not ours or cancel:
                lost = LeaseLost("The association was taken over by another process.")
                self._ended_by = RunCancelled("The association was cancelled.") if ours else lost
                self._stopping.set()
                task.cancel()
                return

    async def _still_ours(self) -> None:
        """Check the lease before a request: a process that slept must not write beside its successor."""
        if export.steady_s() - self._beaten_at_s < export.FRESH_S:
            return
        with storage_errors():
            ours, cancel = await asyncio.to_thread(associations.beat, self._bridge.engine, self._id, owner=self._owner)
        if not ours:
            raise LeaseLost("The association was taken over by another process.")
        if cancel:
            raise RunCancelled("The association was cancelled.")
        self._beaten_at_s = export.steady_s()

    async def _end(self, stage: Stage, values: dict[str, Any]) -> None:
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


def outcome_lines(bridge: Bridge, association_id: int) -> Iterator[str]:
    """Yield the outcome of every row as CSV for reading; a chunk of rows and one of batches are in memory."""
    yield from spreadsheet.lines(OUTCOME_COLUMNS, _outcomes(bridge, association_id))


def _outcomes(bridge: Bridge, association_id: int) -> Iterator[tuple[object, ...]]:
    found = associations.get(bridge.engine, association_id)
    recorded = _Recorded(bridge, association_id, begun=found.begun if found else 0)
    for rows in rows_of(bridge, association_id).iterate():
        for row in rows:
            outcome, reason = recorded.outcome(row)
            yield row.row, row.distinct_id, row.apptimize_id, outcome, reason


@dataclass
class _Recorded:
    """The batches that were recorded, walked through in step with the rows."""

    bridge: Bridge
    association_id: int
    begun: int
    _waiting: list[AssociationBatch] = field(default_factory=list[AssociationBatch])
    _asked: bool = False

    def outcome(self, row: PlannedRow) -> tuple[str, str]:
        if row.problem is not None:
            return "not written", rowcheck.PROBLEMS.get(row.problem, row.problem)
        batch = self._batch(row.row)
        if batch is None and row.row <= self.begun:
            return "not confirmed", "It was sent and not answered: it may be written. Going on sends it again."
        if batch is None:
            return "not reached", "Nothing was sent for this row."
        if reason := batch.refused.get(str(row.row)):
            return "refused", reason
        if (reason := batch.unaliased.get(str(row.row))) == associations.NOT_SAID:
            return "not confirmed", reason
        if reason:
            return "written, not aliased", reason
        return "written", ""

    def _batch(self, row: int) -> AssociationBatch | None:
        while self._waiting and self._waiting[0].end < row:
            self._waiting.pop(0)
        if not self._waiting and not self._asked:
            self._waiting = associations.batches(self.bridge.engine, self.association_id, after=row - 1)
            self._asked = not self._waiting  # there are no more
        first = self._waiting[0] if self._waiting else None
        return first if first and first.start <= row else None


def property_to_set(rule: MatchRule) -> str:
    """Return the property that associating sets: the one matched on, but never a Simplified project's own user id."""
    return APPTIMIZE_PROPERTY if rule.match_property == USER_PROPERTY else rule.match_property


def aliases_ids(connection: Connection) -> bool:
    """Tell whether each id is aliased too: only where ids are merged the original way."""
    return connection.id_merge == IdMerge.ORIGINAL


def connection_to_write(bridge: Bridge, found: Association) -> tuple[Connection, str]:
    """Return the connection that an association goes through, and its project token.

    Raises: NotConnected, SecretKeyLost, SettingsError when it sets other ids now than those that were checked.
    """
    with reading(bridge.engine) as session:
        connection = session.get(Connection, found.mixpanel_id)
    if connection is None or connection.removed or connection.project_id != found.project_id:
        raise NotConnected("The Mixpanel connection was removed, or leads to another project now.")
    if (found.match_property, found.aliases) != (property_to_set(rule_of(connection)), aliases_ids(connection)):
        raise SettingsError(
            "The match property or the ID merge mode of the Mixpanel connection changed after the rows were checked.",
            advice="Start with the file again.",
        )
    if not connection.project_token:
        raise NotConnected(
            "The Mixpanel connection has no project token, and profiles cannot be written without it.",
            advice="Ask an admin to enter it on the Connections page: Mixpanel shows it in the project settings.",
            code="no_project_token",
        )
    return connection, bridge.vault.decrypt(connection.project_token)


def known_profiles(bridge: Bridge, project_id: int) -> Known:
    """Name the files of what the latest readings of the project's cohorts know of its profiles."""
    snapshots = bridge.snapshots
    with reading(bridge.engine) as session:
        groups = select(Group.id).where(Group.project_id == project_id)
        bases = session.exec(select(Group.base_snapshot).where(Group.project_id == project_id)).all()
        left_out = session.exec(
            select(Run.left_out).where(col(Run.group_id).in_(groups), col(Run.left_out).is_not(None))
        ).all()
    return Known(
        members=[snapshots.path(name) for name in dict.fromkeys(bases) if name and snapshots.is_whole(name)],
        left_out=[snapshots.path(name) for name in left_out if name and snapshots.is_whole(name)],
    )


# --- who does it -----------------------------------------------------------------------------------------------------


class AssociationWatch(LeaseWatch):
    """Finds associations whose process died, and puts them back into the queue."""

    def _leases(self) -> list[tuple[int, str, int]]:
        return associations.leases(self.bridge.engine)

    def _interrupt(self, number: int, owner: str, beat: int) -> bool:
        ended = associations.interrupt(self.bridge.engine, number, owner=owner, beat_seen=beat, error=DEAD)
        if ended:
            log.warning("association interrupted association_id=%s", number)
        return ended


class Desk:
    """A worker's associations: one at a time, beside its runs."""

    def __init__(self, bridge: Bridge, owner: str) -> None:
        self._bridge = bridge
        self._owner = owner
        self._watch = AssociationWatch(bridge)
        self._claimed: int | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def undecided(self) -> bool:
        """Whether there are associations not known yet to be alive or dead."""
        return self._watch.undecided

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What is at work at this moment."""
        return [self._task] if self._task and not self._task.done() else []

    def look_for_dead(self) -> None:
        """Put back into the queue what a process that died had at work."""
        self._watch.look()

    def dispatch(self) -> None:
        """Claim what waits, as long as none is at work here."""
        if self._claimed is not None or (self._task and not self._task.done()):
            return
        for number in associations.claimable(self._bridge.engine):
            if associations.claim(self._bridge.engine, number, owner=self._owner):
                self._claimed = number
                return

    def start_claimed(self, http: httpx.AsyncClient) -> None:
        """Set to work what was claimed."""
        if self._claimed is not None:
            number, self._claimed = self._claimed, None
            self._task = asyncio.create_task(_carry_out(self._bridge, number, self._owner, http))

    async def stop(self) -> None:
        """Hand back what is at work or claimed."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._claimed is not None:
            await asyncio.to_thread(_hand_back, self._bridge, self._claimed, self._owner)
            self._claimed = None


def wait_until_free(bridge: Bridge, number: int) -> None:
    """Return once nobody holds an association: at once, or a lease's time after the process that had it died.

    Raises: RunAlreadyActive when another process is at work on it.
    """
    watch, first_beat = AssociationWatch(bridge), None
    while True:
        found = associations.get(bridge.engine, number)
        if found is None or found.owner is None:
            return
        first_beat = found.beat if first_beat is None else first_beat
        if found.beat != first_beat:
            raise RunAlreadyActive(f"Association {number} is at work in another process at this moment.")
        watch.look()
        time.sleep(export.BEAT_S)


async def carry_out_here(
    bridge: Bridge, number: int, *, owner: str, watch: Callable[[Association], None] | None = None
) -> Association:
    """Do what an association of this process's own waits for, in this process. Cancelling the call cancels it.

    Raises: LeaseLost, StorageFailed.
    """
    async with connect_http() as http:
        try:
            with storage_errors():
                if not await asyncio.to_thread(associations.claim, bridge.engine, number, owner=owner):
                    raise LeaseLost(f"Association {number} was taken by another process.")
            return await Associating(bridge, number, owner=owner, http=http, watch=watch).run()
        except asyncio.CancelledError:
            values = {"stage": Stage.CANCELLED, "finished_at": utc_now()}
            ending = asyncio.to_thread(associations.let_go, bridge.engine, number, owner=owner, values=values)
            await asyncio.shield(ending)
            raise


async def _carry_out(bridge: Bridge, number: int, owner: str, http: httpx.AsyncClient) -> None:
    log.info("association starts association_id=%s", number)
    try:
        await Associating(bridge, number, owner=owner, http=http).run()
    except LeaseLost as exc:
        log.warning("association lost association_id=%s reason=%s", number, exc)
    except CohortBridgeError as exc:
        log.error("association not recorded association_id=%s code=%s", number, exc.name)  # noqa: TRY400
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.to_thread(_hand_back, bridge, number, owner))
        raise
    except Exception:
        log.exception("association failed unexpectedly association_id=%s", number)
        await asyncio.to_thread(_fail_unexpectedly, bridge, number, owner)


def _hand_back(bridge: Bridge, number: int, owner: str) -> None:
    try:
        associations.hand_back(bridge.engine, number, owner=owner)
    except StorageError as exc:
        log.warning("association not handed back association_id=%s reason=%s", number, exc)


def _fail_unexpectedly(bridge: Bridge, number: int, owner: str) -> None:
    values = {
        "stage": Stage.FAILED,
        "finished_at": utc_now(),
        "error_code": "unexpected",
        "error_message": "This stopped on an error that Cohort Bridge did not foresee.",
        "error_advice": "The worker's log has the details. What was written until then is in the outcomes.",
    }
    try:
        associations.let_go(bridge.engine, number, owner=owner, values=values)
    except StorageError as exc:
        log.warning("association not recorded association_id=%s reason=%s", number, exc)
