"""The times to choose from, where a list can be narrowed to what happened since then."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import streamlit as st

from pages.parts.filters import Filters
from pages.parts.formatting import zone

# The choice of days, from `from` to `to`, and how the address names it.
CHOSEN_DAYS, BY_DAYS = "Chosen days", "days"
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


def choose(filters: Filters, now: datetime, *, default: str) -> tuple[datetime | None, datetime | None]:
    """Show the choice of a period, which the address keeps; return its begin and end, None where it has none."""
    periods = {period: period for period in (*PERIODS, CHOSEN_DAYS)}
    in_address = {"Any time": "any", **IN_ADDRESS, CHOSEN_DAYS: BY_DAYS}
    period = filters.one(st.selectbox, "Time", "period", periods, default=default, in_address=in_address, width=170)
    if period == CHOSEN_DAYS:
        first = filters.day(st.date_input, "From", "from", width=150)
        return between(first, filters.day(st.date_input, "To", "to", width=150))
    return since(period, now), None


def between(first: date | None, last: date | None) -> tuple[datetime | None, datetime | None]:
    """Turn days of the reader's zone, in either order, into a time from and a time to."""
    if first and last and last < first:
        first, last = last, first
    start = datetime.combine(first, time.min, zone()) if first else None
    end = datetime.combine(last + timedelta(days=1), time.min, zone()) if last else None
    return start, end
