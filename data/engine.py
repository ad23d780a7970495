"""The database: SQLite in WAL mode or PostgreSQL, with its schema brought up to date at start."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, event, inspect, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlmodel import Session, create_engine

from data import database_clock, earlier_workers, locks, placing, postgres_vacuum, time_limits, transactions
from data.database_errors import (
    BUSY_TIMEOUT_MS,
    DAMAGED,
    FROM_A_BACKUP,
    OF_THE_CROWD,
    UNKNOWN_COMMIT,
    is_of_a_row,
    may_be_committed,
    storage_error,
)
from data.database_errors import StorageError as StorageError
from data.database_errors import TransactionLost as TransactionLost
from data.database_errors import UrlUnusable as UrlUnusable
from data.locks import PEOPLE, SETUP, Lock

_MIGRATIONS = Path(__file__).with_name("migrations")
_INSTALL = "Install it (pip install -r requirements-postgres.txt), and let the URL begin with postgresql://."
_LEFTOVERS = "What was deleted may still be in the free pages and the log of the database."
_DROP_THEM = "Close what else has it open, and see that the disk has room. Then do it once more."
_CHECKPOINT_WITHIN_S, _CHECKPOINT_AGAIN_S = 30.0, 0.1
_TABLES_TAKEN = "Another process has been making or changing the tables of the database for too long."
_END_IT = "Wait until it has ended, or end it if it hangs. Then try again."
_ALONE_WITHIN_S, _LOOK_AGAIN_S = 120.0, 0.1
_REVISION = re.compile(r'^(revision|down_revision) = "(\w+)"$', re.MULTILINE)
_VERSION = text("SELECT version_num FROM alembic_version")
_PG_MIGRATION_LOCK = 7_021_126


def make_engine(url: str) -> Engine:
    """Build an engine whose writers have what they rely on to themselves from when they begin (`data/locks.py`).

    On SQLite they come one after the other, and it gets WAL, `synchronous=FULL`, foreign keys and a busy timeout.
    """
    kind = _kind(url)
    try:
        # An error that nobody foresaw goes into a log as it is: sealed secrets, hashes and addresses stay out of it.
        if kind == "postgresql":
            engine = create_engine(time_limits.of_network(make_url(url)), hide_parameters=True, **transactions.POSTGRES)
        else:
            engine = create_engine(url, hide_parameters=True)
    except (ImportError, NoSuchModuleError) as exc:
        raise UrlUnusable("the driver that it needs is not installed", advice=_INSTALL) from exc
    if kind == "postgresql":
        database_clock.follow(engine)
        time_limits.limit(engine)
        event.listen(engine, "begin", transactions.begin_postgres)
        return engine
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", transactions.begin_sqlite)
    return engine


def _kind(url: str) -> str:
    """Return which kind of database a URL leads to. Raises UrlUnusable."""
    try:
        parsed = make_url(url)
        url.encode()
    except (ArgumentError, ValueError) as exc:
        raise UrlUnusable("it is not the URL of a database") from exc
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise UrlUnusable("only SQLite and PostgreSQL are supported")
    if kind == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise UrlUnusable("it names no file")
    return kind


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transaction handling is off: BEGIN is ours, see below.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


# The session that all others of its engine are a part of, while `as_one` lasts.
_joint: ContextVar[tuple[Engine, Session] | None] = ContextVar("cohort_bridge_joint_session", default=None)


@contextmanager
def as_one(engine: Engine) -> Generator[None]:
    """Let all that is read and written inside be one transaction: committed at the end, or nothing of it.

    What would have been a transaction is a savepoint of this one, with its own line of the audit log. Other writers
    wait meanwhile: nothing inside may take long, or leave this thread. Raises StorageError.
    """
    with write_session(engine, SETUP, PEOPLE) as session:
        token = _joint.set((engine, session))
        try:
            yield
        finally:
            _joint.reset(token)


def is_joint(engine: Engine) -> bool:
    """Return whether what is written now is a part of a larger transaction."""
    return _joint_session(engine) is not None


def _joint_session(engine: Engine) -> Session | None:
    joint = _joint.get()
    return joint[1] if joint and joint[0] is engine else None


@contextmanager
def read_session(engine: Engine) -> Generator[Session]:
    """Open a session for reading. Raises StorageError when the database cannot be used."""
    if joint := _joint_session(engine):
        with _storage_errors():
            yield joint
        return
    with _storage_errors(), Session(engine, expire_on_commit=False, autoflush=False) as session:
        yield session
        transactions.end_reading(session)


@contextmanager
def write_session(engine: Engine, *wanted: Lock, by_rows: bool = False, in_order: bool = False) -> Generator[Session]:
    """Open a session for writing: committed at the end, rolled back whole when anything is raised.

    On PostgreSQL with these locks; where none are named, and it is not said that what it writes is a matter of rows,
    with the one that keeps out all who rely on what is set up. See `data/locks.py` before you name any.
    `in_order` is for who takes the first rows of a long order.

    Raises StorageError when the database cannot be used; SQLAlchemy's IntegrityError passes through.
    """
    if joint := _joint_session(engine):
        with _storage_errors(), joint.begin_nested():
            locks.take(joint, *wanted)
            yield joint
        return
    options = transactions.of_writer(wanted or (() if by_rows else (SETUP,)), in_order=in_order)
    with _storage_errors(), Session(engine.execution_options(**options), expire_on_commit=False) as session:
        yield session
        _commit(session)


def _commit(session: Session) -> None:
    """Commit, and say so where nobody knows whether that was done: whoever does it again might do it twice."""
    try:
        session.commit()
    except DBAPIError as exc:
        if may_be_committed(exc):
            message, advice = UNKNOWN_COMMIT
            raise StorageError(message, advice=advice) from exc
        raise


@contextmanager
def _storage_errors() -> Generator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, *OF_THE_CROWD) as exc:
        raise storage_error(exc) from exc
    except Exception as exc:
        if not is_of_a_row(exc):
            raise
        raise StorageError(DAMAGED, advice=FROM_A_BACKUP) from exc


def require_sound(engine: Engine) -> None:
    """Have SQLite look through its whole file, which takes a while. Raises StorageError when it finds it damaged."""
    if engine.dialect.name != "sqlite":
        return
    with _storage_errors(), engine.connect() as connection:
        if connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar() != "ok":
            raise StorageError(DAMAGED, advice=FROM_A_BACKUP)


def drop_leftovers(engine: Engine) -> None:
    """Have a database drop from its files what was deleted or changed: it stays in them until it is written over.

    It takes about as long as to copy the database; who writes meanwhile waits. Raises StorageError.
    """
    with _storage_errors(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        dbapi: Any = engine.dialect.loaded_dbapi
        try:
            if engine.dialect.name == "postgresql":
                postgres_vacuum.rewrite(connection)
            else:
                _vacuum_sqlite(connection.connection.driver_connection)
        except (DBAPIError, dbapi.Error, TimeoutError) as exc:
            raise StorageError(_LEFTOVERS, advice=_DROP_THEM) from exc


def _vacuum_sqlite(driver: Any) -> None:
    driver.execute("VACUUM")
    until_s = time.monotonic() + _CHECKPOINT_WITHIN_S
    # Who reads at this moment may need what the log holds: that takes no longer than a query.
    while driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > until_s:
            raise TimeoutError
        time.sleep(_CHECKPOINT_AGAIN_S)


def copy_database(engine: Engine, target: Path) -> None:
    """Copy a SQLite database as it is at this moment into a file that is empty or not there, while others use it.

    Nothing that was removed before is in the copy. Writers are not held up. Raises StorageError, also of damage.
    """
    connection = engine.raw_connection()
    try:
        driver: Any = connection.driver_connection
        driver.execute("VACUUM INTO ?", [str(target)])  # outside of any transaction, which the engine would begin
    except sqlite3.Error as exc:
        raise storage_error(exc) from exc
    finally:
        connection.close()


def require_plain(engine: Engine) -> None:
    """Refuse a SQLite database that is damaged, or has triggers or views: we have none, and they act by themselves.

    Raises StorageError.
    """
    require_sound(engine)
    with _storage_errors(), engine.connect() as connection:
        if connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE type IN ('trigger', 'view')").first():
            raise StorageError(DAMAGED, advice=FROM_A_BACKUP)


def sqlite_url(file: Path) -> str:
    """Return the URL of a SQLite database in a file."""
    return f"sqlite:///{quote(os.fspath(file))}"


def sqlite_file(url: str) -> Path | None:
    """Return the file that a URL leads to; None where it is no SQLite database in a file. Raises UrlUnusable."""
    if _kind(url) != "sqlite":
        return None
    name = make_url(url).database or ""
    return None if name.startswith("file:") else Path(name)


def open_database(url: str, home: Path, *, patience_s: float = earlier_workers.PATIENCE_S) -> Engine:
    """Open the database and bring its schema up to date, in whichever process comes first.

    Workers of an earlier version are waited for so long.

    Raises: StorageError.
    """
    try:
        _own(home)
        engine = make_engine(url)
        try:
            _bring_up_to_date(engine, home, sqlite_file(url), patience_s)
        except BaseException:
            engine.dispose()
            raise
    except OSError as exc:
        raise StorageError(f"The folder {home} cannot be used: {getattr(exc, 'strerror', None) or exc}.") from exc
    except SQLAlchemyError as exc:
        raise storage_error(exc) from exc
    return engine


def _own(home: Path) -> None:
    """Keep the home folder to ourselves. A volume, or a folder that a container is given, may be somebody else's."""
    home.mkdir(parents=True, exist_ok=True)
    try:
        os.chmod(home, 0o700)
    except PermissionError as exc:
        raise StorageError(
            f"The folder {home} cannot be used: it belongs to another user.",
            advice=f"Give it to the one that this runs as (chown -R {os.geteuid()}), or set COHORT_BRIDGE_HOME to a "
            "folder in it that does not exist yet.",
        ) from exc


@cache
def _revisions() -> tuple[str, ...]:
    """List the schema's revisions, the first one first. Their numbers name them and say nothing of their order.

    Read as text: Alembic, which knows them as well, takes a while to import.
    """
    following = dict[str | None, str]()
    for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"):
        named = {match[1]: match[2] for match in _REVISION.finditer(path.read_text(encoding="utf-8"))}
        following[named.get("down_revision")] = named["revision"]
    revisions = [following[None]]
    while revisions[-1] in following:
        revisions.append(following[revisions[-1]])
    return tuple(revisions)


def _bring_up_to_date(engine: Engine, home: Path, file: Path | None, patience_s: float) -> None:
    known = _revisions()
    # To look into a database makes it where it is not there, which a restore must not meet: that comes first, or waits.
    is_there = file is None or file.exists()
    if is_there and (present := _revision(engine)) in known:
        if present == known[-1]:
            return  # Alembic takes a while to import, and most starts have nothing to do.
        earlier_workers.wait_for_their_end(engine, known[-1], patience_s=patience_s)
    with one_at_a_time(engine, home):
        if file is not None and not file.exists():
            placing.finish(home, file)
        present = _revision(engine)
        if present == known[-1]:
            return
        if present is not None and present not in known:
            raise StorageError("The database was made by a newer version of Cohort Bridge.", advice="Update this one.")
        _upgrade(engine)


def schema_revision(engine: Engine) -> str | None:
    """Return which version of the schema a database has, None where it has none. Raises StorageError."""
    with _storage_errors():
        return _revision(engine)


def own_revision() -> str:
    """Return the version of the schema that this program works with."""
    return _revisions()[-1]


def knows_revision(revision: str) -> bool:
    """Return whether a version of the schema is this program's, or an earlier one."""
    return revision in _revisions()


def is_up_to_date(engine: Engine) -> bool:
    """Return whether the database, opened before, is of the version that this program works with.

    Raises StorageError.
    """
    with _storage_errors(), engine.connect() as connection:
        return connection.execute(_VERSION).scalar() == _revisions()[-1]


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(_VERSION).scalar()


@contextmanager
def one_at_a_time(engine: Engine, home: Path, *, within_s: float = _ALONE_WITHIN_S) -> Generator[None]:
    """Let no other process make or change tables meanwhile. Raises StorageError, where one does for too long."""
    if engine.dialect.name != "postgresql":
        with placing.alone(home, timeout_s=within_s):
            yield
        return
    # In no transaction, which would be ended for idling while another connection migrates.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        time_limits.lift(connection)
        try:
            _lock_in_time(connection, within_s)
            yield
            connection.execute(text("SELECT pg_advisory_unlock(:n)"), {"n": _PG_MIGRATION_LOCK})
        finally:
            connection.invalidate()  # with its settings, and what it still holds


def _lock_in_time(connection: Connection, within_s: float) -> None:
    """Take the lock of who makes tables. A process that was frozen with it holds it for as long as it is."""
    until_s = time.monotonic() + within_s
    while not connection.execute(text("SELECT pg_try_advisory_lock(:n)"), {"n": _PG_MIGRATION_LOCK}).scalar():
        if time.monotonic() > until_s:
            raise StorageError(_TABLES_TAKEN, advice=_END_IT)
        time.sleep(_LOOK_AGAIN_S)


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Batch migrations rebuild tables; with foreign keys on that would delete what refers to them. Asked of the
            # driver itself: within a transaction, which anything else would begin, SQLite ignores it.
            _set_foreign_keys(connection, "OFF")
        try:
            writer = connection.execution_options(**transactions.of_writer((SETUP,)))
            config.attributes["connection"] = writer
            with writer.begin():
                if engine.dialect.name == "postgresql":
                    time_limits.lift(connection)
                command.upgrade(config, "head")
        finally:
            if engine.dialect.name == "sqlite":
                connection.rollback()
                _set_foreign_keys(connection, "ON")


def _set_foreign_keys(connection: Connection, value: str) -> None:
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA foreign_keys={value}")
