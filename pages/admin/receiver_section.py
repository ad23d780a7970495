"""The form that connects a receiver other than Apptimize: as little as it needs, an example message, a test."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections import destinations, entering, trial
from core.connections.receiver_checks import SECRET_LABELS
from data.models import DESTINATION_SIDE, Connection, ConnectionKind, SignInKind
from pages.parts import folded
from pages.parts.actions import perform
from pages.parts.connections import receiver_fields
from pages.parts.connections.wording import TEST_TAKEN, explain_test
from pages.parts.formatting import escape_markdown
from pages.shell import page_frame

PLACE, _PREFIX, _BOX = "receiver", "receiver", "connections_receiver"
_NAME, _APART, _TESTING = f"{_PREFIX}_connection_name", f"{_PREFIX}_apart", f"{_PREFIX}_testing"


def show(bridge: Bridge, person: Actor, connections: list[Connection]) -> None:
    """Show the form that connects a receiver."""
    present = [connection for connection in connections if connection.kind == ConnectionKind.ENDPOINT]
    show_form = partial(_form, bridge, person, connections, present)
    folded.expander("Connect another receiver", show_form, key=_BOX)


def _form(bridge: Bridge, person: Actor, connections: list[Connection], present: list[Connection]) -> None:
    if sandbox := page_frame.find_sandbox(connections):
        st.link_button(
            "Open the practice receivers",
            f"{sandbox}/sandbox/receivers",
            key=f"{_PREFIX}_practice",
            icon=":material/open_in_new:",
            help="Receivers of each kind, each with its sign-in.",
        )
    kind = receiver_fields.sign_in_fields(_PREFIX, None)
    _show_neighbors(bridge, present, kind)
    receiver_fields.member_fields(_PREFIX, None)
    receiver_fields.show_example(_PREFIX)
    with st.form(f"{_PREFIX}_form", border=False):
        receiver_fields.secret_fields(_PREFIX, kind, None)
        _name_field(bridge, person)
        _buttons(bridge, person, kind)
    if not st.session_state.get(_TESTING):
        st.button(
            "Send a test",
            key=f"{_PREFIX}_test",
            icon=":material/outgoing_mail:",
            help="Says first what it does.",
            on_click=_set_testing,
            args=(True,),
        )


def _show_neighbors(bridge: Bridge, present: list[Connection], kind: SignInKind) -> None:
    """Show who leads to the address already, and ask whether the groups are kept apart."""
    there = destinations.find_at(bridge, st.session_state.get(f"{_PREFIX}_url", ""), present)
    if not there or kind == SignInKind.ADDRESS:
        return
    names = escape_markdown(", ".join(connection.name for connection in there))
    st.info(
        f"This address is connected already as {names}. To replace its sign-in, use the buttons there.",
        icon=":material/info:",
    )
    st.checkbox("This is another account there: its groups are kept apart", key=_APART)


def _name_field(bridge: Bridge, person: Actor) -> None:
    if _NAME not in st.session_state:  # a default would not replace what the browser still shows
        st.session_state[_NAME] = entering.suggest_name(bridge, person, DESTINATION_SIDE, "receiver")
    with st.columns(2)[0]:
        st.text_input("Name", key=_NAME, help="One that no other connection has.")
        receiver_fields.show_error(_PREFIX, "Name", _NAME)


def _buttons(bridge: Bridge, person: Actor, kind: SignInKind) -> None:
    is_testing = bool(st.session_state.get(_TESTING))
    if is_testing:
        again = "address" if kind == SignInKind.ADDRESS else SECRET_LABELS[kind].lower()
        st.info(
            f"{explain_test(adds_only=receiver_fields.adds_only(_PREFIX))} To connect it afterwards, enter the {again} "
            "again: it is not kept.",
            title="What the test does",
            icon=":material/outgoing_mail:",
        )
    with st.container(horizontal=True):
        st.form_submit_button(
            "Connect receiver", key=f"{_PREFIX}_save", type="primary", on_click=_connect, args=(bridge, person)
        )
        if is_testing:
            st.form_submit_button("Send the test", key=f"{_PREFIX}_send", on_click=_send_test, args=(bridge, person))
            st.form_submit_button("Cancel", key=f"{_PREFIX}_no_test", on_click=_set_testing, args=(False,))


def _set_testing(is_testing: bool) -> None:  # noqa: FBT001
    st.session_state[_TESTING] = is_testing
    page_frame.forget_answer()


def _connect(bridge: Bridge, person: Actor) -> None:
    """Test and store what was entered for a receiver."""
    entered = st.session_state
    toast = st.toast("Checking with the receiver …", icon="spinner", duration="infinite")
    connect = partial(
        destinations.connect_receiver,
        bridge,
        person,
        receiver_fields.read_form(_PREFIX),
        name=entered[_NAME],
        if_taken="refuse",
        apart=bool(entered.get(_APART)),
    )
    made = perform(
        PLACE,
        connect,
        lambda made: (
            f"{escape_markdown(made.name)} is connected. Only a message shows whether it takes them: use "
            "**Send a test** above."
        ),
        fields=receiver_fields.error_places(_PREFIX),
    )
    if not made:
        toast.toast("Nothing was saved.", icon=":material/error:")
        return
    toast.toast("The receiver is connected.", icon=":material/check:")
    entered.pop(_TESTING, None)
    folded.close(_BOX)


def _send_test(bridge: Bridge, person: Actor) -> None:
    """Send the test to what was entered, and stop offering it."""
    toast = st.toast("Sending the test …", icon="spinner", duration="infinite")
    name, form = st.session_state[_NAME], receiver_fields.read_form(_PREFIX)
    perform(
        PLACE,
        partial(trial.send_test, bridge, person, form, name=name),
        TEST_TAKEN,
        fields=receiver_fields.error_places(_PREFIX),
    )
    if page_frame.has_failed(PLACE) or receiver_fields.has_error(_PREFIX):
        toast.toast("The test was not taken.", icon=":material/error:")
        return
    toast.toast("The test was taken.", icon=":material/check:")
    st.session_state[_TESTING] = False
