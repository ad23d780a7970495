"""One run: read, match, compare, guard, deliver, record. The process that calls it holds the run's lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx

from core.access import roles
from core.bridge import Bridge, storage_errors
from core.connections import cohort_list
from core.connections.project import project_for
from core.connections.query_budget import budget_for
from core.errors import CohortBridgeError, LeaseLost, NoQuerySlot, RateLimited, RunCancelled, RunHeld
from core.export.cohort_reader import CohortReader, ResizableSemaphore
from core.export.job import Job, load
from core.export.names import take_over_name
from core.export.outcome import difference_values, error_values, tally_values
from core.export.progress import Progress
from core.export.retention import forget_old_snapshots, forget_older_excluded
from core.leases import slots
from core.leases.lease import HeldLease
from core.rules import holding
from core.rules.holding import approval_key
from core.rules.writing import WriteMode, choose_write_mode
from core.run_log import RunLog
from core.vendors.addresses import Reach, reach_of
from core.vendors.cohort_sync import EndpointDelivery, message_count
from core.vendors.csv_files import CsvDelivery
from core.vendors.delivery import Delivery, Target
from core.vendors.http import connect_entered
from core.vendors.mixpanel import Mixpanel
from core.vendors.retry import RetryPlan
from data import run_queue, run_records, runs
from data.engine import StorageError
from data.leases import Renewal
from data.members.changes import Difference
from data.members.collector import Collector, Tally
from data.models import Connection, ConnectionKind, Run, RunStatus, utc_now

log = logging.getLogger(__name__)


class Export:
    """One run at work: make it after the claim, and call `run` once.

    `watch` is told the progress about once a second, besides the run's row.
    """

    def __init__(
        self,
        bridge: Bridge,
        run_id: int,
        *,
        lease_owner: str,
        http: httpx.AsyncClient,
        watch: Callable[[Progress], None] | None = None,
    ) -> None:
        self._bridge = bridge
        self._run_id = run_id
        self._lease_owner = lease_owner
        self._lease = HeldLease(bridge, "run", run_id, self._renew, after=self._after_heartbeat)
        self._http = http
        self._watch = watch
        self._retry = RetryPlan(over_s=bridge.settings.retry_over_s)
        self._progress = Progress()
        self._client: Mixpanel | None = None
        self._delivery: Delivery | None = None
        self._slots: slots.RequestSlots | None = None
        self._width = ResizableSemaphore(0)
        self._has_slots = False
        self._whole: dict[str | None, bool] = {}
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
        try:
            async with self._lease.kept():
                return await self._run()
        finally:
            await asyncio.shield(asyncio.to_thread(self._let_go))

    async def _run(self) -> Run:
        try:
            with storage_errors(), self._lease.reasons():
                return await self._work()
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

    def _let_go(self) -> None:
        if self._slots:
            with suppress(CohortBridgeError), storage_errors():
                self._slots.release()
        self._worker.shutdown(wait=True, cancel_futures=False)

    def _no_slot(self) -> NoQuerySlot:
        assert self._slots
        return budget_for(self._bridge, self._slots.project).block()

    # --- the steps -------------------------------------------------------------------------------------------------

    async def _work(self) -> Run:
        job = await asyncio.to_thread(load, self._bridge, self._run_id)
        self._asked_before = (job.run.requests, job.run.queries)
        self._progress.run_log = RunLog.begun(
            await asyncio.to_thread(runs.get_run_log, self._bridge.engine, self._run_id)
        )
        self._progress.begin("starting")
        if job.run.restore_snapshot:
            return await self._restore(job, job.run.restore_snapshot)
        project = project_for(self._bridge, job.mixpanel)
        run_log = self._progress.run_log
        budget = budget_for(self._bridge, project.key)
        self._client = Mixpanel(self._http, project, budget, retry=self._retry, note=run_log.called)
        parts_owner = run_queue.owner_of_parts(self._lease_owner, self._run_id)
        self._slots = slots.RequestSlots(self._bridge, project.key, lease_owner=parts_owner)
        await self._wait_for_slots(self._slots)
        self._progress.begin("finding")
        cohort = await cohort_list.find(
            self._bridge, self._client, project.key, job.sync.cohort_id, lease_owner=parts_owner
        )
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
            accept_total=_is_approved(job, "held_total"),
        )
        try:
            async with reader.whole() as (tally, collector):
                self._progress.begin("comparing")
                difference = await reader.in_worker(lambda: self._compare(job, collector))
                if tally.profiles > tally.members:
                    await reader.in_worker(lambda: collector.write_excluded(self._bridge.snapshots.path(job.excluded)))
                    self._counts |= {"excluded": job.excluded}
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
            way = choose_write_mode(
                job, difference, base_is_there=self._base(job) is not None, in_place=in_place, delivery=delivery
            )
            if way != "none" and not job.run.dry_run:
                await self._deliver(job, delivery, target, name, members, difference, way)
        return await self._record_success(job, name, members, difference, way)

    async def _wait_for_slots(self, request_slots: slots.RequestSlots) -> None:
        self._progress.begin("queueing")
        while not (width := await asyncio.to_thread(request_slots.take)):
            await asyncio.sleep(self._bridge.lease_times.heartbeat_s)
        self._width.resize(width)
        self._has_slots = True

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
        if _is_approved(job, "held_no_ids"):
            return
        holding.hold_for_no_ids(
            profiles=tally.profiles,
            members=tally.members,
            base_members=job.group.members,
            match_property=job.rule.match_property,
        )
        if _is_approved(job, "held_shrink"):
            return
        if self._base(job) is None:
            holding.hold_for_unknown_base(base_members=job.group.members, most_percent=job.sync.max_shrink)
        holding.hold_for_shrinking(
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
        way: WriteMode,
    ) -> None:
        self._progress.begin("delivering")
        self._delivery = delivery
        if delivery.takes_differences:
            sizes = [members] if way == "full" else [difference.removed, difference.added]
            self._progress.messages_expected = sum(message_count(size, whole=way == "full") for size in sizes)
        assert job.group.id is not None
        # Committed before the first message: whatever happens now, the next run knows that it cannot trust the base.
        if not await asyncio.to_thread(
            run_records.mark_in_doubt, self._bridge.engine, self._run_id, job.group.id, lease_owner=self._lease_owner
        ):
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
        if reach is Reach.ANYWHERE or destination.kind != ConnectionKind.ENDPOINT:
            return nullcontext(self._http)
        return connect_entered(reach, connections=self._bridge.settings.messages_in_flight)

    def _delivery_for(self, job: Job, http: httpx.AsyncClient) -> Delivery:
        if job.destination.kind == ConnectionKind.CSV:
            return CsvDelivery(Path(job.destination.folder), self._lease.check, job.group.delivered_name)
        return EndpointDelivery(
            http,
            job.destination.url,
            self._bridge.vault.decrypt(job.destination.secret),
            self._lease.check,
            in_flight=self._bridge.settings.messages_in_flight,
            retry=self._retry,
            note=self._progress.run_log.called,
        )

    # --- the lease -------------------------------------------------------------------------------------------------

    async def _renew(self) -> Renewal:
        run_log = self._progress.run_log
        # A process that dies leaves what it had begun; what it was answered is worth a write only at the end.
        log_now = run_log.kept() if len(run_log.steps) != self._steps_logged else None
        self._steps_logged = len(run_log.steps)
        return await self._write_heartbeat(log_now)

    async def _write_heartbeat(self, run_log: dict[str, Any] | None) -> Renewal:
        progress = self._progress_values()
        return await asyncio.to_thread(
            run_queue.heartbeat,
            self._bridge.engine,
            self._run_id,
            lease_owner=self._lease_owner,
            progress=progress,
            log=run_log,
        )

    async def _after_heartbeat(self) -> None:
        if self._slots and self._has_slots:
            self._width.resize(await asyncio.to_thread(self._keep_slots, self._slots))
            if self._width.settled:
                await asyncio.to_thread(self._slots.hand_back)
        if self._watch:
            self._watch(self._progress)

    def _keep_slots(self, request_slots: slots.RequestSlots) -> int:
        # A process that was held up may find its places taken: without a new one it would wait for ever.
        return request_slots.renew() or request_slots.take()

    async def _keep_progress(self) -> None:
        """Write what was asked so far, since another attempt will go on counting from it."""
        with storage_errors():
            await self._write_heartbeat(self._progress.run_log.kept())

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

    async def _record_success(self, job: Job, name: str, members: int, difference: Difference, way: WriteMode) -> Run:
        at = utc_now()
        values = self._progress_values() | self._counts
        values |= {"status": RunStatus.SUCCEEDED, "step": "done", "write": way, "finished_at": at}
        if job.run.dry_run:
            if self._bridge.snapshots.exists(job.difference) and (difference.added or difference.removed):
                values |= {"difference": job.difference}
            await self._record(values, None)
            await asyncio.to_thread(self._forget_other_previews, job, values)
            await asyncio.to_thread(self._forget_older_excluded)
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
            for name in run_records.forget_previews(self._bridge.engine, self._run_id):
                self._bridge.snapshots.remove(name)
            if "difference" not in values:
                self._bridge.snapshots.remove(job.difference)

    def _tidy_up(self, job: Job, values: dict[str, Any]) -> None:
        """Remove the files of this run that its row does not name, and the group's oldest snapshots."""
        with _left_for_later():
            for name, named in ((job.snapshot, values.get("snapshot")), (job.difference, values.get("difference"))):
                if name != named:
                    self._bridge.snapshots.remove(name)
            if not job.run.restore_snapshot:
                forget_older_excluded(self._bridge, self._run_id)
            if values.get("snapshot") != job.group.base_snapshot:
                forget_old_snapshots(self._bridge, job.group)

    def _forget_older_excluded(self) -> None:
        with _left_for_later():
            forget_older_excluded(self._bridge, self._run_id)

    async def _record_failure(self, exc: CohortBridgeError) -> Run:
        status = RunStatus.FAILED
        if isinstance(exc, RunHeld):
            status = RunStatus.HELD
        elif isinstance(exc, RunCancelled):
            status = RunStatus.CANCELLED
        values = self._progress_values() | self._counts | error_values(exc)
        difference = f"difference-{self._run_id:08d}"
        # What would have changed is kept to look at as long as a person has to decide.
        if status == RunStatus.HELD and self._bridge.snapshots.exists(difference):
            values |= {"difference": difference}
        excluded = values.pop("excluded", None)
        if status == RunStatus.HELD and excluded:
            values |= {"excluded": excluded}
        reason = f"{exc.message} {exc.advice}" if exc.pauses else None
        await self._record(values | {"status": status, "finished_at": utc_now()}, None, paused_reason=reason)
        # What a run that failed had kept is not what any group holds.
        with _left_for_later():
            await asyncio.to_thread(self._bridge.snapshots.remove, f"run-{self._run_id:08d}")
            if "difference" not in values:
                await asyncio.to_thread(self._bridge.snapshots.remove, difference)
            if "excluded" in values:
                await asyncio.to_thread(forget_older_excluded, self._bridge, self._run_id)
            elif excluded:
                await asyncio.to_thread(self._bridge.snapshots.remove, excluded)
        return await self._as_recorded()

    async def _record(
        self,
        values: dict[str, Any],
        group_values: dict[str, Any] | None,
        *,
        delivered_to: Connection | None = None,
        paused_reason: str | None = None,
    ) -> None:
        self._lease.end()
        with storage_errors():
            ours = await asyncio.to_thread(
                run_records.record,
                self._bridge.engine,
                self._run_id,
                lease_owner=self._lease_owner,
                values=values,
                group_values=group_values,
                delivered_to=delivered_to,
                paused_reason=paused_reason,
                pausing=roles.scope(self._bridge, "worker", "pause_sync"),
                log=self._progress.run_log.kept(),
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


def _is_approved(job: Job, code: str) -> bool:
    return job.run.approved and job.run.approval_key == approval_key(code, str(job.rule))
