"""Runs per day as a chart: how many succeeded, were held, failed or were cancelled, in the reader's days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports import run_history
from core.reports.run_history import MOST_DAYS, OUTCOMES, DayOfRuns
from data.models import RunFilter
from pages.parts import vega
from pages.parts.colors import DRAWN, Color
from pages.parts.formatting import number, pluralize, zone
from pages.parts.pager import Pager
from pages.parts.periods import BY_DAYS
from pages.parts.selection import set_param

USUAL_DAYS = 30
_COLORS: dict[str, Color] = {"Succeeded": "green", "Held": "orange", "Failed": "red", "Cancelled": "gray"}
_PICK = "day"
_HEIGHT_PX = 190


def show(bridge: Bridge, person: Actor, asked: RunFilter, *, key: str, pager: Pager) -> None:
    """Show the days around the time that is asked for, those within it in full color; a click asks for that day."""
    now = bridge.clock.now()
    days = run_history.count_runs_by_day(bridge, person, asked, stretches(asked, now))
    if not any(sum(day.ended.values()) for day in days):
        return
    told = _in_words(days)
    rows = [
        {
            "day": day.begins.date().isoformat(),
            "shown": day.begins.strftime("%-d %b"),
            "outcome": outcome,
            "order": place,
            "runs": runs,
            "is_asked": _is_asked(day, asked),
        }
        for day in days
        for place, (outcome, runs) in enumerate(day.ended.items())
        if runs
    ]
    st.vega_lite_chart(
        spec=_draw(rows, [day.begins.date().isoformat() for day in days]),
        height=_HEIGHT_PX,
        key=key,
        alt=f"Runs per day: {told}",
        on_select=partial(_choose, key, pager),
        selection_mode=_PICK,
    )


def stretches(asked: RunFilter, now: datetime) -> list[tuple[datetime, datetime]]:
    """Return the days to show, in the reader's zone: the usual number up to the last one that is asked for, or more."""
    here = zone()
    today = now.astimezone(here).date()
    last = min(today, (asked.until - timedelta(seconds=1)).astimezone(here).date()) if asked.until else today
    if asked.until is None or today - last < timedelta(days=USUAL_DAYS):
        last = today  # so that a click on another day shows the same days
    first = asked.since.astimezone(here).date() if asked.since else last
    length = min(max((last - first).days + 1, USUAL_DAYS), MOST_DAYS)
    days = [last - timedelta(days=back) for back in range(length - 1, -1, -1)]
    return [(_begin(day), _begin(day + timedelta(days=1))) for day in days]


def _begin(day: date) -> datetime:
    return datetime.combine(day, time.min, zone())


def _is_asked(day: DayOfRuns, asked: RunFilter) -> bool:
    return not (asked.since and day.ends <= asked.since) and not (asked.until and day.begins >= asked.until)


def _in_words(days: Sequence[DayOfRuns]) -> str:
    totals = {outcome: sum(day.ended[outcome] for day in days) for outcome in OUTCOMES}
    counts = ", ".join(f"{number(count)} {outcome.lower()}" for outcome, count in totals.items() if count)
    return f"in the {pluralize(len(days), 'day')} up to {days[-1].begins.strftime('%-d %b')}, {counts}."


def _draw(rows: list[dict[str, Any]], days: list[str]) -> vega.Spec:
    label = "timeFormat(toDate(datum.value + 'T00:00'), '%-d %b')"
    axis = {"title": None, "labelExpr": label, "labelOverlap": True, "labelAngle": 0, "ticks": False}
    colors = {"domain": list(_COLORS), "range": [DRAWN[color] for color in _COLORS.values()]}
    encoding = {
        "x": {"field": "day", "type": "ordinal", "axis": axis, "scale": {"domain": days, "paddingInner": 0.25}},
        "y": vega.count("runs", title="Runs", stack="zero", axis={"format": ",d", "tickCount": 3, "tickMinStep": 1}),
        "color": vega.name("outcome", scale=colors, legend={"title": None, "orient": "top"}),
        "order": vega.count("order"),
        "opacity": {"condition": {"test": "datum.is_asked", "value": 1.0}, "value": 0.35},
        "tooltip": [
            vega.name("shown", title="Day"),
            vega.name("outcome", title="State"),
            vega.count("runs", title="Runs", format=","),
        ],
    }
    return vega.chart(vega.layer(rows, {"type": "bar", "cursor": "pointer"}, encoding), pick=_PICK)


def _choose(key: str, pager: Pager) -> None:
    """Ask for the day that was clicked on, and for no day any more after another click on it."""
    picked = st.session_state[key]["selection"].get(_PICK) or []
    day = picked[0]["day"] if picked else None
    is_off = day is None or st.query_params.get("from") == st.query_params.get("to") == day
    set_param("period", None if is_off else BY_DAYS)
    for name in ("from", "to"):
        set_param(name, None if is_off else day)
    pager.to_first_page()
