"""How far a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from core.run_log import RunLog
from data.run_outcome import RunProgress


class CountsRequests(Protocol):
    """A vendor's client that counts what it asks."""

    requests: int
    queries: int


class CountsMessages(Protocol):
    """A delivery that counts what it sends."""

    messages: int


def accepted_messages(sent: int, expected: int | None, refusals: Mapping[str, int]) -> int:
    """Return how many of the messages that were sent were taken: one that was not is sent again, and counts twice."""
    accepted = max(0, sent - refusals.get("delivering", 0))
    return accepted if expected is None else min(accepted, expected)


@dataclass
class Progress:
    """What a run shows of itself while it works."""

    run_log: RunLog
    step: str = "starting"
    expected: int | None = None
    profiles: int = 0
    pages: int = 0
    pages_expected: int | None = None
    messages_expected: int | None = None
    # Earlier attempts of the run, which had to wait for a query slot.
    earlier_requests: int = 0
    earlier_queries: int = 0
    client: CountsRequests | None = None
    delivery: CountsMessages | None = None

    @property
    def messages(self) -> int:
        """How many messages were sent."""
        return self.delivery.messages if self.delivery else 0

    @property
    def accepted(self) -> int:
        """How many of the messages were taken, as far as is known."""
        return accepted_messages(self.messages, self.messages_expected, self.run_log.refusals)

    def begin(self, step: str) -> None:
        """Begin a step, and note when."""
        self.step = step
        self.run_log.step(step)

    def report(self) -> RunProgress:
        """Return what is recorded of the progress now."""
        client = self.client
        return RunProgress(
            step=self.step,
            expected=self.expected,
            profiles=self.profiles,
            pages=self.pages,
            pages_expected=self.pages_expected,
            messages=self.messages,
            messages_expected=self.messages_expected,
            requests=self.earlier_requests + (client.requests if client else 0),
            queries=self.earlier_queries + (client.queries if client else 0),
        )
