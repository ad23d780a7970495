"""How far back the changes of groups were searched, and the button that searches further."""

from __future__ import annotations

import streamlit as st

from core.reports.memberships import CHANGES_KEPT_FOR, LOOKED_THROUGH, Lookback
from pages.parts.formatting import moment, pluralize

FURTHER = 4


def look_through(place: str) -> int:
    """Return how many changes are to be searched at this place."""
    return st.session_state.get(f"{place}_look_through", LOOKED_THROUGH)


def show(lookback: Lookback, *, place: str) -> None:
    """Show what an answer is based on and what is no longer kept, and offer to search further back."""
    if not lookback.changes:
        st.caption("No changes of groups are kept, so only the present state is known.")
        return
    whole = "" if lookback.is_more else ", all that are kept"
    st.caption(
        f"Searched {pluralize(lookback.changes, 'change')} of groups{whole}, back to {moment(lookback.back_to)}. "
        f"Changes are kept for {CHANGES_KEPT_FOR.days} days."
    )
    if lookback.is_more:
        st.button(
            "Search further back",
            key=f"{place}_further",
            icon=":material/history:",
            on_click=_search_further,
            args=(place, lookback.changes),
        )


def _search_further(place: str, searched: int) -> None:
    st.session_state[f"{place}_look_through"] = searched * FURTHER
