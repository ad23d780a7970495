"""What is due becomes a queued run."""

from __future__ import annotations

from datetime import datetime

from core.rules.due_times import is_due, next_slot
from data import syncs
from data.engine import Engine
from data.models import Sync


def queue_due(engine: Engine, *, now: datetime, limit: int = 50) -> int:
    """Queue a run of each sync that is due, one however many slots were missed, and move it to its next slot."""
    due = [sync for sync in syncs.list_scheduled(engine) if is_due(sync, now)]
    return sum(_queue(engine, sync, now) for sync in due[:limit])


def _queue(engine: Engine, sync: Sync, now: datetime) -> bool:
    assert sync.id is not None
    assert sync.every_minutes is not None
    next_run_at = next_slot(sync.id, sync.every_minutes, after=now)
    return syncs.queue_scheduled(engine, sync, next_run_at=next_run_at, now=now)
