"""Runs as pictures show them: the last of each sync in a row, and how many of each state every day had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from data import connections, run_history
from data.models import DESTINATION_SIDE, RunFilter
from data.run_history import RunMark as RunMark

# So many of a sync's latest runs are shown in a row, and so many days beside each other.
IN_A_ROW, MOST_DAYS = 30, 92


@dataclass(frozen=True)
class DayOfRuns:
    """How many runs were queued from `begins` to `ends`, by their `told_status`."""

    begins: datetime
    ends: datetime
    runs: dict[str, int]


@action(Role.VIEWER)
def list_latest_in_a_row(bridge: Bridge, actor: Actor, sync_ids: Sequence[int]) -> dict[int, list[RunMark]]:
    """List the latest runs of each of these syncs that were meant to write, the oldest first, by sync."""
    return run_history.latest_of_syncs(bridge.engine, sync_ids, limit=IN_A_ROW)


@action(Role.VIEWER)
def count_runs_by_day(
    bridge: Bridge, actor: Actor, which: RunFilter, days: Sequence[tuple[datetime, datetime]]
) -> list[DayOfRuns]:
    """Count the runs that a filter asks for, whatever time it asks for, for each of these days, at most MOST_DAYS."""
    days = days[-MOST_DAYS:]
    counts = run_history.count_by_day(bridge.engine, replace(which, since=None, until=None), days)
    return [DayOfRuns(begins, ends, runs) for (begins, ends), runs in zip(days, counts, strict=True)]


@action(Role.VIEWER)
def list_run_destinations(bridge: Bridge, actor: Actor) -> list[str]:
    """List the destinations that runs may have been to, removed ones too, by name."""
    places = connections.list_with_removed(bridge.engine)
    return sorted({place.name for place in places if place.side == DESTINATION_SIDE}, key=str.casefold)
