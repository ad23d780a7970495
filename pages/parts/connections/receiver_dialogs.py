"""Questions before a receiver other than Apptimize is changed, and before any receiver is sent a test."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections import destinations, trial
from data.models import Connection
from pages.parts.actions import confirm_buttons, perform
from pages.parts.connections import receiver_fields
from pages.parts.connections.affected import IN_DOUBT, Affected, show_affected
from pages.parts.connections.dialogs import change, dialog, show_subject, submit
from pages.parts.connections.wording import TEST_TAKEN, explain_test
from pages.parts.formatting import escape_markdown

_HELD = (
    "This receiver only adds, and may hold people who are not known after this change: the next run is held. Applied "
    "once, it writes the cohort; those people stay there."
)


def _show_held(affected: Affected, *, is_held: bool) -> None:
    """Say that the next run is held, where anything was delivered: `is_held` says whether the change leads to that."""
    if is_held and affected.groups:
        st.caption(_HELD)


def _prefix(what: str, connection: Connection) -> str:
    """Return how the keys of a dialog's fields begin: what was entered in one must not stand in another."""
    return f"connections_{what}_{connection.id}"


@dialog("Replace sign-in", "key")
def ask_for_sign_in(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Ask for other credentials at the same address."""
    prefix = _prefix("sign_in_of", connection)
    show_subject(connection)
    show_affected(affected, IN_DOUBT)
    _show_held(affected, is_held=connection.adds_only and connection.times_replaced > 0)

    def save() -> Connection | None:
        form = receiver_fields.read_form(prefix, connection)
        return change(
            bridge,
            person,
            connection,
            partial(destinations.replace_sign_in, bridge, person, connection.id or 0, form),
            f"The sign-in of {escape_markdown(connection.name)} was replaced.",
            place=place,
            error_places=receiver_fields.error_places(prefix),
        )

    kind = receiver_fields.sign_in_fields(prefix, connection, with_address=False)
    with st.form(f"{prefix}_dialog", border=False):
        receiver_fields.secret_fields(prefix, kind, connection)
        submit("Replace sign-in", save)


@dialog("Change address", "edit")
def ask_for_address(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Ask for another address, and for what signs in there: a stored secret is sent nowhere else."""
    prefix = _prefix("address_of", connection)
    show_subject(connection)
    show_affected(affected, IN_DOUBT)
    _show_held(affected, is_held=connection.adds_only)

    def save() -> Connection | None:
        lead_elsewhere = partial(
            destinations.change_address,
            bridge,
            person,
            connection.id or 0,
            receiver_fields.read_form(prefix, connection),
            apart=st.session_state[f"{prefix}_apart"],
        )
        answer = f"{escape_markdown(connection.name)} leads to another address now."
        places = receiver_fields.error_places(prefix)
        return change(bridge, person, connection, lead_elsewhere, answer, place=place, error_places=places)

    kind = receiver_fields.sign_in_fields(prefix, connection)
    with st.form(f"{prefix}_dialog", border=False):
        receiver_fields.secret_fields(prefix, kind, connection)
        st.checkbox(
            "Another account, if the address is connected already: its groups are kept apart", key=f"{prefix}_apart"
        )
        submit("Change address", save)


@dialog("Change members", "id_card")
def ask_for_members(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Ask for another id that the receiver knows people by, another key, and what a full delivery does there."""
    prefix = _prefix("members_of", connection)
    show_subject(connection)
    show_affected(affected, IN_DOUBT)

    def save() -> Connection | None:
        members = receiver_fields.read_members(prefix)
        return change(
            bridge,
            person,
            connection,
            partial(destinations.change_receiver, bridge, person, connection.id or 0, **members),
            f"The member settings of {escape_markdown(connection.name)} were changed.",
            place=place,
            error_places=receiver_fields.error_places(prefix),
        )

    receiver_fields.member_fields(prefix, connection)
    _show_held(affected, is_held=receiver_fields.adds_only(prefix))
    with st.form(f"{prefix}_dialog", border=False):
        submit("Change members", save)


@dialog("Send a test?", "outgoing_mail")
def ask_to_test(bridge: Bridge, person: Actor, connection: Connection, affected: Affected, place: str) -> None:
    """Say what a test does before it is sent."""
    show_subject(connection)
    st.write(explain_test(adds_only=connection.adds_only))
    confirm_buttons(
        "Send the test",
        key="connections_send_test",
        icon=":material/outgoing_mail:",
        action=partial(
            perform,
            place,
            partial(trial.send_test, bridge, person, connection.id or 0),
            f"{escape_markdown(connection.name)}: {TEST_TAKEN}",
            failure=f"{escape_markdown(connection.name)} did not take the test.",
        ),
    )
