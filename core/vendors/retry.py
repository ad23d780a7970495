"""Which answers are worth another try, how often, and after how long. The same for both vendors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from core.errors import RateLimited, VendorError


@dataclass(frozen=True)
class RetryPlan:
    """How a passing failure is retried: 5 tries over about a minute."""

    attempts: int = 5
    over_s: float = 60.0

    def attempts_on(self, give_up: Callable[[Exception], bool | float]) -> Any:
        """Return stamina's loop of attempts; waits double from a fifteenth of `over_s`."""
        import stamina  # seldom needed, and never at the start

        first_s = self.over_s / 15
        return stamina.retry_context(
            on=give_up,
            attempts=self.attempts,
            timeout=None,
            wait_initial=first_s,
            wait_max=self.over_s / 2,
            wait_jitter=first_s / 2,
        )


def worth_retrying(plan: RetryPlan) -> Callable[[Exception], bool | float]:
    """Build the hook that tells stamina whether, and after how many seconds, to try again.

    `Retry-After` is honoured as long as the whole retrying stays within the plan's time.
    """

    def hook(exc: Exception) -> bool | float:
        if not isinstance(exc, VendorError) or not exc.retryable:
            return False
        if isinstance(exc, RateLimited) and exc.kind == "hour":
            return False
        if exc.retry_after_s is not None:
            return min(exc.retry_after_s, plan.over_s / 2)
        return True

    return hook


def retry_after_s(answer: httpx.Response) -> float | None:
    """Read `Retry-After` in seconds; a date or nonsense counts as not given."""
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def network_sentence(whom: str, exc: httpx.HTTPError) -> str:
    """Format what a person is shown when no answer arrived from `whom`."""
    if isinstance(exc, httpx.TimeoutException):
        return f"{whom} did not answer in time."
    return (
        f"{whom} could not be reached." if isinstance(exc, httpx.ConnectError) else f"The connection to {whom} broke."
    )
