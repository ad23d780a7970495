"""Search, on every page: what bears a name or number is opened from the keyboard, and a user is looked up."""

from __future__ import annotations

from contextlib import suppress

import streamlit as st
from streamlit.elements.lib import shortcut_utils

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.invisible import revealed, revealed_in_name
from core.reports import user_lookup
from core.reports.absence import explain_absence
from core.reports.search import MOST_HITS, Findings, Hit, Kind, may_be_user_id, search_everything
from core.reports.user_lookup import UserLookup
from pages.parts import links, run_status, user_absence, user_reasons
from pages.parts.actions import show_errors
from pages.parts.filters import cut_id
from pages.parts.formatting import escape_markdown, group_name, pluralize
from pages.parts.selection import opener, tell_apart
from pages.shell import page_frame

# The browser's part of Streamlit takes several shortcuts with commas between, and “/” as well: only its check in Python
# knows neither, and takes what it is told to be the name of a key.
_KEYS = "k, /"
shortcut_utils._KEY_ALIASES.setdefault(_KEYS, _KEYS)  # noqa: SLF001
SHORTCUT = f"Ctrl+{_KEYS}"

_DIALOG, _TEXT, _OPENED = "search", "search_text", "search_opened"
_SHOWN_CHARS = 80
_MOST_GROUPS = 3

# What is searched, and an example of each; syncs and cohorts are for those who may open them.
_SEARCHED = "Search finds groups, syncs and cohorts by name or number, runs by number, and users by their whole id."
_EXAMPLES = "Group, sync or cohort; run 12; the whole id of a user"
_SEARCHED_BY_VIEWERS = (
    "Search finds groups by name, runs by number, and users by their whole id. Syncs and cohorts are for analysts."
)
_EXAMPLES_FOR_VIEWERS = "Group; run 12; the whole id of a user"

_PAGES = {
    Kind.GROUP: (links.GROUPS, "group", "patient_list"),
    Kind.SYNC: (links.SYNCS, "sync", "sync"),
    Kind.COHORT: (links.COHORTS, "cohort", "groups"),
    Kind.RUN: (links.HISTORY, "run", "history"),
}


@st.fragment
def show(bridge: Bridge, person: Actor) -> None:
    """Show the button that opens the search, and the search while it is open: the page is not drawn again for it."""
    with st.container(horizontal_alignment="right"):
        st.button("Search", key="frame_search", icon=":material/search:", shortcut=SHORTCUT, on_click=_open)
    if state := page_frame.dialog_state(_DIALOG):
        _show(bridge, person, state["address"], state["field"])


def _open() -> None:
    """Open the search; its keys reach it from another dialog too, which would be lost."""
    if page_frame.is_dialog_open():
        return
    # Another field each time: the browser shows what was entered in the last one until it is told otherwise, and that
    # would stand in front of what is typed at once.
    number = st.session_state.get(_OPENED, 0) + 1
    st.session_state[_OPENED] = number
    page_frame.open_dialog(_DIALOG, {"address": st.query_params.to_dict(), "field": f"{_TEXT}_{number}"})


@page_frame.dialog(_DIALOG, "Search", icon="search", width="medium")
def _show(bridge: Bridge, person: Actor, address: dict[str, str], field: str) -> None:
    if address != st.query_params.to_dict():
        page_frame.close_dialog()  # something was opened
        st.rerun()
    is_viewer = person.role < Role.ANALYST
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Name, number or user id",
            key=field,
            type="search",
            live="200ms",
            placeholder=_EXAMPLES_FOR_VIEWERS if is_viewer else _EXAMPLES,
        )
        # Enter in the field presses this one: pages/shell/index_page.py.
        st.button(
            "Open",
            key="search_open",
            icon=":material/keyboard_return:",
            on_click=_open_first,
            args=(bridge, person, field),
        )
    text = _entered(field)
    with show_errors(), st.container(key="search_found", gap="small"):
        findings = search_everything(bridge, person, text)
        _show_hits(findings)
        ways = len(findings.hits)
        if may_be_user_id(text, findings):
            ways += _show_user(bridge, person, text, is_alone=not findings.hits)
        elif ways and " " not in text.strip():
            _show_way_to_user(f"Look up “{_short(text)}” as a user's id", text)
            ways += 1
        elif text.strip() and not ways:
            st.caption("Nothing has this number.")
        _show_hint(ways, is_viewer=is_viewer)


def _show_hint(ways: int, *, is_viewer: bool) -> None:
    """Show what Enter does with so many ways to go on; without any, what is searched."""
    if ways == 1:
        st.caption("Enter opens it.")
    elif ways:
        st.caption("Enter opens the first, the arrow keys lead to the others.")
    else:
        st.caption(_SEARCHED_BY_VIEWERS if is_viewer else _SEARCHED)


def _entered(field: str) -> str:
    return cut_id(st.session_state.get(field, ""))


def _open_first(bridge: Bridge, person: Actor, field: str) -> None:
    """Open what is found first by what stands in the field now: more may have been typed than what is shown is of."""
    text = _entered(field)
    with suppress(CohortBridgeError):  # said where it is searched for to be shown
        findings = search_everything(bridge, person, text)
        if findings.hits:
            page, name, _ = _PAGES[findings.hits[0].kind]
            _go(page, name, str(findings.hits[0].id))
        elif may_be_user_id(text, findings) and (user := _look_up(bridge, person, text)).is_known:
            _go(links.USERS, "id", user.id)


def _show_hits(findings: Findings) -> None:
    hits = findings.hits
    labels = tell_apart(
        dict(enumerate(map(_label, hits))), lambda place: f" ({hits[place].kind.name.lower()} {hits[place].id})"
    )
    with st.container(gap=None):
        for place, hit in enumerate(hits):
            page, name, icon = _PAGES[hit.kind]
            _show_way(labels[place], f"{name}_{hit.id}", icon, page, name, str(hit.id))
    if findings.is_more:
        st.caption(f"The best {MOST_HITS} are shown: enter more of the name.")


def _label(hit: Hit) -> str:
    name, place = _short_name(hit.name), escape_markdown(hit.destination)
    match hit.kind:
        case Kind.RUN:
            return f"**Run {hit.id}**, {run_status.word_of(hit.status)}: {name}, to {place}"
        case Kind.SYNC:
            return f"**{name}**, sync to {place}"
        case Kind.COHORT:
            return f"**{name}**, cohort {hit.id}"
        case Kind.GROUP:
            return f"**{name}**, group at {place}"


def _show_user(bridge: Bridge, person: Actor, text: str, *, is_alone: bool) -> bool:
    """Show in which groups a user is who has this id, or why in none. Returns whether one is known who has it."""
    with st.spinner("Looking the user up …"):
        user = _look_up(bridge, person, text)
        is_member = any(answer.is_member for answer in user.groups)
        absences = [] if is_member else explain_absence(bridge, person, user)
    if not any(absence.groups for absence in absences) and not is_member and not is_alone:
        st.caption("No user is known by this id.")
        return False
    if user.is_known:
        _show_way_to_user(f"**{_short(user.id)}**, user {_where(user)}", user.id)
    else:
        st.caption("Nothing has this name or number, and no user this id.")
    user_reasons.hint_at_invisible(user.id)
    user_absence.show(bridge, person, absences)
    return user.is_known


def _look_up(bridge: Bridge, person: Actor, text: str) -> UserLookup:
    user = user_lookup.look_up_user(bridge, person, text)
    if not user.is_known and text != text.strip():  # a blank at its end may be a part of an id, and rarely is
        return user_lookup.look_up_user(bridge, person, text.strip())
    return user


def _where(user: UserLookup) -> str:
    names = [_short_name(group_name(answer.group)) for answer in user.groups if answer.is_member]
    more = f" and {pluralize(len(names) - _MOST_GROUPS, 'more group')}" if len(names) > _MOST_GROUPS else ""
    return f"in {', '.join(names[:_MOST_GROUPS])}{more}" if names else "in no group"


def _show_way_to_user(label: str, user_id: str) -> None:
    _show_way(label, "user", "person_search", links.USERS, "id", user_id)


def _show_way(label: str, key: str, icon: str, page: str, name: str, value: str) -> None:
    st.button(
        label, key=f"search_{key}", icon=f":material/{icon}:", type="tertiary", on_click=_go, args=(page, name, value)
    )


def _go(page: str, name: str, value: str) -> None:
    page_frame.close_dialog()
    opener(page, name)(value)


def _short(text: str) -> str:
    return _cut(revealed(text))


def _short_name(name: str) -> str:
    return _cut(revealed_in_name(name))


def _cut(shown: str) -> str:
    return escape_markdown(shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}…")
