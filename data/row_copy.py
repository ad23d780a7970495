"""All rows of one database put into another that has none, of either kind: each as it is, and compared afterward.

Procrastinate's own tables are not among them: what it hands out is found again in ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Engine, Table, func, inspect, literal, select, text, tuple_
from sqlalchemy.exc import DataError, IntegrityError

from data.engine import StorageError, make_engine, open_database, read_session, sqlite_url, write_session
from data.row_ids import RowId
from data.tables import list_tables

# A row may hold a list of thousands of cohorts: so many are in memory at a time.
_AT_ONCE = 200
# What is there once a process was started and nothing was done, which a restore takes the place of.
_OF_A_START = ("delivery_count", "installation", "lease", "worker_beat")
_VERSION = "alembic_version"
_ENGINES_OWN = "procrastinate_"
_ODD = "Make another backup; if that is so again, the database is damaged."
_NOT_KEPT = "Nothing was changed. Correct it where it was entered and back up again, or restore into a SQLite database."


class Tally(NamedTuple):
    """How many rows a table has, and a hash of them in whatever order."""

    rows: int = 0
    digest: int = 0


def copy_to_file(engine: Engine, target: Path) -> None:
    """Copy a server's database as it is at this moment into a SQLite file that is empty or not there.

    Others read and write meanwhile. Raises StorageError.
    """
    copy = open_database(sqlite_url(target), target.parent)
    try:
        if unknown := set(inspect(copy).get_table_names()) - {table.name for table in list_tables()} - {_VERSION}:
            raise StorageError(f"This program does not know the table {min(unknown)} of its own database.")
        with write_session(copy) as written, read_session(engine) as source:
            tallies = copy_rows(source.connection(), written.connection())
        # The server waits for nobody any more.
        with read_session(copy) as session:
            require_same(session.connection(), tallies)
    finally:
        copy.dispose()
    if target.with_name(f"{target.name}-wal").exists():  # it is removed once all of it is in the database
        raise StorageError("The copy of the database could not be written.")


def copy_rows(source: Connection, target: Connection) -> dict[str, Tally]:
    """Copy all rows, within a transaction of both, and return what was read. Raises StorageError."""
    tables = list_tables()
    for table in reversed(tables):
        target.execute(table.delete())
    tallies = {table.name: _copy_table(table, source, target) for table in tables}
    if target.dialect.name == "postgresql":
        _go_on_counting(target, tables)
    return tallies


def require_same(target: Connection, tallies: dict[str, Tally]) -> None:
    """Compare what a database holds with what was read. Raises StorageError."""
    for table in list_tables():
        tally = Tally()
        for rows in _read(target, table):
            tally = _add(tally, rows)
        if tally != tallies[table.name]:
            raise StorageError(
                f"The rows of the table {table.name} are not the same after they were copied.", advice=_ODD
            )


def list_filled(connection: Connection) -> list[str]:
    """List our tables that hold a row which a start alone does not leave, and tables that are not ours."""
    ours = {table.name: table for table in list_tables()}
    found = inspect(connection).get_table_names()
    strange = [name for name in found if name not in ours and name != _VERSION and not name.startswith(_ENGINES_OWN)]
    there = [table for name, table in ours.items() if name in found and name not in _OF_A_START]
    return strange + [
        table.name for table in there if connection.execute(select(1).select_from(table).limit(1)).first()
    ]


@contextmanager
def opened(database: Path) -> Generator[Engine]:
    """Open a SQLite file as it is, and close it again: its schema is not brought up to date."""
    engine = make_engine(sqlite_url(database))
    try:
        yield engine
    finally:
        engine.dispose()


def is_of_a_start(database: Path) -> bool:
    """Return whether a SQLite file holds what a start alone leaves, and no process has it open."""
    if database.is_symlink() or not database.is_file() or database.with_name(f"{database.name}-wal").exists():
        return False
    try:
        with opened(database) as looked, read_session(looked) as session:
            return not list_filled(session.connection())
    except StorageError:
        return False


def _read(connection: Connection, table: Table) -> Iterator[Sequence[Any]]:
    """Yield all rows of a table in the order of their keys, some at a time."""
    keys = list(table.primary_key.columns)
    places = [table.columns.keys().index(key.name) for key in keys]
    page = select(table).order_by(*keys).limit(_AT_ONCE)
    rows = connection.execute(page).all()
    while rows:
        yield rows
        last = [literal(rows[-1][place], key.type) for place, key in zip(places, keys, strict=True)]
        rows = connection.execute(page.where(tuple_(*keys) > tuple_(*last))).all()


def _copy_table(table: Table, source: Connection, target: Connection) -> Tally:
    tally, names = Tally(), table.columns.keys()
    for rows in _read(source, table):
        try:
            target.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])
        except DataError as exc:
            raise StorageError(_find_odd(table, rows), advice=_NOT_KEPT) from exc
        except IntegrityError as exc:
            raise StorageError(f"The rows of the table {table.name} do not fit together.", advice=_ODD) from exc
        tally = _add(tally, rows)
    return tally


def _add(tally: Tally, rows: Sequence[Any]) -> Tally:
    digests = (hashlib.sha256(repr(tuple(map(_plain, row))).encode("utf-8", "surrogatepass")).digest() for row in rows)
    return Tally(tally.rows + len(rows), (tally.digest + sum(map(int.from_bytes, digests))) % 2**256)


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _find_odd(table: Table, rows: Sequence[Any]) -> str:
    """Return a sentence on a value that a server does not keep, as far as it can be found."""
    for row in rows:
        for column, value in zip(table.columns, row, strict=True):
            if why := _why_not_kept(column.type, value):
                return f"The column {column.name} of the table {table.name} holds {why} than PostgreSQL keeps there."
    return f"The table {table.name} holds a value that PostgreSQL does not keep."


def _why_not_kept(kind: Any, value: Any) -> str | None:
    if isinstance(value, str):
        longest = getattr(kind, "length", None) or len(value)
        return "a longer text" if len(value) > longest else "another character" if "\0" in value else None
    is_narrow = isinstance(value, int) and not isinstance(kind, BigInteger | RowId)
    return "a larger number" if is_narrow and not -(2**31) <= value < 2**31 else None


def _go_on_counting(target: Connection, tables: Sequence[Table]) -> None:
    """Have each table's next number follow the highest that it has."""
    for table in tables:
        column = table.autoincrement_column
        if column is None:
            continue
        sequence = target.execute(
            text("SELECT pg_get_serial_sequence(:t, :c)"), {"t": f'"{table.name}"', "c": column.name}
        )
        if name := sequence.scalar():
            highest = target.execute(select(func.max(column))).scalar()
            target.execute(text("SELECT setval(:s, :n, :used)"), {"s": name, "n": highest or 1, "used": bool(highest)})
