"""Where alerts go: the channels, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select, update

from data.alert_models import AlertChannel
from data.engine import Engine, read_session, write_session
from data.repeating import repeated
from data.seals import SealAgain
from data.seen import Seen, require_as_seen


class ChannelTaken(Exception):
    """Another channel has the name."""


def get(engine: Engine, channel_id: int) -> AlertChannel | None:
    """Return a channel, removed ones too; None if there is none of that id."""
    with read_session(engine) as session:
        return session.get(AlertChannel, channel_id)


def list_present(engine: Engine) -> list[AlertChannel]:
    """List the channels that are not removed, by name."""
    with read_session(engine) as session:
        return list_present_in(session)


def list_present_in(session: Session) -> list[AlertChannel]:
    """List the channels that are not removed, within a session."""
    query = select(AlertChannel).where(col(AlertChannel.removed).is_(False))
    return list(session.exec(query.order_by(col(AlertChannel.name), col(AlertChannel.id))).all())


def add(
    engine: Engine, values: Mapping[str, Any], *, created_by: str, seal_again: SealAgain, now: datetime
) -> AlertChannel:
    """Add a channel; `address` among the values is sealed. Raises ChannelTaken."""
    with write_session(engine) as session:
        _require_free(session, values["name"])
        channel = AlertChannel(created_at=now, created_by=created_by, **_sealed_again(values, seal_again))
        session.add(channel)
    return channel


@repeated
def edit(
    engine: Engine, channel_id: int, values: Mapping[str, Any], *, seen: Seen | None = None, seal_again: SealAgain
) -> AlertChannel | None:
    """Change values of a channel; None when there is none of that id (any more). Raises ChannelTaken, ChangedSinceSeen.

    Of another address it is not known yet whether it accepts anything.
    """
    with write_session(engine) as session:
        channel = session.get(AlertChannel, channel_id)
        if channel is None or channel.removed:
            return None
        require_as_seen(channel, seen)
        if "name" in values:
            _require_free(session, values["name"], but=channel_id)
        forgotten = {"checked_at": None, "trouble": None} if "address" in values else {}
        for name, value in {**_sealed_again(values, seal_again), **forgotten}.items():
            setattr(channel, name, value)
        session.add(channel)
    return channel


@repeated
def remove(engine: Engine, channel_id: int) -> AlertChannel | None:
    """Forget a channel's address and use it no more; None when there is none of that id (any more)."""
    with write_session(engine) as session:
        channel = session.get(AlertChannel, channel_id)
        if channel is None or channel.removed:
            return None
        channel.removed, channel.address = True, None
        session.add(channel)
    return channel


@repeated
def record_outcome(engine: Engine, channel_id: int, *, trouble: str | None, now: datetime) -> None:
    """Record whether a message was accepted (`trouble` is None), or why not."""
    with write_session(engine, by_rows=True) as session:
        note_outcome(session, channel_id, accepted=trouble is None, trouble=trouble, now=now)


def note_outcome(session: Session, channel_id: int, *, accepted: bool, trouble: str | None, now: datetime) -> None:
    """Note, within a writing session, what became of the latest message to a channel."""
    values: dict[str, Any] = {"trouble": None, "checked_at": now} if accepted else {"trouble": trouble}
    session.exec(update(AlertChannel).where(col(AlertChannel.id) == channel_id).values(**values))


def _require_free(session: Session, name: str, *, but: int | None = None) -> None:
    taken = select(AlertChannel.id).where(AlertChannel.name == name, col(AlertChannel.removed).is_(False))
    if any(other != but for other in session.exec(taken).all()):
        raise ChannelTaken(name)


def _sealed_again(values: Mapping[str, Any], seal_again: SealAgain) -> dict[str, Any]:
    return {name: seal_again(value) if name == "address" and value else value for name, value in values.items()}
