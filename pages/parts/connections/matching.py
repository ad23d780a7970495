"""How a project's users are matched: shown at its connection, and changed there."""

from __future__ import annotations

from functools import partial

import streamlit as st
from pydantic import SecretStr

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections import mixpanel_connection
from core.rules.matching import USER_PROPERTY, IdMerge
from data.models import Connection
from pages.parts.actions import perform
from pages.parts.connections.wording import MERGES, OTHER_PROPERTY, take_secret
from pages.parts.formatting import age, escape_markdown

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
    token = f"ends with {connection.project_token_end}" if connection.project_token_end else "is not entered"
    with st.expander("Matching and project token", key=f"connections_match_{connection.id}", icon=":material/join:"):
        name, meaning = MERGES.get(connection.id_merge, (connection.id_merge, ""))
        st.caption(f"{name} ID merge. {meaning} To change the mode, use **Change project**.")
        with st.form(f"connections_match_form_{connection.id}", border=False):
            left, right = st.columns(2)
            left.text_input(
                "Match property",
                value=connection.match_property,
                key=f"connections_match_property_{connection.id}",
                help="A change overwrites every group in full at its next run. A sync may have its own.",
            )
            right.selectbox(
                "Expected to start with i_ or a_",
                list(EXPECTED),
                index=list(EXPECTED.values()).index(connection.expects_prefix),
                key=f"connections_match_prefix_{connection.id}",
                help="Ids without one are exported all the same, and counted.",
            )
            st.columns(2)[0].text_input(
                "Project token",
                type="password",
                key=f"connections_match_token_{connection.id}",
                placeholder="Leave empty to keep it",
                help=f"For associating users by hand; Mixpanel shows it in the project settings. It {token}.",
            )
            st.form_submit_button(
                "Save",
                key=f"connections_match_save_{connection.id}",
                icon=":material/save:",
                on_click=save_matching,
                args=(bridge, person, connection.id),
            )


def save_matching(bridge: Bridge, person: Actor, connection_id: int) -> None:
    """Store how users are matched, and the project token if one was entered."""
    token = take_secret(f"connections_match_token_{connection_id}")
    perform(
        "mixpanel",
        partial(_change_matching, bridge, person, connection_id, token),
        lambda changed: f"Users are matched on {escape_markdown(changed.match_property)}.",
    )


def _change_matching(bridge: Bridge, person: Actor, connection_id: int, token: SecretStr) -> Connection:
    entered = st.session_state
    connection = mixpanel_connection.change_match_setting(
        bridge,
        person,
        connection_id,
        match_property=entered[f"connections_match_property_{connection_id}"],
        expects_prefix=EXPECTED[entered[f"connections_match_prefix_{connection_id}"]],
    )
    if token.get_secret_value():
        mixpanel_connection.set_project_token(bridge, person, connection_id, token)
    return connection
