"""The audit log's chain: every line is sealed with the hash of the line before."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlmodel import Session, col, select

from data import locks
from data.audit.anchor import RESTORED as RESTORED
from data.audit.anchor import anchor_holds, is_to_be_noted, note_after_commit, read_anchor
from data.audit.scope import Outcome, Scope
from data.engine import Engine, read_session, write_session
from data.locks import AUDIT
from data.models import AuditEntry
from data.notes import Note, StoredNote
from data.repeating import repeated

# The action of a line that reports lines which the anchor does not vouch for.
GAP = "audit_gap"
# Another process may be between its commit and its note.
_NOTED_WITHIN_S = 2.0
# So closely do machines agree what time it is at the database: further back is a clock that was set.
_AGREE_WITHIN = timedelta(seconds=1)


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

    From here to its end the transaction keeps all others from adding one, so the newest line is still the newest when
    ours comes after it; were it not, the number would be taken already and the transaction would fail.
    """
    locks.take(session, AUDIT)
    last = _newest(session)
    if last and (gap := _not_noted(session, scope.anchor, last)):
        last = _add(session, last, replace(scope, who="audit log", action=GAP), _Content(gap))
    return _add(session, last, scope, _Content(subject, before or {}, after or {}, outcome))


@repeated
def note(engine: Engine, scope: Scope, *, subject: str, after: dict[str, Any]) -> None:
    """Add a line about something that changes no row. Raises StorageError."""
    with write_session(engine, by_rows=True) as session:
        append(session, scope, subject=subject, after=after)


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
        at=_not_before(last, scope.now()),
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


def _not_before(last: AuditEntry | None, now: datetime) -> datetime:
    """Return the time of a line that follows another: their order is the truth, and two machines differ by a little."""
    return last.at if last and timedelta(0) < last.at - now < _AGREE_WITHIN else now


def _not_noted(session: Session, anchor_file: Note, last: AuditEntry) -> str | None:
    """Return a sentence on the newest lines if the anchor lacks them: our own are noted right after their commit.

    A storage is not asked here, where others wait for us; what it lacks, a check of the log tells.
    """
    if isinstance(anchor_file, StoredNote) or is_to_be_noted(session, last.number):
        return None
    anchor = _read_once_noted(anchor_file, last.number)
    if not anchor or anchor[0] >= last.number or not anchor_holds(session, anchor):
        return None
    return (
        f"Lines {anchor[0] + 1} to {last.number} were not noted in {anchor_file.name}: something else added them, or "
        "Cohort Bridge was cut off right after it wrote them."
    )


def _read_once_noted(anchor_file: Note, number: int) -> tuple[int, str] | None:
    """Read the anchor once it notes a line, or does not do so in time."""
    deadline_s = time.monotonic() + _NOTED_WITHIN_S
    while (anchor := read_anchor(anchor_file)) and anchor[0] < number and time.monotonic() < deadline_s:
        time.sleep(0.2 if isinstance(anchor_file, StoredNote) else 0.01)
    return anchor


def find_head(
    copy: Engine, original: Engine, anchor_file: Note, before: tuple[int, str] | None
) -> tuple[int, str] | None:
    """Return the line that an anchor beside a copy of the database has to note.

    `before` was noted as the copying began. Lines that the copy has after it are vouched for once they are noted as
    well; those that are not stay what they are, lines that nothing vouches for.
    """
    with read_session(copy) as session:
        newest = _newest(session)
        if before is None or newest is None or not anchor_holds(session, before):
            return before
    now = _read_once_noted(anchor_file, newest.number)
    with read_session(original) as session:
        following = session.get(AuditEntry, newest.number + 1)
        is_told_of = following is not None and following.action == GAP
        is_noted = now is not None and now[0] >= newest.number and anchor_holds(session, now)
    return (newest.number, newest.hash) if is_noted and not is_told_of else before


def _newest(session: Session) -> AuditEntry | None:
    return session.exec(select(AuditEntry).order_by(col(AuditEntry.number).desc()).limit(1)).first()


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
