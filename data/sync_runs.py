"""The runs of a sync within a writing session: queue one, find the one that is not finished, cancel what waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, select

from data import leases, run_queue
from data.models import UNFINISHED, Connection, Group, LeaseKind, Run, RunStatus, Sync


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


def add_run(session: Session, sync: Sync, request: RunRequest, *, now: datetime) -> Run:
    """Queue a run of a sync within a writing session."""
    group = session.get_one(Group, sync.group_id)
    destination = session.get_one(Connection, group.destination_id)
    run = run_queue.new_run(
        sync,
        group,
        destination=destination.name,
        trigger=request.trigger,
        actor=request.actor,
        dry_run=request.dry_run,
        force_full=request.force_full,
        now=now,
        approved=request.approved,
        restore_snapshot=request.restore_snapshot,
    )
    if request.lease_owner is None:
        session.add(run)
    else:
        run_queue.keep_for(session, run, request.lease_owner, now=now)
    return run


def cancel_queued(session: Session, which: ColumnElement[bool], *more: RunStatus, now: datetime) -> None:
    """Cancel the runs that no process holds yet: they would write after, and against, what was just decided."""
    session.exec(
        update(Run)
        .where(which, col(Run.status).in_((RunStatus.QUEUED, RunStatus.WAITING, *more)), is_unclaimed())
        .values(status=RunStatus.CANCELLED, finished_at=now, waiting_until=None)
    )


def is_unclaimed() -> ColumnElement[bool]:
    """Build the condition that no process holds a run."""
    return ~leases.is_held(LeaseKind.RUN, Run.id)


def unfinished_run(session: Session, sync_id: int) -> Run | None:
    """Return the run of a sync that is not finished yet, dry runs aside."""
    query = select(Run).where(Run.sync_id == sync_id, col(Run.status).in_(UNFINISHED), col(Run.dry_run).is_(False))
    return session.exec(query.order_by(col(Run.id))).first()
