"""Which workers are there."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from data import workers

WORKER_SEEN_WITHIN = timedelta(seconds=60)
# A heartbeat that is further ahead was given before the clock was set back.
_SKEW = timedelta(minutes=5)


@action(Role.VIEWER)
def worker_seen_at(bridge: Bridge, actor: Actor) -> datetime | None:
    """Return when a worker last gave a heartbeat, None if none ever did."""
    return workers.last_seen(bridge.engine)


@action(Role.VIEWER)
def worker_is_up(bridge: Bridge, actor: Actor) -> bool:
    """Return whether a worker is there to do what is queued."""
    seen_at = worker_seen_at(bridge, actor)
    return seen_at is not None and -_SKEW < bridge.clock.now() - seen_at < WORKER_SEEN_WITHIN
