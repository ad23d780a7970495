"""Which syncs are due when, and the runs that they queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select as columns
from sqlalchemy import update
from sqlmodel import Session, col, select

from data import receivers, run_jobs
from data.engine import Engine, read_session, write_session
from data.locks import RELYING
from data.models import Connection, Group, Run, Sync, SyncKind, SyncState, Timing
from data.repeating import repeated
from data.run_queue import RunRequest, new_run
from data.sync_models import read_timing
from data.sync_runs import add_run, give_up_undo, start_at_once, unfinished_run, with_unfinished_runs
from data.syncs import IN_ITS_GROUP, SyncRemoved, find


class NextRun(NamedTuple):
    """When a recurring sync is due next."""

    sync_id: int
    timing: Timing
    next_run_at: datetime | None


def list_next_runs(engine: Engine) -> list[NextRun]:
    """List when the recurring syncs that are active are due, the one that is due next first."""
    # Asked every second, so in columns: to make objects of as many rows takes several times as long.
    asked = (col(Sync.id), col(Sync.every_minutes), col(Sync.cron), col(Sync.zone), col(Sync.next_run_at))
    active = columns(*asked).where(col(Sync.kind) == SyncKind.RECURRING, col(Sync.state) == SyncState.ACTIVE)
    with read_session(engine) as session:
        rows = session.connection().execute(active.order_by(col(Sync.next_run_at), col(Sync.id))).all()
    planned = ((sync_id, read_timing(every, cron, zone), at) for sync_id, every, cron, zone, at in rows)
    return [NextRun(sync_id or 0, timing, at) for sync_id, timing, at in planned if timing is not None]


@repeated
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


@repeated
def queue_scheduled(engine: Engine, due: Sequence[tuple[NextRun, datetime]], *, now: datetime) -> int:
    """Move syncs that are due to their next slots, and queue a run of each. Returns how many were queued.

    None is queued where another worker was faster, or the last run is not finished: this slot is its as well.
    """
    with write_session(engine, RELYING) as session:
        moved = [next_run.sync_id for next_run, at in due if _move(session, next_run, at)]
        busy = set(session.exec(with_unfinished_runs(moved)).all())
        free = [sync_id for sync_id in moved if sync_id not in busy]
        query = select(Sync, Group, Connection.name).where(*IN_ITS_GROUP)
        found = {row[0].id: row for row in session.exec(query.where(col(Sync.id).in_(free))).all()}
        request = RunRequest(trigger="schedule", actor="schedule")
        runs: list[Run] = []
        for sync_id in free:
            # Raises where a row is missing: a sync without its group or destination is damage.
            sync, group, destination = found.get(sync_id) or session.exec(query.where(Sync.id == sync_id)).one()
            runs.append(new_run(sync, group, request, destination=destination, now=now))
        session.add_all(runs)
        session.flush()
        run_jobs.ring(session, [run.id for run in runs])
        return len(free)


@repeated
def replan(engine: Engine, moved: Sequence[tuple[NextRun, datetime]]) -> None:
    """Give syncs other next slots, without a run."""
    with write_session(engine, RELYING) as session:
        for next_run, at in moved:
            _move(session, next_run, at)


def _move(session: Session, next_run: NextRun, at: datetime) -> bool:
    moved = session.exec(
        update(Sync)
        .where(
            col(Sync.id) == next_run.sync_id,
            col(Sync.state) == SyncState.ACTIVE,
            col(Sync.next_run_at).is_not_distinct_from(next_run.next_run_at),
        )
        .values(next_run_at=at)
        .execution_options(synchronize_session=False)
    )
    return moved.rowcount == 1
