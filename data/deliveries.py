"""How much was delivered, counted in the database and noted outside it: a database that knows of less was restored.

A delivery is counted in the transaction that puts its group in doubt; then the count is noted in a file and flushed to
disk, or in the storage that machines share; then the first message goes out. So the note is never ahead of the database
that it belongs to.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlmodel import Session

from data import locks, tokens
from data.audit import chain
from data.audit.anchor import anchor_holds, read_anchor
from data.audit.scope import Scope
from data.doubt import put_in_doubt
from data.engine import Engine, StorageError, read_session, write_session
from data.locks import DELIVERIES, PEOPLE, SETUP
from data.models import DoubtCause
from data.notes import Note, StoredNote, change_note, read_note
from data.proof_models import DeliveryCount, Untraced

# What shows that the database is older than what was delivered.
OLDER, MARK_LOST, AUDIT_OLDER, BACKUP = "older", "mark_lost", "audit_older", "backup"
REASONS = {
    OLDER: "The database knows of fewer deliveries than were begun: an older one was put in its place.",
    MARK_LOST: "The file that notes how much was delivered is missing or damaged: the database may be an older one.",
    AUDIT_OLDER: "The audit log lacks a line that was noted beside the database: an older one was put in its place.",
    BACKUP: "It was restored from a backup: what was delivered after the backup was made is not known.",
}
# More than anyone delivers: a longer number is damage, and would leave none to go on from.
_MOST_DIGITS = 15


class _Noted(NamedTuple):
    """What stands beside the database: how many deliveries (None: it is not known), and the audit log's newest line."""

    number: int | None
    anchor: tuple[int, str] | None


def count_delivery(session: Session) -> int:
    """Count a delivery that is about to begin; returns its number, to be noted before its first message.

    The last that is done in its transaction: others count when that has ended.
    """
    locks.take(session, DELIVERIES)
    count = _get(session)
    count.number += 1
    session.add(count)
    session.flush()
    return count.number


def note(mark: Note, number: int) -> None:
    """Note outside the database, for good, that so many deliveries began; a higher number stays.

    Raises: StorageError.
    """

    def change(text: str | None) -> str | None:
        present = _parse(text)
        return f"{number}\n" if present is None or present < number else None

    try:
        change_note(mark, change)
    except (OSError, TimeoutError) as exc:
        raise StorageError(f"How much was delivered could not be noted in the file {mark.name}.") from exc


def carry_over(file: Path, mark: Note) -> None:
    """Carry what a file of this home noted over to where it is noted from now on, once. Raises StorageError."""
    if isinstance(mark, StoredNote) and (number := _read(file)) is not None:
        note(mark, number)
        file.unlink(missing_ok=True)


def notice_restore(engine: Engine, mark: Note, scope: Scope, *, now: datetime) -> bool:
    """Put every group in doubt if the database is older than what was delivered; returns whether that was noticed now.

    Tokens of pipelines are revoked then: which of them were revoked since, an older database does not know.

    It is noticed once for each time that an older one is put in place: the count moves on from the higher number.
    Raises StorageError.
    """
    # First the files: what the database is told meanwhile makes it newer than they say, never older.
    noted = _Noted(_read(mark), read_anchor(scope.anchor))
    with read_session(engine) as session:
        count = _get(session)
        why = _why_older(session, count, noted)
    if why is None:
        if noted.number is None:
            note(mark, count.number)  # the first start with this file
        return False
    # Another process may have noticed it, or have begun the very first delivery.
    noted = noted._replace(number=_read(mark))
    with write_session(engine, SETUP, PEOPLE) as session:
        count = _get(session)
        why = _why_older(session, count, noted)
        if why is not None:
            count.number = max(count.number, noted.number or 0) + 1
            count.noticed_at, count.noticed_why = now, why
            count.noticed_anchor = _anchor_text(noted.anchor)
            session.add(count)
            groups = put_in_doubt(session, cause=DoubtCause.RESTORED, untraced=Untraced.RESTORED)
            after = {"delivery count": {"groups_in_doubt": groups}}
            # Where only the note is gone, the database may be the newest there is.
            if why != MARK_LOST and (revoked := tokens.revoke_put_back(session, now=now)):
                after["tokens"] = {"revoked": revoked}
            chain.append(session, scope, subject=REASONS[why], after=after)
    note(mark, count.number)
    return why is not None


def note_backup_restored(session: Session, mark: Path, *, now: datetime) -> tuple[int, int]:
    """Put every group in doubt since the database is a backup's; `mark` is what lay beside it.

    Returns the number of deliveries to note beside it from now on, and how many groups those are.
    """
    count = _get(session)
    count.number = max(count.number, _read(mark) or 0) + 1
    count.noticed_at, count.noticed_why = now, BACKUP
    session.add(count)
    return count.number, put_in_doubt(session, cause=DoubtCause.RESTORED, untraced=Untraced.RESTORED)


def last_noticed(engine: Engine) -> tuple[datetime, str] | None:
    """Return when it was last noticed that the database is older than what was delivered, and by what; None: never."""
    with read_session(engine) as session:
        count = _get(session)
    if count.noticed_at is None or count.noticed_why is None:
        return None
    return count.noticed_at, count.noticed_why


def _get(session: Session) -> DeliveryCount:
    return session.get(DeliveryCount, 1, populate_existing=True) or DeliveryCount()


def _why_older(session: Session, count: DeliveryCount, noted: _Noted) -> str | None:
    if noted.number is not None and noted.number > count.number:
        return OLDER
    if noted.number is None and count.number:
        return MARK_LOST
    # A number below one says that the file could not be read: it vouches for no line, and against none.
    is_line = noted.anchor is not None and noted.anchor[0] > 0
    if is_line and not anchor_holds(session, noted.anchor) and count.noticed_anchor != _anchor_text(noted.anchor):
        return AUDIT_OLDER
    return None


def _anchor_text(anchor: tuple[int, str] | None) -> str:
    return f"{anchor[0]} {anchor[1]}"[:100] if anchor else ""


def _read(mark: Note) -> int | None:
    """Read how many deliveries were noted; None where that is not known: nothing was, or it is damaged."""
    try:
        return _parse(read_note(mark))
    except OSError as exc:
        raise StorageError(
            f"The file {mark.name}, which notes how much was delivered, cannot be read.",
            advice="Let the user that runs Cohort Bridge read and write the folder of COHORT_BRIDGE_HOME.",
        ) from exc


def _parse(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isdigit() and len(text) <= _MOST_DIGITS else None
