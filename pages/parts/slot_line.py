"""The last 24 hours of a sync as a line: a bar for each time that it was due, and the same in words."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from core.reports.slots import SlotLine, SlotState
from pages.parts.colors import DRAWN, Color
from pages.parts.formatting import number, zone
from pages.parts.pictures import PADDING_PX, Bar, picture

# Two pixels for each quarter of an hour, and fewer where other columns need the room.
WIDE, NARROW = 192, 128
# What is not as it should be is higher, for those who see no colors.
_LOOKS: dict[SlotState, tuple[Color, int]] = {
    SlotState.MET: ("green", 11),
    SlotState.LATE: ("orange", 15),
    SlotState.MISSED: ("red", 20),
    SlotState.PAUSED: ("gray", 4),
    SlotState.OPEN: ("blue", 4),
}
_WORDS = {
    SlotState.LATE: "late",
    SlotState.MISSED: "missed",
    SlotState.OPEN: "not done yet",
    SlotState.PAUSED: "paused",
}
# What is said of the time that is not over, where no other one is.
_OF_FIRST = {SlotState.MET: "On time so far", SlotState.PAUSED: ""}
# The picture moves on only so often: a list would flicker with each new one.
_STEP_S = 300
_TICK_H = 6


def column(width: int) -> Any:
    """Return the configuration of a list's column that holds such lines."""
    told = (
        "A bar for each time that the sync was due, now at the right. Thin lines stand at midnight, at noon and "
        f"{_TICK_H} hours from them. Beside it in words."
    )
    return st.column_config.ImageColumn(width=width + PADDING_PX, help=told)


def legend(intro: str) -> None:
    """Show what the bars mean, after a sentence on what is shown."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.caption(f"{intro}. Each time that a sync was due:", width="content")
        st.badge("On time", color="green")
        st.badge("Late: done after the next was due", color="orange")
        st.badge("Missed", color="red")
        st.badge("Paused", color="gray")
        st.badge("Not done yet", color="blue")


def line(told: SlotLine, width: int) -> str:
    """Return the line as the address of a picture."""
    ends_s = -(-int(told.until.timestamp()) // _STEP_S) * _STEP_S
    begins_s = ends_s - 86_400
    per_s = width / 86_400
    bars = list[Bar]()
    for slot in told.slots:
        x = max((slot.at.timestamp() - begins_s) * per_s, 0.0)
        end = min((slot.until.timestamp() - begins_s) * per_s, width)
        color, height = _LOOKS[slot.state]
        # A gap of at most a pixel between neighbors, however close they are.
        bars.append(Bar(x, max(end - x - min(1.0, (end - x) / 4), 0.5), height, DRAWN[color]))
    return picture(bars, width=width, ticks=[(at - begins_s) * per_s for at in _ticks(begins_s, ends_s)])


def _ticks(begins_s: float, ends_s: float) -> list[float]:
    """Return midnight, noon and the hours between them that are in a stretch of time, in the reader's zone."""
    at = datetime.fromtimestamp(begins_s, zone()).replace(minute=0, second=0, microsecond=0)
    hours = [at + timedelta(hours=hour) for hour in range(1, 26)]
    return [hour.timestamp() for hour in hours if hour.hour % _TICK_H == 0 and begins_s < hour.timestamp() < ends_s]


def words(told: SlotLine) -> str:
    """Format the same in words, of the times that are over: `94 of 96 on time, 1 late, 1 missed`."""
    on_time, counts = told.on_time, told.counts
    parts = [f"{number(on_time.met)} of {number(on_time.due)} on time"] if on_time.due else []
    parts += [f"{number(counts[state])} {word}" for state, word in _WORDS.items() if counts[state]]
    if told.slots and not on_time.due:
        parts.insert(0, _OF_FIRST.get(told.slots[-1].state, "Not done yet"))
    return ", ".join(filter(None, parts)) or "Nothing was due"
