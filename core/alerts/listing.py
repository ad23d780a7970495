"""What screens show of alerts: what is not well, what was told, and what of that may not have arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.access.roles import Actor, Role, action, note_done
from core.alerts import wording
from core.alerts.wording import Place
from core.bridge import Bridge
from core.errors import SettingsError
from core.seen import saving
from data import alert_states, outbox
from data.alert_states import MOST_FAILURES
from data.outbox import SentMessage
from data.outbox_models import LOST, Condition, MessageStatus

LATEST = 50
# After how many failures in a row a sync can be failing at the soonest; MOST_FAILURES: at the latest.
LEAST_FAILURES = 1
# What a screen calls a message of each status.
STATUSES = {
    MessageStatus.WAITING: "Waiting",
    MessageStatus.SENDING: "Being sent",
    MessageStatus.SENT: "Sent",
    MessageStatus.UNDECIDED: "May have arrived",
    MessageStatus.GIVEN_UP: "Given up",
    MessageStatus.DROPPED: "Not sent",
}


@dataclass(frozen=True)
class ToldMessage:
    """A message to one channel, and what became of it. `is_lost`: it did not arrive, or nobody knows."""

    id: int
    title: str
    severity: str
    channel: str
    status: str
    is_lost: bool
    written_at: datetime
    tries: int
    why: str
    seen_by: str | None


@dataclass(frozen=True)
class OpenAlert:
    """Something that is not well, with what to do, and where."""

    id: int
    condition: str
    title: str
    text: str
    since: datetime
    group_id: int | None
    place: Place


@action(Role.VIEWER)
def list_open_alerts(bridge: Bridge, actor: Actor) -> list[OpenAlert]:
    """List what is known to be wrong at this moment, the oldest first."""
    return [
        OpenAlert(
            id=alert.id or 0,
            condition=alert.condition,
            title=wording.title_of(alert.condition, alert.severity, alert.facts),
            text=wording.summary_of(alert),
            since=alert.opened_at,
            group_id=alert.facts.get("group_id"),
            place=wording.place_of(alert),
        )
        for alert in alert_states.list_open(bridge.engine)
    ]


@action(Role.VIEWER)
def list_lost_messages(bridge: Bridge, actor: Actor) -> list[ToldMessage]:
    """List the messages that did not arrive, or perhaps not, and that nobody has said to have seen; newest first."""
    return [_told(sent) for sent in outbox.list_lost(bridge.engine)]


@action(Role.VIEWER)
def list_told_messages(bridge: Bridge, actor: Actor, *, limit: int = LATEST) -> list[ToldMessage]:
    """List the messages that were written last, the newest first."""
    return [_told(sent) for sent in outbox.list_latest(bridge.engine, limit=limit)]


@action(Role.ANALYST)
def mark_messages_seen(bridge: Bridge, actor: Actor, message_ids: Sequence[int]) -> int:
    """Note that a person knows of messages that may not have arrived; returns how many nobody had seen before."""
    count = outbox.mark_seen(bridge.engine, message_ids, by=actor.name)
    if count:
        note_done(bridge, actor.name, "mark_messages_seen", f"{count} messages of alerts")
    return count


@action(Role.ADMIN)
def get_failing_after(bridge: Bridge, actor: Actor) -> int:
    """Return after how many failures in a row a sync is failing."""
    return alert_states.read_failing_after(bridge.engine)


@action(Role.ADMIN)
def set_failing_after(bridge: Bridge, actor: Actor, failures: int, *, seen: int | None = None) -> None:
    """Set after how many failures in a row a sync is failing, from the next one on.

    With the number that was `seen`, no one may have set another one since. Raises: SettingsError, ChangedMeanwhile.
    """
    checked = check_failures(failures)
    with saving("this number"):
        alert_states.set_failing_after(bridge.engine, checked, seen=seen)


def check_failures(failures: int) -> int:
    """Return how many failures in a row are too many, if that can be meant. Raises SettingsError."""
    if not LEAST_FAILURES <= failures <= MOST_FAILURES:
        raise SettingsError(f"Failures in a row: this is a number from {LEAST_FAILURES} to {MOST_FAILURES}.")
    return failures


def _told(sent: SentMessage) -> ToldMessage:
    message = sent.message
    return ToldMessage(
        id=message.id or 0,
        title=wording.title_of(Condition(message.event), message.severity, message.facts),
        severity=message.severity,
        channel=sent.channel,
        status=STATUSES[MessageStatus(message.status)],
        is_lost=message.status in LOST,
        written_at=message.written_at,
        tries=message.tries,
        why=message.why or "",
        seen_by=message.seen_by,
    )
