"""The workers that are, or were, there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Engine
from sqlmodel import col, delete, func, select

from data import alert_states, worker_names
from data.engine import own_revision, read_session, write_session
from data.models import WorkerHeartbeat
from data.outbox_models import WORKER
from data.repeating import repeated

_KEPT_FOR = timedelta(days=1)
_LATEST_FIRST = select(WorkerHeartbeat).order_by(col(WorkerHeartbeat.seen_at).desc())


class Beat(NamedTuple):
    """Which worker was there, since when, and when it gave its last heartbeat."""

    name: str
    started_at: datetime
    seen_at: datetime


def sign_on(
    engine: Engine,
    name: str,
    *,
    started_at: datetime,
    now: datetime,
    clock_ahead_s: float | None = None,
    label: str | None = None,
) -> None:
    """Note that a worker is there, forget those that left long ago, and tell who was told that none was.

    The `label` is what whoever started it calls it; others may be called the same.
    """
    with write_session(engine, by_rows=True) as session:
        session.merge(
            WorkerHeartbeat(
                name=name,
                started_at=started_at,
                seen_at=now,
                clock_ahead_s=clock_ahead_s,
                label=label,
                revision=own_revision(),
            )
        )
        session.exec(delete(WorkerHeartbeat).where(col(WorkerHeartbeat.seen_at) < now - _KEPT_FOR))
    alert_states.settle_found(engine, {WORKER: None}, now=now)


def note_visit(engine: Engine, *, now: datetime) -> None:
    """Tell who was told that no worker was there that one has come, where none ever stays."""
    if last_seen(engine) is None:
        alert_states.settle_found(engine, {WORKER: None}, now=now)


@repeated
def sign_off(engine: Engine, name: str) -> None:
    """Note that a worker has left."""
    with write_session(engine, by_rows=True) as session:
        session.exec(delete(WorkerHeartbeat).where(col(WorkerHeartbeat.name) == name))


def last_seen(engine: Engine) -> datetime | None:
    """Return when a worker was last there, None if none ever was."""
    with read_session(engine) as session:
        return session.exec(select(func.max(WorkerHeartbeat.seen_at))).one()


def find_last(engine: Engine) -> WorkerHeartbeat | None:
    """Return the worker that was there last, None if none ever was."""
    with read_session(engine) as session:
        return session.exec(_LATEST_FIRST.limit(1)).first()


def list_up(engine: Engine, *, now: datetime) -> list[WorkerHeartbeat]:
    """List the workers that are there, the latest heartbeat first."""
    with read_session(engine) as session:
        return list(session.exec(_LATEST_FIRST.where(worker_names.are_up(now))).all())


def is_one_up(engine: Engine, *, now: datetime) -> bool:
    """Return whether any worker is there."""
    with read_session(engine) as session:
        return session.exec(select(WorkerHeartbeat.name).where(worker_names.are_up(now)).limit(1)).first() is not None


def list_beats(engine: Engine) -> list[Beat]:
    """List the last heartbeats of the workers that are, or were, there within a day, the latest first."""
    rows = select(WorkerHeartbeat.name, WorkerHeartbeat.started_at, WorkerHeartbeat.seen_at)
    with read_session(engine) as session:
        return [Beat(*row) for row in session.exec(rows.order_by(col(WorkerHeartbeat.seen_at).desc())).all()]
