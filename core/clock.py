"""The one clock: what time it is, and how much of it has passed. All others are handed the time by who asks here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _now() -> datetime:
    return datetime.now(UTC)


def _elapsed_s() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class Clock:
    """Where the time comes from. Only `now` can be set by anyone; the other two only ever increase.

    `now` is the wall clock, aware, UTC. `steady_s` stands still while the machine sleeps: what others did not do
    meanwhile is no sign that they are dead. `elapsed_s` includes that time: what we held before the sleep may be
    another's by now.
    """

    now: Callable[[], datetime] = _now
    steady_s: Callable[[], float] = time.monotonic
    elapsed_s: Callable[[], float] = _elapsed_s


@dataclass(frozen=True)
class LeaseTimes:
    """How often a lease is renewed, how long one lasts whose heartbeat has stopped, and for how long after a heartbeat
    it is ours without asking again; seconds."""

    heartbeat_s: float = 1.0
    lease_s: float = 45.0
    fresh_s: float = 5.0


SYSTEM_CLOCK = Clock()
LEASE_TIMES = LeaseTimes()
