"""Runs that wait, are claimed, held by a lease, handed back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, func, or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from data import leases
from data.engine import read_session, write_session
from data.failure import Failure
from data.leases import Renewal
from data.models import UNFINISHED, Group, Lease, LeaseKind, Run, RunLogRow, RunStatus, Sync, SyncState
from data.run_outcome import RunProgress

# No wait for a query slot is longer than the window that they are counted in.
_LONGEST_WAIT = timedelta(hours=1)
_CANCELLED = Failure("cancelled", "The run was cancelled.", "Start the export again when you are ready.")


@dataclass(frozen=True)
class RunRequest:
    """Who asks for a run, and of which kind; one with a `lease_owner` is for that process alone."""

    trigger: str
    actor: str
    dry_run: bool = False
    force_full: bool = False
    lease_owner: str | None = None
    approved: bool = False
    restore_snapshot: str | None = None


def new_run(sync: Sync, group: Group, request: RunRequest, *, destination: str, now: datetime) -> Run:
    """Build a queued run of a sync; the caller adds it to a session."""
    assert sync.id is not None
    assert group.id is not None
    return Run(
        sync_id=sync.id,
        group_id=group.id,
        cohort_id=sync.cohort_id,
        cohort_name=group.cohort_name,
        group_name=group.name,
        destination=destination,
        trigger=request.trigger,
        actor=request.actor,
        dry_run=request.dry_run,
        force_full=request.force_full,
        queued_at=now,
        approved=request.approved,
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


def claim(engine: Engine, run_id: int, *, lease_owner: str, now: datetime) -> bool:
    """Take a queued or waiting run that is free. False when another was faster or the group is being written."""
    try:
        with write_session(engine) as session:
            taken = session.exec(
                update(Run)
                .where(
                    col(Run.id) == run_id,
                    col(Run.status).in_((RunStatus.QUEUED, RunStatus.WAITING)),
                    ~leases.is_held(LeaseKind.RUN, Run.id, but_by=lease_owner),
                )
                .values(
                    status=RunStatus.RUNNING,
                    step="starting",
                    waiting_until=None,
                    started_at=func.coalesce(Run.started_at, now),
                )
            )
            return taken.rowcount == 1 and leases.claim(
                session, LeaseKind.RUN, run_id, lease_owner=lease_owner, now=now
            )
    except IntegrityError:
        return False  # the partial unique index: another run of the group is running


def claimable(engine: Engine, *, now: datetime, limit: int = 20) -> list[int]:
    """List the runs that a worker may try to claim now, the oldest first.

    One that waits for longer than any wait takes began to wait before the clock was set back: it may try as well.
    """
    its_time = (col(Run.waiting_until) <= now) | (col(Run.waiting_until) > now + _LONGEST_WAIT)
    with read_session(engine) as session:
        busy = select(Run.group_id).where(Run.status == RunStatus.RUNNING, col(Run.dry_run).is_(False))
        run_ids = session.exec(
            select(Run.id)
            .where(
                ~leases.is_held(LeaseKind.RUN, Run.id),
                or_(
                    col(Run.status) == RunStatus.QUEUED,
                    (col(Run.status) == RunStatus.WAITING) & its_time,
                ),
                or_(col(Run.dry_run), col(Run.group_id).not_in(busy)),
            )
            .order_by(col(Run.queued_at), col(Run.id))
            .limit(limit)
        ).all()
    return [run_id for run_id in run_ids if run_id is not None]


def heartbeat(
    engine: Engine,
    run_id: int,
    *,
    lease_owner: str,
    progress: RunProgress | None = None,
    log: dict[str, Any] | None = None,
) -> Renewal:
    """Renew the lease, and record the progress and the log as they are given."""
    with write_session(engine) as session:
        if not leases.hold(session, LeaseKind.RUN, run_id, lease_owner=lease_owner):
            return Renewal(ours=False, cancel_asked=False)
        if progress:
            session.exec(update(Run).where(col(Run.id) == run_id).values(**asdict(progress)))
        if log is not None:
            session.merge(RunLogRow(run_id=run_id, log=log))
        cancel_asked = session.exec(select(Run.cancel_asked).where(Run.id == run_id)).one()
        return Renewal(ours=True, cancel_asked=cancel_asked)


def wait(engine: Engine, run_id: int, *, lease_owner: str, until: datetime, keep: bool, now: datetime) -> bool:
    """Let a run wait for a query slot until then; without `keep` any worker may take it up again.

    One that was asked to cancel meanwhile ends instead.
    """
    with write_session(engine) as session:
        waiting = {"status": RunStatus.WAITING, "step": "waiting", "waiting_until": until}
        if not keep:
            return _let_go(session, run_id, lease_owner, waiting, now)
        if not leases.hold(session, LeaseKind.RUN, run_id, lease_owner=lease_owner):
            return False
        session.exec(update(Run).where(col(Run.id) == run_id).values(**waiting))
        return True


def hand_back(engine: Engine, run_id: int, *, lease_owner: str, now: datetime) -> bool:
    """Put a run back into the queue, for another process or a later start of this one.

    One that was asked to cancel meanwhile ends instead.
    """
    queued = {"status": RunStatus.QUEUED, "step": "queued", "waiting_until": None}
    with write_session(engine) as session:
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
    return True


def interrupt(engine: Engine, lease: Lease, *, failure: Failure, now: datetime) -> bool:
    """End a run whose process died, if its lease has not moved since it was read, and free what it held besides.

    Another run recovers it, unless its sync was stopped meanwhile. One that is interrupted twice running is not tried
    again: it may be what kills the process.
    """
    run_id = int(lease.key)
    with write_session(engine) as session:
        if not leases.end_if_unmoved(session, lease):
            return False
        leases.free_all(session, parts_owner(lease.lease_owner, run_id))
        values = {"status": RunStatus.INTERRUPTED, "waiting_until": None, "finished_at": now, **failure.columns()}
        session.exec(update(Run).where(col(Run.id) == run_id).values(**values))
        run = session.get(Run, run_id)
        if run is None:
            return True  # a lease of nothing: it must not keep the others from being recovered
        before = session.exec(
            select(Run.status)
            .where(Run.group_id == run.group_id, col(Run.id) < run_id, col(Run.dry_run).is_(False))
            .order_by(col(Run.id).desc())
            .limit(1)
        ).first()
        unwanted = run.dry_run or run.cancel_asked or _was_stopped(session, run)
        if not unwanted and before != RunStatus.INTERRUPTED:
            session.add(_again(run, now))
        return True


def _was_stopped(session: Session, run: Run) -> bool:
    """Whether the schedule that queued the run was paused or removed since: by a person, or by an undo."""
    return run.trigger == "schedule" and session.get_one(Sync, run.sync_id).state != SyncState.ACTIVE


def _again(run: Run, now: datetime) -> Run:
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
        "restore_snapshot",
    ]
    return Run(**{name: getattr(run, name) for name in kept}, queued_at=now, force_full=True)


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
