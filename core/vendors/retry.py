"""Which answers are worth another try, how often, and after how long. The same for both vendors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

from core.errors import RateLimited, VendorError

# 4xx that say nothing against the request: timed out, in conflict, misdirected, locked, too early.
_PASSING = frozenset({408, 409, 421, 423, 425, 429})

T = TypeVar("T")


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


class NoteTries(Protocol):
    """Takes note of tries, so that a person sees why nothing moves; `key` is the same for all tries of one call."""

    def begin_try(self, key: object, /) -> None:
        """Note that something is tried, for the first time or again."""
        ...

    def refused(self, key: object, why: str, again_in_s: float | None, /) -> None:
        """Note that a try came to nothing, and in how many seconds it is made again; None: not any more."""
        ...


@dataclass(frozen=True)
class Tries:
    """The tries of one call, which `note` hears of."""

    plan: RetryPlan
    note: NoteTries | None

    async def retried(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, again after each failure that may pass. Raises what the last try raised."""
        try:
            return await call()
        except VendorError as exc:
            failed: VendorError | None = exc
        # Only now is the machinery of retries worth its time: it gets the first try as if it had made it.
        async for attempt in self.plan.attempts_on(worth_retrying(self.plan)):
            with attempt, self.watched(attempt):
                if failed:
                    exc, failed = failed, None
                    raise exc
                return await call()
        raise AssertionError("stamina ends with a result or an error")

    @contextmanager
    def watched(self, attempt: Any) -> Generator[None]:
        """Note one attempt of stamina's loop while inside, and how it failed."""
        if self.note:
            self.note.begin_try(id(self))
        try:
            yield
        except VendorError as exc:
            if self.note:
                self.note.refused(id(self), exc.message, self._again_in_s(exc, attempt))
            raise

    def _again_in_s(self, exc: VendorError, attempt: Any) -> float | None:
        """Return after how many seconds, at the soonest, there is another attempt; None: there is none."""
        wait = worth_retrying(self.plan)(exc)
        if wait is False or attempt.num >= self.plan.attempts:
            return None
        return attempt.next_wait if wait is True else wait


def is_gateway_timeout(status: int) -> bool:
    """Return whether a status says that whoever answered passed the request on, and heard nothing of it."""
    return status in (504, 524)


def is_passing(status: int) -> bool:
    """Return whether the same request may be taken later, after an answer with this status."""
    return status in _PASSING or status >= 500


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` in seconds; nonsense counts as not given.

    A date is measured by the clock of who sent it, the answer's own `Date`: without one it counts as not given.
    """
    text = headers.get("Retry-After", "").strip()
    whole, _, fraction = text.partition(".")
    if text.isascii() and whole.isdigit() and len(whole) < 10 and (fraction.isdigit() or not fraction):
        return float(text)
    at, sent_at = _date(text), _date(headers.get("Date", ""))
    return max(0.0, (at - sent_at).total_seconds()) if at and sent_at else None


def _date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else None
