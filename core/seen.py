"""Saving what was looked at: a form saves all that it holds, and takes nothing back that others stored meanwhile."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from core.errors import ChangedMeanwhile
from data.seen import ChangedSinceSeen


@contextmanager
def saving(what: str) -> Generator[None]:
    """Say of a row that is not any more as it was seen that somebody else has changed it. Raises ChangedMeanwhile.

    `what` is what it is called, such as “this sync”.
    """
    try:
        yield
    except ChangedSinceSeen:
        raise changed_meanwhile(what) from None


def changed_meanwhile(what: str) -> ChangedMeanwhile:
    """Return the error of what somebody else has changed since it was seen."""
    return ChangedMeanwhile(f"Somebody else has changed {what} meanwhile. Nothing was saved.")
