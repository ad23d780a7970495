"""What is due becomes a queued run."""

from __future__ import annotations

from datetime import datetime

from core.rules.due_times import is_due, next_slot
from data import due_syncs
from data.engine import Engine


def queue_due(engine: Engine, *, now: datetime, limit: int = 50) -> int:
    """Queue a run of each sync that is due, one however many slots were missed, and move it to its next slot."""
    schedules = due_syncs.list_schedules(engine)
    due = [schedule for schedule in schedules if is_due(schedule.next_run_at, schedule.every_minutes, now)][:limit]
    if not due:
        return 0
    slots = [next_slot(schedule.sync_id, schedule.every_minutes, after=now) for schedule in due]
    return due_syncs.queue_scheduled(engine, list(zip(due, slots, strict=True)), now=now)
