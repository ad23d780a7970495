"""Connections: the Mixpanel project, and where groups go. Tested when saved."""

from __future__ import annotations

import streamlit as st
from pydantic import SecretStr

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections import destinations, mixpanel_connection, removal
from core.connections.mixpanel_connection import MixpanelForm
from core.errors import CohortBridgeError
from core.rules.matching import APPTIMIZE_PROPERTY, USER_PROPERTY, IdMerge
from core.syncs import groups
from data.models import MIXPANEL_SIDE, Connection, ConnectionKind
from pages.parts.formatting import age, error_text, escape_markdown, pluralize
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
EXPECTED: dict[str, bool | None] = {"As usual in its mode": None, "Yes": True, "No": False}
OTHER_PROPERTY = (
    "This is a Simplified project that is matched on another property than `$user_id`. Events that Apptimize sends "
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
    try:
        connection = mixpanel_connection.connect_mixpanel(bridge, person, form)
    except CohortBridgeError as exc:
        toast.toast("Nothing was saved.", icon=":material/error:")
        page_frame.answer("mixpanel", error_text(exc), failed=True)
        return
    toast.toast("Mixpanel is connected.", icon=":material/check:")
    page_frame.answer(
        "mixpanel", f"Project {connection.project_id} is connected as {escape_markdown(connection.name)}."
    )


def connect_apptimize(bridge: Bridge, person: Actor) -> None:
    """Test and store what was entered for Apptimize."""
    entered = st.session_state
    token = take_secret("connections_token")
    toast = st.toast("Checking with Apptimize …", icon="spinner", duration="infinite")
    try:
        connection = destinations.connect_endpoint(
            bridge, person, url=entered["connections_endpoint"], token=token, name=entered["connections_endpoint_name"]
        )
    except CohortBridgeError as exc:
        toast.toast("Nothing was saved.", icon=":material/error:")
        page_frame.answer("endpoint", error_text(exc), failed=True)
        return
    toast.toast("Apptimize is connected.", icon=":material/check:")
    page_frame.answer("endpoint", f"Apptimize is connected as {escape_markdown(connection.name)}.")


def connect_csv(bridge: Bridge, person: Actor) -> None:
    """Try and store the folder that was entered."""
    entered = st.session_state
    try:
        connection = destinations.connect_csv(
            bridge, person, folder=entered["connections_folder"], name=entered["connections_csv_name"]
        )
    except CohortBridgeError as exc:
        page_frame.answer("csv", error_text(exc), failed=True)
        return
    page_frame.answer(
        "csv", f"Groups can be written to {escape_markdown(connection.folder)} as {escape_markdown(connection.name)}."
    )


def remove(bridge: Bridge, person: Actor, connection_id: int, name: str, place: str) -> None:
    """Remove what the dialog named."""
    try:
        removal.remove_connection(bridge, person, connection_id)
    except CohortBridgeError as exc:
        page_frame.answer(place, error_text(exc), failed=True)
        return
    page_frame.answer(place, f"{escape_markdown(name)} was removed.")


@st.dialog("Remove this connection?", icon=":material/delete:")
def ask_to_remove(bridge: Bridge, person: Actor, connection: Connection, affected: list[str], place: str) -> None:
    """Name what goes away before it does."""
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
    with st.container(horizontal=True):
        if st.button(
            "Remove",
            key="connections_remove_yes",
            type="primary",
            icon=":material/delete:",
            on_click=remove,
            args=(bridge, person, connection.id, connection.name, place),
        ):
            st.rerun()
        if st.button("Keep it", key="connections_remove_no"):
            st.rerun()


def describe(connection: Connection) -> str:
    """Say in a line where a connection leads; of its secret only the last four characters."""
    if connection.kind == ConnectionKind.CSV:
        return f"CSV files in {connection.folder}"
    ending = f"••••{connection.secret_end}"
    if connection.kind == ConnectionKind.ENDPOINT:
        return f"{connection.url.partition('?')[0]}, token {ending}"
    where = f"Project {connection.project_id}, {REGIONS.get(connection.region, connection.region)}"
    workspace = f", workspace {connection.workspace_id}" if connection.workspace_id else ""
    return f"{where}{workspace}, {connection.username}, secret {ending}"


def show_connected(
    bridge: Bridge, person: Actor, shown: list[Connection], groups: dict[int, list[str]], place: str
) -> None:
    """Show what is connected, each with the button that removes it."""
    for one in shown:
        with st.container(border=True):
            # The project's groups are all of those that were fed by a Mixpanel connection.
            affected = groups.get(one.id or 0, []) if one.side != MIXPANEL_SIDE else sum(groups.values(), [])
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                if one.account_trouble:
                    st.badge("Not accepted", icon=":material/error:", color="red")
                else:
                    st.badge("Connected", icon=":material/check_circle:", color="green")
                if one.practice:
                    st.badge("Practice", icon=":material/science:", color="orange")
                st.markdown(f"**{escape_markdown(one.name)}**", width="content")
                st.space("stretch")
                st.button(
                    "Remove",
                    key=f"connections_remove_{one.id}",
                    icon=":material/delete:",
                    on_click=ask_to_remove,
                    args=(bridge, person, one, affected, place),
                )
            st.text(describe(one))
            page_frame.account_notice(one)
            if one.kind == ConnectionKind.MIXPANEL:
                merge, _ = MERGES.get(one.id_merge, (one.id_merge, ""))
                st.caption(
                    f"{merge} ID merge, matched on {escape_markdown(one.match_property)}. Checked {age(one.checked_at)}."
                )
                if one.id_merge == IdMerge.SIMPLIFIED and one.match_property != USER_PROPERTY:
                    st.warning(OTHER_PROPERTY, icon=":material/warning:")
                match_settings(bridge, person, one)
            else:
                st.caption(f"Checked {age(one.checked_at)}.")


def match_settings(bridge: Bridge, person: Actor, one: Connection) -> None:
    """Show how users are matched, and what profiles are written with, to be changed."""
    token = f"ends with {one.project_token_end}" if one.project_token_end else "is not entered"
    with st.expander("Matching and project token", key=f"connections_match_{one.id}", icon=":material/join:"):
        name, meaning = MERGES.get(one.id_merge, (one.id_merge, ""))
        st.caption(f"{name} ID merge. {meaning} To change the mode, connect the project again.")
        with st.form(f"connections_match_form_{one.id}", border=False):
            left, right = st.columns(2)
            left.text_input(
                "Match property",
                value=one.match_property,
                key=f"connections_match_property_{one.id}",
                help="Another one overwrites every group in full at its next run. A sync may have its own.",
            )
            right.selectbox(
                "Expected to start with i_ or a_",
                list(EXPECTED),
                index=list(EXPECTED.values()).index(one.expects_prefix),
                key=f"connections_match_prefix_{one.id}",
                help="Ids without one are exported all the same, and counted.",
            )
            left.text_input(
                "Project token",
                type="password",
                key=f"connections_match_token_{one.id}",
                placeholder="Leave empty to keep it",
                help=f"For associating users by hand; Mixpanel shows it in the project settings. It {token}.",
            )
            st.form_submit_button(
                "Save",
                key=f"connections_match_save_{one.id}",
                icon=":material/save:",
                on_click=save_matching,
                args=(bridge, person, one.id),
            )


def save_matching(bridge: Bridge, person: Actor, connection_id: int) -> None:
    """Store how users are matched, and the project token if one was entered."""
    entered = st.session_state
    token = take_secret(f"connections_match_token_{connection_id}")
    try:
        connection = mixpanel_connection.change_match_setting(
            bridge,
            person,
            connection_id,
            match_property=entered[f"connections_match_property_{connection_id}"],
            expects_prefix=EXPECTED[entered[f"connections_match_prefix_{connection_id}"]],
        )
        if token.get_secret_value():
            mixpanel_connection.set_project_token(bridge, person, connection_id, token)
    except CohortBridgeError as exc:
        page_frame.answer("mixpanel", error_text(exc), failed=True)
        return
    page_frame.answer("mixpanel", f"Users are matched on {escape_markdown(connection.match_property)}.")


def mixpanel(bridge: Bridge, person: Actor, shown: list[Connection], groups: dict[int, list[str]]) -> None:
    """Show the Mixpanel connection, and the form that makes or replaces it."""
    st.header("Mixpanel", anchor=False)
    show_connected(bridge, person, shown, groups, "mixpanel")
    page_frame.show_answer("mixpanel")
    held = shown[0] if shown else None
    with st.expander(
        "Connect another project, or replace this one" if held else "Connect",
        expanded=not held,
        key="connections_mixpanel",
        icon=":material/add_link:",
        on_change="rerun",
    ):
        merge = st.radio(
            "ID merge mode of the project",
            list(MERGES),
            index=list(MERGES).index(held.id_merge) if held and held.id_merge in MERGES else 0,
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
                help="Leave it empty for the usual one.",
            )
            if merge == IdMerge.SIMPLIFIED and other.strip() not in ("", USER_PROPERTY):
                st.warning(OTHER_PROPERTY, icon=":material/warning:")
        with st.form("connections_mixpanel_form", border=False):
            left, right = st.columns(2)
            left.text_input(
                "Service account username",
                value=held.username if held else "",
                key="connections_username",
                help="Create one in Mixpanel under Organization settings, Service accounts, with the project role "
                "admin or owner.",
            )
            right.text_input("Service account secret", type="password", key="connections_secret")
            left.text_input("Project id", value=str(held.project_id) if held else "", key="connections_project")
            right.selectbox(
                "Region",
                list(REGIONS),
                index=list(REGIONS).index(held.region) if held and held.region in REGIONS else 0,
                format_func=REGIONS.__getitem__,
                key="connections_region",
                help="Where the project's data is kept. Mixpanel shows it in the project settings.",
            )
            left.text_input(
                "Workspace id",
                value=str(held.workspace_id or "") if held else "",
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
            right.text_input(
                "Name",
                value="default",
                key="connections_mixpanel_name",
                max_chars=100,
                help="An existing one is replaced.",
            )
            st.form_submit_button(
                "Connect Mixpanel",
                key="connections_mixpanel_save",
                type="primary",
                on_click=connect_mixpanel,
                args=(bridge, person),
            )


def apptimize(bridge: Bridge, person: Actor, shown: list[Connection], groups: dict[int, list[str]]) -> None:
    """Show the Apptimize destinations, and the form that makes or replaces one."""
    st.header("Apptimize", anchor=False)
    show_connected(bridge, person, shown, groups, "endpoint")
    page_frame.show_answer("endpoint")
    held = shown[0] if shown else None
    with st.expander("Connect", expanded=not held, key="connections_apptimize", icon=":material/add_link:"):
        st.markdown(
            "1. Open the **Tokens** page of the Apptimize dashboard.\n"
            "2. Click **New token**, give it a memorable name, and click **Generate**.\n"
            "3. Copy the token: it is shown once. Paste it here."
        )
        sandbox = page_frame.sandbox_of(shown)
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
            right.text_input(
                "Name",
                value="default",
                key="connections_endpoint_name",
                max_chars=100,
                help="An existing one is replaced.",
            )
            st.text_input(
                "Endpoint URL",
                value=held.url if held else "",
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


def csv(bridge: Bridge, person: Actor, shown: list[Connection], groups: dict[int, list[str]]) -> None:
    """Show the folders that take CSV files, and the form that makes or replaces one."""
    st.header("CSV folder", anchor=False)
    st.caption("A file for each group, as Apptimize's Groups page takes it for upload. Works with any account.")
    show_connected(bridge, person, shown, groups, "csv")
    page_frame.show_answer("csv")
    with (
        st.expander("Connect", key="connections_csv", icon=":material/add_link:"),
        st.form("connections_csv_form", border=False),
    ):
        left, right = st.columns([2, 1])
        left.text_input(
            "Folder on this server",
            value=shown[0].folder if shown else str(bridge.settings.csv_folder),
            key="connections_folder",
        )
        right.text_input(
            "Name", value="csv", key="connections_csv_name", max_chars=100, help="An existing one is replaced."
        )
        st.form_submit_button(
            "Connect folder", key="connections_csv_save", type="primary", on_click=connect_csv, args=(bridge, person)
        )


person = gate.require(Role.ADMIN)
bridge = resources.bridge()
found = page_frame.open_page(bridge, person, "Connections", "Where cohorts come from, and where groups go.")
try:
    names: dict[int, list[str]] = {}
    for group in groups.list_groups(bridge, person):
        names.setdefault(group.destination_id, []).append(group.name)
except CohortBridgeError as exc:
    st.error(error_text(exc), icon=":material/error:")
    st.stop()
mixpanel(bridge, person, [one for one in found if one.kind == ConnectionKind.MIXPANEL], names)
apptimize(bridge, person, [one for one in found if one.kind == ConnectionKind.ENDPOINT], names)
csv(bridge, person, [one for one in found if one.kind == ConnectionKind.CSV], names)
