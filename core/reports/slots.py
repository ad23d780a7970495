"""The last day of each recurring sync as a line: which of its times were met, late, missed, or no times at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.reports.met_counts import MetCounts
from core.reports.overview import DAY
from core.rules import due_times, slots
from core.rules.slots import Slot as Slot
from core.rules.slots import SlotState as SlotState
from core.syncs.listing import SyncView
from data import pauses, run_history
from data.models import Pause, Run, Schedule, Sync, TimedRun
from data.run_history import SlotGrid

# A run may have been queued before the time began that is looked at, and be running in it.
_LOOKED_BACK = timedelta(hours=2)
_ON_TIME_OVER = timedelta(days=7)
# So many syncs with set times have at most some 17,000 of them in that time.
_SYNCS_AT_ONCE = 25


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


@dataclass(frozen=True)
class OnTime:
    """How many of the times that a sync was due at in the last days were met, of those that are over."""

    met: int
    due: int

    @property
    def share(self) -> float | None:
        """The share of them that were met, None before the first is over."""
        return self.met / self.due if self.due else None


@action(Role.VIEWER)
def list_on_time(
    bridge: Bridge, actor: Actor, views: Sequence[SyncView], *, counted: MetCounts | None = None
) -> dict[int, OnTime]:
    """Return of each of these recurring syncs how many of its times were met in the last seven days, by sync.

    Who asks time and again keeps what was `counted`.
    """
    syncs = {view.sync.id: view.sync for view in views if view.sync.id is not None}
    at_set_times = [sync for sync in syncs.values() if isinstance(sync.timing, Schedule)]
    since = bridge.clock.now() - _ON_TIME_OVER
    on_time = _count_by_interval(bridge, views, since, counted or MetCounts())
    for first in range(0, len(at_set_times), _SYNCS_AT_ONCE):
        lines = _list_lines(bridge, at_set_times[first : first + _SYNCS_AT_ONCE], since)
        on_time |= {sync_id: _count(line) for sync_id, line in lines.items()}
    return on_time


def _count(line: SlotLine) -> OnTime:
    over = sum(line.counts[state] for state in (SlotState.MET, SlotState.LATE, SlotState.MISSED))
    return OnTime(line.counts[SlotState.MET], over)


def _count_by_interval(
    bridge: Bridge, views: Sequence[SyncView], since: datetime, counted: MetCounts
) -> dict[int, OnTime]:
    """Count the times of syncs with an interval: of very many the database judges the runs, by the rules of `judge`."""
    now = bridge.clock.now()
    by_interval = {view.sync.id: view for view in views if view.sync.id is not None and view.sync.every_minutes}
    paused = pauses.list_pauses(bridge.engine, list(by_interval), since=since)
    due, grids = dict[int, int](), dict[SlotGrid, Run | None]()
    for sync_id, view in by_interval.items():
        sync, every = view.sync, view.sync.every_minutes or 0
        expectation = slots.find_expectation(sync, paused.get(sync_id, []), since=since)
        due[sync_id] = slots.count_over(sync_id, every, expectation, now=now)
        begin = due_times.next_slot(sync_id, every, after=expectation.since)
        end = due_times.next_slot(sync_id, every, after=now) - timedelta(minutes=every)
        grids[SlotGrid(sync_id, sync.group_id, begin, end, every * 60)] = view.last_run
    met = counted.count(bridge.engine, grids)
    return {sync_id: OnTime(min(met[sync_id], count), count) for sync_id, count in due.items()}


@action(Role.VIEWER)
def list_slot_lines(bridge: Bridge, actor: Actor, views: Sequence[SyncView]) -> dict[int, SlotLine]:
    """Return the last 24 hours of each of these recurring syncs, by sync. Ask for few: their runs are read."""
    return _list_lines(bridge, [view.sync for view in views], bridge.clock.now() - DAY)


def _list_lines(bridge: Bridge, syncs: Sequence[Sync], since: datetime) -> dict[int, SlotLine]:
    now, ids = bridge.clock.now(), [sync.id for sync in syncs if sync.id is not None]
    runs = run_history.list_timed(bridge.engine, ids, since=since - _LOOKED_BACK)
    paused = pauses.list_pauses(bridge.engine, ids, since=since)
    return {
        sync.id: _line(sync, runs.get(sync.id, []), paused.get(sync.id, []), since, now)
        for sync in syncs
        if sync.id is not None
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
