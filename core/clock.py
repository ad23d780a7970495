"""The one clock: what time it is, and how much of it has passed. All others are handed the time by who asks here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the help of the commands is shown without it
    from data.database_clock import DatabaseClock


def _now() -> datetime:
    return datetime.now(UTC)


def _elapsed_s() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class Clock:
    """Where the time comes from. Only wall clocks can be set by anyone; the other two only ever increase.

    `now` is the time that all goes by, aware, UTC: the machine's own wall clock, or that of the database where several
    machines share one. `host_now` is the machine's, which its files and its log go by. `steady_s` stands still while
    the machine sleeps: what others did not do meanwhile is no sign that they are dead. `elapsed_s` includes that time:
    what we held before the sleep may be another's by now.
    """

    now: Callable[[], datetime] = _now
    steady_s: Callable[[], float] = time.monotonic
    elapsed_s: Callable[[], float] = _elapsed_s
    # Whether `now` is no more than what this machine believes, which a database that has a clock knows better.
    is_hosts: bool = False
    wall: Callable[[], datetime] | None = None

    def host_now(self) -> datetime:
        """Return what the wall clock of this machine shows."""
        return (self.wall or self.now)()

    @property
    def is_databases(self) -> bool:
        """Whether `now` is the time at a database that has a clock of its own."""
        return self.wall is not None

    def find_ahead_s(self) -> float | None:
        """Return by how much this machine's clock is ahead of the database's; None where they are one."""
        return (self.wall() - self.now()).total_seconds() if self.wall else None

    def by(self, database: DatabaseClock | None) -> Clock:
        """Return the clock to go by beside a database, which may have one of its own."""
        if database is None or not self.is_hosts:
            return self
        return replace(self, now=database.now, wall=self.now, is_hosts=False)


@dataclass(frozen=True)
class LeaseTimes:
    """How often a lease is renewed, how long one lasts whose heartbeat has stopped, and for how long after a heartbeat
    it is ours without asking again; seconds."""

    heartbeat_s: float = 1.0
    lease_s: float = 45.0
    fresh_s: float = 5.0


SYSTEM_CLOCK = Clock(is_hosts=True)
LEASE_TIMES = LeaseTimes()
# Where several machines share a database nobody sees of most holders whether their process has ended: a killed worker's
# run is to be at work again within 40 seconds of its last heartbeat. And a machine may be paused whole (a virtual one
# that is moved, or saved): no clock of its own tells it that time has passed, so it asks each time.
SHARED_LEASE_TIMES = LeaseTimes(lease_s=30.0, fresh_s=0.0)
