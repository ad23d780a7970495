"""Record how a run ended, and what that means for its group, its sync and its files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from core.access import roles
from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, LeaseLost, RunCancelled, RunHeld
from core.export import retention
from core.export.compare import Comparison
from core.export.job import FileNames, Job
from core.export.outcome import Findings, failure_from
from core.export.progress import Progress
from core.export.run_lease import RunLease
from core.rules.writing import WriteMode
from data import run_records
from data.engine import StorageError
from data.models import RunStatus
from data.run_outcome import Delivered, GroupOutcome, NewBase, Pause, RunFiles, RunOutcome

log = logging.getLogger(__name__)


@dataclass
class Recorder:
    """Records the end of one run, once. Raises LeaseLost, StorageFailed."""

    bridge: Bridge
    run_id: int
    lease: RunLease
    progress: Progress
    findings: Findings = field(default_factory=Findings)
    names: FileNames = field(init=False)

    def __post_init__(self) -> None:
        self.names = FileNames(self.run_id)

    async def record_success(self, job: Job, comparison: Comparison, mode: WriteMode) -> None:
        """Record that the group equals its cohort, or, of a dry run, what would make it so."""
        self.lease.end()
        progress = replace(self.progress.report(), step="done")
        outcome = self._outcome(RunStatus.SUCCEEDED)
        if job.run.only_counts:  # what earlier runs keep stays, too: nothing of this one takes its place
            await self._record(replace(outcome, progress=progress, write=mode))
        elif job.run.dry_run:
            changes = comparison.changes if comparison.has_changes else None
            files = RunFiles(difference=changes, excluded=self.findings.excluded)
            await self._record(replace(outcome, progress=progress, write=mode, files=files))
            await asyncio.to_thread(self._tidy_up_preview, files)
        else:
            files, group = _kept_files(job, comparison, mode), _group_outcome(job, comparison, mode)
            files = replace(files, excluded=self.findings.excluded)
            await self._record(replace(outcome, progress=progress, write=mode, files=files, group=group))
            await asyncio.to_thread(self._tidy_up, job, files)

    async def record_failure(self, exc: CohortBridgeError) -> None:
        """Record that the run was held, was cancelled or failed: its group stays as it is."""
        self.lease.end()
        status = _status_after(exc)
        files = await asyncio.to_thread(self._held_files) if status == RunStatus.HELD else RunFiles()
        pause = None
        if exc.pauses:
            scope = roles.scope(self.bridge, "worker", "pause_sync")
            pause = Pause(f"{exc.message} {exc.advice}", scope)
        await self._record(replace(self._outcome(status), files=files, failure=failure_from(exc), pause=pause))
        await asyncio.to_thread(self._tidy_up_failure, files)

    def _outcome(self, status: RunStatus) -> RunOutcome:
        findings = self.findings
        return RunOutcome(
            status=status,
            finished_at=self.bridge.clock.now(),
            progress=self.progress.report(),
            in_cohort=findings.in_cohort,
            matched_by=findings.matched_by,
            counts=findings.counts,
            fingerprint=findings.fingerprint,
            difference=findings.difference,
            notice=findings.notice,
            log=self.progress.run_log.ended(),
            hold=findings.hold.as_row() if findings.hold and status == RunStatus.HELD else None,
        )

    def _held_files(self) -> RunFiles:
        """Name what is kept to look at as long as a person has to decide: what would have changed."""
        changes = self.findings.changes
        is_kept = self.bridge.snapshots.exists(changes)
        return RunFiles(difference=changes if is_kept else None, excluded=self.findings.excluded)

    async def _record(self, outcome: RunOutcome) -> None:
        with storage_errors():
            is_recorded = await asyncio.to_thread(
                run_records.record, self.bridge.engine, self.run_id, outcome, lease_owner=self.lease.owner
            )
        if not is_recorded:
            raise LeaseLost("The run was taken over by another process before it was recorded.")
        _log_end(self.run_id, outcome)

    def _tidy_up(self, job: Job, files: RunFiles) -> None:
        """Remove the files of a run that its row does not name, and what is kept no longer of its group."""
        self.findings.tried = None  # it was accepted whole, or nothing was to be written
        with _leave_to_worker():
            self._remove_unnamed(files)
            retention.forget_tried(self.bridge, (*job.tried, job.files.tried) if job.tried else ())
            if not job.run.restore_snapshot:
                retention.forget_older_excluded(self.bridge, self.run_id)
            if files.snapshot != job.group.base_snapshot:
                assert job.group.id is not None
                retention.forget_old_snapshots(self.bridge, job.group.id)

    def _tidy_up_preview(self, files: RunFiles) -> None:
        with _leave_to_worker():
            retention.forget_older_previews(self.bridge, self.run_id)
            self._remove_unnamed(files)
        with _leave_to_worker():
            retention.forget_older_excluded(self.bridge, self.run_id)

    def _tidy_up_failure(self, files: RunFiles) -> None:
        with _leave_to_worker():
            self._remove_unnamed(files)
            if files.excluded:
                retention.forget_older_excluded(self.bridge, self.run_id)

    def _remove_unnamed(self, files: RunFiles) -> None:
        names, snapshots = self.names, self.bridge.snapshots
        mine = {names.snapshot, names.difference, names.excluded, names.leavers}
        for name in mine - {files.snapshot, files.difference, files.excluded, self.findings.tried}:
            snapshots.discard(name)


def _kept_files(job: Job, comparison: Comparison, mode: WriteMode) -> RunFiles:
    is_new = mode != "none" or comparison.difference.renamed
    return RunFiles(
        snapshot=comparison.snapshot if is_new else job.group.base_snapshot,
        difference=comparison.changes if comparison.has_changes else None,
    )


def _group_outcome(job: Job, comparison: Comparison, mode: WriteMode) -> GroupOutcome:
    base = delivered = None
    if mode != "none" or comparison.difference.renamed:
        base = NewBase(comparison.snapshot, comparison.members, str(job.rule), comparison.proof)
    if mode != "none":
        delivered = Delivered(job.group.name, in_full=mode == "full")
    return GroupOutcome(
        job.destination, base, delivered, doubts=job.doubts, equals_cohort=job.run.restore_snapshot is None
    )


def _status_after(exc: CohortBridgeError) -> RunStatus:
    if isinstance(exc, RunHeld):
        return RunStatus.HELD
    return RunStatus.CANCELLED if isinstance(exc, RunCancelled) else RunStatus.FAILED


def _log_end(run_id: int, outcome: RunOutcome) -> None:
    counts, progress = outcome.counts, outcome.progress
    assert progress is not None
    log.info(
        "run ended run_id=%s status=%s profiles=%s members=%s requests=%s messages=%s error=%s",
        run_id,
        outcome.status,
        counts.profiles if counts else progress.profiles,
        counts.members if counts else None,
        progress.requests,
        progress.messages,
        outcome.failure.code if outcome.failure else None,
    )


@contextmanager
def _leave_to_worker() -> Generator[None]:
    """Carry on when files cannot be removed after the end is recorded: the worker removes what no row names."""
    try:
        yield
    except (StorageError, OSError) as exc:
        log.warning("files left behind reason=%s", exc)
