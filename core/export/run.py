"""One run from cohort to group. The process that calls it holds the run's lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

from core.bridge import Bridge, storage_errors
from core.clock import steady_s
from core.errors import CohortBridgeError, LeaseLost, NoQuerySlot, RateLimited, RunCancelled, StorageFailed
from core.export.compare import Comparison, compare_kept, compare_read
from core.export.deliver import GroupWriter
from core.export.hold import hold_if_wrong
from core.export.job import Job, load
from core.export.names import follow_cohort_name
from core.export.outcome import read_counts
from core.export.progress import Progress
from core.export.read import CohortSource
from core.export.record import Recorder
from core.leases.lease import FRESH_S, HEARTBEAT_S
from core.run_log import RunLog
from core.vendors.http import HttpClient
from data import run_queue, runs
from data.members.collector import Collector, Tally
from data.models import Run
from data.run_outcome import ReadCounts

log = logging.getLogger(__name__)


class Export:
    """One run: make it after the claim, and call `run` once.

    `watch` is told the progress about once a second, besides the run's row.
    """

    def __init__(
        self,
        bridge: Bridge,
        run_id: int,
        *,
        owner: str,
        http: HttpClient,
        watch: Callable[[Progress], None] | None = None,
    ) -> None:
        self._bridge = bridge
        self._run_id = run_id
        self._owner = owner
        self._http = http
        self._watch = watch
        self._progress = Progress(run_log=RunLog(clock=bridge.clock))
        self._recorder = Recorder(bridge, run_id, owner, self._progress)
        self._writer = GroupWriter(bridge, http, owner, self._progress, self._still_ours)
        self._source: CohortSource | None = None
        self._beaten_at_s = steady_s()
        self._ended_by: CohortBridgeError | None = None
        self._steps_logged = 0

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
                return await self._export()
        except asyncio.CancelledError:
            if isinstance(self._ended_by, RunCancelled):
                task.uncancel()
                return await self._recorder.record_failure(self._ended_by)
            if self._ended_by:
                raise self._ended_by from None
            raise
        except NoQuerySlot:
            await self._keep_progress()
            raise
        except LeaseLost:
            raise
        except CohortBridgeError as exc:
            if isinstance(exc, RateLimited) and exc.kind == "hour" and self._source:
                await self._keep_progress()
                raise await asyncio.to_thread(self._source.block) from exc
            return await self._recorder.record_failure(exc)
        finally:
            heart.cancel()
            with suppress(asyncio.CancelledError):
                await heart
            if self._source:
                await asyncio.shield(asyncio.to_thread(self._source.close))

    # --- the steps -------------------------------------------------------------------------------------------------

    async def _export(self) -> Run:
        """Load, read (which matches and collects), compare, hold, deliver, record."""
        job = await self._load()
        if job.run.restore_snapshot:
            return await self._restore(job, job.run.restore_snapshot)
        findings = self._recorder.findings
        source = self._source = self._open_source(job)
        cohort = await source.find_cohort()
        job = await asyncio.to_thread(follow_cohort_name, self._bridge, job, cohort.name)
        findings.in_cohort, findings.matched_by = cohort.count, str(job.rule)
        async with source.read(job, findings) as (tally, collector):
            comparison = await self._compare(source, job, tally, collector)
        hold_if_wrong(job, tally, comparison)
        mode = await self._writer.write(job, comparison, description=cohort.description)
        return await self._recorder.record_success(job, comparison, mode)

    async def _compare(self, source: CohortSource, job: Job, tally: Tally, collector: Collector) -> Comparison:
        """Compare what was read with the group's base, and keep the profiles that made no member."""
        self._progress.begin("comparing")
        snapshots, findings, excluded = self._bridge.snapshots, self._recorder.findings, job.files.excluded
        comparison = await source.thread.run(partial(compare_read, snapshots, job, tally, collector))
        if tally.profiles > tally.members:
            await source.thread.run(partial(collector.write_excluded, snapshots.path(excluded)))
            findings.excluded = excluded
        findings.counts, findings.difference = read_counts(tally), comparison.difference
        return comparison

    async def _restore(self, job: Job, snapshot: str) -> Run:
        """Put the group back to a kept snapshot: nothing is read, and the whole of it is written."""
        self._progress.begin("comparing")
        comparison = await asyncio.to_thread(compare_kept, self._bridge.snapshots, job, snapshot)
        members = self._progress.profiles = comparison.members
        findings = self._recorder.findings
        findings.counts, findings.difference = ReadCounts(profiles=members, members=members), comparison.difference
        mode = await self._writer.write(job, comparison)
        return await self._recorder.record_success(job, comparison, mode)

    async def _load(self) -> Job:
        job = await asyncio.to_thread(load, self._bridge, self._run_id)
        kept = await asyncio.to_thread(runs.get_run_log, self._bridge.engine, self._run_id)
        progress = self._progress
        progress.earlier_requests, progress.earlier_queries = job.run.requests, job.run.queries
        progress.run_log = RunLog.resume(kept, clock=self._bridge.clock)
        progress.begin("starting")
        return job

    def _open_source(self, job: Job) -> CohortSource:
        holder = run_queue.holder_name(self._owner, self._run_id)
        return CohortSource(self._bridge, job, self._http, holder=holder, progress=self._progress)

    # --- the lease -------------------------------------------------------------------------------------------------

    async def _beat_on(self, task: asyncio.Task[Any]) -> None:
        """Renew leases and write progress, until cancelled; ends `task` when the lease is lost or it is told to."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            try:
                with storage_errors():
                    await self._beat(task)
            except StorageFailed as exc:
                # The lease outlasts a database that is locked for a while.
                log.warning("heartbeat missed run_id=%s reason=%s", self._run_id, exc)

    async def _beat(self, task: asyncio.Task[Any]) -> None:
        values, run_log = asdict(self._progress.report()), self._progress.run_log
        # A process that dies leaves what it had begun; what it was answered is worth a write only at the end.
        log_now = run_log.kept() if len(run_log.steps) != self._steps_logged else None
        self._steps_logged = len(run_log.steps)
        ours, cancel = await asyncio.to_thread(
            run_queue.heartbeat, self._bridge.engine, self._run_id, owner=self._owner, progress=values, log=log_now
        )
        if not ours:
            self._end(task, LeaseLost("The run was taken over by another process."))
        elif cancel:
            self._end(task, RunCancelled("The run was cancelled."))
        else:
            self._beaten_at_s = steady_s()
            if self._source:
                await self._source.renew()
        if self._watch:
            self._watch(self._progress)

    def _end(self, task: asyncio.Task[Any], reason: CohortBridgeError) -> None:
        # Once the end is being recorded the lease is given up: that is not losing it.
        if self._ended_by is None and not self._recorder.has_begun:
            self._ended_by = reason
            task.cancel()

    async def _still_ours(self) -> None:
        """Check the lease before a message: a process that slept must not overwrite its successor's work."""
        if steady_s() - self._beaten_at_s < FRESH_S:
            return
        with storage_errors():
            ours, _ = await asyncio.to_thread(run_queue.heartbeat, self._bridge.engine, self._run_id, owner=self._owner)
        if not ours:
            raise LeaseLost("The run was taken over by another process.")
        self._beaten_at_s = steady_s()

    async def _keep_progress(self) -> None:
        """Write what was asked so far, since another attempt will go on counting from it."""
        with storage_errors():
            values = asdict(self._progress.report())
            await asyncio.to_thread(
                run_queue.heartbeat,
                self._bridge.engine,
                self._run_id,
                owner=self._owner,
                progress=values,
                log=self._progress.run_log.kept(),
            )
