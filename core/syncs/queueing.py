"""What is due becomes a queued run."""

from __future__ import annotations

from datetime import datetime

from core.rules.due_times import is_due, is_misplanned, is_plannable, next_slot
from data import due_syncs
from data.engine import Engine


def queue_due(engine: Engine, *, now: datetime, limit: int = 50) -> int:
    """Queue a run of each sync that is due, one however many slots were missed, and move it to its next slot.

    The next time of a schedule that has another one by now is set again; one that cannot be read any more waits until
    `pauses.pause_unplannable` says so.
    """
    planned = [each for each in due_syncs.list_next_runs(engine) if is_plannable(each.timing, now)]
    misplanned = [each for each in planned if is_misplanned(each.next_run_at, each.timing, now)][:limit]
    if misplanned:
        slots = [next_slot(each.sync_id, each.timing, after=now) for each in misplanned]
        due_syncs.replan(engine, list(zip(misplanned, slots, strict=True)))
    due = [each for each in planned if is_due(each.next_run_at, each.timing, now)][:limit]
    if not due:
        return 0
    slots = [next_slot(each.sync_id, each.timing, after=now) for each in due]
    return due_syncs.queue_scheduled(engine, list(zip(due, slots, strict=True)), now=now)
