"""Receivers that only add: whom a delivery may have added is removed by name, and nobody is left behind unnoticed."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import update
from sqlmodel import col, select

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import entering, lookup, removal
from core.connections.destinations import connect_endpoint, connect_receiver
from core.export import run as running
from core.export.hold import hold_if_wrong
from core.syncs import held_runs, listing, recurring, undo
from core.worker import retention, service
from data import tried
from data.engine import read_session, write_session
from data.models import DESTINATION_SIDE, Connection, Group, Run, RunStatus, SyncState
from tests.emulator.test_damaged_files import DAMAGES
from tests.emulator.test_restored_database import back_up, restored
from tests.stage.adding import lead_to, messages_of
from tests.stage.clock import FakeClock
from tests.stage.home import Home, export, group_row, newest_run
from tests.stage.home import connect as connect_vendors
from tests.stage.receivers import Receiver, connect, form_of
from tests.stage.sandbox import LATER_S, POWER, TRIAL, Sandbox
from tests.stage.seeds import LONG, few, some

pytestmark = some(6)

DAY_S = 24 * 3600
# Times at which the cohort is another one each, none of which holds another.
TIMES = (0.0, LATER_S, 2 * LATER_S, 3 * LATER_S)


@pytest.fixture
def receiver(sandbox: Sandbox, bridge: Bridge) -> Receiver:
    """A receiver that only adds, which the destination leads to from the first."""
    made = sandbox.receiver("only-adds", key="crm id")
    lead_to(bridge, made)
    return made


def held(receiver: Receiver) -> set[str] | None:
    members = receiver.members(TRIAL)
    return None if members is None else set(members)


def cohort(sandbox: Sandbox) -> set[str]:
    return set(sandbox.answer(TRIAL).group)


def cut_off(bridge: Bridge, receiver: Receiver, sandbox: Sandbox, *, after: int, **options: object) -> Run:
    """Export, and let the receiver take so many messages and no more."""
    receiver.fault("server_error", after=after)
    run = export(bridge, TRIAL, **options)
    sandbox.clear_faults()
    return run


def list_tried(bridge: Bridge) -> list[str]:
    with read_session(bridge.engine) as session:
        return [row.snapshot for row in tried.list_tried(session, group_row_id(bridge))]


def group_row_id(bridge: Bridge) -> int:
    return newest_run(bridge).group_id


def actions(receiver: Receiver) -> list[tuple[str, int]]:
    return [(message["action"], message["members"]) for message in receiver.messages()]


def test_a_full_write_sends_all_members_and_then_removes_those_who_left(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver
):
    export(bridge, TRIAL)
    before = held(receiver)
    assert before == cohort(sandbox)
    sandbox.at(LATER_S)
    sandbox.forget_requests()

    run = export(bridge, TRIAL, full=True)

    left, members = len((before or set()) - cohort(sandbox)), len(cohort(sandbox))
    assert left
    assert (run.status, run.write, run.removed) == (RunStatus.SUCCEEDED, "full", left)
    assert held(receiver) == cohort(sandbox)
    assert actions(receiver) == [("members", members), ("remove_members", left)]
    assert (run.messages, run.messages_expected) == (2, 2)


def test_a_difference_is_sent_as_to_any_other_receiver(bridge: Bridge, sandbox: Sandbox, receiver: Receiver):
    export(bridge, TRIAL)
    sandbox.at(LATER_S)
    sandbox.forget_requests()

    run = export(bridge, TRIAL)

    assert run.write == "delta"
    assert actions(receiver) == [("remove_members", run.removed), ("add_members", run.added)]
    assert held(receiver) == cohort(sandbox)


@few(2)
@pytest.mark.parametrize("kept", [3, 0, 1, 2, 4])
def test_a_first_delivery_that_was_cut_off_leaves_nobody_behind(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver, kept: int
):
    with messages_of(12):
        failed = cut_off(bridge, receiver, sandbox, after=kept)
    assert (failed.status, len(held(receiver) or ())) == (RunStatus.FAILED, 12 * kept)
    first = cohort(sandbox)
    sandbox.at(LATER_S)

    run = export(bridge, TRIAL)

    assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full")
    assert held(receiver) == cohort(sandbox)
    assert f"{len(first - cohort(sandbox))} people whom they may have added" in (run.notice or "")
    assert list_tried(bridge) == []
    assert export(bridge, TRIAL).write == "none"


@LONG
@few(1)
@pytest.mark.parametrize("full", [True, False], ids=["all members", "a difference"])
def test_each_message_may_be_the_last_of_a_later_delivery(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver, full: bool
):
    """Tries with another cohort each, cut off after one message more each time: everybody of all of them goes."""
    with messages_of(12):
        export(bridge, TRIAL)
        tries = 0
        for number in range(1, 8):
            sandbox.at(TIMES[number % 4])
            run = cut_off(bridge, receiver, sandbox, after=number, full=full)
            tries += run.status == RunStatus.FAILED
            if run.status == RunStatus.SUCCEEDED:
                assert held(receiver) == cohort(sandbox)
                assert list_tried(bridge) == []
        assert tries > 3
        sandbox.at(LATER_S / 2)
        assert export(bridge, TRIAL).status == RunStatus.SUCCEEDED
    assert held(receiver) == cohort(sandbox)
    assert list_tried(bridge) == []
    names = {path.stem for path in bridge.snapshots.folder.glob("*.parquet")}
    assert not [name for name in names if name.startswith("leavers")]


def test_the_daily_overwrite_that_falls_due_while_a_run_works_removes_by_name_too(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    export(bridge, TRIAL)
    sandbox.at(LATER_S)
    fake_clock.shift_s += DAY_S - 300

    def hold_and_let_time_pass(*facts: Any) -> None:
        hold_if_wrong(*facts)
        fake_clock.shift_s += 600

    monkeypatch.setattr(running, "hold_if_wrong", hold_and_let_time_pass)

    assert export(bridge, TRIAL).write == "full"
    assert held(receiver) == cohort(sandbox)


def test_a_failure_in_the_body_of_a_success_is_one(bridge: Bridge, sandbox: Sandbox, receiver: Receiver):
    export(bridge, TRIAL)
    sandbox.at(LATER_S)
    receiver.fault("receiver_failure_200", after=1)
    assert export(bridge, TRIAL, full=True).status == RunStatus.FAILED
    sandbox.clear_faults()
    sandbox.at(2 * LATER_S)

    assert export(bridge, TRIAL).write == "full"
    assert held(receiver) == cohort(sandbox)


@LONG
@few(1)
@pytest.mark.parametrize("lost", ["base", "tried"])
def test_a_file_that_is_lost_holds_the_run_until_a_person_applies_it(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver, lost: str
):
    recurring.add_sync(bridge, LOCAL, TRIAL)
    service.once(bridge)
    sandbox.at(LATER_S)
    receiver.fault("server_error", after=1)
    recurring.run_now(bridge, LOCAL, 1)
    service.once(bridge)
    sandbox.clear_faults()
    (name,) = list_tried(bridge)
    DAMAGES["one member missing"](bridge.snapshots.path(name if lost == "tried" else base_of(bridge)))
    before = held(receiver)
    sandbox.at(2 * LATER_S)
    recurring.run_now(bridge, LOCAL, 1)
    service.once(bridge)

    run = newest_run(bridge)
    assert (run.status, run.error_code) == (RunStatus.HELD, "held_unknown_members")
    assert "holds other members than it was made with; it was set aside as" in (run.error_message or "")
    assert held(receiver) == before
    assert list_tried(bridge) == [name]

    held_runs.apply_held(bridge, LOCAL, run.id or 0)
    service.once(bridge)
    assert (newest_run(bridge).status, newest_run(bridge).write) == (RunStatus.SUCCEEDED, "full")
    assert cohort(sandbox) <= (held(receiver) or set())
    assert (list_tried(bridge), group_row(bridge, TRIAL).in_doubt) == ([], False)


def base_of(bridge: Bridge) -> str:
    return group_row(bridge, TRIAL).base_snapshot or ""


@LONG
def test_whom_deliveries_began_with_outlives_retention_and_the_sweep_of_orphans(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver, fake_clock: FakeClock
):
    export(bridge, TRIAL)
    sandbox.at(LATER_S)
    cut_off(bridge, receiver, sandbox, after=1)
    (name,) = list_tried(bridge)
    fake_clock.shift_s += 200 * 24 * 3600

    assert retention.forget_old_runs(bridge) == 1
    retention.remove_unnamed_files(bridge)

    assert {path.stem for path in bridge.snapshots.folder.glob("run-*.parquet")} == {base_of(bridge), name}
    sandbox.at(2 * LATER_S)
    assert export(bridge, TRIAL).status == RunStatus.SUCCEEDED
    assert held(receiver) == cohort(sandbox)
    assert not bridge.snapshots.exists(name)


def test_a_cohort_that_somebody_deleted_there_is_written_in_full_by_the_same_run(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver
):
    export(bridge, TRIAL)
    receiver.forget(TRIAL)
    sandbox.at(LATER_S)

    run = export(bridge, TRIAL)

    assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full")
    assert held(receiver) == cohort(sandbox)
    assert run.messages == run.messages_expected


def test_a_cohort_that_is_being_deleted_there_pauses_as_ever(bridge: Bridge, sandbox: Sandbox, receiver: Receiver):
    recurring.add_sync(bridge, LOCAL, TRIAL)
    receiver.fault("cohort_in_deletion")

    service.once(bridge)

    assert (newest_run(bridge).status, newest_run(bridge).error_code) == (RunStatus.FAILED, "receiver_refused")
    assert actions(receiver)[1:] == []
    (view,) = listing.list_syncs(bridge, LOCAL)
    assert view.sync.state == SyncState.PAUSED


@LONG
def test_a_rollback_removes_by_name_too(bridge: Bridge, sandbox: Sandbox, receiver: Receiver):
    first = export(bridge, TRIAL)
    before = held(receiver)
    sandbox.at(LATER_S)
    export(bridge, TRIAL)
    cut_off(bridge, receiver, sandbox, after=0, full=True)
    undo.undo_to(bridge, LOCAL, first.id or 0)

    service.once(bridge)

    assert (newest_run(bridge).status, newest_run(bridge).write) == (RunStatus.SUCCEEDED, "full")
    assert held(receiver) == before


def test_a_dry_run_says_how_many_would_be_removed_and_keeps_nothing(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver
):
    with messages_of(12):
        cut_off(bridge, receiver, sandbox, after=1)
    first, before = cohort(sandbox), held(receiver)
    sandbox.at(LATER_S)
    files = sorted(bridge.snapshots.folder.iterdir())

    run = export(bridge, TRIAL, dry_run=True)

    assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full")
    assert f"{len(first - cohort(sandbox))} people" in (run.notice or "")
    assert sorted(bridge.snapshots.folder.iterdir()) == files
    assert held(receiver) == before


def destination(bridge: Bridge) -> Connection:
    return next(one for one in lookup.list_connections(bridge, LOCAL) if one.side == DESTINATION_SIDE)


def enter(bridge: Bridge, **values: object) -> None:
    """Enter values of the destination again, as its form does; the password as it was, or another one."""
    present = destination(bridge)
    entering.replace(bridge, present, {"secret": present.secret, **values})


def password(bridge: Bridge, text: str) -> str:
    return bridge.vault.encrypt(text)


@LONG
def test_another_password_leads_to_the_same_group_or_to_an_empty_one_the_first_time(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver
):
    export(bridge, TRIAL)
    other = sandbox.receiver("only-adds", key="crm id")
    enter(bridge, secret=password(bridge, "wrong"))
    assert export(bridge, TRIAL).status == RunStatus.FAILED
    lead_to(bridge, receiver)
    sandbox.at(LATER_S)

    assert export(bridge, TRIAL).status == RunStatus.SUCCEEDED
    assert held(receiver) == cohort(sandbox)
    assert other.members(TRIAL) is None


@few(1)
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"url": "https://elsewhere.example/cohorts"}, "This connection led elsewhere"),
        ({"member_key": "another key"}, "another id, or under another key"),
        ({"member_id": "distinct"}, "another id, or under another key"),
        ({"adds_only": True}, "taken for one that replaces"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_not_known_any_more_holds_every_run_until_it_is_applied(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver, values: dict[str, object], reason: str
):
    if "adds_only" in values:
        set_column(bridge, adds_only=False)
    export(bridge, TRIAL)
    enter(bridge, **values)
    set_column(bridge, url=receiver.url, member_key=receiver.key, member_id="")  # where the messages can be looked at
    before = held(receiver)
    sandbox.at(LATER_S)

    for _ in range(2):
        run = export(bridge, TRIAL)
        assert (run.status, run.error_code) == (RunStatus.HELD, "held_unknown_members")
        assert reason in (run.error_message or "")
        assert held(receiver) == before
    held_runs.apply_held(bridge, LOCAL, run.id or 0)
    service.once(bridge)

    assert newest_run(bridge).status == RunStatus.SUCCEEDED
    assert held(receiver) == cohort(sandbox)
    assert group_row(bridge, TRIAL).untraced is None
    sandbox.at(2 * LATER_S)
    assert export(bridge, TRIAL).write == "delta"


def set_column(bridge: Bridge, **values: object) -> None:
    with write_session(bridge.engine) as session:
        session.exec(update(Connection).where(col(Connection.id) == destination(bridge).id).values(**values))


@LONG
def test_a_password_that_may_be_an_earlier_one_holds(bridge: Bridge, sandbox: Sandbox, receiver: Receiver):
    export(bridge, TRIAL)
    enter(bridge, secret=password(bridge, "second"))
    assert group_row(bridge, TRIAL).untraced is None

    enter(bridge, secret=password(bridge, receiver.secret))

    assert (group_row(bridge, TRIAL).untraced, export(bridge, TRIAL).status) == ("sign_in", RunStatus.HELD)


def test_what_was_let_through_lets_nothing_through_that_is_in_doubt_since(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver
):
    export(bridge, TRIAL)
    for key in ("another key", receiver.key):
        enter(bridge, member_key=key)
    looked_at = export(bridge, TRIAL)
    held_runs.apply_held(bridge, LOCAL, looked_at.id or 0)
    other = sandbox.receiver("only-adds", key=receiver.key)
    other.send("members", ["somebody"], cohort=TRIAL)
    enter(bridge, url=other.url, sign_in_name=other.username, secret=password(bridge, other.secret))

    service.once(bridge)

    assert (newest_run(bridge).status, newest_run(bridge).error_code) == (RunStatus.HELD, "held_unknown_members")
    assert held(other) == {"somebody"}


def test_a_connection_to_where_a_removed_one_led_is_held_first(bridge: Bridge, sandbox: Sandbox, receiver: Receiver):
    export(bridge, TRIAL)
    removal.remove_connection(bridge, LOCAL, destination(bridge).id or 0)
    connect_endpoint(bridge, LOCAL, url=sandbox.endpoint, token=SecretStr(sandbox.token), name="again")
    lead_to(bridge, receiver, "again")
    sandbox.at(LATER_S)

    run = export(bridge, TRIAL, to="again")

    assert (run.status, run.error_code) == (RunStatus.HELD, "held_unknown_members")
    held_runs.apply_held(bridge, LOCAL, run.id or 0)
    service.once(bridge)
    assert export(bridge, TRIAL, to="again").write == "none"


@LONG
@few(1)
@pytest.mark.parametrize("then", ["moved", "signed in otherwise", "moved, then removed"])
def test_a_connection_to_where_another_one_led_before_is_held_first(
    bridge: Bridge, sandbox: Sandbox, receiver: Receiver, then: str
):
    export(bridge, TRIAL)
    before = held(receiver)
    left = destination(bridge).id or 0
    enter(
        bridge, **({"secret": password(bridge, "other")} if "signed" in then else {"url": f"{sandbox.url}/elsewhere"})
    )
    if "removed" in then:
        removal.remove_connection(bridge, LOCAL, left)
    connect_receiver(bridge, LOCAL, form_of(receiver), name="again", apart="signed" in then)
    sandbox.at(LATER_S)

    run = export(bridge, TRIAL, to="again")

    assert (run.status, run.error_code) == (RunStatus.HELD, "held_unknown_members")
    assert held(receiver) == before
    assert export(bridge, POWER, to="again").status == RunStatus.SUCCEEDED  # no one wrote it there


@LONG
def test_a_connection_to_where_one_leads_that_no_key_opens_is_held_first(home: Home, sandbox: Sandbox, bridge: Bridge):
    receiver = sandbox.receiver("secret-path")
    connect(bridge, receiver)
    export(bridge, TRIAL, to=receiver.name)
    key = home.path / "secret.key"
    lost = key.read_text()
    key.write_text(Fernet.generate_key().decode())
    with home.bridge() as keyless:
        connect_vendors(keyless, sandbox)
        connect_receiver(keyless, LOCAL, form_of(receiver), name="again")
        run = export(keyless, TRIAL, to="again")
        assert (run.status, run.error_code) == (RunStatus.HELD, "held_unknown_members")
        recurring.add_sync(keyless, LOCAL, TRIAL, to="again")

        key.write_text(f"{key.read_text()},{lost}")
        service.once(keyless)

        assert any(
            "lead to the same place" in (row.sync.paused_reason or "") for row in listing.list_syncs(keyless, LOCAL)
        )


def test_a_rollback_that_would_leave_somebody_fails_and_says_so(bridge: Bridge, sandbox: Sandbox, receiver: Receiver):
    first = export(bridge, TRIAL)
    before = held(receiver)
    enter(bridge, member_key="another key")
    undo.undo_to(bridge, LOCAL, first.id or 0)

    service.once(bridge)

    run = newest_run(bridge)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "rollback_unsafe")
    assert held(receiver) == before


def test_a_database_that_was_put_back_holds(home: Home, sandbox: Sandbox, bridge: Bridge, receiver: Receiver):
    export(bridge, TRIAL)
    back_up(home)
    sandbox.at(LATER_S)
    export(bridge, TRIAL)
    bridge.engine.dispose()
    sandbox.at(2 * LATER_S)

    with restored(home) as put_back:
        run = export(put_back, TRIAL)
        assert (run.status, run.error_code) == (RunStatus.HELD, "held_unknown_members")
        assert "older than what was delivered" in (run.error_message or "")


def test_a_group_that_a_database_put_back_lacks_is_held_first(
    home: Home, sandbox: Sandbox, bridge: Bridge, receiver: Receiver
):
    back_up(home)
    export(bridge, TRIAL)
    before = held(receiver)
    bridge.engine.dispose()
    sandbox.at(LATER_S)

    with restored(home) as put_back:
        run = export(put_back, TRIAL)
        assert (run.status, run.error_code) == (RunStatus.HELD, "held_unknown_members")
        assert held(receiver) == before
        receiver.fault("server_error")
        held_runs.apply_held(put_back, LOCAL, run.id or 0)
        service.once(put_back)
        with read_session(put_back.engine) as session:  # what was let through failed
            assert session.exec(select(Group.untraced).where(Group.cohort_id == TRIAL)).one() == "restored"


def test_a_receiver_that_replaces_keeps_no_file_or_row_of_what_was_tried(bridge: Bridge, sandbox: Sandbox):
    export(bridge, TRIAL)
    sandbox.fault("server_error", target="apptimize")
    assert export(bridge, TRIAL, full=True).status == RunStatus.FAILED
    assert list_tried(bridge) == []
    assert {path.stem for path in bridge.snapshots.folder.glob("[rl]*.parquet")} == {base_of(bridge)}
    assert group_row(bridge, TRIAL).untraced == "delivery"
    sandbox.clear_faults()

    assert export(bridge, TRIAL).write == "full"
    assert group_row(bridge, TRIAL).untraced is None
