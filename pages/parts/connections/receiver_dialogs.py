"""Questions before a receiver other than Apptimize is changed, and before any receiver is sent a test."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.connections import destinations, trial
from data.models import Connection
from pages.parts.actions import confirm_buttons, perform
from pages.parts.connections import receiver_fields
from pages.parts.connections.affected import IN_DOUBT, Affected, show_affected
from pages.parts.connections.dialogs import Question, change, dialog, show_subject, submit
from pages.parts.connections.wording import TEST_TAKEN, explain_test

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
def ask_for_sign_in(question: Question) -> None:
    """Ask for other credentials at the same address."""
    connection = question.connection
    prefix = _prefix("sign_in_of", connection)
    show_subject(question)
    show_affected(question.affected, IN_DOUBT)
    _show_held(question.affected, is_held=connection.adds_only and connection.times_replaced > 0)

    def save() -> Connection | None:
        replace = question.about(destinations.replace_sign_in, receiver_fields.read_form(prefix, connection))
        answer = f"The sign-in of {question.name} was replaced."
        return change(question, replace, answer, receiver_fields.error_places(prefix))

    kind = receiver_fields.sign_in_fields(prefix, connection, with_address=False)
    with st.form(f"{prefix}_dialog", border=False):
        receiver_fields.secret_fields(prefix, kind, connection)
        submit("Replace sign-in", save)


@dialog("Change address", "edit")
def ask_for_address(question: Question) -> None:
    """Ask for another address, and for what signs in there: a stored secret is sent nowhere else."""
    connection = question.connection
    prefix = _prefix("address_of", connection)
    show_subject(question)
    show_affected(question.affected, IN_DOUBT)
    _show_held(question.affected, is_held=connection.adds_only)

    def save() -> Connection | None:
        form, apart = receiver_fields.read_form(prefix, connection), st.session_state[f"{prefix}_apart"]
        lead_elsewhere = question.about(destinations.change_address, form, apart=apart)
        answer = f"{question.name} leads to another address now."
        return change(question, lead_elsewhere, answer, receiver_fields.error_places(prefix))

    kind = receiver_fields.sign_in_fields(prefix, connection)
    with st.form(f"{prefix}_dialog", border=False):
        receiver_fields.secret_fields(prefix, kind, connection)
        st.checkbox(
            "Another account, if the address is connected already: its groups are kept apart", key=f"{prefix}_apart"
        )
        submit("Change address", save)


@dialog("Change members", "id_card")
def ask_for_members(question: Question) -> None:
    """Ask for another id that the receiver knows people by, another key, and what a full delivery does there."""
    prefix = _prefix("members_of", question.connection)
    show_subject(question)
    show_affected(question.affected, IN_DOUBT)

    def save() -> Connection | None:
        change_members = question.about(destinations.change_receiver, **receiver_fields.read_members(prefix))
        answer = f"The member settings of {question.name} were changed."
        return change(question, change_members, answer, receiver_fields.error_places(prefix))

    receiver_fields.member_fields(prefix, question.connection)
    _show_held(question.affected, is_held=receiver_fields.adds_only(prefix))
    with st.form(f"{prefix}_dialog", border=False):
        submit("Change members", save)


@dialog("Send a test?", "outgoing_mail")
def ask_to_test(question: Question) -> None:
    """Say what a test does before it is sent."""
    show_subject(question)
    st.write(explain_test(adds_only=question.connection.adds_only))
    confirm_buttons(
        "Send the test",
        key="connections_send_test",
        icon=":material/outgoing_mail:",
        action=partial(
            perform,
            question.place,
            question.about(trial.send_test),
            f"{question.name}: {TEST_TAKEN}",
            failure=f"{question.name} did not take the test.",
        ),
    )
