"""Connections: the Mixpanel project, and where groups go. Tested when saved."""

from __future__ import annotations

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections import destinations, entering, mixpanel_connection
from core.vendors.csv_files import TAKES_EFFECT
from data.models import DESTINATION_SIDE, MIXPANEL_SIDE, Connection, ConnectionKind, SignInKind
from pages.admin import receiver_section
from pages.parts import answers, folded
from pages.parts.actions import perform, show_errors
from pages.parts.connections import fields
from pages.parts.connections.affected import IN_DOUBT, find_affected, show_affected
from pages.parts.connections.cards import find_known, show_connected, show_dialog
from pages.parts.connections.wording import is_apptimize
from pages.parts.formatting import escape_markdown
from pages.parts.secret_fields import secret_field, take_secret
from pages.shell import gate, page_frame, resources

APART = 0  # the choice that is no connection's id


def connect_mixpanel(bridge: Bridge, person: Actor) -> None:
    """Test and store what was entered for Mixpanel."""
    form = fields.read_form("connections", st.session_state["connections_mixpanel_name"])
    toast = st.toast("Checking with Mixpanel …", icon="spinner", duration="infinite")
    connection = perform(
        "mixpanel",
        partial(mixpanel_connection.connect_mixpanel, bridge, person, form, if_taken="refuse"),
        lambda made: f"Project {made.project_id} is connected as {escape_markdown(made.name)}.",
        fields=fields.error_places("connections") | {"Name": "connections_mixpanel_name"},
    )
    _end(toast, "Mixpanel", connection, box="connections_mixpanel")


def connect_apptimize(bridge: Bridge, person: Actor, connections: list[Connection]) -> None:
    """Test and store what was entered for Apptimize: a new connection, or the token of one that leads there."""
    entered = st.session_state
    token, url = take_secret("connections_token"), entered["connections_endpoint"]
    there = {connection.id: connection for connection in destinations.find_at(bridge, url, connections)}
    choice: int | None = entered.get("connections_choice")
    toast = st.toast("Checking with Apptimize …", icon="spinner", duration="infinite")
    if choice is not None and choice in there:
        action = partial(destinations.replace_token, bridge, person, choice, token)
    else:
        action = partial(
            destinations.connect_endpoint,
            bridge,
            person,
            url=url,
            token=token,
            name=entered.get("connections_endpoint_name", ""),
            if_taken="refuse",
            apart=choice == APART and bool(there),
        )
    connection = perform(
        "endpoint",
        action,
        lambda made: f"Apptimize is connected as {escape_markdown(made.name)}.",
        fields={
            "Endpoint": "connections_endpoint",
            "Token": "connections_token",
            "Name": "endpoint" if choice else "connections_endpoint_name",
        },
    )
    _end(toast, "Apptimize", connection, box="connections_apptimize")


def connect_csv(bridge: Bridge, person: Actor) -> None:
    """Test and store the folder that was entered."""
    folder, name = st.session_state["connections_folder"], st.session_state["connections_csv_name"]
    connection = perform(
        "csv",
        partial(destinations.connect_csv, bridge, person, folder=folder, name=name, if_taken="refuse"),
        lambda made: f"Groups can be written to {escape_markdown(made.folder)} as {escape_markdown(made.name)}.",
        toast="The folder is connected.",
        fields={"Folder": "connections_folder", "Name": "connections_csv_name"},
    )
    if connection:
        folded.close("connections_csv")


def _end(toast: DeltaGenerator, side: str, connection: Connection | None, *, box: str) -> None:
    if connection:
        toast.toast(f"{side} is connected.", icon=":material/check:")
        folded.close(box)
    else:
        toast.toast("Nothing was saved.", icon=":material/error:")


def show_mixpanel(bridge: Bridge, person: Actor, connections: list[Connection]) -> None:
    """Show the form that connects a Mixpanel project."""
    present = [connection for connection in connections if connection.side == MIXPANEL_SIDE]
    folded.expander(
        "Connect another project" if present else "Connect",
        partial(_mixpanel_form, bridge, person, connections, is_first=not present),
        expanded=not present,
        key="connections_mixpanel",
    )


def _mixpanel_form(bridge: Bridge, person: Actor, connections: list[Connection], *, is_first: bool) -> None:
    if not is_first:
        st.caption(
            "Cohorts are read through the connection called default. To have it lead to another project, use "
            "**Change project** above."
        )
    fields.explain_practice(connections)
    fields.merge_fields("connections", None)
    with st.form("connections_mixpanel_form", border=False):
        fields.account_fields(*st.columns(2), "connections", None)
        fields.project_fields("connections", None)
        _name_field(bridge, person, st.columns(2)[0], MIXPANEL_SIDE, "default", "connections_mixpanel_name")
        st.form_submit_button(
            "Connect Mixpanel",
            key="connections_mixpanel_save",
            type="primary",
            on_click=connect_mixpanel,
            args=(bridge, person),
        )


def _name_field(bridge: Bridge, person: Actor, column: DeltaGenerator, side: str, usual: str, key: str) -> None:
    if key not in st.session_state:  # a default would not replace what the browser still shows
        st.session_state[key] = entering.suggest_name(bridge, person, side, usual)
    with column:
        st.text_input("Name", key=key, help="One that no other connection has.")
        page_frame.show_answer(key)


def show_apptimize(bridge: Bridge, person: Actor, connections: list[Connection]) -> None:
    """Show the form that connects an Apptimize destination."""
    present = [connection for connection in connections if connection.kind == ConnectionKind.ENDPOINT]
    own = [connection for connection in present if is_apptimize(connection)]
    folded.expander(
        "Connect",
        partial(_apptimize_form, bridge, person, connections, present, own),
        expanded=not own,
        key="connections_apptimize",
    )


def _apptimize_form(
    bridge: Bridge, person: Actor, connections: list[Connection], present: list[Connection], own: list[Connection]
) -> None:
    st.markdown(
        "1. Open the **Tokens** page of the Apptimize dashboard.\n"
        "2. Click **New token**, give it a memorable name, and click **Generate**.\n"
        "3. Copy the token: it is shown once. Paste it here."
    )
    sandbox = page_frame.find_sandbox(connections)
    if sandbox:
        st.link_button(
            "Open the practice Tokens page",
            f"{sandbox}/apptimize/tokens",
            key="connections_tokens",
            icon=":material/open_in_new:",
        )
    # Not in the form: what is asked depends on whether the address is connected already.
    url = st.text_input(
        "Endpoint URL",
        value=next((connection.url for connection in own if connection.practice), ""),
        key="connections_endpoint",
        placeholder="https://…",
        help="The address that takes cohort-sync messages. Apptimize publishes none; without one, use a CSV folder.",
    )
    page_frame.show_answer("connections_endpoint")
    choice = _ask_for_choice(bridge, person, destinations.find_at(bridge, url, present)) if url else None
    with st.form("connections_apptimize_form", border=False):
        left, right = st.columns(2)
        with left:
            secret_field("Apptimize token", key="connections_token")
        if not choice:
            _name_field(bridge, person, right, DESTINATION_SIDE, "default", "connections_endpoint_name")
        st.form_submit_button(
            "Connect Apptimize",
            key="connections_apptimize_save",
            type="primary",
            on_click=connect_apptimize,
            args=(bridge, person, present),
        )


def _ask_for_choice(bridge: Bridge, person: Actor, there: list[Connection]) -> int | None:
    """Show which connections lead to an address already, and ask whether one of them is meant; None: there are none."""
    if not there:
        st.session_state.pop("connections_choice", None)
        return None
    names = {connection.id or 0: connection.name for connection in there}
    labels = {connection.id or 0: _replacing(connection) for connection in there}
    labels[APART] = "Connect another workspace: its groups are kept apart"
    st.info(
        f"This address is connected already as {escape_markdown(', '.join(names.values()))}.", icon=":material/info:"
    )
    choice = st.radio("What is the token for?", list(labels), format_func=labels.__getitem__, key="connections_choice")
    chosen = [connection for connection in there if connection.id == choice]
    if chosen:
        affected = find_affected(bridge, person, chosen)[choice]
        show_affected(affected, IN_DOUBT)
    return choice


def _replacing(connection: Connection) -> str:
    name = escape_markdown(connection.name)
    is_by_token = connection.sign_in == SignInKind.APPTIMIZE
    return f"Replace the token of {name}" if is_by_token else f"Sign in to {name} with it from now on"


def show_csv(bridge: Bridge, person: Actor, connections: list[Connection]) -> None:
    """Show the form that connects a folder which takes CSV files."""
    present = any(connection.kind == ConnectionKind.CSV for connection in connections)
    show = partial(_csv_form, bridge, person, is_first=not present)
    folded.expander("Connect", show, key="connections_csv")


def _csv_form(bridge: Bridge, person: Actor, *, is_first: bool) -> None:
    with st.form("connections_csv_form", border=False):
        left, right = st.columns([2, 1])
        with left:
            folder = str(bridge.settings.csv_folder) if is_first else ""
            st.text_input("Folder on this server", value=folder, key="connections_folder")
            page_frame.show_answer("connections_folder")
        _name_field(bridge, person, right, DESTINATION_SIDE, "csv", "connections_csv_name")
        st.form_submit_button(
            "Connect folder", key="connections_csv_save", type="primary", on_click=connect_csv, args=(bridge, person)
        )


# Each with its title, what it is, which connections stand there, where answers are shown, and its form.
SECTIONS = (
    ("Mixpanel", "", lambda each: each.kind == ConnectionKind.MIXPANEL, "mixpanel", show_mixpanel),
    ("Apptimize", "", is_apptimize, "endpoint", show_apptimize),
    (
        "Other receivers",
        "Any other service that takes the cohort-sync messages of Mixpanel, or one of your own.",
        lambda each: each.kind == ConnectionKind.ENDPOINT and not is_apptimize(each),
        receiver_section.PLACE,
        receiver_section.show,
    ),
    (
        "CSV folder",
        "A file for each group, as Apptimize's Groups page takes it for upload. Works with any account. "
        f"{TAKES_EFFECT}",
        lambda each: each.kind == ConnectionKind.CSV,
        "csv",
        show_csv,
    ),
)

person = gate.require(Role.ADMIN)
bridge = resources.bridge()
connections = page_frame.open_page(bridge, person, "Connections", "Where cohorts come from, and where groups go.")
with show_errors():
    known = find_known(bridge, person, connections)
    for title, intro, stands_here, place, show_form in SECTIONS:
        st.header(title, anchor=False)
        if intro:
            st.caption(intro)
        here = [connection for connection in connections if stands_here(connection)]
        show_connected(bridge, person, here, known, place)
        answers.show(bridge, person, place)
        show_form(bridge, person, connections)
    show_dialog(bridge, person, connections)
