"""However a run ends: its row says how, its group follows only a success, and no file is left that no row names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from sqlmodel import select

from core.bridge import Bridge
from core.errors import CohortBridgeError, GroupTaken, IncompleteRead, LeaseLost, RunCancelled, RunHeld
from core.export.compare import Comparison
from core.export.job import Job, load
from core.export.outcome import Findings
from core.export.progress import Progress
from core.export.record import Recorder
from core.export.run_lease import RunLease
from core.rules.writing import WriteMode
from core.run_log import RunLog
from data import leases, run_queue, runs
from data.engine import read_session, write_session
from data.members.changes import Difference
from data.models import AuditEntry, Group, LeaseKind, Run, RunStatus, Sync, SyncKind, SyncState
from data.run_outcome import ReadCounts

COUNTS = ReadCounts(profiles=10, members=6, duplicates=1, unmatched=2, invalid=1, reasons={"blank": 1})


def begin(bridge: Bridge, run: Run) -> tuple[Job, Recorder]:
    """Claim a run, and let it have read, compared and kept its three files."""
    assert run.id is not None
    assert run_queue.claim(bridge.engine, run.id, lease_owner="one", now=bridge.clock.now())
    job = load(bridge, run.id)
    bridge.snapshots.folder.mkdir(parents=True, exist_ok=True)
    for name in (job.files.snapshot, job.files.difference, job.files.excluded):
        bridge.snapshots.path(name).touch()
    findings = Findings(12, "rule", COUNTS, Difference(added=6, removed=0, unchanged=0), job.files.excluded)
    findings.changes = job.files.difference
    progress = Progress(RunLog(bridge.clock), profiles=10)
    return job, Recorder(bridge, run.id, RunLease(bridge, run.id, "one", progress), progress, findings)


def fail(recorder: Recorder, exc: CohortBridgeError) -> Run:
    asyncio.run(recorder.record_failure(exc))
    return as_recorded(recorder)


def as_recorded(recorder: Recorder) -> Run:
    run = runs.get(recorder.bridge.engine, recorder.run_id)
    assert run
    return run


def succeed(job: Job, recorder: Recorder, mode: WriteMode, *, added: int = 0, renamed: int = 0) -> Run:
    difference, base = Difference(added, 0, 6, renamed), job.group.base_snapshot
    comparison = Comparison(job.files.snapshot, 6, base, difference, changes=job.files.difference)
    asyncio.run(recorder.record_success(job, comparison, mode))
    return as_recorded(recorder)


def get_group(bridge: Bridge, run: Run) -> Group:
    with read_session(bridge.engine) as session:
        return session.get_one(Group, run.group_id)


def kept(bridge: Bridge, names: Iterable[str]) -> set[str]:
    return {name for name in names if bridge.snapshots.exists(name)}


def files(job: Job) -> tuple[str, str, str]:
    return job.files.snapshot, job.files.difference, job.files.excluded


def test_a_held_run_keeps_what_would_have_changed_to_look_at(bridge: Bridge, group_with_runs: list[Run]):
    job, recorder = begin(bridge, group_with_runs[0])

    run = fail(recorder, RunHeld("Look.", code="held_shrink"))

    assert (run.status, run.error_code) == (RunStatus.HELD, "held_shrink")
    assert (run.snapshot, run.difference, run.excluded) == (None, job.files.difference, job.files.excluded)
    assert kept(bridge, files(job)) == {job.files.difference, job.files.excluded}
    assert run.profiles == run.members + run.duplicates + run.unmatched + run.invalid == 10
    assert (run.in_cohort, run.matched_by, run.added, run.reasons) == (12, "rule", 6, {"blank": 1})
    assert leases.list_held(bridge.engine, LeaseKind.RUN) == []
    assert get_group(bridge, run).verified_at is None


@pytest.mark.parametrize(
    ("exc", "status"),
    [(IncompleteRead("Gone."), RunStatus.FAILED), (RunCancelled("Stopped."), RunStatus.CANCELLED)],
)
def test_a_run_that_failed_or_was_cancelled_keeps_no_file(
    bridge: Bridge, group_with_runs: list[Run], exc: CohortBridgeError, status: RunStatus
):
    job, recorder = begin(bridge, group_with_runs[0])

    run = fail(recorder, exc)

    assert (run.status, run.error_message, run.error_advice) == (status, exc.message, exc.advice)
    assert (run.snapshot, run.difference, run.excluded) == (None, None, None)
    assert kept(bridge, files(job)) == set()


def test_a_failure_that_a_person_must_fix_pauses_the_sync_with_a_line_in_the_audit_log(
    bridge: Bridge, group_with_runs: list[Run]
):
    with write_session(bridge.engine) as session:
        sync = session.get_one(Sync, group_with_runs[0].sync_id)
        sync.kind = SyncKind.RECURRING
    _, recorder = begin(bridge, group_with_runs[0])

    fail(recorder, GroupTaken("Taken.", advice="Choose."))

    with read_session(bridge.engine) as session:
        sync = session.get_one(Sync, group_with_runs[0].sync_id)
        entry = session.exec(select(AuditEntry).where(AuditEntry.action == "pause_sync")).one()
    assert (sync.state, sync.paused_reason) == (SyncState.PAUSED, "Taken. Choose.")
    assert (entry.who, entry.subject) == ("worker", f"sync {sync.id}")


def test_a_full_write_makes_its_snapshot_the_base_of_the_group(bridge: Bridge, group_with_runs: list[Run]):
    job, recorder = begin(bridge, group_with_runs[0])

    run = succeed(job, recorder, "full", added=6)

    group = get_group(bridge, run)
    assert (run.status, run.step, run.write, run.snapshot) == (RunStatus.SUCCEEDED, "done", "full", job.files.snapshot)
    assert (group.base_run_id, group.base_snapshot, group.members) == (run.id, job.files.snapshot, 6)
    assert group.full_at == group.delivered_at == group.verified_at == run.finished_at
    assert kept(bridge, files(job)) == set(files(job))


def test_a_run_that_changed_nothing_shares_the_base_and_keeps_no_snapshot(bridge: Bridge, group_with_runs: list[Run]):
    first, recorder = begin(bridge, group_with_runs[0])
    before = succeed(first, recorder, "full", added=6)
    job, recorder = begin(bridge, group_with_runs[1])

    run = succeed(job, recorder, "none")

    group = get_group(bridge, run)
    assert (run.snapshot, run.difference) == (first.files.snapshot, None)
    assert (group.base_run_id, group.delivered_at) == (before.id, before.finished_at)
    assert group.verified_at == run.finished_at
    # Of a group's excluded profiles those of the latest read are kept.
    assert kept(bridge, (*files(first), *files(job))) == {*files(first)[:2], job.files.excluded}


def test_a_dry_run_keeps_its_difference_in_place_of_the_one_before_and_leaves_its_group_alone(
    bridge: Bridge, group_with_runs: list[Run]
):
    with write_session(bridge.engine) as session:
        for run in group_with_runs[:2]:
            session.get_one(Run, run.id).dry_run = True
    first, recorder = begin(bridge, group_with_runs[0])
    succeed(first, recorder, "full", added=6)
    job, recorder = begin(bridge, group_with_runs[1])

    run = succeed(job, recorder, "full", added=6)

    assert (run.snapshot, run.difference, run.excluded) == (None, job.files.difference, job.files.excluded)
    assert kept(bridge, (*files(first), *files(job))) == {job.files.difference, job.files.excluded}
    assert get_group(bridge, run).base_snapshot is None


def test_a_run_that_lost_its_lease_records_nothing(bridge: Bridge, group_with_runs: list[Run]):
    job, recorder = begin(bridge, group_with_runs[0])
    recorder.lease = RunLease(bridge, recorder.run_id, "two", recorder.progress)

    with pytest.raises(LeaseLost):
        succeed(job, recorder, "full", added=6)

    assert get_group(bridge, group_with_runs[0]).base_snapshot is None
    assert kept(bridge, files(job)) == set(files(job))
