"""Members to page and search through, however many there are; the rest of the page stays where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from core.invisible import revealed
from core.reports import members_since
from core.reports.members import SearchPage
from core.reports.memberships import Membership
from core.rules.id_words import IdWords, id_words
from core.text import clean_search
from pages.parts import selection, tables
from pages.parts.actions import show_errors
from pages.parts.formatting import moment, number, pluralize
from pages.parts.pager import Pager

_PAGE_ROWS = 50
_SHOWN_ROWS = 8
_ID_PX, _LAST_PX = 272, 434
_DISTINCT_ID = "Mixpanel distinct id"
_SINCE, _SINCE_PX = "In the group since", 188
_SINCE_HELP = (
    f"As the latest {members_since.LOOKED_THROUGH} changes of the group tell. Of who is in longer, History shows more."
)


def since_text(membership: Membership) -> str:
    """Format since when somebody is in a group, as far as is known."""
    return moment(membership.since) if membership.since else f"Before {moment(membership.kept_since)}"


@st.fragment
def show(
    find: Callable[..., SearchPage],
    *,
    key: str,
    label: str,
    empty: str,
    matched_by: str,
    open_member: Callable[[Any], None] | None = None,
    explain: Callable[[str], None] | None = None,
    since: Callable[[list[str]], dict[str, Membership]] | None = None,
) -> None:
    """Show what `find(search=, offset=, limit=)` returns; `open_member` gets the row that was chosen.

    `since` tells since when the members of a page are in the group, `explain` why none matches a search. `empty` is
    shown where there are no members. `matched_by` tells what their id is.
    """
    selection.redraw_if_opened(key)
    pager = Pager(f"{key}_page", _PAGE_ROWS)
    with st.container(horizontal=True, vertical_alignment="center"):
        entered = st.text_input(
            f"Search {label.lower()}",
            key=f"{key}_search",
            type="search",
            live="400ms",
            placeholder=id_words(matched_by).search,
            label_visibility="collapsed",
            on_change=pager.to_first_page,
        )
        counted = st.container(width="content")
    search = clean_search(entered).strip()
    with show_errors():
        page = pager.find(lambda offset: find(search=search, offset=offset, limit=pager.rows))
        if page.total:
            known = since([member.apptimize_id for member in page.rows]) if since else None
            of = f"more than {number(page.total)} members" if page.is_more else pluralize(page.total, "member")
            counted.caption(pager.range_text(len(page.rows), of, total=page.total), width="content")
            _show_page(page, pager, id_words(matched_by), known, key=key, label=label, open_member=open_member)
        elif search:
            _show_none(search, pager, key=key, explain=explain)
        else:
            st.info(empty, icon=":material/search_off:")


def _show_none(search: str, pager: Pager, *, key: str, explain: Callable[[str], None] | None) -> None:
    if explain:
        explain(search)
    else:
        st.info("No member matches the search.", icon=":material/search_off:")
    st.button("Clear search", key=f"{key}_clear", icon=":material/filter_alt_off:", on_click=_clear, args=(key, pager))


def _clear(key: str, pager: Pager) -> None:
    st.session_state[f"{key}_search"] = ""
    pager.to_first_page()


def _order(ids: list[str], *, has_since: bool) -> list[str]:
    """Return the columns in their order: a window of middling width shows no more than one id and since when."""
    return [ids[0], *([_SINCE] if has_since else []), *ids[1:]]


def _show_page(
    page: SearchPage,
    pager: Pager,
    words: IdWords,
    since: dict[str, Membership] | None,
    *,
    key: str,
    label: str,
    open_member: Callable[[Any], None] | None,
) -> None:
    own = {} if words.code == "distinct" else {words.title: _ID_PX}
    last = _ID_PX if open_member is None or since else _LAST_PX
    rows: list[dict[str, Any]] = [
        {title: revealed(member.apptimize_id) for title in own}
        | {_DISTINCT_ID: revealed(member.distinct_id)}
        | ({_SINCE: since_text(since[member.apptimize_id])} if since else {})
        for member in page.rows
    ]
    # An id of either kind is as long as a UUID, though the first rows may hold shorter ones.
    # Where there is room for more, it goes to the last of them and not to the buttons.
    columns = {
        **{title: st.column_config.TextColumn(width=width) for title, width in own.items()},
        _DISTINCT_ID: st.column_config.TextColumn(width=last if own else _ID_PX + last),
        **({_SINCE: st.column_config.TextColumn(width=_SINCE_PX, help=_SINCE_HELP)} if since else {}),
    }
    if open_member is None:
        height = tables.height(len(rows), most=_SHOWN_ROWS)
        st.dataframe(rows, key=f"{key}_table", hide_index=True, height=height, alt=label, column_config=columns)
    else:
        tables.rows_to_open(
            [{"": "History", **row} for row in rows],
            [member.apptimize_id for member in page.rows],
            key=key,
            label=label,
            go_to=selection.redraw_page_for(key, open_member),
            columns=columns,
            order=["", *_order([*own, _DISTINCT_ID], has_since=bool(since))],
            button_width=85,
            most_rows=_SHOWN_ROWS,
        )
    pager.buttons(page.total)
