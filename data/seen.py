"""What somebody saw of a row before they change it, so that nothing is written over what they did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The values that columns had: plain data, which a page may keep while a form is open.
Seen = Mapping[str, Any]


class ChangedSinceSeen(Exception):
    """Something was stored of a row since somebody saw it."""


def see(row: object, columns: Sequence[str]) -> Seen:
    """Return what a row has in these columns."""
    return {name: getattr(row, name) for name in columns}


def require_as_seen(row: object, seen: Seen | None) -> None:
    """Refuse a row that is not any more as it was seen, if that is told.

    To be asked in the transaction that writes the row: between two transactions somebody else has the time to store
    something. Raises ChangedSinceSeen.
    """
    if seen is not None and see(row, list(seen)) != seen:
        raise ChangedSinceSeen
