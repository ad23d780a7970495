"""The matrix of what groups share, and the list of the same pairs, which can be walked with the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from core.reports.overlap import Overlap, Shared
from data.models import Group
from pages.parts import links, tables
from pages.parts.formatting import number, percent
from pages.parts.pager import Pager
from pages.parts.selection import opener

PAGER = Pager("overlap_page", rows=15, name="page")
_KEY = "overlap_matrix"
_NAME_PX, _CELL_PX, _ROWS = 190, 120, 20
# A cell is the deeper in the charts' blue the larger its share; the text stays readable on the deepest, light or dark.
_TINT, _DEEPEST = "rgba(85, 119, 224, {:.2f})", 0.55
_OWN, _NONE = "rgba(128, 132, 149, 0.15)", ""
_GROUP = "Group"


def show(overlap: Overlap, labels: Mapping[int, str], open_pair: Callable[[tuple[int, int]], None]) -> None:
    """Show for each two groups how many members of the row's are in the column's too, and their share of the row's.

    `open_pair` is called with the ids of the two groups whose cell was chosen; that of a group and itself opens it.
    """
    groups = overlap.groups
    texts = {_GROUP: [labels[group.id or 0] for group in groups]}
    styles = {_GROUP: [""] * len(groups)}
    for other in groups:
        cells = [_cell(overlap, group, other) for group in groups]
        texts[_column(other)], styles[_column(other)] = [text for text, _ in cells], [style for _, style in cells]
    table, look = pd.DataFrame(texts), pd.DataFrame(styles)
    ids = tuple(group.id or 0 for group in groups)
    st.dataframe(
        table.style.apply(lambda _: look, axis=None),
        key=_KEY,
        hide_index=True,
        height=tables.height(len(groups), most=_ROWS),
        on_select=partial(_chosen, ids, open_pair),
        selection_mode="single-cell",
        alt="Shared members of each two groups",
        column_config={
            _GROUP: st.column_config.TextColumn(width=_NAME_PX, pinned=True),
            **{_column(other): st.column_config.TextColumn(labels[other.id or 0], width=_CELL_PX) for other in groups},
        },
    )


def _column(group: Group) -> str:
    """Name a column by the group's id: two groups may have one name."""
    return f"of {group.id}"


def _cell(overlap: Overlap, group: Group, other: Group) -> tuple[str, str]:
    """Return the text of a cell, and its look."""
    shared = overlap.between(group, other)
    if shared is None:
        return "other ids", _NONE
    if group.id == other.id:
        return number(shared.members), f"background-color: {_OWN}"
    share = shared.share_of(group)
    if not share:
        return "0", _NONE
    tint = _TINT.format(0.05 + share * (_DEEPEST - 0.05))
    return f"{number(shared.members)} ({percent(share)})", f"background-color: {tint}"


def _chosen(ids: tuple[int, ...], open_pair: Callable[[tuple[int, int]], None]) -> None:
    cells = st.session_state[_KEY]["selection"]["cells"]
    if not cells:
        return
    row, column = cells[0]
    _, _, other = str(column).partition("of ")
    if not other.isdigit():
        return
    if ids[row] == int(other):
        opener(links.GROUPS, "group")(ids[row])
    else:
        open_pair((ids[row], int(other)))


def show_pairs(overlap: Overlap, labels: Mapping[int, str], open_pair: Callable[[tuple[int, int]], None]) -> None:
    """Show each two groups that share members, first those that share most, with the share of each."""
    pairs = overlap.sharing
    start = PAGER.offset(len(pairs))
    some = pairs[start : start + PAGER.rows]
    tables.rows_to_open(
        [_pair_row(pair, labels) for pair in some],
        [(pair.first.id or 0, pair.second.id or 0) for pair in some],
        key="overlap_pairs",
        label="Groups that share members",
        go_to=open_pair,
        opens="Group",
        opens_width=200,
        columns={
            "Other group": st.column_config.TextColumn(width=200),
            **tables.counts("Shared"),
        },
        most_rows=PAGER.rows,
    )
    PAGER.buttons(len(pairs))


def _pair_row(pair: Shared, labels: Mapping[int, str]) -> dict[str, Any]:
    return {
        "Group": labels[pair.first.id or 0],
        "Shared": pair.members,
        "Other group": labels[pair.second.id or 0],
        "Of the group": percent(pair.share_of(pair.first) or 0),
        "Of the other": percent(pair.share_of(pair.second) or 0),
    }
