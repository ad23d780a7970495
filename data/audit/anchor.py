"""The audit log's head, noted beside the database."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from filelock import FileLock
from sqlalchemy import event
from sqlmodel import Session

from data.models import AuditEntry

log = logging.getLogger(__name__)
NOTED_WITHIN_S = 2.0
NOTES, HEAD = "cohort_bridge_notes", "cohort_bridge_head"


# --- the anchor: the newest line's number and hash, kept outside the database --------------------------------------


@event.listens_for(Session, "after_commit")
def _anchor(session: Session) -> None:
    head = session.info.pop(HEAD, None)
    if head is None:
        return
    path, number, hashed, holds = head
    log.info("audit line=%s hash=%s", number, hashed)
    if not holds:
        # What it says was true once: it stays, as the proof.
        log.error("the audit log is not the one that %s vouches for; see `python -m core audit verify`", path)
        return
    try:
        with FileLock(path.with_suffix(".lock"), timeout=10):
            present = read_anchor(path)
            if present is None or present[0] < number:
                _replace(path, f"{number} {hashed}\n")
    except (OSError, TimeoutError) as exc:
        log.warning("the audit log's newest line could not be noted in %s: %s", path, exc)


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_anchor(path: Path) -> tuple[int, str] | None:
    """Read the number and hash of the newest line that was noted; None when there is no such file.

    What cannot be read as one is a line that no log has: it does not vouch for anything.
    """
    try:
        number, hashed = path.read_text().split()
        return int(number), hashed
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return 0, "unreadable"


def anchor_holds(session: Session, anchor: tuple[int, str] | None) -> bool:
    """Tell whether the line that was noted is in the log as it was."""
    if anchor is None:
        return True
    found = session.get(AuditEntry, anchor[0])
    return found is not None and found.hash == anchor[1]
