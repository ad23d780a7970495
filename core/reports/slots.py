"""The last day of each recurring sync as a line: which of its times were met, late, missed, or no times at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.reports.overview import DAY
from core.rules import due_times, slots
from core.rules.slots import Slot as Slot
from core.rules.slots import SlotState as SlotState
from core.syncs.listing import SyncView
from data import pauses, run_history
from data.models import Pause, Sync, TimedRun

# A run may have been queued before the day began, and be at work in it.
_LOOKED_BACK = timedelta(hours=2)


@dataclass(frozen=True)
class SlotLine:
    """What became of the times that a sync was due at, from `since` to `until`."""

    since: datetime
    until: datetime
    slots: list[Slot]

    @property
    def counts(self) -> Counter[SlotState]:
        """How many of the times came to what."""
        return Counter(slot.state for slot in self.slots)


@action(Role.VIEWER)
def list_slot_lines(bridge: Bridge, actor: Actor, views: Sequence[SyncView]) -> dict[int, SlotLine]:
    """Return the last 24 hours of each of these recurring syncs, by sync. Ask for few: their runs are read."""
    now = bridge.clock.now()
    since, ids = now - DAY, [view.sync.id for view in views if view.sync.id is not None]
    runs = run_history.list_timed(bridge.engine, ids, since=since - _LOOKED_BACK)
    paused = pauses.list_pauses(bridge.engine, ids, since=since)
    return {
        view.sync.id: _line(view.sync, runs.get(view.sync.id, []), paused.get(view.sync.id, []), since, now)
        for view in views
        if view.sync.id is not None
    }


def _line(sync: Sync, runs: list[TimedRun], paused: list[Pause], since: datetime, now: datetime) -> SlotLine:
    timing = sync.timing
    if timing is None or sync.id is None:
        return SlotLine(since, now, [])
    expectation = slots.find_expectation(sync, paused, since=since)
    due = due_times.list_slots(sync.id, timing, since=expectation.since, until=now)
    if due and due_times.is_plannable(timing, now):
        due.append(due_times.next_slot(sync.id, timing, after=now))
    return SlotLine(since, now, slots.judge(due, runs, expectation.pauses, now=now))
