"""Questions before a connection is replaced or removed: each names the groups and syncs that are affected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, ParamSpec, TypeVar

import streamlit as st
from pydantic import SecretStr

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections import destinations, mixpanel_connection, removal
from core.connections.entering import see_connection
from core.connections.receiver_form import ReceiverForm
from data.models import Connection, ConnectionKind
from pages.parts.actions import confirm_buttons, perform, save_buttons
from pages.parts.connections import fields
from pages.parts.connections.affected import IN_DOUBT, Affected, show_affected
from pages.parts.connections.wording import credential, describe
from pages.parts.formatting import escape_markdown
from pages.parts.secret_fields import secret_field, take_secret
from pages.parts.stored import saving_in_dialog
from pages.shell import page_frame

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_DIALOG = "connections"
# Where a dialog shows what is about none of its fields.
_IN_DIALOG = "connections_dialog"


@dataclass(frozen=True)
class Question:
    """What a dialog asks: who is asked, about which connection, what depends on it, and where the answer is shown."""

    bridge: Bridge
    person: Actor
    connection: Connection
    affected: Affected
    place: str

    @property
    def name(self) -> str:
        """The name of the connection as text of a page."""
        return escape_markdown(self.connection.name)

    def about(self, action: Callable[..., Result], *args: object, **entered: object) -> Callable[..., Result]:
        """Return an action as the person would do it to the connection, with what they entered."""
        return partial(action, self.bridge, self.person, self.connection.id or 0, *args, **entered)


def open_dialog(question: str, connection: Connection, place: str) -> None:
    """Open the dialog that asks this about a connection; what becomes of it is shown at `place`."""
    page_frame.forget_answer()
    state = {"question": question, "connection_id": connection.id, "place": place, "seen": see_connection(connection)}
    page_frame.open_dialog(_DIALOG, state)


def dialog(
    title: str, icon: str, *, width: Literal["small", "large"] = "small"
) -> Callable[[Callable[Arguments, None]], Callable[Arguments, None]]:
    """Make a function draw the dialog that is open about a connection."""
    return page_frame.dialog(_DIALOG, title, icon=icon, width=width)


def open_question(connections: Iterable[Connection]) -> tuple[str, Connection, str] | None:
    """Return what is asked about which of these connections, and where the answer is shown; None: nothing is."""
    asked = page_frame.dialog_state(_DIALOG)
    if not asked:
        return None
    connection = next((each for each in connections if each.id == asked["connection_id"]), None)
    if connection is None:
        page_frame.close_dialog()  # it was removed elsewhere
        return None
    return asked["question"], connection, asked["place"]


@dialog("Remove this connection?", "delete")
def ask_to_remove(question: Question) -> None:
    """Name what is removed, and the groups that depend on it, before it is."""
    show_subject(question)
    show_affected(question.affected, "can no longer be updated through it; the members stay as they are:")
    if not question.affected.groups:
        st.write("No group was delivered through it.")
    secret = "" if question.connection.kind == ConnectionKind.CSV else "Its secret is deleted. "
    st.write(f"{secret}Recurring syncs that use it are paused.")
    remove = question.about(removal.remove_connection)
    confirm_buttons(
        "Remove",
        key="connections_remove",
        icon=":material/delete:",
        action=partial(perform, question.place, remove, f"{question.name} was removed."),
    )


@dialog("Replace token", "key")
def ask_for_token(question: Question) -> None:
    """Ask for another token of the same address."""
    show_subject(question)
    show_affected(question.affected, IN_DOUBT)

    def save() -> Connection | None:
        token = take_secret("connections_replace_token")
        replace = question.about(destinations.replace_token, token)
        answer = f"The token of {question.name} was replaced."
        return change(question, replace, answer, {"Token": "connections_replace_token"})

    with st.form("connections_replace_form", border=False):
        secret_field("Apptimize token", key="connections_replace_token")
        submit("Replace token", save)


@dialog("Change address", "edit")
def ask_for_address(question: Question) -> None:
    """Ask for another address, and for the token that it takes: a stored one is sent nowhere else."""
    connection = question.connection
    show_subject(question)
    show_affected(question.affected, IN_DOUBT)

    def save() -> Connection | None:
        entered = st.session_state
        lead_elsewhere = question.about(
            destinations.change_address,
            ReceiverForm(SecretStr(entered["connections_change_url"]), secret=take_secret("connections_change_token")),
            apart=entered["connections_change_apart"],
        )
        return change(question, lead_elsewhere, f"{question.name} leads to another address now.", places)

    places = {"Endpoint": "connections_change_url", "Token": "connections_change_token"}
    with st.form("connections_change_form", border=False):
        st.text_input(
            "Endpoint URL", value="" if connection.practice else connection.url, key="connections_change_url",
            placeholder="https://…",
        )  # fmt: skip
        page_frame.show_answer("connections_change_url")
        secret_field("Apptimize token", key="connections_change_token", help="The one that this address takes.")
        st.checkbox(
            "Another workspace, if the address is connected already: its groups are kept apart",
            key="connections_change_apart",
        )
        submit("Change address", save)


@dialog("Change folder", "edit")
def ask_for_folder(question: Question) -> None:
    """Ask for another folder."""
    show_subject(question)
    show_affected(
        question.affected,
        "will be written to the new folder by the next run; the files that are there stay where they are:",
    )

    def save() -> Connection | None:
        folder = st.session_state["connections_change_folder"]
        write_elsewhere = question.about(destinations.change_folder, folder=folder)
        answer = f"{question.name} writes to another folder now."
        return change(question, write_elsewhere, answer, {"Folder": "connections_change_folder"})

    with st.form("connections_change_form", border=False):
        st.text_input("Folder on this server", value=question.connection.folder, key="connections_change_folder")
        page_frame.show_answer("connections_change_folder")
        submit("Change folder", save)


@dialog("Replace secret", "key")
def ask_for_secret(question: Question) -> None:
    """Ask for another service account, or another secret of it."""
    show_subject(question)
    show_affected(question.affected, "will be read with the new account; what they hold stays known:")
    places = fields.error_places("connections_replace", only=("username", "secret"))

    def save() -> Connection | None:
        replace = question.about(
            mixpanel_connection.replace_secret,
            username=st.session_state["connections_replace_username"],
            secret=take_secret("connections_replace_secret"),
        )
        return change(question, replace, f"{question.name} asks with another secret now.", places)

    with st.form("connections_replace_form", border=False):
        fields.account_fields(st.container(), st.container(), "connections_replace", question.connection)
        submit("Replace secret", save)


@dialog("Change project", "edit", width="large")
def ask_for_project(question: Question) -> None:
    """Ask for all that describes a project; the connection's name stays."""
    show_subject(question)
    show_affected(
        question.affected,
        "will be in doubt. If it is another project, the syncs of the present one are paused at their next run:",
    )

    def save() -> Connection | None:
        form = fields.read_form("connections_change")
        answer = f"{question.name} leads to project {escape_markdown(form.project_id)} now."
        return change(question, question.about(mixpanel_connection.change_project, form), answer, places)

    places = fields.error_places("connections_change")
    current = None if question.connection.practice else question.connection
    fields.merge_fields("connections_change", current)
    with st.form("connections_change_form", border=False):
        fields.account_fields(*st.columns(2), "connections_change", current)
        fields.project_fields("connections_change", current)
        submit("Change project", save)


@dialog("Keep the groups apart?", "call_split")
def ask_to_keep_apart(question: Question) -> None:
    """Ask whether a destination is another workspace than the others at its address."""
    show_subject(question)
    st.write(
        f"Say so only if {credential(question.connection)} belongs to another workspace than that of the other "
        "connection: what is delivered through the one is then never seen through the other."
    )
    show_affected(question.affected, IN_DOUBT)
    keep_apart = question.about(destinations.keep_apart)
    answer = f"The groups of {question.name} are kept apart. Its syncs can be resumed."
    confirm_buttons(
        "Keep apart",
        key="connections_apart",
        icon=":material/call_split:",
        action=partial(perform, question.place, keep_apart, answer),
    )


def show_subject(question: Question) -> None:
    """Show which connection a dialog is about."""
    st.markdown(f"**{question.name}**: {escape_markdown(describe(question.connection))}")


def change(
    question: Question, action: Callable[..., Connection], answer: str, error_places: Mapping[str, str]
) -> Connection | None:
    """Change a connection as a dialog has it, unless somebody else has changed it since the dialog was opened.

    `action` takes what was `seen` then; `error_places` are where errors about one field are shown: the `fields` of
    `perform`. Returns None on failure.
    """
    seen = (page_frame.dialog_state(_DIALOG) or {}).get("seen")

    def change_it() -> Connection:
        with saving_in_dialog():
            return action(seen=seen)

    return perform(question.place, change_it, answer, fields=error_places, failed_at=_IN_DIALOG)


def submit(label: str, save: Callable[[], Connection | None]) -> None:
    """Show the button that saves and the one that closes, and below them what is about none of the fields."""
    save_buttons(label, key="connections_dialog_save", save=save, in_form=True)
    page_frame.show_answer(_IN_DIALOG)
