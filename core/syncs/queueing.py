"""What is due becomes a queued run."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, update
from sqlmodel import Session, col, select

from core.rules.due_times import is_due, next_slot
from data import run_queue
from data.engine import read_session, write_session
from data.models import UNFINISHED, Connection, Group, Run, Sync, SyncKind, SyncState, utc_now


def queue_due(engine: Engine, *, now: datetime | None = None, limit: int = 50) -> int:
    """Queue a run of each sync that is due, one however many slots were missed, and move it to its next slot.

    A slot clearly further away than the interval was planned before the clock was set back: it is due as well.
    """
    now = now or utc_now()
    with read_session(engine) as session:
        active = select(Sync).where(Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE)
        found = session.exec(active.order_by(col(Sync.next_run_at), col(Sync.id))).all()
    due = [sync for sync in found if is_due(sync, now)]
    return sum(_queue(engine, sync, now) for sync in due[:limit])


def _queue(engine: Engine, sync: Sync, now: datetime) -> bool:
    assert sync.id is not None
    assert sync.every_minutes is not None
    with write_session(engine) as session:
        moved = session.exec(
            update(Sync)
            .where(
                col(Sync.id) == sync.id,
                col(Sync.state) == SyncState.ACTIVE,
                col(Sync.next_run_at).is_not_distinct_from(sync.next_run_at),
            )
            .values(next_run_at=next_slot(sync.id, sync.every_minutes, after=now))
        )
        # Another worker was faster, or the last run still waits or works: this slot is its as well.
        if moved.rowcount != 1 or unfinished(session, sync.id):
            return False
        session.add(new_run(session, sync, trigger="schedule", actor="schedule"))
        return True


def unfinished(session: Session, sync_id: int) -> Run | None:
    query = select(Run).where(Run.sync_id == sync_id, col(Run.status).in_(UNFINISHED), col(Run.dry_run).is_(False))
    return session.exec(query.order_by(col(Run.id))).first()


def new_run(
    session: Session,
    sync: Sync,
    *,
    trigger: str,
    actor: str,
    force_full: bool = False,
    approved: bool = False,
    restore_snapshot: str | None = None,
) -> Run:
    group = session.get_one(Group, sync.group_id)
    destination = session.get_one(Connection, group.destination_id)
    return run_queue.new_run(
        sync,
        group,
        destination=destination.name,
        trigger=trigger,
        actor=actor,
        dry_run=False,
        force_full=force_full,
        now=utc_now(),
        approved=approved,
        restore_snapshot=restore_snapshot,
    )
