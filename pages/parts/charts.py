"""Charts: a group's size over time, and what was added and removed. Names never become fields: none is interpreted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import altair as alt
import pandas as pd
import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports import overview
from core.reports.overview import Size
from pages.parts.formatting import in_gray, number, pluralize

SPANS = {
    "Day": timedelta(days=1),
    "Week": timedelta(days=7),
    "Month": timedelta(days=30),
    "All": timedelta(days=180),
}
_BLUE, _GREEN, _RED = "#5577e0", "#2f9e62", "#d65a57"


def size_over_time(bridge: Bridge, person: Actor, group_id: int, *, key: str) -> None:
    """Show how large a group was, and what was added and removed, over a span that can be chosen."""
    span = st.segmented_control(
        "Time", list(SPANS), default="Week", required=True, format_func=in_gray, key=f"{key}_span",
        label_visibility="collapsed",
    )  # fmt: skip
    sizes = overview.sizes(bridge, person, group_id, over=SPANS[span or "Week"])
    if not sizes:
        st.info("No run succeeded in this period. Choose a longer one.", icon=":material/timeline:")
        return
    words = _in_words(sizes)
    st.caption(words)
    frame = pd.DataFrame(
        {
            "at": [size.at for size in sizes],
            "members": [size.members for size in sizes],
            "added": [size.added for size in sizes],
            "removed": [size.removed for size in sizes],
        }
    )
    time = _time(sizes, "%H:%M" if span == "Day" else "%-d %b, %H:%M" if span == "Week" else "%-d %b")
    st.altair_chart(_line(frame, time), key=f"{key}_size", alt=f"Members over time: {words}")
    st.altair_chart(_bars(frame, time), key=f"{key}_changes", alt=f"Members added and removed over time: {words}")


def _in_words(sizes: Sequence[Size]) -> str:
    """Describe what the charts show, for those who cannot see them."""
    added, removed = sum(size.added for size in sizes), sum(size.removed for size in sizes)
    present = pluralize(sizes[-1].members, "member")
    return f"{present} at the end of this period, in which {number(added)} were added and {number(removed)} removed."


def _time(sizes: Sequence[Size], time_format: str) -> alt.X:
    # A single run, or a few within a minute, would be spread over thousandths of a second.
    last = sizes[-1].at
    first = min(sizes[0].at, last - timedelta(minutes=10))
    scale = alt.Scale(domain=[first.isoformat(), last.isoformat()])
    return alt.X("at:T", title=None, scale=scale, axis=alt.Axis(format=time_format, labelOverlap=True, tickCount=6))


def _line(frame: pd.DataFrame, time: alt.X) -> alt.Chart:
    return (
        alt.Chart(frame, height=190)
        .mark_line(interpolate="step-after", point=len(frame) < 40, color=_BLUE)
        .encode(
            x=time,
            y=alt.Y("members:Q", title="Members", scale=alt.Scale(zero=False, nice=True), axis=_counts()),
            tooltip=[
                alt.Tooltip("at:T", title="Until", format="%-d %b %Y, %H:%M"),
                alt.Tooltip("members:Q", title="Members", format=","),
            ],
        )
    )


def _bars(frame: pd.DataFrame, time: alt.X) -> alt.LayerChart | alt.FacetChart:
    plain = alt.Chart(frame, height=130)
    tooltip = [
        alt.Tooltip("at:T", title="Until", format="%-d %b %Y, %H:%M"),
        alt.Tooltip("added:Q", title="Added", format=","),
        alt.Tooltip("removed:Q", title="Removed", format=","),
    ]
    width = max(2, min(14, 500 // len(frame)))
    below = plain.transform_calculate(below="-datum.removed")
    return alt.layer(
        plain.mark_bar(color=_GREEN, width=width).encode(
            x=time, y=alt.Y("added:Q", title="Added, removed", axis=_counts()), tooltip=tooltip
        ),
        below.mark_bar(color=_RED, width=width).encode(x=time, y=alt.Y("below:Q"), tooltip=tooltip),
    )


def _counts() -> alt.Axis:
    return alt.Axis(format=",d", tickCount=4, tickMinStep=1, minExtent=64)
