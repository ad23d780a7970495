"""Runs per day as a chart: how many of each state, as the list calls and colors them, in the reader's days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports import run_history
from core.reports.run_history import MOST_DAYS, DayOfRuns
from data.models import RunFilter
from pages.parts import vega
from pages.parts.colors import DRAWN, Color
from pages.parts.formatting import number, pluralize, zone
from pages.parts.pager import Pager
from pages.parts.periods import BY_DAYS
from pages.parts.run_status import BADGES, word_of
from pages.parts.selection import set_param

USUAL_DAYS = 30
# From the bottom of a day up; within a color, states stand in the order of their badges.
_COLORS: tuple[Color, ...] = ("green", "orange", "red", "blue", "gray")
# So many states of a color are named beside it; more are called together what they are beside the others.
_MOST_NAMED, _MORE = 2, "Others"
_ORDER = sorted(BADGES, key=lambda status: _COLORS.index(BADGES[status].color))
_PICK = "day"
_HEIGHT_PX = 190


def show(bridge: Bridge, person: Actor, asked: RunFilter, *, key: str, pager: Pager) -> None:
    """Show the days around the time that is asked for, those within it in full color; a click asks for that day."""
    now = bridge.clock.now()
    days = run_history.count_runs_by_day(bridge, person, asked, stretches(asked, now))
    if not any(sum(day.runs.values()) for day in days):
        return
    told = _in_words(days)
    names = _name_colors(days)
    rows = [
        {
            "day": day.begins.date().isoformat(),
            "shown": day.begins.strftime("%-d %b"),
            "states": _counts_in_words(runs),
            "color": names[color],
            "order": place,
            "runs": sum(runs.values()),
            "is_asked": _is_asked(day, asked),
        }
        for day in days
        for place, color, runs in _by_color(day)
    ]
    st.vega_lite_chart(
        spec=_draw(rows, [day.begins.date().isoformat() for day in days], names),
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


def _by_color(day: DayOfRuns) -> Iterator[tuple[int, Color, dict[str, int]]]:
    """Yield the colors that a day has, each with its place from the bottom up and how many runs are in its states."""
    for place, color in enumerate(_COLORS):
        of_color = (status for status in _ORDER if BADGES[status].color == color)
        if runs := {status: count for status in of_color if (count := day.runs.get(status))}:
            yield place, color, runs


def _is_asked(day: DayOfRuns, asked: RunFilter) -> bool:
    return not (asked.since and day.ends <= asked.since) and not (asked.until and day.begins >= asked.until)


def _in_words(days: Sequence[DayOfRuns]) -> str:
    totals = {status: sum(day.runs.get(status, 0) for day in days) for status in _ORDER}
    counts = _counts_in_words({status: count for status, count in totals.items() if count})
    return f"in the {pluralize(len(days), 'day')} up to {days[-1].begins.strftime('%-d %b')}, {counts}."


def _counts_in_words(runs: Mapping[str, int]) -> str:
    """Format how many runs are in which state: 3 held, 1 applied."""
    return ", ".join(f"{number(count)} {word_of(status)}" for status, count in runs.items())


def _name_colors(days: Sequence[DayOfRuns]) -> dict[Color, str]:
    """Return what each color that is drawn stands for: one has several states."""
    names: dict[Color, str] = {}
    for color in _COLORS:
        words = [
            badge.word
            for status, badge in BADGES.items()
            if badge.color == color and any(day.runs.get(status) for day in days)
        ]
        if words:
            names[color] = _MORE if len(words) > _MOST_NAMED else ", ".join([words[0], *map(str.lower, words[1:])])
    return names


def _draw(rows: list[dict[str, Any]], days: list[str], names: dict[Color, str]) -> vega.Spec:
    label = "timeFormat(toDate(datum.value + 'T00:00'), '%-d %b')"
    axis = {"title": None, "labelExpr": label, "labelOverlap": True, "labelAngle": 0, "ticks": False}
    colors = {"domain": list(names.values()), "range": [DRAWN[color] for color in names]}
    encoding = {
        "x": {"field": "day", "type": "ordinal", "axis": axis, "scale": {"domain": days, "paddingInner": 0.25}},
        "y": vega.count("runs", title="Runs", stack="zero", axis={"format": ",d", "tickCount": 3, "tickMinStep": 1}),
        "color": vega.name("color", scale=colors, legend={"title": None, "orient": "top"}),
        "order": vega.count("order"),
        "opacity": {"condition": {"test": "datum.is_asked", "value": 1.0}, "value": 0.35},
        "tooltip": [
            vega.name("shown", title="Day"),
            vega.name("states", title="Runs"),
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
