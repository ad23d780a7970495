"""The last step of a restore into a database server: its rows become visible at once, once all else is in place.

What was unpacked is decided on within the transaction that puts the rows, just before its end. If that does not come,
whoever opens the home next puts them again: until then the server's database is as empty as it was.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import Engine, text
from sqlmodel import Session, col, select

from data import placing, row_copy
from data.engine import StorageError, read_session, write_session
from data.models import AuditEntry
from data.tables import list_tables

_TAKEN = "The database was used by something else before the restore into it had ended."
_GIVE_UP = (
    "Remove the folder restore.whole from COHORT_BRIDGE_HOME to keep what the database holds; or empty the database, "
    "and start this again."
)


class DatabaseNotEmpty(StorageError):
    """The server's database holds something already, which a restore does not touch."""


def require_empty(engine: Engine) -> None:
    """Refuse a database that holds something. Raises DatabaseNotEmpty, StorageError."""
    with read_session(engine) as session:
        _require_empty(session)


def _require_empty(session: Session) -> None:
    if filled := row_copy.list_filled(session.connection()):
        raise DatabaseNotEmpty(f"The database is not empty: it holds {', '.join(filled)}. Nothing was restored.")


def place(home: Path, engine: Engine) -> None:
    """Decide on what was unpacked, and put it in place. To be called `alone`.

    Raises: DatabaseNotEmpty, StorageError, OSError.
    """
    with write_session(engine) as session:
        _be_alone(session)
        _require_empty(session)
        _put_rows(session, home / placing.UNPACKED)
        placing.decide(home)
        placing.place_beside(home)
    clear(home)


def finish(home: Path, engine: Engine) -> bool:
    """Put in place what a restore decided on; False where there is nothing. To be called `alone`.

    Raises: StorageError, OSError.
    """
    whole = home / placing.WHOLE
    if not placing.is_decided(home):
        return False
    with write_session(engine) as session:
        _be_alone(session)
        if row_copy.list_filled(session.connection()):
            if not _is_of(session, whole / placing.DATABASE):
                raise StorageError(_TAKEN, advice=_GIVE_UP)
        else:
            placing.place_beside(home)
            _put_rows(session, whole)
    clear(home)
    return True


def finish_earlier(home: Path, engine: Engine) -> None:
    """Put in place what a restore decided on and had not put there when it ended. Raises StorageError, OSError."""
    if engine.dialect.name == "sqlite" or not placing.is_decided(home):
        return  # a file is put in place before it is opened
    with placing.alone(home, timeout_s=120):
        finish(home, engine)


def clear(home: Path) -> None:
    """Remove what is in place by now."""
    shutil.rmtree(home / placing.WHOLE, ignore_errors=True)


def _be_alone(session: Session) -> None:
    """Let nobody else write until the end; those who read see what was there."""
    names = ", ".join(f'"{table.name}"' for table in list_tables())
    session.connection().execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _put_rows(session: Session, folder: Path) -> None:
    with row_copy.opened(folder / placing.DATABASE) as unpacked, read_session(unpacked) as source:
        tallies = row_copy.copy_rows(source.connection(), session.connection())
    row_copy.require_same(session.connection(), tallies)


def _is_of(session: Session, unpacked: Path) -> bool:
    """Return whether the database holds the line of the audit log that the restore wrote."""
    with row_copy.opened(unpacked) as copy, read_session(copy) as source:
        line = source.exec(select(AuditEntry).order_by(col(AuditEntry.number).desc()).limit(1)).one()
    there = session.get(AuditEntry, line.number)
    return there is not None and there.hash == line.hash
