"""The column of a list that shows states: each as a word on its color, the same for a state on every page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import streamlit as st

from core.reports.group_state import GroupState
from core.reports.overview import Freshness
from data.models import PREVIEW, Run, SyncState
from pages.parts import run_status, tables
from pages.parts.colors import Color, behind_words

LATE, ACTIVE, PAUSED = "Late", "Active", "Paused"
_COLORS: dict[str, Color] = {
    **{badge.word: badge.color for badge in run_status.BADGES.values()},
    ACTIVE: "green",
    LATE: "red",
    PAUSED: "orange",
    str(GroupState.AS_DELIVERED): "green",
    str(GroupState.ROLLED_BACK): "orange",
    str(GroupState.IN_DOUBT): "orange",
    "In the group": "green",
    "In the group, in doubt": "orange",
    "Not in the group": "gray",
    "Not known": "orange",
}
# What surrounds a word: a chip that is too wide is cut off.
_AROUND_PX, _CELL_PX, _LEAST_PX, _MOST_PX = 15, 18, 90, 220


def column(states: Iterable[list[str]]) -> Any:
    """Return the configuration of a column that holds these states, as wide as the widest of them."""
    states = list(states)
    words = sorted({word for each in states for word in each})
    widths = [round(sum(tables.text_px(word) + _AROUND_PX for word in each)) + _CELL_PX for each in states]
    return st.column_config.MultiselectColumn(
        options=words,
        color=[behind_words(color_of(word)) for word in words] or None,
        width=min(max([_LEAST_PX, *widths]), _MOST_PX),  # type: ignore[arg-type]  # pixels are taken as well
    )


def color_of(word: str) -> Color:
    """Return the color of a state's word."""
    return _COLORS.get(word, "orange" if word.startswith(PAUSED) else "gray")


def icon_of(word: str) -> str:
    """Return the icon of the word of a sync's state, for where it stands alone."""
    icons = {badge.word: badge.icon for badge in run_status.BADGES.values()} | {ACTIVE: "sync", LATE: "timer_off"}
    icons[str(GroupState.IN_DOUBT)] = "help"
    return icons.get(word, "pause_circle")


def of_run(run: Run) -> list[str]:
    """Return the state of a run, and that it was a preview: one that succeeded was nothing else."""
    words = [run_status.state_word(run)]
    return [*words, run_status.BADGES[PREVIEW].word] if run.dry_run and run.told_status != PREVIEW else words


def of_sync(sync: Freshness) -> list[str]:
    """Return what is to be known of a recurring sync: that it is paused, or late, and which run needs a person.

    What failed before a pause is with that.
    """
    view, states = sync.view, list[str]()
    is_paused = view.sync.state == SyncState.PAUSED
    if is_paused:
        states.append(PAUSED)  # until when stands with the cause
    elif sync.is_late:
        states.append(LATE)
    if view.unresolved_run and (view.is_held or not is_paused):
        states.append(run_status.state_word(view.unresolved_run))
    return states or [ACTIVE]
