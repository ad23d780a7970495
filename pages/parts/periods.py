"""The times to choose from, where a list can be narrowed to what happened since then."""

from __future__ import annotations

from datetime import datetime, timedelta

PERIODS: dict[str, timedelta | None] = {
    "Any time": None,
    "Last hour": timedelta(hours=1),
    "Last 24 hours": timedelta(days=1),
    "Last 7 days": timedelta(days=7),
    "Last 30 days": timedelta(days=30),
}
# How the address names them.
IN_ADDRESS = {
    "Last hour": "hour",
    "Last 24 hours": "day",
    "Last 7 days": "week",
    "Last 30 days": "month",
}


def since(period: str, now: datetime) -> datetime | None:
    """Return when a period began; None for any time."""
    length = PERIODS[period]
    return now - length if length else None
