"""Where alerts go, as admins enter it: webhooks and services, what each wants to be told, and a test of each."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import SecretStr

from core.access.roles import Actor, Role, action, note_refusal
from core.bridge import Bridge
from core.errors import CohortBridgeError, NameInUse, NotFound, SettingsError
from core.seen import saving
from core.syncs.checks import checked_tags
from core.text import shown
from core.validation import clean_line
from core.vendors import notifiers
from core.vendors.notices import Notice
from core.vendors.notifiers import NotifyError
from data import alert_channels
from data.alert_channels import ChannelTaken
from data.alert_models import AlertChannel
from data.seen import Seen, see

NAME_LENGTH = 100
# What an address looks like, by where it leads: the same as in docs/operate/alerts.md.
ADDRESS_EXAMPLES = {
    "Mail": "mailtos://user:password@example.com?smtp=smtp.example.com&from=bridge@example.com&to=ops@example.com",
    "Slack, as Slack gives it": "https://hooks.slack.com/services/T.../B.../...",
    "Microsoft Teams, as Teams gives it": "workflows://...",
    "Discord, as Discord gives it": "https://discord.com/api/webhooks/...",
    "Telegram": "tgram://bot_token/chat_id",
    "PagerDuty": "pagerduty://integration_key@api_key",
    "Opsgenie": "opsgenie://api_key",
    "Your own ntfy": "ntfys://host/topic",
    "Your own Gotify": "gotifys://host/token",
    "Your own Matrix": "matrixs://user:password@host/#room",
    "A webhook of your own": "https://example.com/alerts",
}
_LONGEST_ADDRESS = 1000
_GONE = "This channel was removed already."
# Nobody waits longer for the answer to a click.
_TEST_WITHIN_S = 20.0


@dataclass(frozen=True)
class ChannelForm:
    """What is entered of a channel. Without an address, one that is there keeps its own.

    `may_want_none`: that it names no sync is meant, and it is told of what concerns no single one.
    """

    name: str
    address: SecretStr = field(default_factory=lambda: SecretStr(""))
    all_syncs: bool = True
    sync_ids: Sequence[int] = ()
    tags: Sequence[str] = ()
    warnings: bool = False
    may_want_none: bool = False


def see_channel(channel: AlertChannel) -> Seen:
    """Return what somebody sees who is to edit a channel, the address by how it is sealed."""
    return see(channel, ("name", "address", "all_syncs", "sync_ids", "tags", "warnings"))


@action(Role.ADMIN)
def list_channels(bridge: Bridge, actor: Actor) -> list[AlertChannel]:
    """List where alerts go, by name."""
    return alert_channels.list_present(bridge.engine)


@action(Role.ADMIN)
def add_channel(bridge: Bridge, actor: Actor, form: ChannelForm) -> AlertChannel:
    """Add a channel whose address may be sent to; nothing is sent.

    Raises: SettingsError naming the field, NameInUse.
    """
    with noted(bridge, actor, "add_channel", form.name):
        return added(bridge, actor, {**wanted_values(form), **address_values(bridge, form.address)})


@action(Role.ADMIN)
def edit_channel(
    bridge: Bridge, actor: Actor, channel_id: int, form: ChannelForm, *, seen: Seen | None = None
) -> AlertChannel:
    """Change a channel; with an address it leads there from now on.

    With what was `seen` of it (`see_channel`), no one may have changed that since.
    Raises: SettingsError, NameInUse, NotFound, ChangedMeanwhile.
    """
    with noted(bridge, actor, "edit_channel", form.name):
        values = wanted_values(form)
        if form.address.get_secret_value().strip():
            values |= address_values(bridge, form.address)
        return edited(bridge, channel_id, values, seen=seen)


@action(Role.ADMIN)
def enable_channel(bridge: Bridge, actor: Actor, channel_id: int) -> AlertChannel:
    """Send alerts to a channel again. Raises NotFound."""
    return edited(bridge, channel_id, {"enabled": True})


@action(Role.ADMIN)
def disable_channel(bridge: Bridge, actor: Actor, channel_id: int) -> AlertChannel:
    """Send no alerts to a channel until it is enabled again. Raises NotFound."""
    return edited(bridge, channel_id, {"enabled": False})


@action(Role.ADMIN)
def remove_channel(bridge: Bridge, actor: Actor, channel_id: int) -> AlertChannel:
    """Forget a channel and its address. Raises NotFound."""
    removed = alert_channels.remove(bridge.engine, channel_id)
    if removed is None:
        raise NotFound(_GONE)
    return removed


@action(Role.ADMIN)
def send_test_alert(bridge: Bridge, actor: Actor, channel_id: int) -> AlertChannel:
    """Send a test to a channel, enabled or not; returns once it was accepted.

    Raises: NotFound, SecretKeyLost, NotifyRefused, NotifyFailed, NotifyUndecided.
    """
    channel = _require(alert_channels.get(bridge.engine, channel_id))
    with noted(bridge, actor, "send_test_alert", channel.name):
        address = bridge.vault.decrypt(channel.address)
        send = partial(
            notifiers.notify,
            channel.kind,
            address,
            _test_notice(bridge, channel.name),
            allow_private=bridge.settings.allow_private_hosts,
            within_s=_TEST_WITHIN_S,
        )
        trouble: NotifyError | None = None
        try:
            asyncio.run(send())
        except NotifyError as exc:
            trouble = exc
        now, said = bridge.clock.now(), trouble.message if trouble else None
        alert_channels.record_outcome(bridge.engine, channel_id, trouble=said, now=now)
        if trouble:
            raise trouble
    return _require(alert_channels.get(bridge.engine, channel_id))


def _test_notice(bridge: Bridge, name: str) -> Notice:
    return Notice(
        title="Test of Cohort Bridge",
        lines=(f"This is a test of the channel {name}.", "Alerts arrive here as this did. Nothing is wrong."),
        link=None,
        severity="test",
        event="test",
        at=bridge.clock.now(),
        id=str(uuid.uuid4()),
    )


# --- what was entered ----------------------------------------------------------------------------------------------


def wanted_values(form: ChannelForm) -> dict[str, Any]:
    """Return what a channel is called and wants. Raises SettingsError naming the field."""
    tags, sync_ids = checked_tags(form.tags), sorted(set(form.sync_ids))
    if not (form.all_syncs or tags or sync_ids or form.may_want_none):
        raise SettingsError("Syncs: choose some, or tags, or all syncs.")
    return {
        "name": clean_line(form.name, "Name", most=NAME_LENGTH),
        "all_syncs": form.all_syncs,
        "sync_ids": [] if form.all_syncs else sync_ids,
        "tags": [] if form.all_syncs else tags,
        "warnings": form.warnings,
    }


def address_values(bridge: Bridge, entered: SecretStr) -> dict[str, Any]:
    """Check an address, and return what is stored of it. Raises SettingsError naming the field, never the address."""
    text = clean_line(entered.get_secret_value(), "Address", most=_LONGEST_ADDRESS)
    place = asyncio.run(notifiers.identify(text, allow_private=bridge.settings.allow_private_hosts))
    return {"kind": place.kind, "address": bridge.vault.encrypt(text), "shown": place.shown}


def added(bridge: Bridge, actor: Actor, values: dict[str, Any]) -> AlertChannel:
    """Store a channel whose values were checked. Raises NameInUse."""
    with _taken():
        return alert_channels.add(
            bridge.engine, values, created_by=actor.name, seal_again=bridge.vault.seal_again, now=bridge.clock.now()
        )


def edited(bridge: Bridge, channel_id: int, values: dict[str, Any], *, seen: Seen | None = None) -> AlertChannel:
    """Store values of a channel that were checked. Raises NameInUse, NotFound, ChangedMeanwhile."""
    with _taken(), saving("this channel"):
        seal_again = bridge.vault.seal_again
        return _require(alert_channels.edit(bridge.engine, channel_id, values, seen=seen, seal_again=seal_again))


def _require(channel: AlertChannel | None) -> AlertChannel:
    if channel is None or channel.removed:
        raise NotFound(_GONE)
    return channel


@contextmanager
def _taken() -> Generator[None]:
    try:
        yield
    except ChannelTaken as exc:
        raise NameInUse("Name: another channel has this name.", advice="Choose another name.") from exc


@contextmanager
def noted(bridge: Bridge, actor: Actor, name: str, channel: str) -> Generator[None]:
    """Note in the audit log what fails inside, with the reason, which holds no address."""
    try:
        yield
    except CohortBridgeError as exc:
        what = f"Alert channel {shown(channel.strip(), most=NAME_LENGTH) or 'without a name'}"
        note_refusal(bridge, actor.name, name, shown(f"{what}: {exc.message}", most=500))
        raise
