"""How far back a look through the changes of groups goes, and the button that goes further."""

from __future__ import annotations

import streamlit as st

from core.reports.members import LOOKED_THROUGH, Lookback
from pages.parts.formatting import moment, pluralize

FURTHER = 4


def look_through(place: str) -> int:
    """Return how many changes are to be looked through at this place."""
    return st.session_state.get(f"{place}_look_through", LOOKED_THROUGH)


def show(looked: Lookback, *, place: str) -> None:
    """Say what an answer rests on and what is no longer kept, and offer to look further back."""
    if not looked.changes:
        st.caption("No change of a group is kept, so only the present is known.")
        return
    whole = "" if looked.is_more else ", all that are kept"
    st.caption(
        f"Looked through {pluralize(looked.changes, 'change')} of groups{whole}, back to {moment(looked.back_to)}. "
        "Changes are kept for 180 days."
    )
    if looked.is_more:
        st.button(
            "Look further back",
            key=f"{place}_further",
            icon=":material/history:",
            on_click=_look_further,
            args=(place, looked.changes),
        )


def _look_further(place: str, looked: int) -> None:
    st.session_state[f"{place}_look_through"] = looked * FURTHER
