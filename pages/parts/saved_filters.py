"""What a person keeps of a list's filters under a name: each is an address, which can be shared as well."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlencode

import streamlit as st

from core.access import saved_filters
from core.access.roles import Actor
from core.bridge import Bridge
from pages.parts import folded
from pages.parts.actions import perform
from pages.parts.filters import Filters
from pages.parts.formatting import escape_markdown
from pages.shell import page_frame


def show(bridge: Bridge, person: Actor, filters: Filters, *, page: str, path: str) -> None:
    """Show the filters that the person has kept of this list, and the field to keep those that it has now.

    What a press comes to is answered at `place_of` the page.
    """
    show_kept = partial(_show_kept, bridge, person, filters, page, path)
    folded.popover("Saved filters", show_kept, icon=":material/bookmarks:", key=_box_key(page))


def _show_kept(bridge: Bridge, person: Actor, filters: Filters, page: str, path: str) -> None:
    kept, place = saved_filters.list_saved_filters(bridge, person, page), place_of(page)
    for each in kept:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.page_link(
                path,
                label=escape_markdown(each.name),
                icon=":material/bookmark:",
                query_params=saved_filters.read_query(each.query),
            )
            st.button(
                "Remove",
                key=f"{page}_saved_remove_{each.id}",
                type="tertiary",
                icon=":material/delete:",
                on_click=perform,
                args=(
                    place,
                    partial(saved_filters.remove_saved_filter, bridge, person, each.id or 0),
                    f"The filter {escape_markdown(each.name)} is removed.",
                ),
            )
    query = urlencode(_asked(filters))
    if not query:
        st.caption("Filter the list, then keep that here under a name.")
    else:
        st.text_input("Name", key=_name_key(page), placeholder="Failed this week")
        page_frame.show_answer(_name_key(page))
        st.button(
            "Save these filters",
            key=f"{page}_save",
            icon=":material/bookmark_add:",
            on_click=_save,
            args=(bridge, person, page, query, place),
        )


def place_of(page: str) -> str:
    """Return where a press on one of these is answered."""
    return f"{page}_saved"


def _asked(filters: Filters) -> list[tuple[str, str]]:
    """Return what of the address is about these filters."""
    return [(name, text) for name in filters.names for text in st.query_params.get_all(name) if text]


def _save(bridge: Bridge, person: Actor, page: str, query: str, place: str) -> None:
    name = st.session_state.get(_name_key(page), "")
    save = partial(saved_filters.save_filter, bridge, person, page, name, query)
    fields = {"Name": _name_key(page), "Filters": _name_key(page)}
    if perform(place, save, lambda kept: f"The filter {escape_markdown(kept.name)} is saved.", fields=fields):
        folded.close(_box_key(page))  # it lies over the answer


def _box_key(page: str) -> str:
    return f"{page}_saved_popover"


def _name_key(page: str) -> str:
    return f"{page}_saved_name"
