"""Which syncs are due when, and the runs that they queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import update
from sqlmodel import Session, col, select

from data import receivers
from data.engine import Engine, read_session, write_session
from data.models import Connection, Group, Run, Sync, SyncKind, SyncState
from data.run_queue import RunRequest, new_run
from data.sync_runs import add_run, give_up_undo, start_at_once, unfinished_run, with_unfinished_runs
from data.syncs import IN_ITS_GROUP, SyncRemoved, find


class Schedule(NamedTuple):
    """When a recurring sync is due next."""

    sync_id: int
    every_minutes: int
    next_run_at: datetime | None


def list_schedules(engine: Engine) -> list[Schedule]:
    """List when the recurring syncs that are active are due, the one that is due next first."""
    active = select(Sync.id, Sync.every_minutes, Sync.next_run_at).where(
        Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE
    )
    with read_session(engine) as session:
        rows = session.exec(active.order_by(col(Sync.next_run_at), col(Sync.id))).all()
    return [Schedule(sync_id or 0, every or 0, at) for sync_id, every, at in rows]


def queue_run(engine: Engine, sync_id: int, request: RunRequest, *, now: datetime) -> Run:
    """Queue a run of a sync, or return the one that is not finished yet: it waits no longer after a death.

    Raises: SyncUnknown, SyncRemoved, SharedReceiver.
    """
    with write_session(engine) as session:
        sync = find(session, sync_id)
        if sync.state == SyncState.REMOVED:
            raise SyncRemoved(sync_id)
        receivers.require_own(session, session.get_one(Group, sync.group_id))
        give_up_undo(session, sync.group_id, now=now)
        run = unfinished_run(session, sync_id)
        if run is None:
            return add_run(session, sync, request, now=now)
        start_at_once(session, run)
        return run


def queue_scheduled(engine: Engine, due: Sequence[tuple[Schedule, datetime]], *, now: datetime) -> int:
    """Move syncs that are due to their next slots, and queue a run of each. Returns how many were queued.

    None is queued where another worker was faster, or the last run is not finished: this slot is its as well.
    """
    with write_session(engine) as session:
        moved = [schedule.sync_id for schedule, at in due if _move(session, schedule, at)]
        busy = set(session.exec(with_unfinished_runs(moved)).all())
        free = [sync_id for sync_id in moved if sync_id not in busy]
        query = select(Sync, Group, Connection.name).where(*IN_ITS_GROUP)
        found = {row[0].id: row for row in session.exec(query.where(col(Sync.id).in_(free))).all()}
        request = RunRequest(trigger="schedule", actor="schedule")
        for sync_id in free:
            # Raises where a row is missing: a sync without its group or destination is damage.
            sync, group, destination = found.get(sync_id) or session.exec(query.where(Sync.id == sync_id)).one()
            session.add(new_run(sync, group, request, destination=destination, now=now))
        return len(free)


def _move(session: Session, schedule: Schedule, at: datetime) -> bool:
    moved = session.exec(
        update(Sync)
        .where(
            col(Sync.id) == schedule.sync_id,
            col(Sync.state) == SyncState.ACTIVE,
            col(Sync.next_run_at).is_not_distinct_from(schedule.next_run_at),
        )
        .values(next_run_at=at)
        .execution_options(synchronize_session=False)
    )
    return moved.rowcount == 1
