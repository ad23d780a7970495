"""The audit log's chain: every line is sealed with the one before."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC
from typing import Any

from sqlmodel import Session

from data.audit.anchor import HEAD, anchor_holds, read_anchor
from data.audit.scope import Outcome, Scope
from data.models import AuditEntry, utc_now

# The action of a line that tells of lines which nobody vouches for.
GAP = "audit_gap"


def add(
    session: Session,
    last: AuditEntry | None,
    scope: Scope,
    *,
    subject: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    outcome: Outcome = "done",
) -> AuditEntry:
    entry = AuditEntry(
        number=last.number + 1 if last else 1,
        at=utc_now(),
        who=scope.who[:320],
        action=scope.action,
        outcome=outcome,
        subject=subject,
        before=before or {},
        after=after or {},
        previous=last.hash if last else "",
    )
    entry.hash = digest(entry)
    session.add(entry)
    session.flush()
    session.info[HEAD] = (scope.anchor, entry.number, entry.hash, anchor_holds(session, read_anchor(scope.anchor)))
    return entry


def digest(entry: AuditEntry) -> str:
    """Compute what the line's hash must be: over all of the line, and the hash of the line before."""
    held = {
        "number": entry.number,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "who": entry.who,
        "action": entry.action,
        "outcome": entry.outcome,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
        "previous": entry.previous,
    }
    return hashlib.sha256(json.dumps(held, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
