"""A clock that tests move."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from core.clock import Clock
from tests.stage.sandbox import NOON, Sandbox


@dataclass
class FakeClock:
    """A wall clock that is moved by `shift_s`, and steady ones that run `ahead_s`; all run on by themselves.

    With a `start_s` the wall clock stands still there.
    """

    start_s: float | None = None
    shift_s: float = 0.0
    ahead_s: float = 0.0

    def now_s(self) -> float:
        return (time.time() if self.start_s is None else self.start_s) + self.shift_s

    def steady_s(self) -> float:
        return time.monotonic() + self.ahead_s

    @property
    def clock(self) -> Clock:
        """The clock to inject."""
        return Clock(
            now=lambda: datetime.fromtimestamp(self.now_s(), UTC), steady_s=self.steady_s, elapsed_s=self.steady_s
        )

    @property
    def of_host(self) -> Clock:
        """The wall clock of a machine, which a database with its own clock knows better."""
        return replace(self.clock, is_hosts=True)


class BothClocks:
    """The sandbox's clock, and the one of `bridge`: both stand at noon until they are moved."""

    def __init__(self, sandbox: Sandbox, fake_clock: FakeClock) -> None:
        self.sandbox = sandbox
        self.fake_clock = fake_clock
        fake_clock.start_s = NOON

    def pass_minutes(self, minutes: float) -> None:
        self.fake_clock.shift_s += minutes * 60
        self.sandbox.at(self.fake_clock.shift_s)
