"""What became of the times that a sync was due at. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from core.rules import due_times
from data.models import UNFINISHED, Pause, RunStatus, Sync, SyncState, TimedRun

# What was due in the last minutes before a pause could not be done yet.
_TIME_TO_RUN = timedelta(minutes=2)


class SlotState(StrEnum):
    """What became of a time that a sync was due at."""

    MET = "met"  # the group was made equal to its cohort before the next one was due
    LATE = "late"  # it was, but later
    MISSED = "missed"
    PAUSED = "paused"  # nothing was expected
    OPEN = "open"  # it is not over yet


class Slot(NamedTuple):
    """A time that a sync was due at, until the next one."""

    at: datetime
    until: datetime
    state: SlotState


class Expectation(NamedTuple):
    """When runs of a sync were expected: from `since` on, but for its pauses, the oldest first."""

    since: datetime
    pauses: Sequence[Pause]


def find_expectation(sync: Sync, noted: Sequence[Pause], *, since: datetime) -> Expectation:
    """Return when runs of a recurring sync were expected, from `since` on, as far as it is known.

    `noted` are its pauses that were recorded.
    """
    pauses = list(noted)
    if sync.state == SyncState.PAUSED and not any(pause.ended_at is None for pause in noted):
        pauses.append(Pause(since, None))  # it was before pauses were noted
    begin, changed_at = max(since, sync.created_at), sync.expected_since
    # Its times before it was given others are not known; a resumed one has those that it had.
    if changed_at and changed_at > begin and all(pause.ended_at != changed_at for pause in pauses):
        return Expectation(changed_at, pauses)
    return Expectation(begin, pauses)


def count_over(sync_id: int, every_minutes: int, *, since: datetime, now: datetime) -> int:
    """Count the times that a sync with an interval was due at which are over; it was not paused."""
    return max(due_times.count_slots(sync_id, every_minutes, since=since, until=now) - 1, 0)


def judge(due: Sequence[datetime], runs: Sequence[TimedRun], pauses: Sequence[Pause], *, now: datetime) -> list[Slot]:
    """Return what became of each time that a sync was due at; the last of `due` is the next one, not over yet.

    A run counts for the time in which it was queued, whoever asked for it. One that was still at work when the next
    time came stands for that as well, which had none of its own; a pause has no times to be missed. The runs are in the
    order in which they were queued.
    """
    queued = [run.queued_at for run in runs]
    slots = list[Slot]()
    for at, until in pairwise(due):
        first, end = bisect_left(queued, at), bisect_left(queued, until)
        state = _of_own(runs[first:end], until) or _of_earlier(runs[:first], at, now)
        if state in (None, SlotState.MISSED) and _is_paused(pauses, at):
            state = SlotState.PAUSED
        elif state is None:
            state = SlotState.OPEN if now < until else SlotState.MISSED
        slots.append(Slot(at, until, state))
    return slots


def _of_own(runs: Sequence[TimedRun], until: datetime) -> SlotState | None:
    """Return what the runs that were queued in a slot make of it; None: nothing, since there is none, or none yet."""
    made = [run.finished_at for run in runs if run.status == RunStatus.SUCCEEDED and run.finished_at]
    if made:
        return SlotState.MET if min(made) <= until else SlotState.LATE
    if any(run.status in UNFINISHED for run in runs):
        return SlotState.OPEN
    return SlotState.MISSED if runs else None


def _of_earlier(runs: Sequence[TimedRun], at: datetime, now: datetime) -> SlotState | None:
    """Return what a run makes of a slot that was queued before it and still at work as it began."""
    if not runs or (runs[-1].finished_at or now) <= at:
        return None
    if runs[-1].status in UNFINISHED:
        return SlotState.OPEN
    return SlotState.LATE if runs[-1].status == RunStatus.SUCCEEDED else SlotState.MISSED


def _is_paused(pauses: Sequence[Pause], at: datetime) -> bool:
    return any(
        pause.began_at < at + _TIME_TO_RUN and (pause.ended_at is None or at < pause.ended_at) for pause in pauses
    )
