"""Runs that wait, are claimed, held by a lease, handed back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple

from sqlalchemy import Engine, func, or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from data import alert_states, leases, locks, run_changes, run_jobs, worker_names
from data.claiming import RUN, Which, claiming, finding, started
from data.engine import read_session, write_session
from data.failure import Failure
from data.leases import Renewal
from data.locks import RELYING, of_group
from data.models import (
    TO_CLAIM,
    UNFINISHED,
    Group,
    Lease,
    LeaseKind,
    Run,
    RunStatus,
    Sync,
    SyncState,
    Timing,
)
from data.repeating import repeated
from data.run_order import ended_before, last_ended_first
from data.run_outcome import RunProgress

# The steps in which nothing of the cohort has arrived: a death there says nothing of the run.
_BEFORE_READING = ("queued", "waiting", "starting", "queueing", "finding")
_DEATHS_LOOKED_AT = 50
_CLAIM_TRIES = 3
_CANCELLED = Failure("cancelled", "The run was cancelled.", "Start the export again when you are ready.")


class RunNames(NamedTuple):
    """What a run calls its cohort and its group."""

    cohort: str
    group: str


@dataclass(frozen=True)
class RunRequest:
    """Who asks for a run, and of which kind; one with a `lease_owner` is for that process alone.

    Without `names` the run takes those that the group has.
    """

    trigger: str
    actor: str
    dry_run: bool = False
    force_full: bool = False
    lease_owner: str | None = None
    approved: bool = False
    approvals: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    restore_snapshot: str | None = None
    names: RunNames | None = None


def new_run(sync: Sync, group: Group, request: RunRequest, *, destination: str, now: datetime) -> Run:
    """Build a queued run of a sync; the caller adds it to a session."""
    assert sync.id is not None
    assert group.id is not None
    cohort_name, group_name = request.names or (group.cohort_name, group.name)
    return Run(
        sync_id=sync.id,
        group_id=group.id,
        cohort_id=sync.cohort_id,
        cohort_name=cohort_name,
        group_name=group_name,
        destination=destination,
        trigger=request.trigger,
        actor=request.actor,
        dry_run=request.dry_run,
        force_full=request.force_full,
        queued_at=now,
        approved=request.approved,
        approvals=request.approvals or None,
        restore_snapshot=request.restore_snapshot,
    )


def keep_for(session: Session, run: Run, lease_owner: str, *, now: datetime) -> None:
    """Add a new run that no other process may take: the process that queues it does it itself."""
    session.add(run)
    session.flush()
    leases.claim(session, LeaseKind.RUN, run.id, lease_owner=lease_owner, now=now)


def parts_owner(lease_owner: str, run_id: int) -> str:
    """Name who holds what a run needs besides its own lease (query slots, the cohort list), so that it can be freed."""
    return f"{lease_owner}/{run_id}"


def is_part_left(session: Session, part: Lease) -> bool:
    """Return whether what a run needed besides its own lease is still held though the run is not: its process died."""
    lease_owner, _, run_id = part.lease_owner.rpartition("/")
    run = leases.find(session, LeaseKind.RUN, run_id)
    return run is None or run.lease_owner != lease_owner


class _HeldByAnother(Exception):
    """Another process holds the lease of what was to be claimed."""


@repeated
def claim(engine: Engine, run_id: int, *, lease_owner: str, now: datetime) -> bool:
    """Take a queued or waiting run that is free.

    False when another was faster, the group is being written, or somebody is being forgotten.
    """
    try:
        with write_session(engine, RELYING) as session:
            which = (
                RUN.c.id == run_id,
                RUN.c.status.in_(TO_CLAIM),
                ~leases.is_held(LeaseKind.RUN, RUN.c.id, but_by=lease_owner),
                ~leases.is_kind_held(LeaseKind.FORGETTING),
            )
            values = {"now": now, **worker_names.values_of(lease_owner)}
            taken = session.connection().execute(update(RUN).where(*which).values(started()), values)
            if taken.rowcount != 1:
                return False
            if not leases.claim(session, LeaseKind.RUN, run_id, lease_owner=lease_owner, now=now):
                raise _HeldByAnother  # since a moment ago: nothing of this is kept
            return True
    except (IntegrityError, _HeldByAnother):
        return False  # the partial unique index: another run of the group is running


class ClaimableRun(NamedTuple):
    """A run that may be claimed, and the destination that it takes a place of; None: a preview, which sends nothing."""

    id: int
    destination_id: int | None


def is_one_claimable(engine: Engine, which: Which) -> bool:
    """Return whether a worker may try to claim any run. Takes no locks, and puts nothing in an order."""
    with read_session(engine) as session:
        return session.connection().execute(finding(which.limits), which.values).first() is not None


def count_waiting_reads(engine: Engine, project_id: int) -> int:
    """Count the runs that wait and are to read a cohort of a project: a rollback reads none."""
    of_project = select(Group.id).where(Group.project_id == project_id)
    waiting = (col(Run.status).in_(TO_CLAIM), col(Run.restore_snapshot).is_(None), col(Run.group_id).in_(of_project))
    with read_session(engine) as session:
        return session.exec(select(func.count()).select_from(Run).where(*waiting)).one()


def claim_next(
    engine: Engine,
    *,
    lease_owner: str,
    now: datetime,
    full: Collection[int] = (),
    only: int | None = None,
) -> ClaimableRun | None:
    """Take the oldest of the claimable runs, or that `only` one, with its lease; None where there is none."""
    which = Which(now, only=only)
    return next(iter(claim_several(engine, which, lambda _: full, lease_owner=lease_owner, most=1)), None)


@repeated
def claim_several(
    engine: Engine,
    which: Which,
    find_full: Callable[[Sequence[ClaimableRun]], Collection[int]],
    *,
    lease_owner: str,
    most: int,
) -> list[ClaimableRun]:
    """Take so many of the oldest claimable runs at most, with their leases, in one transaction.

    `find_full` says which destinations take no more beside those that were taken so far. Each is taken in one
    statement: workers that look at once get others, and none has tried in vain. A group whose row somebody writes at
    this moment is passed over: what its other runs become is not known yet.
    """
    for _ in range(_CLAIM_TRIES):
        try:
            with write_session(engine, RELYING, in_order=True) as session:
                taken = list[ClaimableRun]()
                while len(taken) < most:
                    claim = claiming(replace(which, full=find_full(taken)), lease_owner)
                    if (row := session.connection().execute(*claim).first()) is None:
                        break
                    taken.append(_claimable_run(*row))
                leases.take_free(
                    session, LeaseKind.RUN, *(run.id for run in taken), lease_owner=lease_owner, now=which.now
                )
            return taken
        except IntegrityError:
            most = 1  # another run of one of the groups began in between: the partial unique index
    return []


def _claimable_run(run_id: int, dry_run: bool, destination_id: int) -> ClaimableRun:
    return ClaimableRun(run_id, None if dry_run else destination_id)


@repeated
def heartbeat(
    engine: Engine,
    run_id: int,
    *,
    lease_owner: str,
    progress: RunProgress | None = None,
    log: dict[str, Any] | None = None,
) -> Renewal:
    """Renew the lease, and record the progress and the log as they are given."""
    with write_session(engine, by_rows=True) as session:
        if not leases.hold(session, LeaseKind.RUN, run_id, lease_owner=lease_owner):
            return Renewal(ours=False, cancel_asked=False)
        if log is not None:
            run_changes.keep_log(session, run_id, log)
        if progress is None:
            return Renewal(ours=True, cancel_asked=session.exec(select(Run.cancel_asked).where(Run.id == run_id)).one())
        return Renewal(ours=True, cancel_asked=run_changes.note_progress(session, run_id, asdict(progress)))


@repeated
def wait(engine: Engine, run_id: int, *, lease_owner: str, until: datetime, keep: bool, now: datetime) -> bool:
    """Let a run wait for a query slot until then; without `keep` any worker may take it up again.

    One that was asked to cancel meanwhile ends instead.
    """
    with write_session(engine, RELYING) as session:
        waiting = {"status": RunStatus.WAITING, "step": "waiting", "waiting_until": until}
        if not keep:
            return _let_go(session, run_id, lease_owner, waiting, now)
        if not leases.hold(session, LeaseKind.RUN, run_id, lease_owner=lease_owner):
            return False
        session.exec(update(Run).where(col(Run.id) == run_id).values(**waiting))
        return True


@repeated
def hand_back(engine: Engine, run_id: int, *, lease_owner: str, now: datetime) -> bool:
    """Put a run back into the queue, for another process or a later start of this one.

    One that was asked to cancel meanwhile ends instead.
    """
    queued = {"status": RunStatus.QUEUED, "step": "queued", "waiting_until": None}
    with write_session(engine, RELYING) as session:
        return _let_go(session, run_id, lease_owner, queued, now)


def _let_go(session: Session, run_id: int, lease_owner: str, values: dict[str, Any], now: datetime) -> bool:
    """Give up the lease of a run that has not ended; one that was to be cancelled, unnoticed yet, ends."""
    if not leases.hand_back(session, LeaseKind.RUN, run_id, lease_owner=lease_owner):
        return False
    if session.exec(select(Run.cancel_asked).where(Run.id == run_id)).one():
        values = {
            "status": RunStatus.CANCELLED,
            "cancel_asked": False,
            "waiting_until": None,
            "finished_at": now,
            **_CANCELLED.columns(),
        }
    session.exec(update(Run).where(col(Run.id) == run_id).values(**values))
    run_jobs.ring(session, [run_id])
    return True


@dataclass(frozen=True)
class Death:
    """A run whose process died: how often that happened running, not counting before a run began to read."""

    deaths: int
    timing: Timing | None  # how often its sync runs; None: a one-time export
    is_wanted: bool  # False: a preview, or cancelled, or its sync was stopped since


@dataclass(frozen=True)
class Recovery:
    """What is recorded of a run whose process died, and when another one recovers its group; None: none does."""

    failure: Failure
    again_at: datetime | None


@repeated
def interrupt(engine: Engine, lease: Lease, *, recover: Callable[[Death], Recovery], now: datetime) -> bool:
    """End a run whose process died, if its lease has not moved since it was read, and free what it held besides.

    Another run recovers it when `recover` says so.
    """
    run_id = int(lease.key)
    with write_session(engine, RELYING) as session:
        if not leases.end_if_unmoved(session, lease):
            return False
        leases.free_all(session, parts_owner(lease.lease_owner, run_id))
        run_jobs.drop(session, run_id)
        run = session.get(Run, run_id)
        if run is None:
            return True  # a lease of nothing: it must not keep the others from being recovered
        locks.take(session, of_group(run.group_id))  # another run of it may end just now
        run.status, run.waiting_until, run.finished_at = RunStatus.INTERRUPTED, None, now
        session.flush()
        sync = session.get_one(Sync, run.sync_id)
        is_wanted = not (run.dry_run or run.cancel_asked or _was_stopped(sync, run))
        recovery = recover(Death(_count_deaths(session, run), sync.timing, is_wanted))
        session.exec(update(Run).where(col(Run.id) == run_id).values(**recovery.failure.columns()))
        if not run.dry_run:
            alert_states.note_run_end(session, run.group_id, run_id, RunStatus.INTERRUPTED, now=now)
        if is_wanted and recovery.again_at is not None and not _is_replaced(session, run):
            again = _again(run, now, recovery.again_at)
            session.add(again)
            session.flush()
            run_jobs.ring(session, [again.id])
        return True


def _count_deaths(session: Session, run: Run) -> int:
    """Count how often in a row running a run of the group died while it read or later, this run last.

    A run that died before that, which says nothing of the run, counts as 0.
    """
    if run.step in _BEFORE_READING:
        return 0
    ended = session.exec(
        select(Run.status, Run.step)
        .where(
            Run.group_id == run.group_id,
            or_(col(Run.id) == run.id, ended_before(run)),
            col(Run.dry_run).is_(False),
            col(Run.status).not_in(UNFINISHED),
        )
        .order_by(*last_ended_first())
        .limit(_DEATHS_LOOKED_AT)
    ).all()
    died = takewhile(lambda row: row[0] == RunStatus.INTERRUPTED, ended)
    return sum(step not in _BEFORE_READING for _, step in died)


def _is_replaced(session: Session, run: Run) -> bool:
    """Whether a process has a newer run of the group in hand, which overwrites it just as well."""
    if run.restore_snapshot or run.approved:
        return False
    newer = select(Run.id).where(
        Run.group_id == run.group_id,
        col(Run.id) > run.id,
        col(Run.dry_run).is_(False),
        col(Run.status).in_(UNFINISHED),
        leases.is_held(LeaseKind.RUN, Run.id),
    )
    return session.exec(newer.limit(1)).first() is not None


def _was_stopped(sync: Sync, run: Run) -> bool:
    """Whether the schedule that queued the run was paused or removed since: by a person, or by an undo."""
    return run.trigger == "schedule" and sync.state != SyncState.ACTIVE


def _again(run: Run, now: datetime, at: datetime) -> Run:
    kept = [
        "sync_id",
        "group_id",
        "cohort_id",
        "cohort_name",
        "group_name",
        "destination",
        "trigger",
        "actor",
        "approved",
        "approvals",
        "restore_snapshot",
    ]
    waiting_until = at if at > now else None
    values = {name: getattr(run, name) for name in kept}
    return Run(**values, queued_at=now, force_full=True, waiting_until=waiting_until)


@repeated
def ask_to_cancel(engine: Engine, run_id: int, *, now: datetime) -> Run | None:
    """Cancel a run at once if it is free, or ask its process to. Returns the run, None if unknown."""
    with write_session(engine) as session:
        run = session.get(Run, run_id)
        if run is None or run.status not in UNFINISHED:
            return run
        if leases.find(session, LeaseKind.RUN, run_id) is None:
            run.status, run.finished_at, run.waiting_until = RunStatus.CANCELLED, now, None
        else:
            run.cancel_asked = True
        session.add(run)
        return run
