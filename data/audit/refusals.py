"""Refusals in the audit log: an event each, and not one for every try."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from data import locks
from data.audit import chain
from data.audit.scope import Scope
from data.engine import Engine, write_session
from data.locks import AUDIT
from data.models import AuditEntry
from data.repeating import repeated

# A page that refreshes itself is refused again every few seconds: that is one event, not hundreds.
_SAME_WITHIN = timedelta(minutes=5)


@repeated
def note(engine: Engine, scope: Scope, why: str, *, now: datetime) -> None:
    """Record a refusal in the audit log, unless the same one was written minutes ago."""
    with write_session(engine, by_rows=True) as session:
        add(session, scope, why, now=now)


def add(session: Session, scope: Scope, why: str, *, now: datetime) -> None:
    """Add a refusal within a writing session, unless the same one was written minutes ago."""
    locks.take(session, AUDIT)  # of two that look at once, the second finds the line of the first
    same = select(AuditEntry).where(
        AuditEntry.who == scope.who[:320],
        AuditEntry.action == scope.action,
        AuditEntry.outcome == "refused",
        AuditEntry.subject == why,
        col(AuditEntry.at) > now - _SAME_WITHIN,
    )
    if session.exec(same.limit(1)).first() is None:
        chain.append(session, scope, subject=why, outcome="refused")
