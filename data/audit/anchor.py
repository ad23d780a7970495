"""The anchor of the audit log: the number and hash of its newest line, noted in a file beside the database."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import event
from sqlmodel import Session

from data.members.files import read_text, replacing
from data.models import AuditEntry

log = logging.getLogger(__name__)

# Where a session keeps the newest line of its transaction until that is committed.
HEAD = "cohort_bridge_head"
# Of which files it was told already that the audit log is not theirs: once in each process is enough.
_told = set[Path]()


def note_after_commit(session: Session, anchor: Path, entry: AuditEntry) -> None:
    """Have a line noted once its transaction is committed."""
    session.info[HEAD] = (anchor, entry.number, entry.hash, anchor_holds(session, read_anchor(anchor)))


def is_to_be_noted(session: Session, number: int) -> bool:
    """Return whether this line is the newest of the session's own transaction."""
    head = session.info.get(HEAD)
    return head is not None and head[1] == number


@event.listens_for(Session, "after_commit")
def _note(session: Session) -> None:
    if session.in_nested_transaction():
        return  # a part of a transaction, which may still come to nothing
    head = session.info.pop(HEAD, None)
    if head is None:
        return
    path, number, hashed, holds = head
    log.info("audit line=%s hash=%s", number, hashed)
    if not holds:
        # What it noted was true once: it stays, as the proof.
        if path not in _told:
            _told.add(path)
            log.error("the audit log is not the one that %s vouches for; see `python -m core audit verify`", path)
        return
    from filelock import FileLock  # a command that writes no line does without

    try:
        with FileLock(path.with_suffix(".lock"), timeout=10):
            present = read_anchor(path)
            if present is None or present[0] < number:
                with replacing(path) as part:
                    part.write_text(f"{number} {hashed}\n")
    except (OSError, TimeoutError) as exc:
        log.warning("the audit log's newest line could not be noted in %s: %s", path, exc)


def read_anchor(path: Path) -> tuple[int, str] | None:
    """Read the number and hash of the newest line that was noted; None when there is no such file.

    What cannot be read as one is a line that no log has: it does not vouch for anything.
    """
    try:
        number, hashed = read_text(path).split()
        return int(number), hashed
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return 0, "unreadable"


def anchor_holds(session: Session, anchor: tuple[int, str] | None) -> bool:
    """Return whether the line that was noted is in the log as it was."""
    if anchor is None:
        return True
    entry = session.get(AuditEntry, anchor[0])
    return entry is not None and entry.hash == anchor[1]
