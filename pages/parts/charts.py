"""Charts: a group's size over time, and what was added and removed. Names never become fields: none is interpreted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports import overview
from core.reports.overview import Size
from pages.parts import vega
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
_COUNTS = {"format": ",d", "tickCount": 4, "tickMinStep": 1, "minExtent": 64}
_UNTIL = vega.time("at", title="Until", format="%-d %b %Y, %H:%M")


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
    rows = _rows(sizes, most)
    cut = f" The axis begins at {number(begins)}, not at zero." if begins else ""
    st.vega_lite_chart(
        spec=_line(rows, time, begins), height=_SIZE_PX, key=f"{key}_size", alt=f"Members over time: {words}{cut}"
    )
    beyond = _beyond_in_words(sizes, most)
    st.vega_lite_chart(
        spec=_bars(rows, time, most),
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


def _rows(sizes: Sequence[Size], most: int | None) -> list[vega.Spec]:
    def drawn(height: int) -> int:
        return height if most is None else min(height, most)

    def label(height: int, sign: str) -> str:
        return f"{sign}{number(height)}" if most is not None and height > most else ""

    return [
        {
            "at": vega.moment(size.at),
            "members": size.members,
            "added": size.added,
            "removed": size.removed,
            "up": drawn(size.added),
            "down": -drawn(size.removed),
            "added_label": label(size.added, "+"),
            "removed_label": label(size.removed, "\u2212"),
            # A label stays within the picture: to the right of a bar in its left half, else to the left.
            "is_early": _is_early(size.at, sizes),
        }
        for size in sizes
    ]


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


def _time(sizes: Sequence[Size], time_format: str) -> vega.Spec:
    # A single run, or a few within a minute, would be spread over thousandths of a second.
    last = sizes[-1].at
    first = min(sizes[0].at, last - timedelta(minutes=10))
    axis = {"format": time_format, "labelOverlap": True, "tickCount": 6}
    return vega.time("at", title=None, scale={"domain": [vega.moment(first), vega.moment(last)]}, axis=axis)


def _line(rows: list[vega.Spec], time: vega.Spec, begins: int) -> vega.Spec:
    scale: vega.Spec = {"zero": True}
    if begins:
        most = max(row["members"] for row in rows)
        scale = {"domain": [begins, most + max(1, (most - begins) // 10)]}
    title = "Members, axis cut" if begins else "Members"
    mark = {"type": "line", "interpolate": "step-after", "point": len(rows) < 40, "color": _BLUE}
    encoding = {
        "x": time,
        "y": vega.count("members", title=title, scale=scale, axis=_COUNTS),
        "tooltip": [_UNTIL, vega.count("members", title="Members", format=",")],
    }
    line = vega.layer(rows, mark, encoding)
    return vega.chart(line, _cut_mark(begins)) if begins else vega.chart(line)


def _cut_mark(begins: int) -> vega.Spec:
    """Draw the sign of an axis that is cut, across its lower end."""
    mark = {"type": "text", "size": 22, "fontWeight": "bold", "color": _GRAY, "dy": -5}
    encoding = {"x": {"value": 0}, "y": {"datum": begins}, "text": vega.name("sign")}
    return vega.layer([{"sign": "\u2248"}], mark, encoding)


def _bars(rows: list[vega.Spec], time: vega.Spec, most: int | None) -> vega.Spec:
    changes = [vega.count(field, title=field.capitalize(), format=",") for field in ("added", "removed")]
    width = max(2, min(14, 500 // len(rows)))
    encoding = {"x": time, "tooltip": [_UNTIL, *changes]}
    up = {**encoding, "y": vega.count("up", title="Added, removed", axis=_COUNTS)}
    down = {**encoding, "y": vega.count("down")}
    layers = [
        vega.layer(rows, {"type": "bar", "color": _GREEN, "width": width}, up),
        vega.layer(rows, {"type": "bar", "color": _RED, "width": width}, down),
    ]
    if most is not None:
        layers += _labels(rows, time, "added", "up", _GREEN) + _labels(rows, time, "removed", "down", _RED)
    return vega.chart(*layers)


def _labels(rows: list[vega.Spec], time: vega.Spec, name: str, edge: str, color: str) -> list[vega.Spec]:
    """Write beside each bar that is cut how many it stands for."""
    is_up, label = edge == "up", f"{name}_label"
    mark = {"type": "text", "baseline": "bottom" if is_up else "top", "dy": -3 if is_up else 3, "color": color}
    encoding = {"x": time, "y": vega.count(edge), "text": vega.name(label)}
    sides = {True: {"align": "left", "dx": -4}, False: {"align": "right", "dx": 4}}
    return [
        vega.layer(
            [row for row in rows if row[label] and row["is_early"] == early],
            mark | {"fontWeight": "bold"} | side,
            encoding,
        )
        for early, side in sides.items()
    ]
