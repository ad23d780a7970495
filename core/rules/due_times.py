"""When a recurring sync is due, and how many queries an hour its interval costs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from data.models import Group, Sync, SyncKind, SyncState

INTERVALS = (15, 30, 60, 1440)
# The golden ratio's fraction spreads any number of syncs evenly over an interval, whichever of them are removed.
_SPREAD = 0.6180339887498949
# Clocks of two machines differ, and time passes between reading a clock and reading the database.
_SKEW = timedelta(minutes=5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# A run works no longer than this many intervals of its sync, and may always work so long.
_INTERVALS_OF_WORK = 2
_LEAST_WORK = timedelta(hours=1)
# A group that is older than two intervals missed at least one of them; a run takes its time.
_LATE_AFTER = 2.2


def longest_work(every_minutes: int | None) -> timedelta:
    """Return how long a run may work, of a sync with this interval; None: of a one-time export."""
    return max(_LEAST_WORK, timedelta(minutes=every_minutes or 0) * _INTERVALS_OF_WORK)


def next_slot(sync_id: int, every_minutes: int, *, after: datetime) -> datetime:
    """Return the first time after `after` on the sync's own steady grid; in UTC, so that no clock change moves it."""
    every_s = every_minutes * 60
    phase_s = int(sync_id * _SPREAD % 1 * every_s)
    passed_s = int((after - _EPOCH).total_seconds()) - phase_s
    return _EPOCH + timedelta(seconds=phase_s + (passed_s // every_s + 1) * every_s)


def is_due(next_run_at: datetime | None, every_minutes: int, now: datetime) -> bool:
    """Return whether a recurring sync is due.

    A slot clearly further away than the interval was planned before the clock was set back: it is due as well.
    """
    at = next_run_at
    return at is None or at <= now or at > now + timedelta(minutes=every_minutes) + _SKEW


def on_time_until(sync: Sync, group: Group) -> datetime | None:
    """Return until when a sync's group counts as on time, unless a run finds or makes it equal to its cohort before.

    None where no run is expected: of a sync that is paused or removed, or exports once only.
    """
    if sync.kind != SyncKind.RECURRING or sync.state != SyncState.ACTIVE or sync.every_minutes is None:
        return None
    since = group.verified_at or group.delivered_at or sync.created_at
    return since + timedelta(minutes=_LATE_AFTER * sync.every_minutes)


def is_late(sync: Sync, group: Group, now: datetime) -> bool:
    """Return whether a sync's group is older than its sync promises."""
    until = on_time_until(sync, group)
    return until is not None and now > until


# --- the budget ----------------------------------------------------------------------------------------------------


def queries_an_hour(intervals: Sequence[int], *, list_shared_for: timedelta) -> float:
    """Return how many counted queries recurring syncs at these intervals need: one a run, and the list of cohorts.

    That list is read once for all runs within `list_shared_for`.
    """
    reads = sum(60 / every for every in intervals)
    return reads + min(reads, timedelta(hours=1) / list_shared_for)


def interval_text(minutes: int) -> str:
    """Format an interval for a sentence, after the word every."""
    return {60: "hour", 1440: "day"}.get(minutes, f"{minutes} minutes")
