"""The audit log's chain: every line is sealed with the hash of the line before."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

from sqlmodel import Session, col, select

from data.audit.anchor import anchor_holds, is_to_be_noted, note_after_commit, read_anchor
from data.audit.scope import Outcome, Scope
from data.models import AuditEntry

# The action of a line that reports lines which the anchor does not vouch for.
GAP = "audit_gap"
# Another process may be between its commit and its note.
_NOTED_WITHIN_S = 2.0


def append(
    session: Session,
    scope: Scope,
    *,
    subject: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    outcome: Outcome = "done",
) -> AuditEntry:
    """Add a line to the log within a writing session.

    The session began by locking the database, so the newest line is still the newest when ours comes after it; were it
    not, the number would be taken already and the transaction would fail.
    """
    last = session.exec(select(AuditEntry).order_by(col(AuditEntry.number).desc()).limit(1)).first()
    if last and (gap := _not_noted(session, scope.anchor, last)):
        last = _add(session, last, replace(scope, who="audit log", action=GAP), _Content(gap))
    return _add(session, last, scope, _Content(subject, before or {}, after or {}, outcome))


class _Content(NamedTuple):
    """The part of a line that neither its scope nor its place gives."""

    subject: str
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    outcome: Outcome = "done"


def _add(session: Session, last: AuditEntry | None, scope: Scope, content: _Content) -> AuditEntry:
    """Chain a line to the last one, and have it noted."""
    entry = AuditEntry(
        number=last.number + 1 if last else 1,
        at=scope.now(),
        who=scope.who[:320],
        action=scope.action,
        previous=last.hash if last else "",
        **content._asdict(),
    )
    entry.hash = digest(entry)
    session.add(entry)
    session.flush()
    note_after_commit(session, scope.anchor, entry)
    return entry


def _not_noted(session: Session, anchor_file: Path, last: AuditEntry) -> str | None:
    """Return a sentence on the newest lines if the anchor lacks them: our own are noted right after their commit."""
    if is_to_be_noted(session, last.number):
        return None
    deadline_s = time.monotonic() + _NOTED_WITHIN_S
    while (anchor := read_anchor(anchor_file)) and anchor[0] < last.number and time.monotonic() < deadline_s:
        time.sleep(0.01)
    if not anchor or anchor[0] >= last.number or not anchor_holds(session, anchor):
        return None
    return (
        f"Lines {anchor[0] + 1} to {last.number} were not noted in {anchor_file.name}: something else added them, or "
        "Cohort Bridge was cut off right after it wrote them."
    )


def digest(entry: AuditEntry) -> str:
    """Compute what the line's hash must be: over all of the line, and the hash of the line before."""
    values = {
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
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
