"""Which workers are there."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import func, select

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from data.engine import read_session
from data.models import WorkerHeartbeat, utc_now

WORKER_SEEN_WITHIN = timedelta(seconds=60)


@action(Role.VIEWER)
def worker_seen_at(bridge: Bridge, actor: Actor) -> datetime | None:
    """Tell when a worker last gave a sign of life, None if none ever did."""
    with read_session(bridge.engine) as session:
        return session.exec(select(func.max(WorkerHeartbeat.seen_at))).one()


@action(Role.VIEWER)
def worker_is_up(bridge: Bridge, actor: Actor) -> bool:
    """Tell whether a worker is there to do what is queued."""
    seen = worker_seen_at(bridge, actor)
    return seen is not None and utc_now() - seen < WORKER_SEEN_WITHIN
