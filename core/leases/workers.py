"""Which workers are there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import SettingsError
from data import worker_names, workers
from data.models import WorkerHeartbeat

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


def check_name(name: str) -> str:
    """Return what a worker may be called. Raises SettingsError."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            "--name: this is no name for a worker.",
            advice="Use 1 to 32 letters, digits, dots, hyphens and underscores, the first of them a letter or a digit.",
        )
    return name


def called(worker: WorkerHeartbeat) -> str:
    """Return what a worker is called: by its name, and by where it runs, since others may have that name."""
    return worker_names.called(worker.label, worker.name)


@action(Role.VIEWER)
def worker_seen_at(bridge: Bridge, actor: Actor) -> datetime | None:
    """Return when a worker last gave a heartbeat, None if none ever did."""
    return workers.last_seen(bridge.engine)


@action(Role.VIEWER)
def worker_is_up(bridge: Bridge, actor: Actor) -> bool:
    """Return whether a worker is there to do what is queued."""
    return workers.is_one_up(bridge.engine, now=bridge.clock.now())


def is_one_up(bridge: Bridge, heartbeats: Iterable[WorkerHeartbeat]) -> bool:
    """Return whether one of these workers is there to do what is queued."""
    now = bridge.clock.now()
    return any(worker_names.is_up(each.seen_at, now) for each in heartbeats)


@action(Role.VIEWER)
def workers_up(bridge: Bridge, actor: Actor) -> Counter[str]:
    """Count the workers that are up by the name that they were given, empty for none."""
    return Counter(each.label or "" for each in workers.list_up(bridge.engine, now=bridge.clock.now()))
