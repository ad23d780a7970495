"""The run log: the steps and calls of one run, and how they were answered. Kept with it, never longer than a page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypedDict

from core.clock import Clock

# What a run log keeps at most: enough to see how a run proceeded, whatever it read. The totals have the rest.
STEPS_KEPT = 40
CALLS_KEPT = 25
FAILURES_KEPT = 40


class Step(TypedDict):
    """A step of a run, and when it began (ISO, UTC)."""

    name: str
    at: str


class Call(TypedDict):
    """One request or message: when it was sent, how it was answered (None: not at all), and how long that took."""

    what: str
    status: int | None
    at: str
    took_ms: int


class Total(TypedDict):
    """All calls of a kind that were answered alike."""

    what: str
    status: int | None
    count: int
    took_ms: int
    slowest_ms: int


class Retry(TypedDict):
    """What waits to be tried again: in which step, why, and at what time (ISO, UTC)."""

    step: str
    why: str
    at: str


def seconds_left(retry: Retry, now: datetime) -> float:
    """Return in how many seconds something is tried again: not above 0 once that is due."""
    return (datetime.fromisoformat(retry["at"]) - now).total_seconds()


RecordCall = Callable[[str, int | None, float], None]


def ignore_call(what: str, status: int | None, began_s: float) -> None:
    """Take a call that is not kept."""


@dataclass
class RunLog:
    """Collects a run's steps and calls; `resume` continues where an earlier attempt of the same run stopped.

    Of the calls that succeeded the first are kept one by one, of the others more; totals count all. `refusals` counts
    the tries of this attempt that came to nothing, by step; `retries` are those that wait to be made again.
    """

    clock: Clock
    steps: list[Step] = field(default_factory=list[Step])
    calls: list[Call] = field(default_factory=list[Call])
    failures: list[Call] = field(default_factory=list[Call])
    totals: dict[tuple[str, int | None], Total] = field(default_factory=dict[tuple[str, int | None], Total])
    refusals: dict[str, int] = field(default_factory=dict[str, int])
    retries: dict[object, Retry] = field(default_factory=dict[object, Retry])

    @classmethod
    def resume(cls, kept: dict[str, Any] | None, *, clock: Clock) -> RunLog:
        """Continue what was kept of the run so far."""
        if not kept:
            return cls(clock=clock)
        totals: list[Total] = kept["totals"]
        return cls(
            clock=clock,
            steps=list(kept["steps"]),
            calls=[call for call in kept["calls"] if _succeeded(call["status"])],
            failures=[call for call in kept["calls"] if not _succeeded(call["status"])],
            totals={(total["what"], total["status"]): total for total in totals},
        )

    def step(self, name: str) -> None:
        """Note that a step begins, unless it is the present one already."""
        if len(self.steps) < STEPS_KEPT and (not self.steps or self.steps[-1]["name"] != name):
            self.steps.append({"name": name, "at": self.clock.now().isoformat()})

    def called(self, what: str, status: int | None, began_s: float) -> None:
        """Note a call that was sent at `began_s` of `time.monotonic`, and how it was answered: None, not at all."""
        took_ms = round((time.monotonic() - began_s) * 1000)
        total = self.totals.setdefault(
            (what, status), {"what": what, "status": status, "count": 0, "took_ms": 0, "slowest_ms": 0}
        )
        total["count"] += 1
        total["took_ms"] += took_ms
        total["slowest_ms"] = max(total["slowest_ms"], took_ms)
        place, most = (self.calls, CALLS_KEPT) if _succeeded(status) else (self.failures, FAILURES_KEPT)
        if len(place) < most:
            place.append({"what": what, "status": status, "at": self.clock.now().isoformat(), "took_ms": took_ms})

    def begin_try(self, key: object) -> None:
        """Note that something is tried, for the first time or again."""
        self.retries.pop(key, None)

    def refused(self, key: object, why: str, again_in_s: float | None) -> None:
        """Note that a try came to nothing, and in how many seconds it is made again; None: not any more."""
        step = self.steps[-1]["name"] if self.steps else ""
        self.refusals[step] = self.refusals.get(step, 0) + 1
        if again_in_s is not None:
            at = self.clock.now() + timedelta(seconds=again_in_s)
            self.retries[key] = {"step": step, "why": why, "at": at.isoformat()}

    @property
    def retry(self) -> Retry | None:
        """What is tried again next, where something waits for that."""
        return min(self.retries.values(), key=lambda retry: retry["at"], default=None)

    def ended(self) -> dict[str, Any]:
        """Return what is kept with the run once it has ended: nothing is tried again."""
        self.retries.clear()
        return self.kept()

    def kept(self) -> dict[str, Any]:
        """Return what is kept with the run."""
        calls = sorted(self.calls + self.failures, key=lambda call: call["at"])
        return {
            "steps": list(self.steps),
            "calls": calls,
            "totals": list(self.totals.values()),
            "refusals": dict(self.refusals),
            "retry": self.retry,
        }


def _succeeded(status: int | None) -> bool:
    return status is not None and 200 <= status < 300
