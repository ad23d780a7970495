"""Alerts: channels are added, tested, changed and removed, and no address is ever shown."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from streamlit.testing.v1 import AppTest

from core.access.roles import LOCAL, Role
from core.alerts import channels
from core.alerts.channels import AlertChannel, ChannelForm
from core.bridge import Bridge
from core.syncs import recurring
from core.vendors.notifiers import WEBHOOK
from data import alert_states, outbox
from data.alert_states import Finding
from data.engine import write_session
from data.outbox import Outcome
from data.outbox_models import Condition, MessageStatus
from tests.pages.dashboard import ALERTS, drawn, open_page, page_buttons, shown, sign_in_as
from tests.stage.processes import ROOT
from tests.stage.sandbox import TRIAL
from tests.stage.webhooks import Webhook, webhook


@pytest.fixture(scope="module")
def served() -> Generator[Webhook]:
    with webhook() as there:
        yield there


@pytest.fixture
def hook(served: Webhook, monkeypatch: pytest.MonkeyPatch) -> Webhook:
    monkeypatch.setenv("COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS", "1")
    served.posted.clear()
    served.status = 200
    return served


def put(bridge: Bridge, address: str = "https://hooks.example/s3cret-path", **values: object) -> int:
    values = {"name": "Ops", "kind": WEBHOOK, "shown": "hooks.example", "created_at": bridge.clock.now(), **values}
    with write_session(bridge.engine) as session:
        channel = AlertChannel(address=bridge.vault.encrypt(address), **values)
        session.add(channel)
        session.flush()
        return channel.id or 0


def enter(at: AppTest, prefix: str, **fields: str) -> AppTest:
    for name, value in fields.items():
        at.text_input(key=f"{prefix}_{name}").input(value)
    return drawn(at.button(key=f"{prefix}_save").click().run())


def test_a_channel_that_no_sync_is_left_of_says_so(bridge: Bridge):
    put(bridge, all_syncs=False)

    assert "No single sync, critical only" in shown(open_page(ALERTS, channel=1))


def test_a_channel_is_added_and_a_test_of_it_answered(bridge: Bridge, hook: Webhook):
    at = drawn(open_page(ALERTS).button(key="alerts_add").click().run())

    at = enter(at, "alerts_new", name="Ops *now*", address=hook.url)
    [added] = channels.list_channels(bridge, LOCAL)
    assert (added.name, added.all_syncs, added.warnings) == ("Ops *now*", True, False)

    at = open_page(ALERTS, channel=added.id)
    at = drawn(at.button(key="alerts_test").click().run())

    assert hook.posted[0].json["severity"] == "test"
    assert "The test was accepted" in shown(at)
    assert "s3cret-path" not in shown(at)


def test_what_cannot_be_used_is_said_in_the_dialog_and_nothing_is_added(bridge: Bridge):
    at = drawn(open_page(ALERTS).button(key="alerts_add").click().run())

    at = enter(at, "alerts_new", name="Ops", address="https://127.0.0.1/s3cret-path")

    assert "Address: this leads to a private address." in shown(at)
    assert at.text_input(key="alerts_new_address").value == "https://127.0.0.1/s3cret-path"
    at = enter(at, "alerts_new", name="")
    assert "Name: this is needed." in shown(at)
    assert "private address" not in shown(at)
    at = enter(at, "alerts_new", name="x" * 200)
    assert "Name: at most 100 characters." in shown(at)
    drawn(at.text_input(key="alerts_new_name").set_value("Ops").run())
    assert "Name: at most" not in shown(at)
    assert at.text_input(key="alerts_new_address").value == "https://127.0.0.1/s3cret-path"
    drawn(at.button(key="alerts_new_save_no").click().run())
    assert "frame_dialog" not in at.session_state
    assert "s3cret-path" not in str(drawn(at.run()).session_state.to_dict())
    assert channels.list_channels(bridge, LOCAL) == []


def test_the_form_has_an_example_of_an_address_of_each_kind(bridge: Bridge):
    text = shown(drawn(open_page(ALERTS).button(key="alerts_add").click().run()))
    explained = (ROOT / "docs" / "operate" / "alerts.md").read_text()

    for receiver, address in channels.ADDRESS_EXAMPLES.items():
        assert address in text, receiver
        assert f"`{address}`" in explained, receiver


def test_a_refused_test_is_said_and_kept(bridge: Bridge, hook: Webhook):
    channel_id = put(bridge, hook.url)
    hook.status = 403

    at = open_page(ALERTS, channel=channel_id)
    at = drawn(at.button(key="alerts_test").click().run())
    assert "The webhook refused the message (403)." in shown(at)

    assert "The last message was not accepted" in shown(open_page(ALERTS, channel=channel_id))
    assert "Not accepted" in shown(open_page(ALERTS))


def test_a_channel_is_changed_and_keeps_its_address(bridge: Bridge):
    channel_id = put(bridge)
    at = drawn(open_page(ALERTS, channel=channel_id).button(key="alerts_edit").click().run())
    prefix = f"alerts_of_{channel_id}"
    assert at.text_input(key=f"{prefix}_address").value == ""

    at.radio(key=f"{prefix}_severity").set_value("Warnings too")
    at = enter(at, prefix, name="Team")

    [changed] = channels.list_channels(bridge, LOCAL)
    assert (changed.name, changed.warnings) == ("Team", True)
    assert bridge.vault.decrypt(changed.address).endswith("s3cret-path")
    assert "Team was changed." in shown(at)


def test_a_channel_that_somebody_else_has_changed_is_not_saved_over_unseen(bridge: Bridge):
    channel_id = put(bridge)
    at = drawn(open_page(ALERTS, channel=channel_id).button(key="alerts_edit").click().run())
    channels.edit_channel(bridge, LOCAL, channel_id, ChannelForm("Theirs"))

    at = enter(drawn(at.run()), f"alerts_of_{channel_id}", name="Mine")

    assert "Somebody else has changed this channel meanwhile. Nothing was saved." in shown(at)
    assert [each.name for each in channels.list_channels(bridge, LOCAL)] == ["Theirs"]


def test_a_sync_that_was_removed_is_still_called_by_its_name(practising: Bridge):
    sync_id = recurring.add_sync(practising, LOCAL, TRIAL, group="Launch").id or 0
    channel_id = put(practising, all_syncs=False, sync_ids=[sync_id])
    recurring.remove_sync(practising, LOCAL, sync_id)

    at = open_page(ALERTS, channel=channel_id)

    assert "Syncs: Launch, to default (removed)" in shown(at)
    at = drawn(at.button(key="alerts_edit").click().run())
    assert "Launch, to default (removed)" in str(at.multiselect[0].proto)


def test_a_channel_is_disabled_and_removed(bridge: Bridge):
    channel_id = put(bridge, all_syncs=False, sync_ids=[99], tags=["vip"])
    at = open_page(ALERTS, channel=channel_id)
    assert "1 sync and syncs tagged vip, critical only" in shown(at)
    assert "sync 99 (removed)" in shown(at)

    at = drawn(at.button(key="alerts_toggle").click().run())
    assert "is sent nothing until it is enabled again" in shown(at)
    assert not channels.list_channels(bridge, LOCAL)[0].enabled

    at = drawn(at.button(key="alerts_remove").click().run())
    assert "its address is deleted" in shown(at)
    at = drawn(at.button(key="alerts_remove_yes").click().run())
    assert channels.list_channels(bridge, LOCAL) == []


def test_many_channels_are_listed_without_an_address(bridge: Bridge):
    for number in range(30):
        put(bridge, name=f"Channel {number:02}")

    text = shown(open_page(ALERTS))

    assert "30 channels" in text
    assert "Channel 29" in text
    assert "s3cret-path" not in text


def test_a_channel_that_is_not_there_is_said_not_to_be(bridge: Bridge):
    assert "There is no channel 7." in shown(open_page(ALERTS, channel=7))


def test_alerts_are_for_admins(bridge: Bridge):
    at = open_page(ALERTS, user=sign_in_as(bridge, Role.ANALYST))

    assert "This needs the role admin" in at.error[0].value
    assert not page_buttons(at)


def test_another_channels_name_is_refused_in_the_dialog(bridge: Bridge, hook: Webhook):
    put(bridge)
    at = drawn(open_page(ALERTS).button(key="alerts_add").click().run())

    at = enter(at, "alerts_new", name="Ops", address=hook.url)

    assert "Name: another channel has this name." in shown(at)


def test_what_was_told_is_listed_with_what_became_of_it_and_the_row_of_failures_can_be_set(bridge: Bridge):
    put(bridge, name="Ops", address="https://hooks.example/s3cret-path")
    low = Finding(Condition.DISK, "critical", {"free_bytes": 1, "total_bytes": 100})
    alert_states.settle_found(bridge.engine, {"disk": low}, now=bridge.clock.now())
    (marked,) = outbox.mark_next(bridge.engine, lease_owner="one", now=bridge.clock.now())
    refused = Outcome(MessageStatus.GIVEN_UP, "The webhook refused the message (403).")
    outbox.record(bridge.engine, marked.message.id or 0, refused, lease_owner="one", now=bridge.clock.now())

    at = open_page(ALERTS)
    row = at.dataframe[-1].value.iloc[0]
    at = drawn(at.number_input(key="alerts_failing_after").set_value(5).run())
    beyond = drawn(open_page(ALERTS).number_input(key="alerts_failing_after").set_value(21).run())

    assert (row["Message"], row["Channel"]) == ("Disk almost full: Cohort Bridge", "Ops")
    assert (row["Outcome"], row["Reason"]) == ("Given up", "The webhook refused the message (403).")
    assert "1 alert may not have arrived" in shown(at)
    assert "A sync is failing after 5 failures in a row from now on." in shown(at)
    assert "Failures in a row: this is a number from 1 to 20." in shown(beyond)
    assert alert_states.read_failing_after(bridge.engine) == 5
