"""Receivers other than Apptimize on Connections: as little as each needs, an example of what is sent, a test."""

from __future__ import annotations

import json

import pytest
from sqlmodel import select
from streamlit.testing.v1 import AppTest

from core.access.roles import LOCAL, Role
from core.bridge import Bridge
from core.connections import lookup
from core.connections.trial import TEST_COHORT_ID, TEST_NAME
from data.engine import read_session, write_session
from data.models import AuditEntry, Connection, MemberId, SignInKind
from tests.pages.dashboard import CONNECTIONS, drawn, first_drawn, open_folded, open_page, shown, sign_in_as
from tests.stage.home import export, group_row
from tests.stage.receivers import Receiver, connect
from tests.stage.sandbox import POWER, Sandbox
from tests.stage.seeds import few, some

pytestmark = some(12)

SIGN_INS = {
    "basic": SignInKind.BASIC, "bearer": SignInKind.BEARER, "header": SignInKind.HEADER, "path": SignInKind.ADDRESS,
}  # fmt: skip


def choose(at: AppTest, *, sign_in: SignInKind = SignInKind.BASIC, member_id: MemberId = MemberId.DISTINCT) -> AppTest:
    """Open the form, and choose how the receiver is signed in to, and which id it knows people by."""
    at.session_state["connections_receiver"] = True
    at.selectbox(key="receiver_sign_in").set_value(sign_in)
    at.radio(key="receiver_member_id").set_value(member_id)
    return drawn(at.run())


def enter(at: AppTest, press: str = "save", **entered: str) -> AppTest:
    for name, value in entered.items():
        at.text_input(key=f"receiver_{name}").set_value(value)
    return drawn(at.button(key=f"receiver_{press}").click().run())


def credentials(receiver: Receiver) -> dict[str, str]:
    """What is entered to sign in to a receiver of the sandbox."""
    match receiver.sign_in:
        case "basic":
            return {"url": receiver.url, "name": receiver.username, "secret": receiver.secret}
        case "header":
            return {"url": receiver.url, "name": receiver.header, "secret": receiver.secret}
        case "bearer":
            return {"url": receiver.url, "secret": receiver.secret}
        case _:
            return {"address": receiver.url}


def connected(bridge: Bridge) -> Connection:
    """The one connection that is none of Apptimize's."""
    (found,) = [each for each in lookup.list_connections(bridge, LOCAL) if each.kind == "endpoint" and each.sign_in]
    return found


def example(at: AppTest) -> str:
    (code,) = [each.value for each in at.code if each.value.startswith("POST ")]
    return code


def example_members(at: AppTest) -> list[dict[str, str]]:
    return json.loads(example(at).partition("\n\n")[2])["parameters"]["members"]


@few(2)
@pytest.mark.parametrize("sign_in", SIGN_INS)
def test_a_receiver_is_connected_by_what_it_is_signed_in_to_with(practising: Bridge, sandbox: Sandbox, sign_in: str):
    receiver = sandbox.receiver("replaces", sign_in=sign_in, key="mixpanel_distinct_id")
    at = choose(open_page(CONNECTIONS), sign_in=SIGN_INS[sign_in])

    enter(at, **credentials(receiver))

    text = shown(at)
    assert "receiver is connected." in text
    assert "every profile of a cohort, matched or not, by its distinct id" in text
    assert receiver.secret not in text + str(at.session_state.to_dict())
    stored = connected(practising)
    assert (stored.sign_in, stored.member_id, stored.adds_only) == (SIGN_INS[sign_in], MemberId.DISTINCT, False)
    export(practising, POWER, to="receiver")
    assert len(receiver.members(POWER) or {}) == group_row(practising, POWER).members


def test_the_form_is_as_at_first_once_a_receiver_is_connected(practising: Bridge, sandbox: Sandbox):
    receiver = sandbox.receiver("replaces", sign_in="bearer", key="person")
    at = first_drawn(open_folded(CONNECTIONS))
    at.session_state["connections_receiver"] = True
    at = choose(drawn(at.run()), sign_in=SignInKind.BEARER, member_id=MemberId.APPTIMIZE)
    at.radio(key="receiver_adds").set_value("Only adds")

    enter(at, **credentials(receiver), key="person")

    assert "receiver_url" not in [field.key for field in at.text_input]
    at.session_state["connections_receiver"] = True
    drawn(at.run())
    assert [at.radio(key=f"receiver_{name}").value for name in ("member_id", "adds")] == [
        MemberId.DISTINCT, "Replaces the group",
    ]  # fmt: skip
    assert at.selectbox(key="receiver_sign_in").value == SignInKind.BASIC
    assert at.text_input(key="receiver_key").value == "mixpanel_distinct_id"
    assert at.text_input(key="receiver_url").value == ""
    assert at.text_input(key="receiver_connection_name").value == "receiver-2"


def test_a_receiver_of_a_property_that_only_adds_is_connected(practising: Bridge, sandbox: Sandbox):
    receiver = sandbox.receiver("replaces", key="person", replaces=False)
    at = choose(open_page(CONNECTIONS), member_id=MemberId.PROPERTY)
    drawn(at.text_input(key="receiver_property").set_value("account").run())
    assert at.text_input(key="receiver_key").value == "account"

    at.radio(key="receiver_adds").set_value("Only adds")
    enter(at, **credentials(receiver), key="person")

    stored = connected(practising)
    assert (stored.member_property, stored.member_key, stored.adds_only) == ("account", "person", True)
    text = shown(at)
    assert "profiles with the property account, as person. It only adds." in text
    assert "Anyone whom somebody else has added stays" in text


@few(5)
@pytest.mark.parametrize(
    ("sign_in", "entered", "label", "sentence"),
    [
        (SignInKind.HEADER, {"name": "X-Key\nHost: e.example"}, "Header", "it holds a line break"),
        (SignInKind.HEADER, {"name": ""}, "Header", "this is needed"),
        (SignInKind.BASIC, {"name": "ann:lee"}, "User name", "it cannot hold a colon"),
        (SignInKind.BASIC, {"secret": ""}, "Password", "this is needed"),
        (SignInKind.BEARER, {"secret": "a\u200bb"}, "Token", "it holds an invisible character"),
        (SignInKind.ADDRESS, {"address": "no address"}, "Endpoint", "enter a whole address"),
        (SignInKind.BASIC, {"url": "no address"}, "Endpoint", "enter a whole address"),
        (SignInKind.BASIC, {"connection_name": "default"}, "Name", "there is a connection default already"),
        (SignInKind.BASIC, {"key": "x" * 300}, "Member key", "at most 255 characters"),
    ],
)
def test_what_is_wrong_stands_at_its_field(
    practising: Bridge, sandbox: Sandbox, sign_in: SignInKind, entered: dict[str, str], label: str, sentence: str
):
    right = {"url": sandbox.receiver("replaces").url, "name": "ann", "secret": "secret", "address": "x", **entered}
    has_name = sign_in in (SignInKind.BASIC, SignInKind.HEADER)
    absent = {"url", "secret"} if sign_in == SignInKind.ADDRESS else {"address"}
    at = choose(open_page(CONNECTIONS), sign_in=sign_in)

    enter(at, **{key: value for key, value in right.items() if key not in absent | (set() if has_name else {"name"})})

    assert_error_at_field(at, "Endpoint URL" if label == "Endpoint" else label, f"{label}: {sentence}")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("", "this is needed"), ("p" * 300, "at most 255 characters"), ("$email", "e-mail addresses")],
)
def test_a_property_that_cannot_be_one_is_refused_at_its_field(
    practising: Bridge, sandbox: Sandbox, name: str, sentence: str
):
    at = choose(open_page(CONNECTIONS), member_id=MemberId.PROPERTY)

    enter(at, **credentials(sandbox.receiver("replaces")), property=name)

    assert_error_at_field(at, "Member property", f"Member property: {sentence}" if "$" not in name else sentence)
    drawn(at.text_input(key="receiver_property").set_value("account").run())
    assert not at.error


def assert_error_at_field(at: AppTest, label: str, sentence: str) -> None:
    """The one error of the page comes right after the field."""
    (error,) = at.error
    assert sentence in error.value.replace("\\", "").replace("\u2060", "")
    drawn_in_order = [node for node in at._tree if getattr(node, "type", "") in ("text_input", "error")]
    before = drawn_in_order[drawn_in_order.index(error) - 1]
    assert before.label == label  # type: ignore[union-attr]


def test_the_example_is_the_message_that_would_be_sent(practising: Bridge):
    at = choose(open_page(CONNECTIONS))
    drawn(at.text_input(key="receiver_url").set_value("https://e.example/in?key=hidden").run())
    assert example(at).startswith("POST https://e.example/in\nAuthorization: Basic ••••\n")
    assert example_members(at) == [
        {"mixpanel_distinct_id": "user-1001"}, {"mixpanel_distinct_id": "user-1002"},
    ]  # fmt: skip

    choose(at, sign_in=SignInKind.HEADER, member_id=MemberId.PROPERTY)
    at.text_input(key="receiver_name").set_value("X-<b>Key</b>")
    drawn(at.text_input(key="receiver_property").set_value('pl"an').run())

    assert "\nX-<b>Key</b>: ••••\n" in example(at)
    assert [sorted(member) for member in example_members(at)] == [["mixpanel_distinct_id", 'pl"an']] * 2

    choose(at, sign_in=SignInKind.APPTIMIZE, member_id=MemberId.APPTIMIZE)
    assert "\nApptimizeApiToken: ••••\n" in example(at)
    assert [member["$apptimize_user_id"][:2] for member in example_members(at)] == ["i_", "i_"]

    choose(at, sign_in=SignInKind.ADDRESS)
    assert example(at).startswith("POST https://…\nContent-Type: application/json\n")


def test_a_key_that_was_entered_stays_when_another_id_is_chosen(practising: Bridge):
    at = choose(open_page(CONNECTIONS))
    drawn(at.text_input(key="receiver_key").set_value("user").run())

    choose(at, member_id=MemberId.APPTIMIZE)
    assert at.text_input(key="receiver_key").value == "user"
    drawn(at.text_input(key="receiver_key").set_value("").run())

    assert at.text_input(key="receiver_key").value == "$apptimize_user_id"


def audit_lines(bridge: Bridge) -> list[tuple[str, str]]:
    with read_session(bridge.engine) as session:
        entries = session.exec(select(AuditEntry).where(AuditEntry.action == "send_test")).all()
    return [(line.outcome, line.subject) for line in entries]


def test_a_test_is_sent_on_the_second_press_and_empties_nothing_else(practising: Bridge, sandbox: Sandbox):
    receiver = sandbox.receiver("replaces")
    receiver.send("members", ["u-1"], cohort=POWER)
    receiver.send("members", ["u-1"], cohort=TEST_COHORT_ID)
    at = choose(open_page(CONNECTIONS))

    drawn(at.button(key="receiver_test").click().run())
    assert f"It makes a cohort called “{TEST_NAME}” at the receiver, or empties the one" in shown(at)
    assert receiver.members(TEST_COHORT_ID) == {"u-1": "u-1"}
    enter(at, "send", **credentials(receiver))

    assert "The receiver took the test" in shown(at)
    assert "The test was taken." in [toast.value for toast in at.toast]
    assert "What the test does" not in shown(at)
    assert (receiver.members(TEST_COHORT_ID), receiver.members(POWER)) == ({}, {"u-1": "u-1"})
    assert receiver.secret not in shown(at) + str(at.session_state.to_dict())
    assert [outcome for outcome, _ in audit_lines(practising)] == ["done"]
    assert not [each for each in lookup.list_connections(practising, LOCAL) if each.name == "receiver"]


def test_a_test_goes_nowhere_that_a_delivery_may_not_go(practising: Bridge):
    at = choose(open_page(CONNECTIONS))
    drawn(at.button(key="receiver_test").click().run())

    enter(at, "send", url="http://127.0.0.1:9/", name="ann", secret="secret")

    assert "what answers is not the practice sandbox" in shown(at)
    assert "The test was not taken." in [toast.value for toast in at.toast]
    assert [outcome for outcome, _ in audit_lines(practising)] == ["refused"]


@few(1)
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [("receiver_failure_200", "The receiver answered with an error of its own (500)."),
     ("cohort_in_deletion", "The receiver refused the message (404)."),
     ("server_error", "The receiver answered with an error of its own (500).")],
)  # fmt: skip
def test_from_a_card_a_test_tells_what_the_receiver_answers(
    practising: Bridge, sandbox: Sandbox, fault: str, sentence: str
):
    receiver = sandbox.receiver("only-adds")
    at = choose(open_page(CONNECTIONS))
    at.radio(key="receiver_adds").set_value("Only adds")
    enter(at, **credentials(receiver))
    receiver.fault(fault)

    drawn(at.button(key=f"connections_test_{connected(practising).id}").click().run())
    assert "no one is added, and no one is removed" in shown(at)
    drawn(at.button(key="connections_send_test_yes").click().run())

    assert f"receiver did not take the test. {sentence}" in shown(at)
    assert [(outcome, sentence in subject) for outcome, subject in audit_lines(practising)] == [("refused", True)]
    assert len(receiver.messages()) == 1


def test_a_sign_in_an_address_and_the_members_are_changed_at_their_card(practising: Bridge, sandbox: Sandbox):
    receiver, other = (sandbox.receiver("replaces", key="mixpanel_distinct_id") for _ in range(2))
    at = choose(open_page(CONNECTIONS))
    enter(at, **credentials(receiver))
    number = connected(practising).id
    export(practising, POWER, to="receiver")

    at = open_page(CONNECTIONS)
    drawn(at.button(key=f"connections_sign_in_{number}").click().run())
    assert "1 group will be in doubt" in shown(at)
    drawn(at.button(key="connections_dialog_save").click().run())
    # The dialog shows it at the field: it is a fragment, which is not drawn again here.
    answer = at.session_state["frame_answer"]
    assert (answer["place"], answer["failed"]) == (f"connections_sign_in_of_{number}/Password", True)

    drawn(at.button(key=f"connections_sign_in_{number}").click().run())
    at.text_input(key=f"connections_sign_in_of_{number}_secret").set_value(receiver.secret)
    drawn(at.button(key="connections_dialog_save").click().run())
    assert "The sign-in of receiver was replaced." in shown(at)

    drawn(at.button(key=f"connections_address_{number}").click().run())
    for name, value in {"url": other.url, "name": other.username, "secret": other.secret}.items():
        at.text_input(key=f"connections_address_of_{number}_{name}").set_value(value)
    drawn(at.button(key="connections_dialog_save").click().run())
    assert "receiver leads to another address now." in shown(at)

    drawn(at.button(key=f"connections_members_{number}").click().run())
    at.text_input(key=f"connections_members_of_{number}_key").set_value("user")
    drawn(at.button(key="connections_dialog_save").click().run())
    changed = connected(practising)
    assert (changed.url, changed.sign_in_name, changed.member_key) == (other.url, other.username, "user")
    assert other.secret not in shown(at) + str(at.session_state.to_dict())


def test_a_change_says_before_that_it_has_the_next_run_of_a_receiver_that_only_adds_held(
    practising: Bridge, sandbox: Sandbox
):
    receiver = sandbox.receiver("only-adds")
    number = connect(practising, receiver, member_id=MemberId.DISTINCT)
    export(practising, POWER, to=receiver.name)

    def says_held(what: str) -> bool:
        at = open_page(CONNECTIONS).button(key=f"connections_{what}_{number}").click().run()
        return "the next run is held" in shown(drawn(at))

    assert [says_held(what) for what in ("address", "members", "sign_in")] == [True, True, False]
    with write_session(practising.engine) as session:
        session.get_one(Connection, number).times_replaced = 1
    assert says_held("sign_in")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANALYST])
def test_only_an_admin_sees_the_form(practising: Bridge, role: Role):
    at = open_page(CONNECTIONS, user=sign_in_as(practising, role))

    assert not [each for each in at.text_input if (each.key or "").startswith("receiver_")]
