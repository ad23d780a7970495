"""Charts: a group's size over time, and what was added and removed. Names never become fields: none is interpreted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import altair as alt
import pandas as pd
import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports import overview
from core.reports.overview import Size
from pages.parts.colors import DRAWN
from pages.parts.formatting import clock, in_gray, number, pluralize

SPANS = {
    "Day": timedelta(days=1),
    "Week": timedelta(days=7),
    "Month": timedelta(days=30),
    "All": timedelta(days=180),
}
_BLUE, _GREEN, _RED, _GRAY = DRAWN["blue"], DRAWN["green"], DRAWN["red"], DRAWN["gray"]
# From zero, a line that moves within so small a share of its height looks as if it did not move at all.
_SEEN_FROM_ZERO = 0.2
# A bar so many times as high as the next one flattens it. So few of all bars may be cut for the others, or one.
_FLATTENS, _CUT_OF_ALL = 8, 5
# So many bars that were cut are told one by one.
_TOLD = 3
_SIZE_PX, _BARS_PX = 230, 180


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
    begins, most = axis_begin(sizes), tallest_bar(sizes)
    time = _time(sizes, "%H:%M" if span == "Day" else "%-d %b, %H:%M" if span == "Week" else "%-d %b")
    frame = _frame(sizes, most)
    cut = f" The axis begins at {number(begins)}, not at zero." if begins else ""
    st.altair_chart(
        _line(frame, time, begins), height=_SIZE_PX, key=f"{key}_size", alt=f"Members over time: {words}{cut}"
    )
    beyond = _beyond_in_words(sizes, most)
    st.altair_chart(
        _bars(frame, time, most),
        height=_BARS_PX,
        key=f"{key}_changes",
        alt=f"Members added and removed over time: {words} {beyond}",
    )
    if beyond:
        st.caption(beyond)


def axis_begin(sizes: Sequence[Size]) -> int:
    """Return where the axis of the members begins: at zero, but for a group that hardly moves beside its size.

    An axis that is cut is marked as that. Below the smallest group some room is left, at a round number.
    """
    least, most = min(size.members for size in sizes), max(size.members for size in sizes)
    range_ = most - least
    if not range_ or range_ > most * _SEEN_FROM_ZERO:
        return 0
    step = 10 ** (len(str(range_)) - 1)
    return max(0, (least - max(1, range_ // 4)) // step * step)


def tallest_bar(sizes: Sequence[Size]) -> int | None:
    """Return how high the bars are drawn at most, None where none needs to be cut.

    What fills a group, at first or after its match property was renamed, is often thousands of times what a day brings.
    On its scale every other bar would be a line of no height; on a logarithmic one 12 would look half as much as 100,
    so the few that stick out are cut at the edge instead, marked with their number, and told in words.
    """
    heights = sorted((height for size in sizes for height in (size.added, size.removed) if height), reverse=True)
    may_cut = max(1, len(heights) // _CUT_OF_ALL)
    gaps = [at for at in range(1, len(heights)) if heights[at - 1] >= _FLATTENS * heights[at] and at <= may_cut]
    return heights[gaps[-1]] if gaps else None


def _frame(sizes: Sequence[Size], most: int | None) -> pd.DataFrame:
    def drawn(height: int) -> int:
        return height if most is None else min(height, most)

    def label(height: int, sign: str) -> str:
        return f"{sign}{number(height)}" if most is not None and height > most else ""

    return pd.DataFrame(
        {
            "at": [size.at for size in sizes],
            "members": [size.members for size in sizes],
            "added": [size.added for size in sizes],
            "removed": [size.removed for size in sizes],
            "up": [drawn(size.added) for size in sizes],
            "down": [-drawn(size.removed) for size in sizes],
            "added_label": [label(size.added, "+") for size in sizes],
            "removed_label": [label(size.removed, "\u2212") for size in sizes],
            # A label stays within the picture: to the right of a bar in its left half, else to the left.
            "is_early": [_is_early(size.at, sizes) for size in sizes],
        }
    )


def _is_early(at: datetime, sizes: Sequence[Size]) -> bool:
    return at - sizes[0].at < (sizes[-1].at - sizes[0].at) / 2


def _in_words(sizes: Sequence[Size]) -> str:
    """Describe what the charts show, for those who cannot see them."""
    added, removed = sum(size.added for size in sizes), sum(size.removed for size in sizes)
    present = pluralize(sizes[-1].members, "member")
    return f"{present} at the end of this period, in which {number(added)} were added and {number(removed)} removed."


def _beyond_in_words(sizes: Sequence[Size], most: int | None) -> str:
    """Tell the bars that are cut, for their height does not show how many they stand for."""
    if most is None:
        return ""
    told = [_change_in_words(size) for size in sizes if max(size.added, size.removed) > most]
    more = f", and {pluralize(len(told) - _TOLD, 'more', 'more')}" if len(told) > _TOLD else ""
    return f"Cut at the edge so that the other bars can be seen: {'; '.join(told[:_TOLD])}{more}."


def _change_in_words(size: Size) -> str:
    parts = [f"{number(size.added)} added"] if size.added else []
    parts += [f"{number(size.removed)} removed"] if size.removed else []
    was_empty = size.added and size.members - size.added + size.removed <= 0
    return f"{clock(size.at)}, {' and '.join(parts)}{' to an empty group' if was_empty else ''}"


def _time(sizes: Sequence[Size], time_format: str) -> alt.X:
    # A single run, or a few within a minute, would be spread over thousandths of a second.
    last = sizes[-1].at
    first = min(sizes[0].at, last - timedelta(minutes=10))
    scale = alt.Scale(domain=[first.isoformat(), last.isoformat()])
    return alt.X("at:T", title=None, scale=scale, axis=alt.Axis(format=time_format, labelOverlap=True, tickCount=6))


def _line(frame: pd.DataFrame, time: alt.X, begins: int) -> alt.LayerChart | alt.FacetChart | alt.Chart:
    scale = alt.Scale(zero=True)
    if begins:
        most = max(frame["members"].tolist())
        scale = alt.Scale(domain=[begins, most + max(1, (most - begins) // 10)])
    line = (
        alt.Chart(frame)
        .mark_line(interpolate="step-after", point=len(frame) < 40, color=_BLUE)
        .encode(
            x=time,
            y=alt.Y("members:Q", title="Members, axis cut" if begins else "Members", scale=scale, axis=_counts()),
            tooltip=[
                alt.Tooltip("at:T", title="Until", format="%-d %b %Y, %H:%M"),
                alt.Tooltip("members:Q", title="Members", format=","),
            ],
        )
    )
    return alt.layer(line, _cut_mark(begins)) if begins else line


def _cut_mark(begins: int) -> alt.Chart:
    """Draw the sign of an axis that is cut, across its lower end."""
    sign = alt.Chart(pd.DataFrame({"sign": ["\u2248"]}))
    return sign.mark_text(size=22, fontWeight="bold", color=_GRAY, dy=-5).encode(
        x=alt.value(0), y=alt.YDatum(begins), text="sign:N"
    )


def _bars(frame: pd.DataFrame, time: alt.X, most: int | None) -> alt.LayerChart | alt.FacetChart:
    plain = alt.Chart(frame)
    tooltip = [
        alt.Tooltip("at:T", title="Until", format="%-d %b %Y, %H:%M"),
        alt.Tooltip("added:Q", title="Added", format=","),
        alt.Tooltip("removed:Q", title="Removed", format=","),
    ]
    width = max(2, min(14, 500 // len(frame)))
    axis = alt.Axis(format=",d", tickCount=4, tickMinStep=1, minExtent=64)
    layers = [
        plain.mark_bar(color=_GREEN, width=width).encode(
            x=time, y=alt.Y("up:Q", title="Added, removed", axis=axis), tooltip=tooltip
        ),
        plain.mark_bar(color=_RED, width=width).encode(x=time, y=alt.Y("down:Q"), tooltip=tooltip),
    ]
    if most is not None:
        layers += _labels(plain, time, "added", "up", _GREEN) + _labels(plain, time, "removed", "down", _RED)
    return alt.layer(*layers)


def _labels(plain: alt.Chart, time: alt.X, name: str, edge: str, color: str) -> list[alt.Chart]:
    """Write beside each bar that is cut how many it stands for."""
    is_up = edge == "up"
    return [
        plain.transform_filter(f"datum.{name}_label != '' && {'' if early else '!'}datum.is_early")
        .mark_text(
            align="left" if early else "right",
            baseline="bottom" if is_up else "top",
            dx=-4 if early else 4,
            dy=-3 if is_up else 3,
            color=color,
            fontWeight="bold",
        )
        .encode(x=time, y=alt.Y(f"{edge}:Q"), text=f"{name}_label:N")
        for early in (True, False)
    ]


def _counts() -> alt.Axis:
    return alt.Axis(format=",d", tickCount=4, tickMinStep=1, minExtent=64)
