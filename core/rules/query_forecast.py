"""When exports that wait for a project's queries would be done. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_HOUR, _SOON = timedelta(hours=1), timedelta(minutes=1)


@dataclass(frozen=True)
class Budget:
    """The counted queries of a project: how many a window has, and what else spends them.

    `returns` are the times at which those that are spent now leave the window, the soonest first; `ahead` are asked
    before ours; recurring syncs ask `planned` ones an hour. None is asked before `blocked_until`.
    """

    limit: int
    window: timedelta
    returns: Sequence[datetime] = ()
    blocked_until: datetime | None = None
    ahead: int = 0
    planned: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """When all would be done, and how many wait for a query meanwhile, the first of them until when."""

    done_at: datetime
    waiting: int = 0
    first_at: datetime | None = None


class _Window:
    """The rolling window as it will be: when each query leaves it, the soonest first."""

    def __init__(self, budget: Budget, now: datetime) -> None:
        self._limit, self._length = max(1, budget.limit), budget.window
        self._leaving = sorted(budget.returns)
        self._latest = max(now, budget.blocked_until or now)

    def find_next(self, earliest: datetime) -> datetime:
        """Return when there is a query, no earlier than that."""
        at = max(earliest, self._latest)
        return max(at, self._leaving[-self._limit]) if len(self._leaving) >= self._limit else at

    def take(self, earliest: datetime) -> datetime:
        """Take the next query, and return when that is."""
        self._latest = self.find_next(earliest)
        self._leaving.append(self._latest + self._length)
        return self._latest


def forecast(works: Sequence[timedelta], budget: Budget, *, at_once: int, now: datetime) -> Forecast:
    """Return when exports would be done that each need one query, and then work so long, `at_once` beside each other.

    Taken for granted is that queries go to whoever came first, and that nobody else asks meanwhile but the project's
    recurring syncs, evenly.
    """
    window, places = _Window(budget, now), [now] * at_once
    for _ in range(budget.ahead):
        window.take(now)
    gap = _HOUR / budget.planned if budget.planned else None
    others_at, done_at, waits = now + (gap or _HOUR), now, list[datetime]()
    for work in works:
        free_at = heapq.heappop(places)
        until, late = window.find_next(free_at), False
        while gap and others_at <= until:
            # Of those that find no query one is asked before ours: a sync that missed its slots runs once.
            late = late or window.find_next(others_at) > others_at
            if not late:
                window.take(others_at)
            others_at += gap
        if late:
            window.take(until)
        at = window.take(free_at)
        if waits or at - free_at > _SOON:  # who comes after one that waits waits as well
            waits.append(at)
        done_at = max(done_at, at + work)
        heapq.heappush(places, at + work)
    return Forecast(done_at, len(waits), waits[0] if waits else None)
