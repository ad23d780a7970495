"""The outbox: messages that wait, are marked before they are sent, and what became of them.

A message that is marked is never sent again unless its sender says that it did not arrive: where that process ended
first, nobody knows, and a person is told so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, delete, func, select

from data import leases
from data.alert_channels import note_outcome
from data.alert_models import AlertChannel
from data.engine import Engine, read_session, write_session
from data.locks import OUTBOX
from data.models import Lease, LeaseKind
from data.outbox_models import LOST, RECOVERED, UNSENT, AlertMessage, AlertState, MessageStatus
from data.repeating import repeated

# What could not be sent for so long is no news any more.
TRIED_FOR = timedelta(hours=24)
# No wait until the next try is longer than this: one that is, by more than clocks differ, began before the clock was
# set back. What was not tried so far waits for no time at all.
LONGEST_WAIT = timedelta(hours=1)
_SKEW = timedelta(minutes=5)
_SENDER_ENDED = "The process that sent it ended before it knew whether the message arrived."
_LOOKED_AT = 50


@dataclass(frozen=True)
class Marked:
    """A message that is ours to send, and the channel that it goes to."""

    message: AlertMessage
    channel: AlertChannel


@dataclass(frozen=True)
class Outcome:
    """What became of a try: WAITING is one that may be made again, at `next_try_at`."""

    status: MessageStatus
    why: str | None = None
    next_try_at: datetime | None = None


@dataclass(frozen=True)
class SentMessage:
    """A message with the name of its channel, for a screen."""

    message: AlertMessage
    channel: str


@repeated
def mark_next(
    engine: Engine, *, lease_owner: str, now: datetime, busy: Collection[int] = (), most: int = _LOOKED_AT
) -> list[Marked]:
    """Mark messages that are due as ours to send, one of a channel at most, and none of channels that are `busy`.

    What nobody wants any more, or is too old, is ended instead.
    """
    with read_session(engine) as session:
        first = _list_first_due(session, busy, now)[:most]
    if not first:
        return []
    with write_session(engine, OUTBOX) as session:
        rows = session.exec(
            select(AlertMessage, AlertChannel).where(
                col(AlertMessage.id).in_(first),
                *_is_due(now),  # still: another process looks as well
                col(AlertMessage.channel_id) == col(AlertChannel.id),
            )
        ).all()
        return [
            _mark(session, message, channel, lease_owner, now)
            for message, channel in rows
            if not _end_unsent(session, message, channel, now)
        ]


def _list_first_due(session: Session, busy: Collection[int], now: datetime) -> list[int]:
    """List the first message of each channel whose turn it is, without a lock that runs would wait for.

    What is asked of each of very many that wait is asked here: the database would compare each with all before it.
    """
    is_free = col(AlertMessage.channel_id).not_in(busy)
    waiting = select(AlertMessage.id).where(col(AlertMessage.status) == MessageStatus.WAITING, _is_time(now), is_free)
    if session.exec(waiting.limit(1)).first() is None:
        return []
    is_its_turn = (col(AlertMessage.status) == MessageStatus.WAITING) & _is_time(now)
    unsent = select(AlertMessage.id, AlertMessage.channel_id, AlertMessage.subject, is_its_turn).where(
        col(AlertMessage.status).in_(UNSENT), is_free
    )
    first, begun = dict[int, int](), set[tuple[int, str]]()
    for message_id, channel_id, subject, is_due in session.exec(unsent.order_by(col(AlertMessage.id))).all():
        if (channel_id, subject) not in begun and is_due and message_id is not None:
            first.setdefault(channel_id, message_id)
        begun.add((channel_id, subject))
    return list(first.values())


def _is_time(now: datetime) -> ColumnElement[bool]:
    at = col(AlertMessage.next_try_at)
    return (at <= now) | (at > now + LONGEST_WAIT + _SKEW) | (col(AlertMessage.tries) == 0)


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions of a message whose turn it is: those before it about the same have ended."""
    earlier = aliased(AlertMessage)
    waits_for = exists().where(
        col(earlier.channel_id) == col(AlertMessage.channel_id),
        col(earlier.subject) == col(AlertMessage.subject),
        col(earlier.id) < col(AlertMessage.id),
        col(earlier.status).in_(UNSENT),
    )
    return col(AlertMessage.status) == MessageStatus.WAITING, _is_time(now), ~waits_for


def _end_unsent(session: Session, message: AlertMessage, channel: AlertChannel, now: datetime) -> bool:
    """End a message that is not to be sent (any more). False where it is."""
    if channel.removed or not channel.enabled:
        state = "removed" if channel.removed else "switched off"
        status, why = MessageStatus.DROPPED, f"The channel was {state} before it was sent."
    elif message.severity == RECOVERED and _was_given_up(session, message):
        status, why = MessageStatus.GIVEN_UP, "What it says is over could not be told either."
    elif now - message.written_at > TRIED_FOR:
        hours = TRIED_FOR // timedelta(hours=1)
        status, why = MessageStatus.GIVEN_UP, f"It could not be sent within {hours} hours. {message.why or ''}".strip()
    else:
        return False
    message.status, message.why, message.ended_at = status, why, now
    session.add(message)
    return True


def _was_given_up(session: Session, message: AlertMessage) -> bool:
    """Return whether nothing of what a message ends arrived at its channel, or may have."""
    before = select(AlertMessage.status).where(
        AlertMessage.state_id == message.state_id,
        AlertMessage.channel_id == message.channel_id,
        col(AlertMessage.id) < message.id,
    )
    return set(session.exec(before).all()) <= {MessageStatus.GIVEN_UP, MessageStatus.DROPPED}


def _mark(session: Session, message: AlertMessage, channel: AlertChannel, lease_owner: str, now: datetime) -> Marked:
    message.status, message.sender, message.tries = MessageStatus.SENDING, lease_owner, message.tries + 1
    session.add(message)
    leases.take_free(session, LeaseKind.ALERT, message.id, lease_owner=lease_owner, now=now)
    return Marked(message, channel)


@repeated
def record(engine: Engine, message_id: int, outcome: Outcome, *, lease_owner: str, now: datetime) -> bool:
    """Record what became of a message that we marked, and of its channel. False when it is not ours.

    One that was called undecided meanwhile is decided by this.
    """
    with write_session(engine, OUTBOX) as session:
        leases.hand_back(session, LeaseKind.ALERT, message_id, lease_owner=lease_owner)
        message = session.get(AlertMessage, message_id)
        if message is None or message.sender != lease_owner or message.status not in _MINE:
            return False
        message.status, message.why = outcome.status, outcome.why
        if outcome.status == MessageStatus.WAITING:
            message.next_try_at, message.sender, message.ended_at = outcome.next_try_at or now, None, None
        else:
            message.ended_at = now
        session.add(message)
        accepted = outcome.status == MessageStatus.SENT
        note_outcome(session, message.channel_id, accepted=accepted, trouble=outcome.why, now=now)
    return True


_MINE = (MessageStatus.SENDING, MessageStatus.UNDECIDED)


@repeated
def abandon(engine: Engine, lease: Lease, *, now: datetime) -> bool:
    """Note that nobody knows what became of a message whose sender died. False when its lease has moved since."""
    with write_session(engine, OUTBOX) as session:
        if not leases.end_if_unmoved(session, lease):
            return False
        session.exec(
            update(AlertMessage)
            .where(
                col(AlertMessage.id) == int(lease.key),
                col(AlertMessage.status) == MessageStatus.SENDING,
                col(AlertMessage.sender) == lease.lease_owner,
            )
            .values(status=MessageStatus.UNDECIDED, why=_SENDER_ENDED, ended_at=now)
        )
    return True


# --- for screens ---------------------------------------------------------------------------------------------------


def list_lost(engine: Engine) -> list[SentMessage]:
    """List the messages that may not have arrived, or have not, and that nobody has seen so far; the newest first."""
    return _list(engine, col(AlertMessage.status).in_(LOST), col(AlertMessage.seen_by).is_(None), limit=_LOOKED_AT)


def list_latest(engine: Engine, *, limit: int) -> list[SentMessage]:
    """List the messages that were written last, the newest first."""
    return _list(engine, limit=limit)


def _list(engine: Engine, *where: Any, limit: int) -> list[SentMessage]:
    query = select(AlertMessage, AlertChannel.name).where(col(AlertMessage.channel_id) == col(AlertChannel.id), *where)
    with read_session(engine) as session:
        rows = session.exec(query.order_by(col(AlertMessage.id).desc()).limit(limit)).all()
    return [SentMessage(*row) for row in rows]


def count_unsent(engine: Engine) -> int:
    """Count the messages that wait to be sent, or are being sent."""
    query = select(func.count()).select_from(AlertMessage).where(col(AlertMessage.status).in_(UNSENT))
    with read_session(engine) as session:
        return session.exec(query).one()


@repeated
def mark_seen(engine: Engine, message_ids: Sequence[int], *, by: str) -> int:
    """Note that a person knows of messages that may not have arrived; returns how many of them nobody had seen."""
    with write_session(engine, by_rows=True) as session:
        seen = session.exec(
            update(AlertMessage)
            .where(
                col(AlertMessage.id).in_(message_ids),
                col(AlertMessage.status).in_(LOST),
                col(AlertMessage.seen_by).is_(None),
            )
            .values(seen_by=by)
        )
    return seen.rowcount


# --- what is no longer kept ----------------------------------------------------------------------------------------


@repeated
def forget_old(engine: Engine, *, before: datetime, limit: int) -> int:
    """Remove some of the alerts that were over before then, with their messages; returns how many alerts."""
    over = (col(AlertState.closed_at) < before, col(AlertState.id).not_in(_with_unsent()))
    with read_session(engine) as session:
        old = list(session.exec(select(AlertState.id).where(*over).limit(limit)).all())
    if old:
        with write_session(engine) as session:
            session.exec(delete(AlertMessage).where(col(AlertMessage.state_id).in_(old)))
            session.exec(delete(AlertState).where(col(AlertState.id).in_(old)))
    return len(old)


def _with_unsent() -> Any:
    return select(AlertMessage.state_id).where(col(AlertMessage.status).in_(UNSENT))


def settle_restored(session: Session, *, now: datetime) -> int:
    """End what waits in a backup's outbox, and have nobody told that what was open then is over; returns how many."""
    ended = session.exec(
        update(AlertMessage)
        .where(col(AlertMessage.status).in_(UNSENT))
        .values(status=MessageStatus.DROPPED, why="Cohort Bridge was restored from a backup.", ended_at=now)
    )
    session.exec(update(AlertState).where(col(AlertState.closed_at).is_(None)).values(muted=True))
    return ended.rowcount
