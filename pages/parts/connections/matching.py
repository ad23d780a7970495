"""How a project's users are matched: shown at its connection, and changed there."""

from __future__ import annotations

from functools import partial

import streamlit as st
from pydantic import SecretStr

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections import mixpanel_connection
from core.connections.entering import see_connection
from core.rules.matching import USER_PROPERTY, IdMerge
from data.models import Connection
from pages.parts import folded
from pages.parts.actions import perform
from pages.parts.connections.wording import MERGES, OTHER_PROPERTY
from pages.parts.formatting import age, escape_markdown
from pages.parts.secret_fields import secret_field, take_secret
from pages.parts.stored import offer
from pages.shell import page_frame

EXPECTED: dict[str, bool | None] = {"Default of the mode": None, "Yes": True, "No": False}


def show_matching(connection: Connection) -> None:
    """Show how users are matched, and warn where that may be wrong."""
    merge, _ = MERGES.get(connection.id_merge, (connection.id_merge, ""))
    st.caption(
        f"{merge} ID merge, matched on {escape_markdown(connection.match_property)}. "
        f"Checked {age(connection.checked_at)}."
    )
    if connection.id_merge == IdMerge.SIMPLIFIED and connection.match_property != USER_PROPERTY:
        st.warning(OTHER_PROPERTY, icon=":material/warning:")


def match_settings(bridge: Bridge, person: Actor, connection: Connection) -> None:
    """Show the settings that users are matched with and profiles are written with, and the form that changes them."""
    folded.expander(
        "Matching and project token",
        partial(_match_form, bridge, person, connection),
        key=f"connections_match_{connection.id}",
    )


def _match_form(bridge: Bridge, person: Actor, connection: Connection) -> None:
    token = f"ends with {connection.project_token_end}" if connection.project_token_end else "is not entered"
    name, meaning = MERGES.get(connection.id_merge, (connection.id_merge, ""))
    st.caption(f"{name} ID merge. {meaning} To change the mode, use **Change project**.")
    with st.form(f"connections_match_form_{connection.id}", border=False):
        _fields(connection, token)
        st.form_submit_button(
            "Save",
            key=f"connections_match_save_{connection.id}",
            icon=":material/save:",
            on_click=save_matching,
            args=(bridge, person, connection),
        )


def _fields(connection: Connection, token: str) -> None:
    """Ask for what is stored; an error about a field stands right below it."""
    property_key, prefix_key, token_key = (_key(name, connection) for name in ("property", "prefix", "token"))
    offer(property_key, connection.match_property)
    offer(prefix_key, next(name for name, expected in EXPECTED.items() if expected is connection.expects_prefix))
    left, right = st.columns(2)
    with left:
        st.text_input(
            "Match property",
            key=property_key,
            help="A change overwrites every group in full at its next run. A sync may have its own.",
        )
        page_frame.show_answer(property_key)
    # No list: it would open over Save where the window is narrow.
    right.radio(
        "Expected to start with i_ or a_",
        list(EXPECTED),
        key=prefix_key,
        horizontal=True,
        help="Ids without one are exported all the same, and counted.",
    )
    with st.columns(2)[0]:
        secret_field(
            "Project token",
            key=token_key,
            placeholder="Leave empty to keep it",
            help=f"For associating users by hand; Mixpanel shows it in the project settings. It {token}.",
        )


def _key(name: str, connection: Connection) -> str:
    return f"connections_match_{name}_{connection.id}"


def save_matching(bridge: Bridge, person: Actor, drawn: Connection) -> None:
    """Store how users are matched, and the project token if one was entered."""
    token = take_secret(_key("token", drawn))
    changed = perform(
        "mixpanel",
        partial(_change_matching, bridge, person, drawn, token),
        lambda changed: f"Users are matched on {escape_markdown(changed.match_property)}.",
        fields={"Match property": _key("property", drawn), "Project token": _key("token", drawn)},
    )
    if changed:
        st.session_state[_key("property", drawn)] = changed.match_property  # what is left empty is the usual one


def _change_matching(bridge: Bridge, person: Actor, drawn: Connection, token: SecretStr) -> Connection:
    """Store what is entered, unless somebody else has stored something since it was drawn."""
    entered = st.session_state
    return mixpanel_connection.change_match_setting(
        bridge,
        person,
        drawn.id or 0,
        match_property=entered[_key("property", drawn)],
        expects_prefix=EXPECTED[entered[_key("prefix", drawn)]],
        project_token=token if token.get_secret_value() else None,
        seen=see_connection(drawn),
    )
