"""The counted queries of a Mixpanel project, as its client spends them, and what its answers say of them.

Mixpanel allows a project 60 queries an hour and 5 at a time, whichever program asks (docs reference/rate-limits, read
2026-11-23). Who counts them is no matter of the client's: it takes a `QueryAllowance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from core.vendors.structured_fields import parse_list

# Answers with these are not counted by Mixpanel (mixpanel-headless, Pacer.observe, read 2026-11-23).
UNCOUNTED = frozenset({401, 402, 429})


class QueryLimit(NamedTuple):
    """How many queries a project may ask in a rolling window."""

    queries: int
    window_s: int


# Beyond these a policy is no limit that anyone could keep to, or would have to.
_MOST = QueryLimit(1_000_000, 86_400)


class QueryAllowance(Protocol):
    """The queries that a client may spend. Every method may block: it is called in a thread."""

    def spend(self) -> int:
        """Take one query before it is asked, and return its number for `give_back`.

        Raises: NoQuerySlot with the time of the next one.
        """
        ...

    def give_back(self, entry: int) -> None:
        """Return a query that Mixpanel did not count."""
        ...

    def learn(self, limit: QueryLimit) -> None:
        """Remember the limit that an answer states."""
        ...


def stated_limit(headers: Mapping[str, str]) -> QueryLimit | None:
    """Read the limit that an answer states; None when it states none that makes sense."""
    for item in parse_list(headers.get("RateLimit-Policy", "")):
        queries, window_s = item.number("q"), item.number("w")
        if item.name == "project" and queries and window_s:
            limit = QueryLimit(queries, window_s)
            return limit if queries <= _MOST.queries and window_s <= _MOST.window_s else None
    return None
