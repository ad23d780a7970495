"""What is wrong with the service account of a Mixpanel connection, told when it is noted."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session

from data import alert_states
from data.alert_states import Finding
from data.models import MIXPANEL_SIDE, Connection
from data.outbox_models import CRITICAL, WARNING, Condition

# Early enough for someone to make a new account, and to be back from a holiday.
EXPIRES_SOON = timedelta(days=14)


def subject_of(connection: Connection) -> str:
    """Name a connection as what an alert is about."""
    return f"connection:{connection.id}"


def find_trouble(connection: Connection, now: datetime) -> Finding | None:
    """Return what is wrong with a connection's account: it is not accepted any more, or expires soon."""
    if connection.removed or connection.side != MIXPANEL_SIDE:
        return None
    facts = {"connection": connection.name, "connection_id": connection.id, "project_id": connection.project_id}
    if connection.account_trouble:
        return Finding(Condition.CONNECTION_REFUSED, CRITICAL, facts | {"cause": connection.account_trouble})
    at = connection.account_expires_at
    if at is not None and at - now < EXPIRES_SOON:
        return Finding(Condition.CONNECTION_EXPIRES, WARNING, facts | {"expires_at": at.isoformat()})
    return None


def note_account(session: Session, connection: Connection, *, now: datetime) -> None:
    """Tell what is known now of a connection's account, in the transaction that noted it."""
    session.flush()
    alert_states.settle(session, subject_of(connection), find_trouble(connection, now), now=now)
