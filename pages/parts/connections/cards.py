"""What is connected: where each connection leads, how it is, and the buttons that replace or remove it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections import destinations
from core.connections.lookup import choose_mixpanel
from core.reports import overview
from core.reports.overview import Health
from data.models import Connection, ConnectionKind, Run, SignInKind
from pages.parts import run_status
from pages.parts.connections import dialogs, receiver_dialogs
from pages.parts.connections.affected import find_affected
from pages.parts.connections.dialogs import Question
from pages.parts.connections.matching import match_settings, show_matching
from pages.parts.connections.wording import CANNOT_HEAL, describe, describe_members, is_apptimize
from pages.parts.formatting import age, escape_markdown, message_text
from pages.shell import page_frame

Button = tuple[str, str, str, Callable[[Question], None]]
# Of each kind, what can be replaced: the button's label, its key, its icon, and the dialog that it opens.
_BUTTONS: dict[str, list[Button]] = {
    ConnectionKind.MIXPANEL: [
        ("Replace secret", "secret", "key", dialogs.ask_for_secret),
        ("Change project", "project", "edit", dialogs.ask_for_project),
    ],
    ConnectionKind.ENDPOINT: [
        ("Replace token", "token", "key", dialogs.ask_for_token),
        ("Change address", "address", "edit", dialogs.ask_for_address),
        ("Send a test", "test", "outgoing_mail", receiver_dialogs.ask_to_test),
    ],
    ConnectionKind.CSV: [("Change folder", "folder", "edit", dialogs.ask_for_folder)],
}
_RECEIVER_BUTTONS: list[Button] = [
    ("Replace sign-in", "sign_in", "key", receiver_dialogs.ask_for_sign_in),
    ("Change address", "address", "edit", receiver_dialogs.ask_for_address),
    ("Change members", "members", "id_card", receiver_dialogs.ask_for_members),
    ("Send a test", "test", "outgoing_mail", receiver_dialogs.ask_to_test),
]
_TWIN_BUTTONS: list[Button] = [("Another workspace", "apart", "call_split", dialogs.ask_to_keep_apart)]
_REMOVE: Button = ("Remove", "remove", "delete", dialogs.ask_to_remove)


@dataclass(frozen=True)
class Known:
    """Of each connection, by its id, which others lead to the same place, and how it did when it was last used."""

    neighbors: dict[int, list[Connection]]
    health: dict[int | None, Health]


def find_known(bridge: Bridge, person: Actor, connections: list[Connection]) -> Known:
    """Find what is known of these connections."""
    health = {each.connection.id: each for each in overview.list_health(bridge, person, connections)}
    return Known(destinations.list_shared(bridge, person), health)


def show_connected(bridge: Bridge, person: Actor, connections: list[Connection], known: Known, place: str) -> None:
    """Show what is connected, each with the buttons that replace and remove it."""
    for connection in connections:
        failed = _failed_since_checked(known.health[connection.id])
        with st.container(border=True):
            _show_heading(connection, failed, place)
            st.text(describe(connection))
            _show_failure(failed)
            _show_members(connection)
            page_frame.account_notice(bridge, person, connection)
            has_twins = _show_neighbors(connection, known.neighbors.get(connection.id or 0, []))
            buttons = _buttons(connection)
            with st.container(horizontal=True, gap="small"):
                for button in [*_TWIN_BUTTONS, *buttons] if has_twins else buttons:
                    _show_button(button, connection, place)
            if connection.kind == ConnectionKind.MIXPANEL:
                _show_use(connection, choose_mixpanel(connections))
                show_matching(connection)
                match_settings(bridge, person, connection)
            else:
                st.caption(f"Checked {age(connection.checked_at)}.")


def _buttons(connection: Connection) -> list[Button]:
    if connection.kind != ConnectionKind.ENDPOINT or is_apptimize(connection):
        return _BUTTONS.get(connection.kind, [])
    # An address that is the secret is replaced with the address.
    is_secret = connection.sign_in == SignInKind.ADDRESS
    return [button for button in _RECEIVER_BUTTONS if not (is_secret and button[1] == "sign_in")]


def _show_members(connection: Connection) -> None:
    """Show whom a receiver other than Apptimize takes for members, and what it cannot heal."""
    if connection.kind == ConnectionKind.ENDPOINT and not is_apptimize(connection):
        st.text(describe_members(connection))
        if connection.adds_only:
            st.caption(CANNOT_HEAL)


def _show_use(connection: Connection, used: Connection | None) -> None:
    """Show of a project beside the one that cohorts are read through that it is not in use."""
    if used and used.id != connection.id:
        st.caption(f"Not in use: cohorts are listed and exported through {escape_markdown(used.name)}.")


def _failed_since_checked(health: Health) -> Run | None:
    """Return the last run that used a connection, if it failed for that after the connection was last checked."""
    run, checked_at = health.last_run, health.connection.checked_at
    if health.is_well or run is None or (checked_at and run.finished_at and checked_at > run.finished_at):
        return None
    return run


def _show_failure(failed: Run | None) -> None:
    """Show why the last run that used a connection failed, and lead to it."""
    if failed:
        cause = message_text(failed.error_message, None)
        st.error(f"The last run that used it failed, {age(failed.finished_at)}. {cause}", icon=":material/error:")
        run_status.link(failed)


def _show_heading(connection: Connection, failed: Run | None, place: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if connection.account_trouble:
            st.badge("Not accepted", icon=":material/error:", color="red")
        elif failed:
            st.badge("Failing", icon=":material/error:", color="red")
        else:
            st.badge("Connected", icon=":material/check_circle:", color="green")
        if connection.practice:
            st.badge("Practice", icon=":material/science:", color="orange")
        st.markdown(f"**{escape_markdown(connection.name)}**", width="content")
        st.space("stretch")
        _show_button(_REMOVE, connection, place)


def _show_button(button: Button, connection: Connection, place: str) -> None:
    """Show the button that opens a dialog about the connection: its key is the question that is open then."""
    label, question, icon, _ = button
    st.button(
        label,
        key=f"connections_{question}_{connection.id}",
        icon=f":material/{icon}:",
        on_click=dialogs.open_dialog,
        args=(question, connection, place),
    )


def show_dialog(bridge: Bridge, person: Actor, connections: list[Connection]) -> None:
    """Show the dialog that is open about one of the connections."""
    if asked := dialogs.open_question(connections):
        question, connection, place = asked
        by_question = {key: ask for _, key, _, ask in (_REMOVE, *_TWIN_BUTTONS, *_buttons(connection))}
        if ask := by_question.get(question):
            affected = find_affected(bridge, person, [connection])[connection.id or 0]
            ask(Question(bridge, person, connection, affected, place))


def _show_neighbors(connection: Connection, neighbors: list[Connection]) -> bool:
    """Show who else leads to the same place, and whether it was said that their groups are kept apart.

    Returns whether that may be said now.
    """
    apart = [other.name for other in neighbors if destinations.are_apart(connection, other)]
    twins = [other.name for other in neighbors if not destinations.are_apart(connection, other)]
    if apart:
        st.caption(
            f"The same address as {escape_markdown(', '.join(apart))}, another workspace: the groups are kept apart."
        )
    if not twins:
        return False
    is_endpoint = connection.kind == ConnectionKind.ENDPOINT
    more = ", or, if they are two workspaces, keep the groups of one apart" if is_endpoint else ""
    st.warning(
        "A cohort that has a group through each would be overwritten by turns, so its syncs are paused. "
        f"Remove one of the connections{more}; then resume the syncs.",
        title=f"Leads to the same place as {escape_markdown(', '.join(twins))}",
        icon=":material/call_merge:",
    )
    return is_endpoint
