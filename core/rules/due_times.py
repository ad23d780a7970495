"""When a recurring sync is due, until when its group is on time, and how many queries an hour that costs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile

from core.errors import SettingsError
from core.rules import cron
from data.models import Group, Schedule, Sync, SyncKind, SyncState, Timing

INTERVALS = (15, 30, 60, 1440)
# The golden ratio's fraction spreads any number of syncs evenly over an interval, whichever of them are removed.
_SPREAD = 0.6180339887498949
# Clocks of two machines differ, and time passes between reading a clock and reading the database.
_SKEW = timedelta(minutes=5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


# A run works no longer than this many intervals of its sync, and may always work so long.
_INTERVALS_OF_WORK = 2
_LEAST_WORK = timedelta(hours=1)
# A group that is older than two intervals missed at least one of them; a run takes its time.
_LATE_AFTER = 2
_TIME_TO_RUN = 0.2
_LONGEST_TO_RUN = _DAY * _TIME_TO_RUN
# The runs of a schedule are counted over so long: every day of the week, every date of a month are among these.
_PLANNED_OVER = timedelta(days=35)


def interval_of(timing: Timing) -> timedelta:
    """Return the time between two runs; with a schedule the shortest there is, and at most a day."""
    if isinstance(timing, Schedule):
        return min(cron.smallest_gap(timing.cron), _DAY)
    return timedelta(minutes=timing)


def longest_work(timing: Timing | None) -> timedelta:
    """Return how long a run may work, of a sync that runs so often; None: of a one-time export."""
    interval = timedelta(0) if timing is None else interval_of(timing)
    return max(_LEAST_WORK, interval * _INTERVALS_OF_WORK)


def next_slot(sync_id: int, timing: Timing, *, after: datetime) -> datetime:
    """Return the first time after `after` on the sync's own steady grid, in UTC, so that no clock change moves it; of
    a schedule the first of its times.

    Raises: SettingsError where a schedule's time zone is not known any more.
    """
    if isinstance(timing, Schedule):
        return _next_set_time(timing, after.replace(second=0, microsecond=0))
    every_s = timing * 60
    phase_s = int(sync_id * _SPREAD % 1 * every_s)
    passed_s = int((after - _EPOCH).total_seconds()) - phase_s
    return _EPOCH + timedelta(seconds=phase_s + (passed_s // every_s + 1) * every_s)


@lru_cache(maxsize=1024)
def _next_set_time(schedule: Schedule, after: datetime) -> datetime:
    """Set times are whole minutes: asked once a minute, however often a worker looks."""
    return next(cron.list_slots(schedule, after=after))


def is_plannable(timing: Timing, now: datetime) -> bool:
    """Return whether it can be said when a sync runs next: of an interval always, of a schedule with its zone."""
    try:
        next_slot(0, timing, after=now)
    except SettingsError:
        return False
    return True


def is_due(next_run_at: datetime | None, timing: Timing, now: datetime) -> bool:
    """Return whether a recurring sync is due.

    A slot clearly further away than the interval was planned before the clock was set back: it is due as well. With a
    schedule it is not: `is_misplanned` says that its next time has to be set again.
    """
    at = next_run_at
    if at is None or at <= now:
        return True
    return not isinstance(timing, Schedule) and at > now + timedelta(minutes=timing) + _SKEW


def is_misplanned(next_run_at: datetime | None, timing: Timing, now: datetime) -> bool:
    """Return whether a schedule's next time is another one by now: the clock was set back, or the zone's rules changed.

    Raises: SettingsError where the time zone is not known any more.
    """
    if not isinstance(timing, Schedule) or is_due(next_run_at, timing, now):
        return False
    return next_run_at != next_slot(0, timing, after=now)


def count_slots(sync_id: int, timing: Timing, *, since: datetime, until: datetime) -> int:
    """Count the times after `since` that a sync was due at up to `until`; those of a schedule that is unknown: none."""
    if isinstance(timing, Schedule):
        return len(_set_times(timing, since, until))
    first = next_slot(sync_id, timing, after=since)
    return max((until - first) // timedelta(minutes=timing) + 1, 0)


def list_slots(sync_id: int, timing: Timing, *, since: datetime, until: datetime) -> list[datetime]:
    """List the times after `since` that a sync was due at up to `until`; those of a schedule that is unknown: none."""
    if isinstance(timing, Schedule):
        return _set_times(timing, since, until)
    first, count = next_slot(sync_id, timing, after=since), count_slots(sync_id, timing, since=since, until=until)
    return [first + timedelta(minutes=timing) * number for number in range(count)]


def _set_times(schedule: Schedule, since: datetime, until: datetime) -> list[datetime]:
    try:
        return list(takewhile(lambda slot: slot <= until, cron.list_slots(schedule, after=since)))
    except SettingsError:
        return []


def on_time_until(sync: Sync, group: Group, *, not_before: datetime | None = None) -> datetime | None:
    """Return until when a sync's group counts as on time, unless a run finds or makes it equal to its cohort before.

    That is for two intervals, or until the second of its set times, and the time that a run takes. A sync that was
    resumed, or given other times, begins again, and no earlier than at `not_before`.

    None where no run is expected: of a sync that is paused or removed, or exports once only, or whose schedule names a
    time zone that is not known any more.
    """
    timing = sync.timing
    if sync.kind != SyncKind.RECURRING or sync.state != SyncState.ACTIVE or timing is None:
        return None
    made_equal = group.verified_at or group.delivered_at
    begins = (made_equal or sync.created_at, sync.expected_since, not_before)
    since = max(at for at in begins if at is not None)
    if not isinstance(timing, Schedule):
        return since + timedelta(minutes=timing) * (_LATE_AFTER + _TIME_TO_RUN)
    try:
        slots = list(islice(cron.list_slots(timing, after=since), _LATE_AFTER))
    except SettingsError:
        return None
    return slots[-1] + min((slots[-1] - slots[0]) * _TIME_TO_RUN, _LONGEST_TO_RUN)


def is_late(sync: Sync, group: Group, now: datetime, *, not_before: datetime | None = None) -> bool:
    """Return whether a sync's group is older than its sync promises, counted from `not_before` at the earliest."""
    until = on_time_until(sync, group, not_before=not_before)
    return until is not None and now > until


# --- the budget ----------------------------------------------------------------------------------------------------


def queries_an_hour(timings: Sequence[Timing], *, list_shared_for: timedelta, now: datetime) -> float:
    """Return how many counted queries recurring syncs need in their busiest hour: one a run, and the list of cohorts.

    That list is read once for all runs within `list_shared_for`. Intervals spread their runs; set times meet: of those
    the hour of the coming five weeks counts that has the most of them.
    """
    scheduled = Counter(timing for timing in timings if isinstance(timing, Schedule))
    reads = sum(60 / timing for timing in timings if not isinstance(timing, Schedule))
    reads += _count_in_busiest_hour(scheduled, now.replace(hour=0, minute=0, second=0, microsecond=0))
    return reads + min(reads, _HOUR / list_shared_for)


def _count_in_busiest_hour(scheduled: Counter[Schedule], since: datetime) -> int:
    slots = sorted((at, count) for schedule, count in scheduled.items() for at in _planned(schedule, since))
    most = in_hour = first = 0
    for at, count in slots:
        in_hour += count
        while slots[first][0] <= at - _HOUR:
            in_hour -= slots[first][1]
            first += 1
        most = max(most, in_hour)
    return most


@lru_cache(maxsize=512)
def _planned(schedule: Schedule, since: datetime) -> tuple[datetime, ...]:
    return tuple(_set_times(schedule, since, since + _PLANNED_OVER))


def interval_text(minutes: int) -> str:
    """Format an interval for a sentence, after the word every."""
    return {60: "hour", 1440: "day"}.get(minutes, f"{minutes} minutes")
