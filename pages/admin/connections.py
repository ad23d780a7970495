"""Connections: the Mixpanel project, and where groups go. Tested when saved."""

from __future__ import annotations

from functools import partial

import streamlit as st
from pydantic import SecretStr
from streamlit.delta_generator import DeltaGenerator

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections import destinations, mixpanel_connection, removal
from core.connections.mixpanel_connection import MixpanelForm
from core.rules.matching import APPTIMIZE_PROPERTY, USER_PROPERTY, IdMerge
from core.syncs import groups
from data.models import MIXPANEL_SIDE, Connection, ConnectionKind
from pages.parts.actions import confirm_buttons, perform, show_errors
from pages.parts.formatting import age, escape_markdown, pluralize
from pages.shell import gate, page_frame, resources

REGIONS = {"us": "United States", "eu": "European Union", "in": "India"}
MERGES = {
    IdMerge.ORIGINAL.value: (
        "Original",
        f"Users are matched by the profile property `{APPTIMIZE_PROPERTY}`, which the two SDKs set together.",
    ),
    IdMerge.SIMPLIFIED.value: (
        "Simplified",
        f"Users are matched by `{USER_PROPERTY}`, which must be the id that Apptimize knows them by.",
    ),
}
EXPECTED: dict[str, bool | None] = {"Default of the mode": None, "Yes": True, "No": False}
OTHER_PROPERTY = (
    "This is a Simplified project that is matched on a property other than `$user_id`. Events that Apptimize sends "
    "back to Mixpanel may not be attributed to the right user."
)


def take_secret(key: str) -> SecretStr:
    """Take a secret out of the form: what was typed does not stay in the session."""
    secret = SecretStr(st.session_state[key])
    st.session_state[key] = ""
    return secret


def connect_mixpanel(bridge: Bridge, person: Actor) -> None:
    """Test and store what was entered for Mixpanel."""
    entered = st.session_state
    form = MixpanelForm(
        username=entered["connections_username"],
        secret=take_secret("connections_secret"),
        project_id=entered["connections_project"],
        region=entered["connections_region"],
        workspace_id=entered["connections_workspace"].strip() or None,
        id_merge=entered["connections_merge"],
        match_property=entered["connections_property"].strip(),
        project_token=take_secret("connections_project_token"),
        name=entered["connections_mixpanel_name"],
    )
    toast = st.toast("Checking with Mixpanel …", icon="spinner", duration="infinite")
    connection = perform(
        "mixpanel",
        partial(mixpanel_connection.connect_mixpanel, bridge, person, form),
        lambda made: f"Project {made.project_id} is connected as {escape_markdown(made.name)}.",
    )
    _end(toast, "Mixpanel", connection)


def connect_apptimize(bridge: Bridge, person: Actor) -> None:
    """Test and store what was entered for Apptimize."""
    entered = st.session_state
    token = take_secret("connections_token")
    toast = st.toast("Checking with Apptimize …", icon="spinner", duration="infinite")
    url, name = entered["connections_endpoint"], entered["connections_endpoint_name"]
    connection = perform(
        "endpoint",
        partial(destinations.connect_endpoint, bridge, person, url=url, token=token, name=name),
        lambda made: f"Apptimize is connected as {escape_markdown(made.name)}.",
    )
    _end(toast, "Apptimize", connection)


def _end(toast: DeltaGenerator, side: str, connection: Connection | None) -> None:
    if connection:
        toast.toast(f"{side} is connected.", icon=":material/check:")
    else:
        toast.toast("Nothing was saved.", icon=":material/error:")


def connect_csv(bridge: Bridge, person: Actor) -> None:
    """Test and store the folder that was entered."""
    folder, name = st.session_state["connections_folder"], st.session_state["connections_csv_name"]
    perform(
        "csv",
        partial(destinations.connect_csv, bridge, person, folder=folder, name=name),
        lambda made: f"Groups can be written to {escape_markdown(made.folder)} as {escape_markdown(made.name)}.",
    )


def remove(bridge: Bridge, person: Actor, connection: Connection, place: str) -> None:
    """Remove the connection that the dialog named."""
    assert connection.id is not None
    perform(
        place,
        partial(removal.remove_connection, bridge, person, connection.id),
        f"{escape_markdown(connection.name)} was removed.",
    )


@st.dialog("Remove this connection?", icon=":material/delete:")
def ask_to_remove(bridge: Bridge, person: Actor, connection: Connection, affected: list[str], place: str) -> None:
    """Name what is removed, and the groups that depend on it, before it is."""
    st.markdown(f"**{escape_markdown(connection.name)}**: {escape_markdown(describe(connection))}")
    if affected:
        st.write(
            f"{pluralize(len(affected), 'group')} can no longer be updated through it; the members stay as they are:"
        )
        st.markdown("\n".join(f"- {escape_markdown(name)}" for name in affected[:8]))
        if len(affected) > 8:
            st.caption(f"and {pluralize(len(affected) - 8, 'more', 'more')}")
    else:
        st.write("No group was delivered through it.")
    secret = "" if connection.kind == ConnectionKind.CSV else "Its secret is deleted. "
    st.write(f"{secret}Recurring syncs that use it are paused.")
    confirm_buttons(
        "Remove",
        key="connections_remove",
        icon=":material/delete:",
        action=partial(remove, bridge, person, connection, place),
    )


def describe(connection: Connection) -> str:
    """Format in a line where a connection leads; of its secret only the last four characters."""
    if connection.kind == ConnectionKind.CSV:
        return f"CSV files in {connection.folder}"
    ending = f"••••{connection.secret_end}"
    if connection.kind == ConnectionKind.ENDPOINT:
        return f"{connection.url.partition('?')[0]}, token {ending}"
    where = f"Project {connection.project_id}, {REGIONS.get(connection.region, connection.region)}"
    workspace = f", workspace {connection.workspace_id}" if connection.workspace_id else ""
    return f"{where}{workspace}, {connection.username}, secret {ending}"


def show_connected(
    bridge: Bridge, person: Actor, connections: list[Connection], groups: dict[int, list[str]], place: str
) -> None:
    """Show what is connected, each with the button that removes it."""
    for connection in connections:
        with st.container(border=True):
            # The project's groups are all of those that were fed by a Mixpanel connection.
            is_source = connection.side == MIXPANEL_SIDE
            affected = sum(groups.values(), []) if is_source else groups.get(connection.id or 0, [])
            _show_heading(bridge, person, connection, affected, place)
            st.text(describe(connection))
            page_frame.account_notice(connection)
            if connection.kind == ConnectionKind.MIXPANEL:
                _show_matching(connection)
                match_settings(bridge, person, connection)
            else:
                st.caption(f"Checked {age(connection.checked_at)}.")


def _show_heading(bridge: Bridge, person: Actor, connection: Connection, affected: list[str], place: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if connection.account_trouble:
            st.badge("Not accepted", icon=":material/error:", color="red")
        else:
            st.badge("Connected", icon=":material/check_circle:", color="green")
        if connection.practice:
            st.badge("Practice", icon=":material/science:", color="orange")
        st.markdown(f"**{escape_markdown(connection.name)}**", width="content")
        st.space("stretch")
        st.button(
            "Remove",
            key=f"connections_remove_{connection.id}",
            icon=":material/delete:",
            on_click=ask_to_remove,
            args=(bridge, person, connection, affected, place),
        )


def _show_matching(connection: Connection) -> None:
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
        st.caption(f"{name} ID merge. {meaning} To change the mode, connect the project again.")
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
            left.text_input(
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


def show_mixpanel(bridge: Bridge, person: Actor, connections: list[Connection], groups: dict[int, list[str]]) -> None:
    """Show the Mixpanel connection, and the form that makes or replaces it."""
    st.header("Mixpanel", anchor=False)
    show_connected(bridge, person, connections, groups, "mixpanel")
    page_frame.show_answer("mixpanel")
    current = connections[0] if connections else None
    with st.expander(
        "Connect another project, or replace this one" if current else "Connect",
        expanded=not current,
        key="connections_mixpanel",
        icon=":material/add_link:",
        on_change="rerun",
    ):
        _merge_fields(current)
        with st.form("connections_mixpanel_form", border=False):
            left, right = st.columns(2)
            _account_fields(left, right, current)
            _project_fields(left, right, current)
            st.form_submit_button(
                "Connect Mixpanel",
                key="connections_mixpanel_save",
                type="primary",
                on_click=connect_mixpanel,
                args=(bridge, person),
            )


def _merge_fields(current: Connection | None) -> None:
    merge = st.radio(
        "ID merge mode of the project",
        list(MERGES),
        index=list(MERGES).index(current.id_merge) if current and current.id_merge in MERGES else 0,
        format_func={mode: name for mode, (name, _) in MERGES.items()}.__getitem__,
        captions=[meaning for _, meaning in MERGES.values()],
        key="connections_merge",
        help="Mixpanel shows it under Project settings, Identity merge. It is fixed once the project has data.",
    )
    with st.expander("Match on another property", key="connections_property_box"):
        other = st.text_input(
            "Match property",
            value="",
            key="connections_property",
            placeholder=APPTIMIZE_PROPERTY if merge == IdMerge.ORIGINAL else USER_PROPERTY,
            help="Leave it empty for the default of the mode.",
        )
        if merge == IdMerge.SIMPLIFIED and other.strip() not in ("", USER_PROPERTY):
            st.warning(OTHER_PROPERTY, icon=":material/warning:")


def _account_fields(left: DeltaGenerator, right: DeltaGenerator, current: Connection | None) -> None:
    left.text_input(
        "Service account username",
        value=current.username if current else "",
        key="connections_username",
        help="Create one in Mixpanel under Organization settings, Service accounts, with the project role admin or "
        "owner.",
    )
    right.text_input("Service account secret", type="password", key="connections_secret")


def _project_fields(left: DeltaGenerator, right: DeltaGenerator, current: Connection | None) -> None:
    left.text_input("Project id", value=str(current.project_id) if current else "", key="connections_project")
    right.selectbox(
        "Region",
        list(REGIONS),
        index=list(REGIONS).index(current.region) if current and current.region in REGIONS else 0,
        format_func=REGIONS.__getitem__,
        key="connections_region",
        help="Where the project's data is kept. Mixpanel shows it in the project settings.",
    )
    left.text_input(
        "Workspace id",
        value=str(current.workspace_id or "") if current else "",
        key="connections_workspace",
        placeholder="Optional",
        help="Only for projects with data views.",
    )
    left.text_input(
        "Project token",
        type="password",
        key="connections_project_token",
        placeholder="Optional",
        help="Only for associating users by hand. Mixpanel shows it in the project settings.",
    )
    _name_field(right, "default", "connections_mixpanel_name")


def _name_field(column: DeltaGenerator, value: str, key: str) -> None:
    column.text_input("Name", value=value, key=key, max_chars=100, help="A connection of this name is replaced.")


def show_apptimize(bridge: Bridge, person: Actor, connections: list[Connection], groups: dict[int, list[str]]) -> None:
    """Show the Apptimize destinations, and the form that makes or replaces one."""
    st.header("Apptimize", anchor=False)
    show_connected(bridge, person, connections, groups, "endpoint")
    page_frame.show_answer("endpoint")
    current = connections[0] if connections else None
    with st.expander("Connect", expanded=not current, key="connections_apptimize", icon=":material/add_link:"):
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
        with st.form("connections_apptimize_form", border=False):
            left, right = st.columns(2)
            left.text_input("Apptimize token", type="password", key="connections_token")
            _name_field(right, "default", "connections_endpoint_name")
            st.text_input(
                "Endpoint URL",
                value=current.url if current else "",
                key="connections_endpoint",
                placeholder="https://…",
                help="The address that takes cohort-sync messages. Apptimize publishes none; without one, use a CSV "
                "folder.",
            )
            st.form_submit_button(
                "Connect Apptimize",
                key="connections_apptimize_save",
                type="primary",
                on_click=connect_apptimize,
                args=(bridge, person),
            )


def show_csv(bridge: Bridge, person: Actor, connections: list[Connection], groups: dict[int, list[str]]) -> None:
    """Show the folders that take CSV files, and the form that makes or replaces one."""
    st.header("CSV folder", anchor=False)
    st.caption("A file for each group, as Apptimize's Groups page takes it for upload. Works with any account.")
    show_connected(bridge, person, connections, groups, "csv")
    page_frame.show_answer("csv")
    with (
        st.expander("Connect", key="connections_csv", icon=":material/add_link:"),
        st.form("connections_csv_form", border=False),
    ):
        left, right = st.columns([2, 1])
        left.text_input(
            "Folder on this server",
            value=connections[0].folder if connections else str(bridge.settings.csv_folder),
            key="connections_folder",
        )
        _name_field(right, "csv", "connections_csv_name")
        st.form_submit_button(
            "Connect folder", key="connections_csv_save", type="primary", on_click=connect_csv, args=(bridge, person)
        )


def names_by_destination(bridge: Bridge, person: Actor) -> dict[int, list[str]]:
    """Return the names of the groups that were delivered to each destination."""
    names: dict[int, list[str]] = {}
    for group in groups.list_groups(bridge, person):
        names.setdefault(group.destination_id, []).append(group.name)
    return names


person = gate.require(Role.ADMIN)
bridge = resources.bridge()
connections = page_frame.open_page(bridge, person, "Connections", "Where cohorts come from, and where groups go.")
with show_errors():
    names = names_by_destination(bridge, person)
    for kind, show in (
        (ConnectionKind.MIXPANEL, show_mixpanel),
        (ConnectionKind.ENDPOINT, show_apptimize),
        (ConnectionKind.CSV, show_csv),
    ):
        show(bridge, person, [connection for connection in connections if connection.kind == kind], names)
