"""The runs of a sync within a writing session: queue one, find the one that is not finished, cancel what waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from data import alert_states, leases, run_jobs, run_queue
from data.models import (
    DISCARDED,
    SUPERSEDED_BY_RUN_ID,
    TO_CLAIM,
    UNFINISHED,
    Connection,
    Group,
    LeaseKind,
    Run,
    RunStatus,
    Sync,
    SyncKind,
    SyncState,
)
from data.run_queue import RunRequest


def add_run(session: Session, sync: Sync, request: RunRequest, *, now: datetime) -> Run:
    """Queue a run of a sync within a writing session."""
    group = session.get_one(Group, sync.group_id)
    destination = session.get_one(Connection, group.destination_id)
    run = run_queue.new_run(sync, group, request, destination=destination.name, now=now)
    if request.lease_owner is None:
        session.add(run)
        session.flush()
        run_jobs.ring(session, [run.id])
    else:
        run_queue.keep_for(session, run, request.lease_owner, now=now)
    return run


def cancel_queued(session: Session, which: ColumnElement[bool], *, now: datetime) -> None:
    """Cancel the runs that no process holds yet: they would write after, and against, what was just decided."""
    session.exec(
        update(Run)
        .where(which, col(Run.status).in_(TO_CLAIM), is_unclaimed())
        .values(status=RunStatus.CANCELLED, finished_at=now, waiting_until=None)
    )


def stop_writing(session: Session, destination_id: int | None) -> None:
    """Have the runs end that work on a destination's groups: they write to where it led when they began."""
    groups = select(Group.id).where(Group.destination_id == destination_id)
    session.exec(
        update(Run)
        .where(col(Run.group_id).in_(groups), col(Run.status) == RunStatus.RUNNING, col(Run.dry_run).is_(False))
        .values(cancel_asked=True)
    )


def give_up_undo(session: Session, group_id: int, *, now: datetime) -> None:
    """Give up a rollback of a group that waits or works, for what a person asks for after it.

    It would be done after that otherwise: it may wait, or its process may die and another take it up again.
    """
    undo = (col(Run.group_id) == group_id) & col(Run.restore_snapshot).is_not(None)
    cancel_queued(session, undo, now=now)
    session.exec(update(Run).where(undo, col(Run.status).in_(UNFINISHED)).values(cancel_asked=True))


def supersede_held(session: Session, group_id: int, *, by: int | None) -> None:
    """Let a newer run, `by`, take the place of what a group had held."""
    of_group = (col(Run.group_id) == group_id, col(Run.id) != by, col(Run.status) == RunStatus.HELD)
    for held in session.exec(select(Run).where(*of_group)).all():
        # The worker removes the file that no row names any more.
        held.status, held.difference = RunStatus.SUPERSEDED, None
        # One without a hold is of an earlier version: what stands there would be taken for one.
        held.hold = held.hold and held.hold | {SUPERSEDED_BY_RUN_ID: by}
        session.add(held)


def discard_held(session: Session, which: ColumnElement[bool], *, by: str) -> None:
    """End held runs as a person's decision; their groups stay as they are."""
    session.exec(
        update(Run)
        .where(which, col(Run.status) == RunStatus.HELD)
        .values(status=RunStatus.CANCELLED, step=DISCARDED, decided_by=by, difference=None)
    )


def stop_syncs(session: Session, *which: ColumnElement[bool], reason: str, now: datetime) -> None:
    """Pause those of these syncs that run, or are paused for a time only, and tell of it as a person's doing."""
    going_to_run = (*which, (col(Sync.state) == SyncState.ACTIVE) | col(Sync.paused_until).is_not(None))
    recurring = session.exec(select(Sync.id).where(*going_to_run, Sync.kind == SyncKind.RECURRING)).all()
    paused = {"state": SyncState.PAUSED, "paused_reason": reason, "paused_until": None, "next_run_at": None}
    session.exec(update(Sync).where(*going_to_run).values(**paused))
    # What was told of a pause with an end is not true any more.
    alert_states.note_paused(session, recurring, by_person=True, now=now, again=True)


def is_unclaimed() -> ColumnElement[bool]:
    """Build the condition that no process holds a run."""
    return ~leases.is_held(LeaseKind.RUN, Run.id)


def start_at_once(session: Session, run: Run) -> None:
    """Have a queued run that was to be tried again later tried now: a person asks for it."""
    if run.status == RunStatus.QUEUED:
        run.waiting_until = None
    session.add(run)
    run_jobs.ring(session, [run.id])


def unfinished_run(session: Session, sync_id: int) -> Run | None:
    """Return the run of a sync that is not finished yet; previews, and rollbacks, which read nothing, aside."""
    return session.exec(select(Run).where(Run.sync_id == sync_id, *_WILL_READ).order_by(col(Run.id))).first()


def with_unfinished_runs(sync_ids: Sequence[int]) -> SelectOfScalar[int]:
    """Build the query for those of several syncs that have such a run."""
    return select(Run.sync_id).where(col(Run.sync_id).in_(sync_ids), *_WILL_READ)


_WILL_READ = (col(Run.status).in_(UNFINISHED), col(Run.dry_run).is_(False), col(Run.restore_snapshot).is_(None))
