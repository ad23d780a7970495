"""What a database's errors mean, in a sentence with what helps: SQLite's by its words, PostgreSQL's by their code."""

from __future__ import annotations

import sqlite3
from traceback import walk_tb
from typing import Any

from sqlalchemy.exc import DBAPIError, MultipleResultsFound, NoResultFound, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError

# Long enough to sit out another process's checkpoint or backup; readers never wait in SQLite's WAL mode.
BUSY_TIMEOUT_MS = 30_000
DAMAGED = "The database file is damaged, or is not a database of Cohort Bridge."
FROM_A_BACKUP = "Restore it from a backup, or set COHORT_BRIDGE_HOME to another folder."
# What SQLite says of pages that are not what they were.
_OF_DAMAGE = ("malformed", "not a database", "could not decode", "unsupported file format")

_UNUSABLE = "The database could not be used."
_UNREACHABLE = (
    "The database server cannot be reached.",
    "See that it runs, and that COHORT_BRIDGE_DATABASE_URL has its host and port. Then try again.",
)
_LOST = (
    "The connection to the database was lost: the server stopped, or ended it.",
    "Nothing of it was kept. Try again; should it happen again, see the server's log.",
)
UNKNOWN_COMMIT = (
    "The connection to the database was lost as it was told to keep a change: nobody knows whether it was kept.",
    "Look whether the change is there before you make it again.",
)
_TOO_SLOW = (
    "The database ended a query: it took longer than the server allows.",
    "Try again; should it happen again, raise the server's time limits.",
)
_BUSY = ("The database was busy with what another process writes.", "Try again in a moment.")
_CROWDED = (
    "The database was busy: all connections that this process may have were in use.",
    "Try again in a moment.",
)
# What SQLAlchemy itself finds: no connection became free in time; a row was removed by another since it was read.
OF_THE_CROWD = (PoolTimeout, StaleDataError)
# By the five characters that PostgreSQL gives each error (its documentation, appendix A), or the two of their class.
_BY_CODE: dict[str, tuple[str, str]] = {
    "08": _LOST,
    "22": (
        "A value is longer, larger or of another kind than the database keeps.",
        "Check what was entered, and what the vendors call it.",
    ),
    "25006": (
        "The database is read-only.",
        "It may be a standby: let COHORT_BRIDGE_DATABASE_URL lead to the primary, or wait until one takes over.",
    ),
    "25P03": _LOST,
    "25P04": _LOST,
    "28": (
        "The database server refused to let Cohort Bridge in.",
        "Check the user and the password in COHORT_BRIDGE_DATABASE_URL.",
    ),
    "3D000": (
        "There is no such database on the server.",
        "Create it, or let COHORT_BRIDGE_DATABASE_URL name another.",
    ),
    "40": _BUSY,
    "42501": (
        "The database's user may not do this.",
        "Let the user in COHORT_BRIDGE_DATABASE_URL own the database.",
    ),
    "53": (
        "The database server is short of memory or room.",
        "See its log and its disk, then try again.",
    ),
    "53100": ("The disk is full: the database could not be written.", "Make room on the disk of the database server."),
    "53300": (
        "The database server takes no more connections.",
        "End other programs that use it, or raise its max_connections.",
    ),
    "55000": _UNREACHABLE,
    "55P03": _BUSY,
    "57": _LOST,
    "57014": _TOO_SLOW,
    "57P03": _UNREACHABLE,
    "58": (
        "The disk of the database server failed or is full.",
        "See the server's log, and restore the database from a backup if it is damaged.",
    ),
    "XX": (
        "The database is damaged, says its server.",
        "See the server's log, and restore the database from a backup.",
    ),
}
# What a server says of a connection that it refuses: the driver gives no code with that. The first that fits counts.
_REFUSED = (
    ("too many ", "53300"),
    ("remaining connection slots", "53300"),
    ("fatal:  the database system is ", "57P03"),
    ('fatal:  database "', "3D000"),
    ('fatal:  role "', "28"),
    ("authentication failed", "28"),
    ("no pg_hba.conf entry", "28"),
)
_REFUSED_OTHERWISE = (
    "The database server refused the connection.",
    "See the server's log, and check COHORT_BRIDGE_DATABASE_URL.",
)


class StorageError(Exception):
    """The database or the snapshots could not be read or written; the message is a whole sentence.

    `advice` is what helps, where that is not room on the disk and leave to write there.
    """

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        self.advice = advice


class TransactionLost(StorageError):
    """A transaction was ended, or its connection lost, before it was told to commit: nothing of it was kept."""


class UrlUnusable(StorageError):
    """The database's URL is none, or of a kind of database that is not supported; the message says why."""


def explain(exc: DBAPIError | sqlite3.Error) -> tuple[str, str | None]:
    """Return what went wrong, and what helps where that is not room on the disk and leave to write there."""
    error: Any = getattr(exc, "orig", exc)
    reason = str(error).lower()
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(reason)
    code = getattr(error, "sqlstate", None)
    if code is not None:
        return _by_code(code)
    return _without_code(reason, is_lost=isinstance(exc, DBAPIError) and exc.connection_invalidated)


def is_lost(exc: DBAPIError | sqlite3.Error) -> bool:
    """Return whether a transaction is gone for another reason than what was asked in it: a server's end, a deadlock.

    Done again, it may well succeed.
    """
    error: Any = getattr(exc, "orig", exc)
    if isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlstate", None)
    if code is None:
        return isinstance(exc, DBAPIError) and (exc.connection_invalidated or explain(exc) == _UNREACHABLE)
    return code.startswith("40") or _by_code(code) in (_LOST, _UNREACHABLE)


def may_be_committed(exc: DBAPIError) -> bool:
    """Return whether an error leaves open what became of a commit: its connection was lost, and no statement's was."""
    code = getattr(exc.orig, "sqlstate", None) or ""
    return exc.statement is None and is_lost(exc) and not code.startswith("40")


def _by_code(code: str) -> tuple[str, str]:
    other = (_UNUSABLE, f"See the server's log for the error {code}.")
    return _BY_CODE.get(code) or _BY_CODE.get(code[:2]) or other


def _without_code(reason: str, *, is_lost: bool) -> tuple[str, str]:
    """Explain what the driver itself found out: before there was a session, or at its sudden end."""
    if is_lost:
        return _LOST
    if "fatal:" in reason:
        return next((_BY_CODE[code] for words, code in _REFUSED if words in reason), _REFUSED_OTHERWISE)
    if "nul" in reason and "bytes" in reason:
        return _by_code("22")
    return _UNREACHABLE


def _of_sqlite(reason: str) -> tuple[str, str | None]:
    if "readonly" in reason or "read-only" in reason:
        return "The database is read-only.", None
    if "disk is full" in reason or "no space" in reason:
        return "The disk is full: the database could not be written.", None
    if "disk i/o error" in reason:
        # What SQLite says of a disk without room for the index of its log.
        return "The disk failed or is full: the database could not be read or written.", None
    if "locked" in reason:
        return (
            f"The database was locked by another program for {BUSY_TIMEOUT_MS // 1000} seconds.",
            "Close what else has it open, a backup or a database browser, then try again.",
        )
    if "unable to open" in reason:
        return "The database file cannot be opened.", None
    if any(words in reason for words in _OF_DAMAGE):
        return DAMAGED, FROM_A_BACKUP
    return _UNUSABLE, None


def is_of_a_row(exc: Exception) -> bool:
    """Return whether an error comes of what a row holds, or that it is missing: no time, no JSON, no such row.

    Such a page of the file is damaged in a way that SQLite does not notice.
    """
    if isinstance(exc, SQLAlchemyError) and not isinstance(exc, NoResultFound | MultipleResultsFound):
        return False  # said wrongly by ourselves
    packages = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(exc.__traceback__)]
    ours = [name for name in packages if name in ("sqlalchemy", "sqlmodel", "data", "core", "pages")]
    return bool(ours) and ours[-1].startswith("sql")


def storage_error(exc: SQLAlchemyError | sqlite3.Error) -> StorageError:
    """Return in our words what a database's error means."""
    if isinstance(exc, StaleDataError):
        return TransactionLost(_BUSY[0], advice=_BUSY[1])  # done again, it finds what is there now
    if isinstance(exc, PoolTimeout):
        return StorageError(_CROWDED[0], advice=_CROWDED[1])
    if not isinstance(exc, DBAPIError | sqlite3.Error):
        return StorageError(f"The database cannot be used: {exc}.")
    message, advice = explain(exc)
    return (TransactionLost if is_lost(exc) else StorageError)(message, advice=advice)
