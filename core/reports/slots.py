"""The last day of each recurring sync as a line: which of its times were met, late, missed, or no times at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.reports.on_time_kept import OnTime as OnTime
from core.reports.on_time_kept import OnTimeKept
from core.reports.overview import DAY
from core.rules import due_times, slots
from core.rules.slots import Expectation
from core.rules.slots import Slot as Slot
from core.rules.slots import SlotState as SlotState
from core.syncs.listing import SyncView
from data import pauses, run_history
from data.models import Pause, Sync, TimedRun
from data.run_history import SlotGrid

# A run may have been queued before the time began that is looked at, and be running in it.
_LOOKED_BACK = timedelta(hours=2)
_ON_TIME_OVER = timedelta(days=7)
# So many syncs have at most some 17,000 of their times in that time.
_SYNCS_AT_ONCE = 25


@dataclass(frozen=True)
class SlotLine:
    """What became of the times that a sync was due at, from `since` to `until`."""

    since: datetime
    until: datetime
    slots: list[Slot]

    @property
    def counts(self) -> Counter[SlotState]:
        """How many of the times that are over came to what; those whose run still works are open."""
        return Counter(slot.state for slot in self.slots if slot.until <= self.until)

    @property
    def on_time(self) -> OnTime:
        """How many of the times that are over were met; none was due during a pause."""
        counts = self.counts
        return OnTime(counts[SlotState.MET], counts.total() - counts[SlotState.PAUSED])


@action(Role.VIEWER)
def list_on_time(
    bridge: Bridge, actor: Actor, views: Sequence[SyncView], *, kept: OnTimeKept | None = None
) -> dict[int, OnTime]:
    """Return of each of these recurring syncs how many of its times were met in the last seven days, by sync.

    Who asks time and again keeps what was counted.
    """
    syncs = {view.sync.id: view for view in views if view.sync.id is not None}
    now = bridge.clock.now()
    since = now - _ON_TIME_OVER
    paused = pauses.list_pauses(bridge.engine, list(syncs), since=since)
    asked = {each: _depends_on(view, paused.get(each, []), since, now) for each, view in syncs.items()}

    def count(sync_ids: Sequence[int]) -> dict[int, OnTime]:
        asked_for = [syncs[sync_id].sync for sync_id in sync_ids]
        expected = {
            each: slots.find_expectation(syncs[each].sync, paused.get(each, []), since=since) for each in sync_ids
        }
        by_interval = [sync for sync in asked_for if sync.every_minutes]
        at_set_times = [sync for sync in asked_for if not sync.every_minutes]
        return _count_by_interval(bridge, by_interval, expected, now) | _count_by_lines(bridge, at_set_times, since)

    return (kept or OnTimeKept()).find(asked, count)


def _depends_on(view: SyncView, paused: Sequence[Pause], since: datetime, now: datetime) -> Hashable:
    """Return what the count of a sync depends on: its times, its pauses, and how its latest run is."""
    sync, run = view.sync, view.last_run
    timing, begin = sync.timing, slots.find_expectation(sync, paused, since=since).since
    is_plannable = timing is not None and due_times.is_plannable(timing, now)
    ends = (
        [due_times.next_slot(sync.id or 0, timing, after=at) for at in (begin, now)] if timing and is_plannable else []
    )
    latest = (run.id, run.status, run.finished_at) if run else None
    return timing, *ends, sync.state, tuple(paused), latest


def _count_by_lines(bridge: Bridge, syncs: Sequence[Sync], since: datetime) -> dict[int, OnTime]:
    on_time = dict[int, OnTime]()
    for first in range(0, len(syncs), _SYNCS_AT_ONCE):
        lines = _list_lines(bridge, syncs[first : first + _SYNCS_AT_ONCE], since)
        on_time |= {sync_id: line.on_time for sync_id, line in lines.items()}
    return on_time


def _count_by_interval(
    bridge: Bridge, syncs: Sequence[Sync], expected: Mapping[int, Expectation], now: datetime
) -> dict[int, OnTime]:
    """Count the times of syncs with an interval: of very many the database judges the runs, by the rules of `judge`."""
    due, grids = dict[int, int](), list[SlotGrid]()
    for sync in syncs:
        sync_id, every = sync.id or 0, sync.every_minutes or 0
        since = expected[sync_id].since
        due[sync_id] = slots.count_over(sync_id, every, since=since, now=now)
        begin = due_times.next_slot(sync_id, every, after=since)
        end = due_times.next_slot(sync_id, every, after=now) - timedelta(minutes=every)
        grids.append(SlotGrid(sync_id, sync.group_id, begin, end, every * 60))
    met = run_history.count_met(bridge.engine, grids)
    paused = _count_paused(bridge, [sync for sync in syncs if expected[sync.id or 0].pauses], expected, now)
    return {sync_id: OnTime(met.get(sync_id, 0), count - paused.get(sync_id, 0)) for sync_id, count in due.items()}


def _count_paused(
    bridge: Bridge, syncs: Sequence[Sync], expected: Mapping[int, Expectation], now: datetime
) -> dict[int, int]:
    """Count the times of syncs that are over and were paused: only those around their pauses are looked at."""
    if not syncs:
        return {}
    spans = {sync.id or 0: _span(sync, expected[sync.id or 0], now) for sync in syncs}
    first, last = min(begin for begin, _ in spans.values()), max(end for _, end in spans.values())
    runs = run_history.list_timed(bridge.engine, list(spans), since=first - _LOOKED_BACK, until=last)
    counts = dict[int, int]()
    for sync in syncs:
        sync_id, every = sync.id or 0, sync.every_minutes or 0
        begin, end = spans[sync_id]
        due = due_times.list_slots(sync_id, every, since=begin, until=end)
        judged = slots.judge(due, runs.get(sync_id, []), expected[sync_id].pauses, now=now)
        counts[sync_id] = sum(slot.state == SlotState.PAUSED for slot in judged if slot.until <= now)
    return counts


def _span(sync: Sync, expectation: Expectation, now: datetime) -> tuple[datetime, datetime]:
    """Return from when to when the times of a sync may be paused, and the next one after them."""
    every = timedelta(minutes=sync.every_minutes or 0)
    ended = max(pause.ended_at or now for pause in expectation.pauses)
    return max(expectation.since, expectation.pauses[0].began_at - every), min(ended + every, now)


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
