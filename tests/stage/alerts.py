"""Alerts as tests see them: channels that need no admin, and what was written for them."""

from __future__ import annotations

from typing import Any

from sqlmodel import col, select

from core.bridge import Bridge
from core.vendors.notifiers import WEBHOOK
from data import alert_states
from data.alert_models import AlertChannel
from data.engine import read_session, write_session
from data.outbox_models import AlertMessage, AlertState


def add_channel(bridge: Bridge, url: str = "https://hooks.example.com/", **wants: Any) -> int:
    """Add a channel as it is kept, whatever its address leads to."""
    values = {"name": url, "kind": WEBHOOK, "warnings": True, **wants}
    channel = AlertChannel(address=bridge.vault.encrypt(url), created_at=bridge.clock.now(), **values)
    with write_session(bridge.engine) as session:
        session.add(channel)
    assert channel.id is not None
    return channel.id


def list_messages(bridge: Bridge, channel_id: int | None = None) -> list[AlertMessage]:
    """List the messages that were written, the oldest first."""
    query = select(AlertMessage).order_by(col(AlertMessage.id))
    with read_session(bridge.engine) as session:
        rows = session.exec(query).all()
    return [message for message in rows if channel_id in (None, message.channel_id)]


def told(bridge: Bridge, channel_id: int | None = None) -> list[tuple[str, str]]:
    """Return what was told, in order: what happened, and how bad that is."""
    return [(message.event, message.severity) for message in list_messages(bridge, channel_id)]


def statuses(bridge: Bridge) -> list[str]:
    return [message.status for message in list_messages(bridge)]


def list_open(bridge: Bridge) -> list[AlertState]:
    return alert_states.list_open(bridge.engine)
