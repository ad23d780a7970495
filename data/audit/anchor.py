"""The anchor of the audit log: the number and hash of its newest line, noted outside the database.

Beside a home that is alone it is a file, written right after each commit. Where machines share a storage it is an
object there, which no transaction waits for; one that could not be reached stays behind until the next line.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from data.engine import StorageError, read_session
from data.models import AuditEntry
from data.notes import Note, StoredNote, change_note, read_note
from data.storage.port import hurried

log = logging.getLogger(__name__)

# That of a line that says from which backup a home was restored: what was written after it is in no line.
RESTORED = "home_restored"
_UNREADABLE = (0, "unreadable")
# Where a session keeps the newest line of its transaction until that is committed.
HEAD = "cohort_bridge_head"
# Of which files it was told already that the audit log is not theirs: once in each process is enough.
_told = set[Note]()
# When each object could not be reached: nobody waits for it again right after that.
_away_at_s = dict[Note, float]()
_AWAY_FOR_S = 30.0


class _Head(NamedTuple):
    """The newest line of a transaction; whether what was noted before holds, None where that is not known yet."""

    anchor: Note
    number: int
    hash: str
    holds: bool | None

    @property
    def text(self) -> str:
        return format_anchor(self.number, self.hash)


def note_after_commit(session: Session, anchor: Note, entry: AuditEntry) -> None:
    """Have a line noted once its transaction is committed."""
    holds = None if isinstance(anchor, StoredNote) else anchor_holds(session, read_anchor(anchor))
    session.info[HEAD] = _Head(anchor, entry.number, entry.hash, holds)


def is_to_be_noted(session: Session, number: int) -> bool:
    """Return whether this line is the newest of the session's own transaction."""
    head: _Head | None = session.info.get(HEAD)
    return head is not None and head.number == number


@event.listens_for(Session, "after_commit")
def _note(session: Session) -> None:
    if session.in_nested_transaction():
        return  # a part of a transaction, which may still come to nothing
    head: _Head | None = session.info.pop(HEAD, None)
    if head is None:
        return
    log.info("audit line=%s hash=%s", head.number, head.hash)
    if isinstance(head.anchor, StoredNote):
        _note_stored(_plain(session), head.anchor, head)
    elif not head.holds:
        _tell(head.anchor)
    else:
        _note_in_file(head.anchor, head)


def _tell(anchor: Note) -> None:
    """Tell once that the log is not the one that was noted. What was noted was true once: it stays, as the proof."""
    if anchor not in _told:
        _told.add(anchor)
        log.error("the audit log is not the one that %s vouches for; see `python -m core audit verify`", anchor)


def _note_in_file(path: Path, head: _Head) -> None:
    def change(text: str | None) -> str | None:
        present = _parse(text)
        return head.text if present is None or present[0] < head.number else None

    try:
        change_note(path, change)
    except (OSError, TimeoutError) as exc:
        log.warning("the audit log's newest line could not be noted in %s: %s", path, exc)


def _plain(session: Session) -> Engine:
    """Return the session's engine to read with, without the locks that its own transaction took."""
    bind: Any = session.get_bind()
    return bind.engine.execution_options(writer=False, locks=())


def _note_stored(engine: Engine, anchor: StoredNote, head: _Head) -> None:
    """Note a line in the storage, unless that could not be reached a moment ago: the next line makes up for it."""
    if time.monotonic() - _away_at_s.get(anchor, float("-inf")) < _AWAY_FOR_S:
        return

    def change(text: str | None) -> str | None:
        present = _parse(text)
        if present is None:
            return head.text
        with Session(engine) as session:
            holds = anchor_holds(session, present)
        if not holds:
            _tell(anchor)
        return head.text if holds and present[0] < head.number else None

    try:
        with hurried():
            change_note(anchor, change)
        _away_at_s.pop(anchor, None)
    except (StorageError, DBAPIError) as exc:
        _away_at_s[anchor] = time.monotonic()
        log.warning("the audit log's newest line could not be noted in %s: %s", anchor, exc)


def carry_over(engine: Engine, file: Path, anchor: Note) -> None:
    """Carry what a file of this home noted over to where it is noted from now on, once.

    What is there and does not hold stays, as the proof, unless this home was restored from a backup since.

    Raises StorageError.
    """
    ours = read_anchor(file) if isinstance(anchor, StoredNote) else None
    if ours is None or ours[0] < 1:
        return
    with read_session(engine) as session:
        holds, entry = anchor_holds(session, ours), session.get(AuditEntry, ours[0])
    is_restored = holds and entry is not None and entry.action == RESTORED

    def change(text: str | None) -> str | None:
        present = _parse(text)
        with read_session(engine) as session:
            is_next = anchor_holds(session, present) and (present is None or present[0] < ours[0])
        return format_anchor(*ours) if present is None or (holds and is_next) or is_restored else None

    change_note(anchor, change)
    if holds:
        file.unlink(missing_ok=True)


def read_anchor(anchor: Note) -> tuple[int, str] | None:
    """Read the number and hash of the newest line that was noted; None when nothing was.

    What cannot be read as one is a line that no log has: it does not vouch for anything. Raises StorageError where the
    storage that holds it cannot be reached.
    """
    try:
        return _parse(read_note(anchor))
    except OSError:
        return _UNREADABLE


def format_anchor(number: int, hashed: str) -> str:
    """Format the number and hash of a line as they are noted."""
    return f"{number} {hashed}\n"


def _parse(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    try:
        number, hashed = text.split()
        return int(number), hashed
    except ValueError:
        return _UNREADABLE


def anchor_holds(session: Session, anchor: tuple[int, str] | None) -> bool:
    """Return whether the line that was noted is in the log as it was."""
    if anchor is None:
        return True
    entry = session.get(AuditEntry, anchor[0])
    return entry is not None and entry.hash == anchor[1]
