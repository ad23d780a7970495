"""Questions before a connection is replaced or removed: each names the groups and syncs that are affected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import streamlit as st
from pydantic import SecretStr

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections import destinations, mixpanel_connection, removal
from core.connections.receiver_form import ReceiverForm
from data.models import Connection, ConnectionKind
from pages.parts.actions import confirm_buttons, perform
from pages.parts.connections import fields
from pages.parts.connections.affected import IN_DOUBT, Affected, show_affected
from pages.parts.connections.wording import credential, describe, take_secret
from pages.parts.formatting import escape_markdown
from pages.shell import page_frame


def open_dialog(dialog: Callable[..., object], *args: object) -> None:
    """Open a dialog, without what an earlier one answered."""
    page_frame.forget_answer()
    dialog(*args)


@st.dialog("Remove this connection?", icon=":material/delete:")
def ask_to_remove(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Name what is removed, and the groups that depend on it, before it is."""
    show_subject(connection)
    show_affected(affected, "can no longer be updated through it; the members stay as they are:")
    if not affected.groups:
        st.write("No group was delivered through it.")
    secret = "" if connection.kind == ConnectionKind.CSV else "Its secret is deleted. "
    st.write(f"{secret}Recurring syncs that use it are paused.")
    confirm_buttons(
        "Remove",
        key="connections_remove",
        icon=":material/delete:",
        action=partial(_remove, bridge, person, connection, place),
    )


def _remove(bridge: Bridge, person: Actor, connection: Connection, place: str) -> None:
    assert connection.id is not None
    perform(
        place,
        partial(removal.remove_connection, bridge, person, connection.id),
        f"{escape_markdown(connection.name)} was removed.",
    )


@st.dialog("Replace token", icon=":material/key:")
def ask_for_token(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Ask for another token of the same address."""
    show_subject(connection)
    show_affected(affected, IN_DOUBT)

    def save() -> None:
        token = take_secret("connections_replace_token")
        perform(
            place,
            partial(destinations.replace_token, bridge, person, connection.id or 0, token),
            f"The token of {escape_markdown(connection.name)} was replaced.",
        )

    with st.form("connections_replace_form", border=False):
        st.text_input("Apptimize token", type="password", key="connections_replace_token")
        submit("Replace token", save, place)


@st.dialog("Change address", icon=":material/edit:")
def ask_for_address(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Ask for another address, and for the token that it takes: a stored one is sent nowhere else."""
    show_subject(connection)
    show_affected(affected, IN_DOUBT)

    def save() -> None:
        entered = st.session_state
        change = partial(
            destinations.change_address,
            bridge,
            person,
            connection.id or 0,
            ReceiverForm(SecretStr(entered["connections_change_url"]), secret=take_secret("connections_change_token")),
            apart=entered["connections_change_apart"],
        )
        perform(place, change, f"{escape_markdown(connection.name)} leads to another address now.", fields=places)

    places = {"Endpoint": "connections_change_url", "Token": "connections_change_token"}
    with st.form("connections_change_form", border=False):
        st.text_input(
            "Endpoint URL", value="" if connection.practice else connection.url, key="connections_change_url",
            placeholder="https://…",
        )  # fmt: skip
        page_frame.show_answer("connections_change_url")
        st.text_input(
            "Apptimize token", type="password", key="connections_change_token", help="The one that this address takes."
        )
        page_frame.show_answer("connections_change_token")
        st.checkbox(
            "Another workspace, if the address is connected already: its groups are kept apart",
            key="connections_change_apart",
        )
        submit("Change address", save, place, has_failed=_have_failed(places))


@st.dialog("Change folder", icon=":material/edit:")
def ask_for_folder(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Ask for another folder."""
    show_subject(connection)
    show_affected(
        affected, "will be written to the new folder by the next run; the files that are there stay where they are:"
    )

    def save() -> None:
        folder = st.session_state["connections_change_folder"]
        perform(
            place,
            partial(destinations.change_folder, bridge, person, connection.id or 0, folder=folder),
            f"{escape_markdown(connection.name)} writes to another folder now.",
        )

    with st.form("connections_change_form", border=False):
        st.text_input("Folder on this server", value=connection.folder, key="connections_change_folder")
        submit("Change folder", save, place)


@st.dialog("Replace secret", icon=":material/key:")
def ask_for_secret(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Ask for another service account, or another secret of it."""
    show_subject(connection)
    show_affected(affected, "will be read with the new account; what they hold stays known:")
    places = fields.error_places("connections_replace", only=("username", "secret"))

    def save() -> None:
        change = partial(
            mixpanel_connection.replace_secret,
            bridge,
            person,
            connection.id or 0,
            username=st.session_state["connections_replace_username"],
            secret=take_secret("connections_replace_secret"),
        )
        perform(place, change, f"{escape_markdown(connection.name)} asks with another secret now.", fields=places)

    with st.form("connections_replace_form", border=False):
        fields.account_fields(st.container(), st.container(), "connections_replace", connection)
        submit("Replace secret", save, place, has_failed=_have_failed(places))


@st.dialog("Change project", icon=":material/edit:", width="large")
def ask_for_project(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Ask for all that describes a project; the connection's name stays."""
    show_subject(connection)
    show_affected(
        affected,
        "will be in doubt. If it is another project, the syncs of the present one are paused at their next run:",
    )

    def save() -> None:
        form = fields.read_form("connections_change")
        perform(
            place,
            partial(mixpanel_connection.change_project, bridge, person, connection.id or 0, form),
            f"{escape_markdown(connection.name)} leads to project {escape_markdown(form.project_id)} now.",
            fields=places,
        )

    places = fields.error_places("connections_change")
    current = None if connection.practice else connection
    fields.merge_fields("connections_change", current)
    with st.form("connections_change_form", border=False):
        fields.account_fields(*st.columns(2), "connections_change", current)
        fields.project_fields("connections_change", current)
        submit("Change project", save, place, has_failed=_have_failed(places))


@st.dialog("Keep the groups apart?", icon=":material/call_split:")
def ask_to_keep_apart(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Ask whether a destination is another workspace than the others at its address."""
    show_subject(connection)
    st.write(
        f"Say so only if {credential(connection)} belongs to another workspace than that of the other connection: what "
        "is delivered through the one is then never seen through the other."
    )
    show_affected(affected, IN_DOUBT)
    confirm_buttons(
        "Keep apart",
        key="connections_apart",
        icon=":material/call_split:",
        action=partial(
            perform,
            place,
            partial(destinations.keep_apart, bridge, person, connection.id or 0),
            f"The groups of {escape_markdown(connection.name)} are kept apart. Its syncs can be resumed.",
        ),
    )


def show_subject(connection: Connection) -> None:
    """Show which connection a dialog is about."""
    st.markdown(f"**{escape_markdown(connection.name)}**: {escape_markdown(describe(connection))}")


def _have_failed(places: Mapping[str, str]) -> bool:
    return any(page_frame.has_failed(place) for place in places.values())


def submit(label: str, save: Callable[[], None], place: str, *, has_failed: bool = False) -> None:
    """Show the button that saves. The dialog closes once that worked, and shows why it did not until then.

    `has_failed`: why is shown at a field already.
    """
    is_pressed = st.form_submit_button(label, key="connections_dialog_save", type="primary", on_click=save)
    if not has_failed and not page_frame.has_failed(place):
        if is_pressed:
            st.rerun()
        return
    page_frame.show_answer(place)
