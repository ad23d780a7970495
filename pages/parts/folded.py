"""Boxes that a person opens. What is in one is sent once it was: a browser draws all that it is sent, seen or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

# The keys of those that were opened since the page was: what was entered there stays, even while they are closed.
OPENED = "folded_opened"


def expander(label: str, show: Callable[[], object], *, key: str, **look: Any) -> None:
    """Draw a box that unfolds where it is, and in it what `show` draws.

    It bears no icon: that would take the place of the arrow, which alone tells that there is something to open.
    """
    box = st.expander(label, key=key, on_change="rerun", **look)
    if _was_opened(key, is_open=bool(box.open)):
        with box:
            show()


def popover(label: str, show: Callable[[], object], *, key: str, **look: Any) -> None:
    """Draw a button that a box opens below, and in it what `show` draws."""
    box, was_opened = popover_box(label, key=key, **look)
    if was_opened:
        with box:
            show()


def popover_box(label: str, *, key: str, **look: Any) -> tuple[DeltaGenerator, bool]:
    """Draw a button that a box opens below. Returns that, and whether what is in it is to be drawn."""
    box = st.popover(label, key=key, on_change="rerun", **look)
    return box, _was_opened(key, is_open=bool(box.open))


def close(key: str) -> None:
    """Close a box from a press in it that did what the box is for: opened again, it is as it was at first."""
    st.session_state[key] = False
    st.session_state.setdefault(OPENED, {}).pop(key, None)


def forget() -> None:
    """Have nothing been opened yet: another page is shown."""
    st.session_state.pop(OPENED, None)


def _was_opened(key: str, *, is_open: bool) -> bool:
    opened: dict[str, bool] = st.session_state.setdefault(OPENED, {})
    if is_open:
        opened[key] = True
    return key in opened
