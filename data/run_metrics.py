"""What is counted of runs for a monitoring system: each ended run once, and what waits."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import InstrumentedAttribute, load_only
from sqlmodel import col, select

from data.engine import Engine, read_session
from data.models import UNFINISHED, Run, RunStatus, Sync, SyncKind, SyncState

# Of very many runs only what is counted is loaded.
_COUNTED: list[InstrumentedAttribute[Any]] = [
    getattr(Run, name)
    for name in (
        "id", "status", "step", "error_code", "write", "dry_run", "started_at", "finished_at", "members", "added",
        "removed",
    )
]  # fmt: skip


def first_unfinished(engine: Engine) -> int:
    """Return the lowest number that a run has which has not ended, or the next that one will have."""
    with read_session(engine) as session:
        lowest = session.exec(select(func.min(Run.id)).where(col(Run.status).in_(UNFINISHED))).one()
        return lowest if lowest is not None else (session.exec(select(func.max(Run.id))).one() or 0) + 1


def list_ended(engine: Engine, *, from_id: int, without: Collection[int] = ()) -> list[Run]:
    """List the runs from a number on that have ended, without those that are known already; of each what is counted."""
    query = select(Run).where(col(Run.id) >= from_id, col(Run.status).not_in(UNFINISHED)).order_by(col(Run.id))
    with read_session(engine) as session:
        return [run for run in session.exec(query.options(load_only(*_COUNTED))).all() if run.id not in without]


def count_unfinished(engine: Engine) -> dict[str, int]:
    """Count the runs that have not ended, by status; each status is in it."""
    query = select(Run.status, func.count()).where(col(Run.status).in_(UNFINISHED)).group_by(col(Run.status))
    with read_session(engine) as session:
        return dict.fromkeys(map(str, UNFINISHED), 0) | dict(session.exec(query).all())


def count_syncs(engine: Engine) -> dict[str, int]:
    """Count the recurring syncs that were not removed, by state; each state is in it."""
    states = (SyncState.ACTIVE, SyncState.PAUSED)
    query = select(Sync.state, func.count()).where(Sync.kind == SyncKind.RECURRING, col(Sync.state).in_(states))
    with read_session(engine) as session:
        return dict.fromkeys(map(str, states), 0) | dict(session.exec(query.group_by(col(Sync.state))).all())


def find_oldest_due(engine: Engine) -> datetime | None:
    """Return since, or from, when a worker is needed: a run is queued, or a sync due next; None: nothing is active."""
    queued = select(func.min(Run.queued_at)).where(col(Run.status) == RunStatus.QUEUED)
    active = (Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE)
    with read_session(engine) as session:
        times = [session.exec(queued).one(), session.exec(select(func.min(Sync.next_run_at)).where(*active)).one()]
    return min((at for at in times if at is not None), default=None)
