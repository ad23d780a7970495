"""Receivers that are not Apptimize: how they are signed in to, from the form and the command line to their groups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from core.access import audit_log
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.cli import up
from core.connections import destinations, lookup
from core.connections.receiver_form import ReceiverForm, receiver_for
from core.errors import CohortBridgeError, PlaceInUse, VendorAuthFailed
from core.syncs import recurring
from core.worker import service
from data.models import Connection, RunStatus
from tests.stage.home import Home, export, group_row
from tests.stage.receivers import Receiver
from tests.stage.sandbox import IMPORTED, WEB, Sandbox
from tests.stage.seeds import few

SIGN_INS = {"basic": "basic", "bearer": "bearer", "header": "header", "path": "address"}


@pytest.fixture
def bridge(home: Home, sandbox: Sandbox) -> Iterator[Bridge]:
    with home.bridge(mixpanel_url=sandbox.url) as opened:
        yield opened


def form_for(receiver: Receiver, **entered: str) -> ReceiverForm:
    """What is entered of a receiver of the sandbox; it is sent Apptimize ids under the key that it knows people by."""
    named = {"basic": receiver.username, "header": receiver.header}
    values = {"secret": receiver.secret, "sign_in_name": named.get(receiver.sign_in, ""), "member_key": receiver.key}
    values |= entered
    secret = SecretStr(values.pop("secret"))
    return ReceiverForm(SecretStr(receiver.url), sign_in=SIGN_INS[receiver.sign_in], secret=secret, **values)  # type: ignore[arg-type]


def stored(bridge: Bridge, name: str) -> Connection:
    return next(
        connection
        for connection in lookup.list_connections(bridge, LOCAL)
        if (connection.name, connection.side) == (name, "destination")
    )


def newest_action(bridge: Bridge) -> str:
    return audit_log.list_audit(bridge, LOCAL)[0].action


@few(2)
@pytest.mark.parametrize("sign_in", ["basic", "bearer", "header", "path"])
def test_a_receiver_of_each_sign_in_holds_the_cohort(bridge: Bridge, sandbox: Sandbox, sign_in: str):
    receiver = sandbox.receiver("replaces", sign_in=sign_in)
    made = destinations.connect_receiver(bridge, LOCAL, form_for(receiver), name="theirs")
    run = export(bridge, IMPORTED, to="theirs")

    assert (made.practice, run.status) == (True, RunStatus.SUCCEEDED)
    assert receiver.members(IMPORTED) == sandbox.answer(IMPORTED).group
    assert receiver_for(bridge, made).member_key == receiver.key


def test_a_sync_to_a_receiver_that_takes_the_sign_in_no_more_is_paused_with_the_cause(bridge: Bridge, sandbox: Sandbox):
    receiver = sandbox.receiver("replaces")
    made = destinations.connect_receiver(bridge, LOCAL, form_for(receiver), name="theirs")
    sync = recurring.add_sync(bridge, LOCAL, WEB, to="theirs")
    receiver.fault("unauthorized")

    service.once(bridge)

    paused = recurring.pause_sync(bridge, LOCAL, sync.id or 0)
    assert "The receiver does not accept the user name and password." in (paused.paused_reason or "")
    assert "Apptimize" not in (paused.paused_reason or "")
    sandbox.clear_faults()
    destinations.replace_sign_in(bridge, LOCAL, made.id or 0, form_for(receiver))
    recurring.resume_sync(bridge, LOCAL, sync.id or 0)
    service.once(bridge)
    assert receiver.members(WEB) == sandbox.answer(WEB).group


def test_the_same_place_with_the_same_credentials_is_one_destination(bridge: Bridge, sandbox: Sandbox):
    receiver = sandbox.receiver("replaces", sign_in="header", header="X-Receiver-Key")
    destinations.connect_receiver(bridge, LOCAL, form_for(receiver), name="theirs")

    # The name of a header is the same in either case; the id that is sent makes no other destination of it.
    for entered in ({}, {"sign_in_name": "x-RECEIVER-key"}, {"member_key": "another", "member_id": "distinct"}):
        with pytest.raises(PlaceInUse, match="the connection theirs leads to this address with these credentials"):
            destinations.connect_receiver(bridge, LOCAL, form_for(receiver, **entered), name="second", apart=True)


def test_other_credentials_at_a_place_are_refused_until_it_is_said_that_groups_are_apart(
    bridge: Bridge, sandbox: Sandbox
):
    same = {"url": SecretStr(f"{sandbox.endpoint}?of=them"), "secret": SecretStr(sandbox.token)}
    destinations.connect_receiver(bridge, LOCAL, ReceiverForm(**same), name="theirs")

    as_header = ReceiverForm(**same, sign_in="header", sign_in_name="APPTIMIZEAPITOKEN")
    with pytest.raises(PlaceInUse, match="with this token already"):
        destinations.connect_receiver(bridge, LOCAL, as_header, name="second", apart=True)
    other = ReceiverForm(same["url"], sign_in="bearer", secret=SecretStr("another-token"))
    with pytest.raises(CohortBridgeError, match="^Token: the receiver does not accept it"):
        destinations.connect_receiver(bridge, LOCAL, other, name="second", apart=True)


def test_a_sign_in_that_is_refused_leaves_the_one_before(bridge: Bridge, sandbox: Sandbox):
    default = stored(bridge, "default")
    wrong = ReceiverForm(SecretStr(""), sign_in="basic", sign_in_name="someone", secret=SecretStr("a-wrong-password"))

    with pytest.raises(VendorAuthFailed, match="^Password: the receiver does not accept it"):
        destinations.replace_sign_in(bridge, LOCAL, default.id or 0, wrong)

    assert stored(bridge, "default") == default


@pytest.mark.parametrize(
    "changed",
    [
        {"member_key": "user_id"},
        {"member_id": "distinct"},
        {"member_property": "plan_key", "member_id": "property"},
        {"adds_only": True},
    ],
)
def test_another_id_key_or_way_of_removing_puts_the_groups_in_doubt_and_the_same_does_not(
    bridge: Bridge, sandbox: Sandbox, changed: dict[str, object]
):
    present = {"member_id": "", "member_property": "", "member_key": "", "adds_only": False}
    export(bridge, WEB)
    default = stored(bridge, "default")

    same = destinations.change_receiver(bridge, LOCAL, default.id or 0, **present)  # type: ignore[arg-type]
    assert (same.times_replaced, group_row(bridge, WEB).in_doubt) == (default.times_replaced, False)
    destinations.change_receiver(bridge, LOCAL, default.id or 0, **present | changed)  # type: ignore[arg-type]

    assert newest_action(bridge) == "change_receiver"
    group = group_row(bridge, WEB)
    assert (group.in_doubt, group.doubt_cause) == (True, "connection")
    after = stored(bridge, "default")
    assert (after.secret, after.url, after.sign_in) == (default.secret, default.url, default.sign_in)


def test_replacing_what_signs_in_keeps_which_id_is_sent(bridge: Bridge, sandbox: Sandbox):
    receiver = sandbox.receiver("replaces")
    made = destinations.connect_receiver(bridge, LOCAL, form_for(receiver), name="theirs")

    again = destinations.replace_sign_in(bridge, LOCAL, made.id or 0, form_for(receiver, member_key="ignored"))

    assert (again.member_key, again.url) == (receiver.key, receiver.url)
    assert newest_action(bridge) == "replace_sign_in"


def test_the_practice_mode_leaves_a_receiver_that_a_person_connected_there(bridge: Bridge, sandbox: Sandbox):
    receiver = sandbox.receiver("replaces")
    destinations.connect_receiver(bridge, LOCAL, form_for(receiver), if_taken="replace")

    up.connect_sandbox(bridge, sandbox.url)

    assert stored(bridge, "default").url == receiver.url


# --- the command line ----------------------------------------------------------------------------------------------


def test_a_receiver_is_connected_from_the_command_line(sandbox: Sandbox, home: Home, bridge: Bridge):
    basic, secret = sandbox.receiver("replaces"), sandbox.receiver("secret-path")

    done = home.run(
        "connect", "apptimize", "--endpoint", basic.url, "--auth", "basic", "--auth-name", basic.username,
        "--member-key", basic.key, "--name", "basic", env={"COHORT_BRIDGE_APPTIMIZE_TOKEN": basic.secret},
    )  # fmt: skip
    hidden = home.run(
        "connect", "apptimize", "--endpoint", "-", "--auth", "none", "--member-id", "plan_key", "--members", "adds",
        "--name", "hidden", env={"COHORT_BRIDGE_RECEIVER_URL": secret.url},
    )  # fmt: skip

    assert (done.code, done.err, hidden.code, hidden.err) == (0, "", 0, "")
    first, other = stored(bridge, "basic"), stored(bridge, "hidden")
    assert (first.sign_in, first.sign_in_name, first.member_key) == ("basic", basic.username, basic.key)
    assert (other.member_id, other.member_property, other.adds_only) == ("property", "plan_key", True)
    assert receiver_for(bridge, other).url == secret.url
    assert secret.secret not in "".join(home.said)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--auth oauth", ("--auth", "basic")),
        ("--auth basic --auth-name some:one", ("User name", "colon")),
        ("--auth basic", ("User name", "needed")),
        ("--auth bearer --auth-name someone", ("--auth-name", "--auth basic")),
        ("--auth none --auth-name someone", ("--auth-name", "--auth basic")),
        ("--auth bearer --member-id email", ("Member property", "email")),
        (f"--auth bearer --member-id {'x' * 300}", ("Member property", "at most 255")),
        ("--auth bearer --members both", ("--members", "adds")),
        ("--auth none --endpoint -", ("Endpoint", "COHORT_BRIDGE_RECEIVER_URL")),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_the_command(home: Home, options: str, words: tuple[str, ...]):
    given = ["--endpoint", "https://h.example/s3cr3t", *options.split()]
    done = home.run("connect", "apptimize", *given, env={"COHORT_BRIDGE_APPTIMIZE_TOKEN": "a-hidden-secret"})

    assert done.code == 2
    assert [word for word in words if word not in done.err] == []
    assert "s3cr3t" not in done.err + done.out
    assert "a-hidden-secret" not in done.err + done.out


def test_a_header_with_a_line_break_is_refused_by_the_command(home: Home):
    done = home.run(
        "connect", "apptimize", "--auth", "header", "--endpoint", "https://h.example/",
        "--auth-name", "X-Key\r\nHost: evil",
        env={"COHORT_BRIDGE_APPTIMIZE_TOKEN": "a-hidden-secret"},
    )  # fmt: skip

    assert (done.code, "Header: it holds a line break" in done.err) == (2, True)


def test_what_signs_in_is_asked_for_where_it_is_not_in_the_environment(home: Home):
    done = home.run("connect", "apptimize", "--auth", "basic", "--endpoint", "https://h.example/", "--auth-name", "x")

    assert (done.code, "COHORT_BRIDGE_APPTIMIZE_TOKEN" in done.err, "Password" in done.err) == (2, True, True)
