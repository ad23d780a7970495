"""Channels of alerts as admins enter them: kept sealed, audited without the address, tested."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from pydantic import SecretStr
from sqlmodel import select

from core.access import audit_log
from core.access.roles import LOCAL
from core.alerts import channels
from core.alerts.channels import ChannelForm
from core.backup import restoring
from core.bridge import Bridge, open_bridge
from core.connections import key_rotation
from core.errors import NameInUse, NotFound, SecretKeyLost, SettingsError
from core.settings import Settings
from core.vendors.notifiers import WEBHOOK, NotifyRefused
from data import sealed
from data.alert_models import AlertChannel
from data.engine import read_session, write_session
from data.models import AuditEntry
from tests.stage.seeds import some
from tests.stage.webhooks import Webhook

pytestmark = some(5)


@pytest.fixture
def inside(bridge: Bridge) -> Generator[Bridge]:
    """The same home, where addresses of this machine are allowed."""
    opened = open_bridge(Settings(home=bridge.settings.home, allow_private_hosts=True, _env_file=None))  # type: ignore[call-arg]
    yield opened
    opened.engine.dispose()


def form(hook: Webhook, name: str = "Ops", **wants: object) -> ChannelForm:
    return ChannelForm(name, SecretStr(hook.url), **wants)  # type: ignore[arg-type]


def audit(bridge: Bridge) -> list[AuditEntry]:
    with read_session(bridge.engine) as session:
        return list(session.exec(select(AuditEntry)).all())


def everything_kept(bridge: Bridge) -> bytes:
    return b"".join(path.read_bytes() for path in bridge.settings.home.rglob("*") if path.is_file())


def test_a_channel_is_kept_sealed_and_audited_without_its_address(inside: Bridge, hook: Webhook):
    added = channels.add_channel(inside, LOCAL, form(hook))
    hook.status = 403
    with pytest.raises(NotifyRefused):
        channels.send_test_alert(inside, LOCAL, added.id or 0)
    channels.remove_channel(inside, LOCAL, added.id or 0)

    assert (added.kind, added.shown, added.enabled) == (WEBHOOK, f"127.0.0.1:{hook.port}", True)
    assert inside.vault.decrypt(added.address) == hook.url
    assert hook.posted[0].json["event"] == "test"
    assert b"s3cret-path" not in everything_kept(inside)
    assert {"add_channel", "send_test_alert", "remove_channel"} <= {line.action for line in audit(inside)}
    assert audit_log.verify_audit(inside, LOCAL).ok


def test_what_came_of_the_last_message_is_kept(inside: Bridge, hook: Webhook):
    channel_id = channels.add_channel(inside, LOCAL, form(hook)).id or 0
    assert channels.send_test_alert(inside, LOCAL, channel_id).checked_at

    hook.status = 410
    with pytest.raises(NotifyRefused):
        channels.send_test_alert(inside, LOCAL, channel_id)
    [refused] = channels.list_channels(inside, LOCAL)
    hook.status = 200
    accepted = channels.send_test_alert(inside, LOCAL, channel_id)

    assert refused.trouble == "The webhook refused the message (410)."
    assert refused.checked_at
    assert accepted.trouble is None


def test_edited_without_an_address_a_channel_keeps_its_own(inside: Bridge, hook: Webhook):
    added = channels.add_channel(inside, LOCAL, form(hook))
    wants = ChannelForm("Team", all_syncs=False, sync_ids=[3, 3], tags=[" b", "a"], warnings=True)

    edited = channels.edit_channel(inside, LOCAL, added.id or 0, wants)

    assert (edited.name, edited.all_syncs, edited.sync_ids, edited.tags, edited.warnings) == (
        "Team", False, [3], ["a", "b"], True,
    )  # fmt: skip
    assert inside.vault.decrypt(edited.address) == hook.url


def test_a_name_is_one_channels_and_free_again_once_that_is_removed(inside: Bridge, hook: Webhook):
    first = channels.add_channel(inside, LOCAL, form(hook)).id or 0
    second = channels.add_channel(inside, LOCAL, form(hook, "Other")).id or 0

    with pytest.raises(NameInUse):
        channels.add_channel(inside, LOCAL, form(hook))
    with pytest.raises(NameInUse):
        channels.edit_channel(inside, LOCAL, second, ChannelForm("Ops"))
    channels.remove_channel(inside, LOCAL, first)
    channels.edit_channel(inside, LOCAL, second, ChannelForm("Ops"))

    with pytest.raises(NotFound):
        channels.enable_channel(inside, LOCAL, first)
    with read_session(inside.engine) as session:
        assert session.get_one(AlertChannel, first).address is None


@pytest.mark.parametrize(
    ("entered", "field"),
    [
        (ChannelForm("", SecretStr("https://example.com")), "Name"),
        (ChannelForm("x", SecretStr("")), "Address"),
        (ChannelForm("x", SecretStr("https://127.0.0.1/hook")), "Address"),
        (ChannelForm("x", SecretStr("https://example.com\r\nHost: inside")), "Address"),
        (ChannelForm("x", SecretStr("https://example.com"), all_syncs=False), "Syncs"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_field(bridge: Bridge, entered: ChannelForm, field: str):
    with pytest.raises(SettingsError, match=f"^{field}: ") as raised:
        channels.add_channel(bridge, LOCAL, entered)

    assert channels.list_channels(bridge, LOCAL) == []
    assert "hook" not in f"{raised.value.message} {raised.value.advice}"


# --- keys ----------------------------------------------------------------------------------------------------------


def test_an_address_is_sealed_again_when_the_key_changes(inside: Bridge, hook: Webhook):
    added = channels.add_channel(inside, LOCAL, form(hook))

    assert key_rotation.rotate_key(inside, LOCAL) == 1

    fresh = open_bridge(inside.settings)
    [kept] = channels.list_channels(fresh, LOCAL)
    assert kept.address != added.address
    assert fresh.vault.decrypt(kept.address) == hook.url
    fresh.engine.dispose()


def test_an_address_that_no_key_opens_is_named(bridge: Bridge):
    with write_session(bridge.engine) as session:
        session.add(AlertChannel(name="Ops", kind=WEBHOOK, address="not sealed", created_at=bridge.clock.now()))

    with pytest.raises(SecretKeyLost, match="alert channel Ops"):
        key_rotation.rotate_key(bridge, LOCAL)
    assert restoring._list_without_key(bridge.engine, bridge.vault) == ["alert channel Ops"]


def test_every_column_that_holds_what_is_sealed_is_listed(inside: Bridge, hook: Webhook):
    channels.add_channel(inside, LOCAL, form(hook))
    sealed_text = channels.list_channels(inside, LOCAL)[0].address

    assert sealed.list_sealed(inside.engine) == [("alert channel", "alert channel", "Ops", (sealed_text,))]
