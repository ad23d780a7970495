"""Members to page and search through, however many there are; the rest of the page stays where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from core.errors import CohortBridgeError
from data.members.search import SearchPage
from pages.parts import tables
from pages.parts.formatting import error_text, number, pluralize

PAGE_ROWS = 50
_SHOWN_ROWS = 12
_ID_PX, _LAST_PX = 272, 434


@st.fragment
def show(
    find: Callable[..., SearchPage],
    *,
    key: str,
    label: str,
    empty: str,
    open_member: Callable[[str], None] | None = None,
) -> None:
    """Show what `find(search=, offset=, limit=)` returns; `open_member` is told whose row was chosen."""
    if st.session_state.pop(f"{key}_chosen", False):
        st.rerun()
    search = st.text_input(
        f"Search {label.lower()}",
        key=f"{key}_search",
        type="search",
        live="400ms",
        placeholder="Part of an Apptimize id or a distinct id",
        on_change=_to_first_page,
        args=(key,),
    ).strip()
    page = st.session_state.get(f"{key}_page", 1)
    try:
        found = find(search=search, offset=(page - 1) * PAGE_ROWS, limit=PAGE_ROWS)
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")
        return
    if not found.total:
        st.info("No member matches the search." if search else empty, icon=":material/search_off:")
        return
    first = (page - 1) * PAGE_ROWS + 1
    of = f"more than {number(found.total)} members" if found.is_more else pluralize(found.total, "member")
    st.caption(f"{number(first)}–{number(first + len(found.rows) - 1)} of {of}")
    rows: list[dict[str, Any]] = [{"Apptimize id": one, "Mixpanel distinct id": other} for one, other in found.rows]
    # An id of either kind is as long as a UUID, though the first rows may hold shorter ones.
    # Where there is room for more, it goes to the last of them and not to the buttons.
    columns = {
        "Apptimize id": st.column_config.TextColumn(width=_ID_PX),
        "Mixpanel distinct id": st.column_config.TextColumn(width=_ID_PX if open_member is None else _LAST_PX),
    }
    if open_member is None:
        height = tables.height(len(rows), most=_SHOWN_ROWS)
        st.dataframe(rows, key=f"{key}_table", hide_index=True, height=height, alt=label, column_config=columns)
    else:
        ids = [one for one, _ in found.rows]
        tables.rows_to_open(
            [{"": "Since when?", **row} for row in rows],
            ids,
            key=key,
            label=label,
            go_to=_Opens(key, open_member),
            columns=columns,
            button_width=110,
            most_rows=_SHOWN_ROWS,
        )
    pages = -(-found.total // PAGE_ROWS)
    if pages > 1:
        st.pagination(pages, key=f"{key}_page")


class _Opens:
    """Opens a member's timeline: the whole page, not only the list."""

    def __init__(self, key: str, open_member: Callable[[str], None]) -> None:
        self._key, self._open_member = key, open_member

    def __call__(self, member: str | None) -> None:
        if member is not None:
            self._open_member(member)
            st.session_state[f"{self._key}_chosen"] = True


def _to_first_page(key: str) -> None:
    st.session_state[f"{key}_page"] = 1
