"""One run from cohort to group. The process that calls it holds the run's lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from core.bridge import Bridge, notice_restore, storage_errors
from core.errors import CohortBridgeError, LeaseLost, NoQuerySlot, RateLimited, SecretKeyLost
from core.export.base import find_base, prove_restored, require_ids_of
from core.export.compare import Comparison, compare_kept, compare_read, find_unchanged
from core.export.deadline import Deadline
from core.export.deliver import GroupWriter
from core.export.hold import hold_if_wrong
from core.export.job import Job, load
from core.export.leavers import Leavers, find_leavers, require_known
from core.export.names import follow_cohort_name
from core.export.outcome import read_counts
from core.export.progress import Progress
from core.export.read import CohortSource
from core.export.record import Recorder
from core.export.run_lease import RunLease
from core.installation import require_own
from core.rules.due_times import longest_work
from core.rules.writing import WriteMode
from core.run_log import RunLog
from core.threads import in_stoppable_thread
from core.vendors.http import HttpClient
from data.members.collector import Collector, Tally
from data.run_outcome import ReadCounts


class Export:
    """One run: make it after the claim, and call `run` once.

    `watch` is given the progress about once a second, besides the run's row.
    """

    def __init__(
        self,
        bridge: Bridge,
        run_id: int,
        *,
        lease_owner: str,
        http: HttpClient,
        watch: Callable[[Progress], None] | None = None,
    ) -> None:
        self._bridge = bridge
        self._run_id = run_id
        self._http = http
        self._watch = watch
        self._progress = progress = Progress(run_log=RunLog(clock=bridge.clock))
        self._lease = RunLease(bridge, run_id, lease_owner, progress, after=self._after_heartbeat)
        self._writer = GroupWriter(bridge, http, self._lease, progress)
        self._recorder = Recorder(bridge, run_id, self._lease, progress)
        self._source: CohortSource | None = None
        self._deadline: Deadline | None = None

    async def run(self) -> None:
        """Do the claimed run to its end, and record that; failures are recorded in it, not raised.

        Raises: NoQuerySlot when it has to wait, LeaseLost when another took over, OfAnotherInstallation when this
        process cannot do it and others can (nothing is recorded then);
        asyncio.CancelledError when this process is asked to stop.
        """
        try:
            async with self._lease.kept():
                await self._run()
        finally:
            if self._source:
                await asyncio.shield(asyncio.to_thread(self._source.close))

    async def _run(self) -> None:
        try:
            with storage_errors(), self._lease.reasons():
                await self._export()
        except NoQuerySlot:
            await self._lease.keep_progress()
            raise
        except LeaseLost:
            raise
        except CohortBridgeError as exc:
            if isinstance(exc, SecretKeyLost):  # that pauses the sync, unless it is this process that lacks the key
                with storage_errors():
                    await asyncio.to_thread(require_own, self._bridge)
            if isinstance(exc, RateLimited) and exc.kind == "hour" and self._source:
                await self._lease.keep_progress()
                raise await asyncio.to_thread(self._source.block) from exc
            if self._source:
                await self._source.note_failure(exc)
            await self._recorder.record_failure(exc)

    async def _after_heartbeat(self) -> None:
        if self._source:
            await self._source.renew()
        if self._watch:
            self._watch(self._progress)
        if self._deadline:
            self._deadline.check(self._progress.step)

    async def _export(self) -> None:
        """Load, read (which matches and collects), compare, hold, deliver, record."""
        job = await self._load()
        if job.run.restore_snapshot:
            await self._restore(job, job.run.restore_snapshot)
            return
        findings = self._recorder.findings
        source = self._source = CohortSource(
            self._bridge, job, self._http, lease_owner=self._lease.parts_owner, progress=self._progress
        )
        cohort = await source.find_cohort()
        job = await asyncio.to_thread(follow_cohort_name, self._bridge, job, cohort.name)
        findings.in_cohort, findings.matched_by = cohort.count, str(job.rule)
        await self._begin("reading")
        async with source.read(job, findings) as (tally, collector):
            comparison = await self._compare(source, job, tally, collector)
            leavers = await self._find_leavers(job, comparison, source.thread.run, collector.write)
        hold_if_wrong(job, findings, tally, comparison, leavers)
        mode = await self._write(job, comparison, leavers, description=cohort.description)
        await self._recorder.record_success(job, comparison, mode)

    async def _compare(self, source: CohortSource, job: Job, tally: Tally, collector: Collector) -> Comparison:
        """Compare what was read with the group's base, and keep the profiles that made no member, if it keeps any."""
        self._progress.begin("comparing")
        snapshots, findings, excluded = self._bridge.snapshots, self._recorder.findings, job.files.excluded
        comparison, base = find_unchanged(self._bridge.snapshots, job, tally), None
        if comparison and not job.run.dry_run and await self._writer.choose_mode(job, comparison) != "none":
            # It is written all the same. As long as the profiles are still collected, a base that fails is made up for.
            base = await source.thread.run(partial(find_base, self._bridge, job.group))
        if comparison is None or (base and base.snapshot is None):
            compare = partial(compare_read, self._bridge, job, tally, collector, base=base)
            comparison = await source.thread.run(compare)
        findings.take(comparison, read_counts(tally), tally.sums.fingerprint)
        if tally.profiles > tally.members and not job.run.only_counts:
            await source.thread.run(partial(snapshots.make, excluded, collector.write_excluded))
            findings.excluded = excluded
        return comparison

    async def _find_leavers(
        self,
        job: Job,
        comparison: Comparison,
        in_thread: Callable[[Callable[[], Leavers]], Awaitable[Leavers]],
        write_snapshot: Callable[[Path], None] | None = None,
    ) -> Leavers | None:
        """Find whom a full write has to remove by name; None where the receiver replaces, or that is no full write."""
        if not await self._writer.needs_leavers(job, comparison):
            return None
        leavers = await in_thread(partial(find_leavers, self._bridge, job, comparison, write_snapshot=write_snapshot))
        if notice := leavers.notice(is_dry=job.run.dry_run):
            self._recorder.findings.notice = " ".join(filter(None, (comparison.notice, notice)))
        return leavers

    async def _write(
        self, job: Job, comparison: Comparison, leavers: Leavers | None, *, description: str = ""
    ) -> WriteMode:
        if job.only_adds and not job.run.dry_run:
            joined = leavers.tries if leavers else None
            self._recorder.findings.tried = joined.snapshot if joined else comparison.snapshot
        return await self._writer.write(job, comparison, leavers, description=description)

    async def _restore(self, job: Job, snapshot: str) -> None:
        """Roll the group back to a kept snapshot: nothing is read, and the whole of it is written."""
        await self._begin("comparing")
        findings = self._recorder.findings
        findings.matched_by = await asyncio.to_thread(require_ids_of, self._bridge, job.rule, snapshot)
        proof = await in_stoppable_thread(partial(prove_restored, self._bridge, snapshot))
        base = await in_stoppable_thread(partial(find_base, self._bridge, job.group))
        compare = partial(compare_kept, self._bridge.snapshots, job, snapshot, proof, base)
        comparison = await in_stoppable_thread(compare)
        members = self._progress.profiles = comparison.members
        findings.take(comparison, ReadCounts(profiles=members, members=members), proof.fingerprint)
        leavers = await self._find_leavers(job, comparison, in_stoppable_thread)
        require_known(leavers)
        mode = await self._write(job, comparison, leavers)
        await self._recorder.record_success(job, comparison, mode)

    async def _begin(self, step: str) -> None:
        """Begin with what may be too much for this process, and record that first: dying of it counts."""
        self._progress.begin(step)
        await self._lease.renew()

    async def _load(self) -> Job:
        job = await asyncio.to_thread(self._look_and_load)
        self._recorder.names = job.files
        progress = self._progress
        progress.earlier_requests, progress.earlier_queries = job.run.requests, job.run.queries
        progress.run_log = RunLog.resume(job.log, clock=self._bridge.clock)
        progress.begin("starting")
        self._deadline = Deadline(self._bridge.clock, longest_work(job.sync.timing))
        return job

    def _look_and_load(self) -> Job:
        notice_restore(self._bridge)
        return load(self._bridge, self._run_id)
