"""One run: read, match, compare, guard, deliver, record. The process that calls it holds the run's lease."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
from sqlmodel import Session, col, func, select, update

from core import access, cohorts, guard, quota
from core.address import Reach, reach_of
from core.apptimize import CsvDelivery, Delivery, EndpointDelivery, Target, message_count
from core.bridge import Bridge, storage_errors
from core.errors import (
    CohortBridgeError,
    GroupTaken,
    LeaseLost,
    NoQuerySlot,
    NotConnected,
    NotFound,
    RateLimited,
    RunCancelled,
    RunHeld,
    StorageFailed,
)
from core.http import connect_entered
from core.journal import Journal
from core.matching import ANONYMOUS, IDENTIFIED, IdMerge, MatchRule, Reason
from core.mixpanel import Mixpanel, Project, RetryPlan
from core.reading import CohortReader, Progress, Width
from data import runs
from data.engine import StorageError, reading, writing
from data.models import Connection, Group, Kind, Run, Status, Sync, utc_now
from data.snapshots import Collector, Difference, Tally

log = logging.getLogger(__name__)

BEAT_S = 1.0
LEASE_S = quota.LEASE_S
# A lease that was renewed this recently is ours without asking again.
FRESH_S = 5.0
_SNAPSHOTS_KEPT = 30
# Groups can be edited by hand at the destination: once a day the whole of them is written again.
_FULL_EVERY = timedelta(hours=24)

Way = Literal["full", "delta", "none"]


@dataclass(frozen=True)
class Job:
    """All that a run needs to know, loaded at its start."""

    run: Run
    sync: Sync
    group: Group
    mixpanel: Connection
    destination: Connection

    @property
    def rule(self) -> MatchRule:
        """How the connection matches users, as far as the sync has no setting of its own."""
        return rule_of(self.mixpanel, self.sync)

    @property
    def snapshot(self) -> str:
        """The name of the snapshot that this run writes."""
        return f"run-{self.run.id:08d}"

    @property
    def difference(self) -> str:
        """The name of the file with the ids that this run adds and removes."""
        return difference_name(self.run)

    @property
    def left_out(self) -> str:
        """The name of the file with the profiles that made no member."""
        return f"left-out-{self.run.id:08d}"


class Export:
    """One run at work: make it after the claim, and call `run` once.

    `watch` is told the progress about once a second, besides the run's row.
    """

    def __init__(
        self,
        bridge: Bridge,
        run_id: int,
        *,
        owner: str,
        http: httpx.AsyncClient,
        watch: Callable[[Progress], None] | None = None,
    ) -> None:
        self._bridge = bridge
        self._run_id = run_id
        self._owner = owner
        self._http = http
        self._watch = watch
        self._retry = RetryPlan(over_s=bridge.settings.retry_over_s)
        self._progress = Progress()
        self._client: Mixpanel | None = None
        self._delivery: Delivery | None = None
        self._flight: quota.Flight | None = None
        self._width = Width(0)
        self._flying = False
        self._whole: dict[str | None, bool] = {}
        self._beaten_at_s = steady_s()
        self._ended_by: CohortBridgeError | None = None
        self._recording = False
        self._counts: dict[str, Any] = {}
        self._steps_logged = 0
        self._asked_before = (0, 0)  # requests and queries of earlier attempts that had to wait
        # Decoding and DuckDB work here, one call after the other, beside the loop that keeps the requests going.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"run-{run_id}")

    async def run(self) -> Run:
        """Do the claimed run to its end and return it as recorded; failures are recorded in it, not raised.

        Raises: NoQuerySlot when it has to wait and LeaseLost when another took over (nothing is recorded then);
        asyncio.CancelledError when this process is asked to stop.
        """
        task = asyncio.current_task()
        assert task is not None
        heart = asyncio.create_task(self._beat_on(task))
        try:
            with storage_errors():
                return await self._work()
        except asyncio.CancelledError:
            if isinstance(self._ended_by, RunCancelled):
                task.uncancel()
                return await self._record_failure(self._ended_by)
            if self._ended_by:
                raise self._ended_by from None
            raise
        except RateLimited as exc:
            if exc.kind != "hour":
                return await self._record_failure(exc)
            await self._keep_progress()
            raise await asyncio.to_thread(self._no_slot) from exc
        except NoQuerySlot:
            await self._keep_progress()
            raise
        except LeaseLost:
            raise
        except CohortBridgeError as exc:
            return await self._record_failure(exc)
        finally:
            heart.cancel()
            with suppress(asyncio.CancelledError):
                await heart
            await asyncio.shield(asyncio.to_thread(self._let_go))

    def _let_go(self) -> None:
        if self._flight:
            with suppress(CohortBridgeError), storage_errors():
                self._flight.release()
        self._worker.shutdown(wait=True, cancel_futures=False)

    def _no_slot(self) -> NoQuerySlot:
        assert self._flight
        return quota.no_slot(quota.block(self._bridge.engine, self._flight.project))

    # --- the steps -------------------------------------------------------------------------------------------------

    async def _work(self) -> Run:
        job = await asyncio.to_thread(load, self._bridge, self._run_id)
        self._asked_before = (job.run.requests, job.run.queries)
        self._progress.journal = Journal.begun(await asyncio.to_thread(runs.log_of, self._bridge.engine, self._run_id))
        self._progress.begin("starting")
        if job.run.restores:
            return await self._restore(job, job.run.restores)
        project = project_of(self._bridge, job.mixpanel)
        journal = self._progress.journal
        self._client = Mixpanel(self._http, project, self._bridge.engine, retry=self._retry, note=journal.called)
        holder = runs.holder_name(self._owner, self._run_id)
        self._flight = quota.Flight(self._bridge.engine, project.key, holder=holder)
        await self._wait_for_flight(self._flight)
        self._progress.begin("finding")
        cohort = await cohorts.find(self._bridge.engine, self._client, project.key, job.sync.cohort_id, reader=holder)
        job = await asyncio.to_thread(take_over_name, self._bridge, job, cohort.name)
        self._counts = {"in_cohort": cohort.count, "matched_by": str(job.rule)}
        reader = CohortReader(
            client=self._client,
            rule=job.rule,
            cohort_id=job.sync.cohort_id,
            width=self._width,
            worker=self._worker,
            new_collector=self._bridge.snapshots.collector,
            progress=self._progress,
            page_size=self._bridge.settings.page_size,
            accept_total=_is_permitted(job, "held_total"),
        )
        try:
            async with reader.whole() as (tally, collector):
                self._progress.begin("comparing")
                difference = await reader.in_worker(lambda: self._compare(job, collector))
                if tally.profiles > tally.members:
                    await reader.in_worker(lambda: collector.write_left_out(self._bridge.snapshots.path(job.left_out)))
                    self._counts |= {"left_out": job.left_out}
        except RunHeld:
            self._counts |= tally_values(reader.tally)  # the pages were whole: only the total speaks against them
            raise
        self._counts |= tally_values(tally) | difference_values(difference)
        self._hold_if_wrong(job, tally, difference)
        return await self._write(job, job.snapshot, tally.members, difference, cohort.description)

    async def _restore(self, job: Job, name: str) -> Run:
        """Put the group back to a kept snapshot: nothing is read, and the whole of it is written."""
        self._progress.begin("comparing")
        snapshots = self._bridge.snapshots
        members = await asyncio.to_thread(snapshots.count, name)
        base = self._base(job)
        difference = await asyncio.to_thread(snapshots.keep_difference, job.difference, name, base)
        self._progress.profiles = members
        self._counts = {"profiles": members, "members": members} | difference_values(difference)
        return await self._write(job, name, members, difference, "")

    async def _write(self, job: Job, name: str, members: int, difference: Difference, description: str) -> Run:
        """Write the snapshot of that name to the group, the shortest way that is safe, and record it."""
        target = Target(
            project_id=job.sync.project_id,
            cohort_id=job.sync.cohort_id,
            cohort_name=job.group.cohort_name,
            group_name=job.group.name,
            description=description,
        )
        async with self._http_to(job.destination) as http:
            delivery = self._delivery_for(job, http)
            in_place = await asyncio.to_thread(delivery.is_in_place, target)
            way = way_to_write(
                job, difference, base_is_there=self._base(job) is not None, in_place=in_place, delivery=delivery
            )
            if way != "none" and not job.run.dry_run:
                await self._deliver(job, delivery, target, name, members, difference, way)
        return await self._record_success(job, name, members, difference, way)

    async def _wait_for_flight(self, flight: quota.Flight) -> None:
        self._progress.begin("queueing")
        while not (width := await asyncio.to_thread(flight.take)):
            await asyncio.sleep(BEAT_S)
        self._width.resize(width)
        self._flying = True

    def _compare(self, job: Job, collector: Collector) -> Difference:
        """Compare with the base; a run that will write keeps what it read as a snapshot first.

        A dry run keeps only the difference, to be looked at, and on the command line, which counts, not even that.
        """
        snapshots, base = self._bridge.snapshots, self._base(job)
        if job.run.dry_run and job.run.trigger == "cli":
            return collector.compare(snapshots.path(base) if base else None)
        collector.write(snapshots.path(job.snapshot))
        try:
            return snapshots.keep_difference(job.difference, job.snapshot, base)
        finally:
            if job.run.dry_run:
                snapshots.remove(job.snapshot)

    def _base(self, job: Job) -> str | None:
        name = job.group.base_snapshot
        if name not in self._whole:
            self._whole[name] = self._bridge.snapshots.is_whole(name)
        return name if self._whole[name] else None

    def _hold_if_wrong(self, job: Job, tally: Tally, difference: Difference) -> None:
        if _is_permitted(job, "held_no_ids"):
            return
        guard.hold_for_no_ids(
            profiles=tally.profiles,
            members=tally.members,
            base_members=job.group.members,
            match_property=job.rule.match_property,
        )
        if _is_permitted(job, "held_shrink"):
            return
        if self._base(job) is None:
            guard.hold_for_unknown_base(base_members=job.group.members, most_percent=job.sync.max_shrink)
        guard.hold_for_shrinking(
            removed=difference.removed, base_members=job.group.members, most_percent=job.sync.max_shrink
        )

    async def _deliver(
        self,
        job: Job,
        delivery: Delivery,
        target: Target,
        name: str,
        members: int,
        difference: Difference,
        way: Way,
    ) -> None:
        self._progress.begin("delivering")
        self._delivery = delivery
        if delivery.takes_differences:
            sizes = [members] if way == "full" else [difference.removed, difference.added]
            self._progress.messages_expected = sum(message_count(size, whole=way == "full") for size in sizes)
        assert job.group.id is not None
        # Committed before the first message: whatever happens now, the next run knows that it cannot trust the base.
        if not await asyncio.to_thread(runs.doubt, self._bridge.engine, self._run_id, job.group.id, owner=self._owner):
            raise LeaseLost("The run lost its lease before it wrote anything.")
        snapshots = self._bridge.snapshots
        if way == "full":
            await delivery.overwrite(target, snapshots.iterate(name), members=members)
            return
        removed = snapshots.iterate_changes(job.difference, "removed")
        await delivery.change(target, "removed", removed, members=difference.removed)
        added = snapshots.iterate_changes(job.difference, "added")
        await delivery.change(target, "added", added, members=difference.added)

    def _http_to(self, destination: Connection) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """Open the client that may connect to a destination; wherever it may go, that is the one at hand."""
        reach = reach_of(allow_private=self._bridge.settings.allow_private_hosts, practice=destination.practice)
        if reach is Reach.ANYWHERE or destination.kind != Kind.ENDPOINT:
            return nullcontext(self._http)
        return connect_entered(reach, connections=self._bridge.settings.messages_in_flight)

    def _delivery_for(self, job: Job, http: httpx.AsyncClient) -> Delivery:
        if job.destination.kind == Kind.CSV:
            return CsvDelivery(Path(job.destination.folder), self._still_ours, job.group.delivered_name)
        return EndpointDelivery(
            http,
            job.destination.url,
            self._bridge.vault.decrypt(job.destination.secret),
            self._still_ours,
            in_flight=self._bridge.settings.messages_in_flight,
            retry=self._retry,
            note=self._progress.journal.called,
        )

    # --- the lease -------------------------------------------------------------------------------------------------

    async def _beat_on(self, task: asyncio.Task[Any]) -> None:
        """Renew leases and write progress, until cancelled; ends `task` when the lease is lost or it is told to."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                with storage_errors():
                    await self._beat(task)
            except StorageFailed as exc:
                # The lease outlasts a database that is locked for a while.
                log.warning("heartbeat missed run_id=%s reason=%s", self._run_id, exc)

    async def _beat(self, task: asyncio.Task[Any]) -> None:
        values, journal = self._progress_values(), self._progress.journal
        # A process that dies leaves what it had begun; what it was answered is worth a write only at the end.
        log_now = journal.kept() if len(journal.steps) != self._steps_logged else None
        self._steps_logged = len(journal.steps)
        ours, cancel = await asyncio.to_thread(
            runs.beat, self._bridge.engine, self._run_id, owner=self._owner, progress=values, log=log_now
        )
        if not ours:
            self._end(task, LeaseLost("The run was taken over by another process."))
        elif cancel:
            self._end(task, RunCancelled("The run was cancelled."))
        else:
            self._beaten_at_s = steady_s()
            if self._flight and self._flying:
                self._width.resize(await asyncio.to_thread(self._keep_flying, self._flight))
                if self._width.settled:
                    await asyncio.to_thread(self._flight.hand_back)
        if self._watch:
            self._watch(self._progress)

    def _keep_flying(self, flight: quota.Flight) -> int:
        # A process that was held up may find its places taken: without a new one it would wait for ever.
        return flight.renew() or flight.take()

    def _end(self, task: asyncio.Task[Any], reason: CohortBridgeError) -> None:
        # Once the end is being recorded the lease is given up: that is not losing it.
        if self._ended_by is None and not self._recording:
            self._ended_by = reason
            task.cancel()

    async def _still_ours(self) -> None:
        """Check the lease before a message: a process that slept must not overwrite its successor's work."""
        if steady_s() - self._beaten_at_s < FRESH_S:
            return
        with storage_errors():
            ours, _ = await asyncio.to_thread(runs.beat, self._bridge.engine, self._run_id, owner=self._owner)
        if not ours:
            raise LeaseLost("The run was taken over by another process.")
        self._beaten_at_s = steady_s()

    async def _keep_progress(self) -> None:
        """Write what was asked so far, since another attempt will go on counting from it."""
        with storage_errors():
            values = self._progress_values()
            await asyncio.to_thread(
                runs.beat,
                self._bridge.engine,
                self._run_id,
                owner=self._owner,
                progress=values,
                log=self._progress.journal.kept(),
            )

    def _progress_values(self) -> dict[str, Any]:
        now = self._progress
        if self._client:
            now.requests, now.queries = self._client.requests, self._client.queries
        if self._delivery:
            now.messages = self._delivery.messages
        return {
            "step": now.step,
            "expected": now.expected,
            "profiles": now.profiles,
            "pages": now.pages,
            "pages_expected": now.pages_expected,
            "messages": now.messages,
            "messages_expected": now.messages_expected,
            "requests": now.requests + self._asked_before[0],
            "queries": now.queries + self._asked_before[1],
        }

    # --- the end ---------------------------------------------------------------------------------------------------

    async def _record_success(self, job: Job, name: str, members: int, difference: Difference, way: Way) -> Run:
        at = utc_now()
        values = self._progress_values() | self._counts
        values |= {"status": Status.SUCCEEDED, "step": "done", "write": way, "finished_at": at}
        if job.run.dry_run:
            if self._bridge.snapshots.exists(job.difference) and (difference.added or difference.removed):
                values |= {"difference": job.difference}
            await self._record(values, None)
            await asyncio.to_thread(self._forget_other_previews, job, values)
            await asyncio.to_thread(self._forget_older_left_out)
            return await self._as_recorded()
        group_values: dict[str, Any] = {"verified_at": at}
        if way != "none" or difference.renamed:
            values |= {"snapshot": name}
            group_values |= {
                "base_run_id": self._run_id,
                "base_snapshot": name,
                "base_match": str(job.rule),
                "members": members,
            }
        else:
            values |= {"snapshot": job.group.base_snapshot}
        if difference.added or difference.removed:
            values |= {"difference": job.difference}
        if way != "none":
            group_values |= {"delivered_name": job.group.name, "delivered_at": at, "in_doubt": False}
        if way == "full":
            group_values |= {"full_at": at}
        await self._record(values, group_values, delivered_to=job.destination)
        await asyncio.to_thread(self._tidy_up, job, values)
        return await self._as_recorded()

    def _forget_other_previews(self, job: Job, values: dict[str, Any]) -> None:
        """Keep the difference of a group's newest dry run only: it may be as large as the cohort."""
        with _left_for_later():
            for name in runs.forget_previews(self._bridge.engine, self._run_id):
                self._bridge.snapshots.remove(name)
            if "difference" not in values:
                self._bridge.snapshots.remove(job.difference)

    def _tidy_up(self, job: Job, values: dict[str, Any]) -> None:
        """Remove the files of this run that its row does not name, and the group's oldest snapshots."""
        with _left_for_later():
            for name, named in ((job.snapshot, values.get("snapshot")), (job.difference, values.get("difference"))):
                if name != named:
                    self._bridge.snapshots.remove(name)
            if not job.run.restores:
                forget_older_left_out(self._bridge, self._run_id)
            if values.get("snapshot") != job.group.base_snapshot:
                forget_old_snapshots(self._bridge, job.group)

    def _forget_older_left_out(self) -> None:
        with _left_for_later():
            forget_older_left_out(self._bridge, self._run_id)

    async def _record_failure(self, exc: CohortBridgeError) -> Run:
        status = Status.FAILED
        if isinstance(exc, RunHeld):
            status = Status.HELD
        elif isinstance(exc, RunCancelled):
            status = Status.CANCELLED
        values = self._progress_values() | self._counts | error_values(exc)
        difference = f"difference-{self._run_id:08d}"
        # What would have changed is kept to look at as long as a person has to decide.
        if status == Status.HELD and self._bridge.snapshots.exists(difference):
            values |= {"difference": difference}
        left_out = values.pop("left_out", None)
        if status == Status.HELD and left_out:
            values |= {"left_out": left_out}
        reason = f"{exc.message} {exc.advice}" if exc.pauses else None
        await self._record(values | {"status": status, "finished_at": utc_now()}, None, paused_reason=reason)
        # What a run that failed had kept is not what any group holds.
        with _left_for_later():
            await asyncio.to_thread(self._bridge.snapshots.remove, f"run-{self._run_id:08d}")
            if "difference" not in values:
                await asyncio.to_thread(self._bridge.snapshots.remove, difference)
            if "left_out" in values:
                await asyncio.to_thread(forget_older_left_out, self._bridge, self._run_id)
            elif left_out:
                await asyncio.to_thread(self._bridge.snapshots.remove, left_out)
        return await self._as_recorded()

    async def _record(
        self,
        values: dict[str, Any],
        group_values: dict[str, Any] | None,
        *,
        delivered_to: Connection | None = None,
        paused_reason: str | None = None,
    ) -> None:
        self._recording = True
        with storage_errors():
            ours = await asyncio.to_thread(
                runs.record,
                self._bridge.engine,
                self._run_id,
                owner=self._owner,
                values=values,
                group_values=group_values,
                delivered_to=delivered_to,
                paused_reason=paused_reason,
                pausing=access.scope(self._bridge, "worker", "pause_sync"),
                log=self._progress.journal.kept(),
            )
        if not ours:
            raise LeaseLost("The run was taken over by another process before it was recorded.")
        log.info(
            "run ended run_id=%s status=%s profiles=%s members=%s requests=%s messages=%s error=%s",
            self._run_id,
            values["status"],
            values["profiles"],
            values.get("members"),
            values["requests"],
            values["messages"],
            values.get("error_code"),
        )

    async def _as_recorded(self) -> Run:
        run = await asyncio.to_thread(runs.get, self._bridge.engine, self._run_id)
        assert run is not None
        return run


@contextmanager
def _left_for_later() -> Generator[None]:
    """Go on when files cannot be removed once the end is recorded: the worker removes what no row names."""
    try:
        yield
    except (StorageError, OSError) as exc:
        log.warning("files left behind reason=%s", exc)


def way_to_write(job: Job, difference: Difference, *, base_is_there: bool, in_place: bool, delivery: Delivery) -> Way:
    """Choose how a group is written: not at all, by the difference, or in full after any doubt about what it holds."""
    group = job.group
    must_be_full = (
        job.run.full
        or job.run.restores is not None
        or not base_is_there
        or group.in_doubt
        or group.full_at is None
        or not timedelta(0) <= utc_now() - group.full_at < _FULL_EVERY
        or group.delivered_name != group.name
        or group.base_match != str(job.rule)
    )
    changed = bool(difference.added or difference.removed)
    if delivery.takes_differences:
        if must_be_full:
            return "full"
        return "delta" if changed else "none"
    known = base_is_there and not group.in_doubt and group.delivered_name == group.name and in_place
    return "none" if known and not changed and not job.run.full else "full"


def permit(code: str, matched_by: str) -> str:
    """Name what a person looked at: why a run was held, and how its users were matched."""
    return f"{code} {matched_by}"


def _is_permitted(job: Job, code: str) -> bool:
    return job.run.permitted and job.run.permits == permit(code, str(job.rule))


def difference_name(run: Run) -> str:
    """Name the file of the ids that a run adds and removes."""
    return f"difference-{run.id:08d}"


def rule_of(connection: Connection, sync: Sync | None = None) -> MatchRule:
    """Return how a connection matches users, or one sync of it that has settings of its own."""
    own = sync.match_property if sync else None
    expects = sync.expects_prefix if sync else None
    return MatchRule(
        IdMerge(connection.id_merge),
        own or connection.match_property,
        connection.expects_prefix if expects is None else expects,
    )


def load(bridge: Bridge, run_id: int) -> Job:
    """Load a run with all that it needs. Raises NotFound, NotConnected."""
    with reading(bridge.engine) as session:
        run = session.get(Run, run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id}.")
        sync = session.get_one(Sync, run.sync_id)
        group = session.get_one(Group, run.group_id)
        mixpanel = session.get(Connection, sync.mixpanel_id)
        destination = session.get(Connection, group.destination_id)
    if mixpanel is None or mixpanel.removed or mixpanel.project_id != sync.project_id:
        raise NotConnected("The Mixpanel connection of this sync was removed, or leads to another project now.")
    if destination is None or destination.removed:
        raise NotConnected(f"The destination {run.destination} was removed.")
    return Job(run, sync, group, mixpanel, destination)


def project_of(bridge: Bridge, connection: Connection) -> Project:
    """Build the address and credentials of a Mixpanel connection. Raises SecretKeyLost."""
    return Project(
        base_url=connection.base_url,
        project_id=connection.project_id,
        username=connection.username,
        secret=bridge.vault.decrypt(connection.secret),
        workspace_id=connection.workspace_id,
    )


def take_over_name(bridge: Bridge, job: Job, cohort_name: str) -> Job:
    """Note the cohort's present name, which a group without a name of its own follows.

    Raises: GroupTaken when another cohort's group at this destination has that name.
    """
    name = job.group.own_name or cohort_name
    with writing(bridge.engine) as session:
        refuse_taken_name(session, job.group, name)
        group = session.get_one(Group, job.group.id)
        run = session.get_one(Run, job.run.id)
        group.cohort_name = run.cohort_name = cohort_name
        group.name = run.group_name = name
        session.add_all([group, run])
        session.flush()
    return replace(job, group=group, run=run)


def refuse_taken_name(session: Session, group: Group, name: str) -> None:
    """Refuse a group name that another cohort's group at the same destination has. Raises GroupTaken."""
    other = session.exec(
        select(Group).where(
            Group.destination_id == group.destination_id,
            Group.name == name,
            col(Group.id) != group.id,
            col(Group.delivered_at).is_not(None) | col(Group.in_doubt),
        )
    ).first()
    if other:
        raise GroupTaken(
            f"The group {name} is fed by cohort {other.cohort_id} at this destination.",
            advice="Choose another group name: a group fed by two cohorts would hold neither.",
        )


def tally_values(tally: Tally) -> dict[str, Any]:
    """Turn what was collected into the run's counts, which add up to `profiles`."""
    unmatched = tally.reasons.get(Reason.UNMATCHED, 0)
    return {
        "profiles": tally.profiles,
        "members": tally.members,
        "duplicates": tally.duplicates,
        "unmatched": unmatched,
        "invalid": sum(tally.reasons.values()) - unmatched,
        "unprefixed": tally.unprefixed,
        "identified": tally.prefixed.get(IDENTIFIED, 0),
        "anonymous": tally.prefixed.get(ANONYMOUS, 0),
        "reasons": {reason: number for reason, number in tally.reasons.items() if reason != Reason.UNMATCHED},
    }


def difference_values(difference: Difference) -> dict[str, int]:
    """Turn a difference into the run's counts."""
    return {"added": difference.added, "removed": difference.removed, "unchanged": difference.unchanged}


def error_values(exc: CohortBridgeError) -> dict[str, str]:
    """Turn an error into what the run's row keeps of it."""
    return {"error_code": exc.name, "error_message": exc.message, "error_advice": exc.advice}


def forget_old_snapshots(bridge: Bridge, group: Group) -> None:
    """Keep the newest snapshots of a group, and its base; remove the others. Runs that changed nothing share one."""
    with writing(bridge.engine) as session:
        base = session.exec(select(Group.base_snapshot).where(Group.id == group.id)).one()
        newest = select(Run.snapshot).where(Run.group_id == group.id, col(Run.snapshot).is_not(None))
        kept = session.exec(newest.group_by(col(Run.snapshot)).order_by(func.max(Run.id).desc())).all()
        old = [name for name in kept[_SNAPSHOTS_KEPT:] if name and name != base]
        session.exec(update(Run).where(col(Run.snapshot).in_(old)).values(snapshot=None))
    for name in old:
        bridge.snapshots.remove(name)


def forget_older_left_out(bridge: Bridge, run_id: int) -> None:
    """Keep the profiles that made no member of a group's latest reading alone: they are for mending, not history."""
    with writing(bridge.engine) as session:
        group_id = session.exec(select(Run.group_id).where(Run.id == run_id)).one()
        older = (col(Run.group_id) == group_id, col(Run.id) < run_id, col(Run.left_out).is_not(None))
        names = session.exec(select(Run.left_out).where(*older)).all()
        session.exec(update(Run).where(*older).values(left_out=None))
    for name in names:
        if name:
            bridge.snapshots.remove(name)


def steady_s() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps where there is such a one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
