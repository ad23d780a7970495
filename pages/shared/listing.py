"""Lists of which one row can be opened: by its button, by ticking it, or from the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

# Rows that are shown without scrolling inside the list.
_ROWS = 15
_HEIGHT_PX = 563


def rows_to_open(
    rows: list[dict[str, Any]],
    ids: Sequence[int | None],
    *,
    key: str,
    label: str,
    go_to: Callable[[int | None], None],
    columns: dict[str, Any],
    order: list[str] | None = None,
    button_width: int = 70,
) -> None:
    """Show rows, whose column "" is the button's text; `ids` are theirs, and `go_to` is told which one is wanted.

    The ids are frozen when the list is drawn, so a click opens the row that the person saw. A button on a canvas cannot
    be reached from the keyboard; a row can be chosen there with Shift and Space.
    """
    st.dataframe(
        rows,
        key=f"{key}_table",
        on_select=partial(_ticked, key, tuple(ids), go_to),
        selection_mode="single-row",
        hide_index=True,
        height="content" if len(rows) <= _ROWS else _HEIGHT_PX,
        placeholder="",
        column_order=order,
        alt=label,
        column_config={
            "": st.column_config.ButtonColumn(
                width=button_width,
                on_click=_pressed,
                args=(key, tuple(ids), go_to),
                key=f"{key}_open",
                type="secondary",
            ),
            **columns,
        },
    )


def _ticked(key: str, ids: tuple[int | None, ...], go_to: Callable[[int | None], None]) -> None:
    rows = st.session_state[f"{key}_table"]["selection"]["rows"]
    if rows:
        go_to(ids[rows[0]])


def _pressed(key: str, ids: tuple[int | None, ...], go_to: Callable[[int | None], None]) -> None:
    go_to(ids[st.session_state[f"{key}_open"]["row"]])
