"""How a transaction begins: SQLite's and PostgreSQL's, a reader's and a writer's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlmodel import Session

from data import locks
from data.locks import Lock

# The driver is to begin no transaction by itself: BEGIN is ours, and goes to the server together with what locks.
POSTGRES: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}
# All that one session reads is of one moment, as on SQLite. A writer looks once it has its locks, and what it reads
# then is what it writes over.
_READER, _WRITER = (f"BEGIN ISOLATION LEVEL {level}" for level in ("REPEATABLE READ", "READ COMMITTED"))
# Have the first rows of an order found by its index: the planner, which knows little of a queue that was filled a
# moment ago, sorts all of it instead, for each that is taken.
_IN_ORDER = "".join(f", set_config('enable_{way}', 'off', true)" for way in ("sort", "bitmapscan"))


def of_writer(wanted: Sequence[Lock], *, in_order: bool = False) -> dict[str, Any]:
    """Return the options of an engine or a connection whose transactions write, with these locks on PostgreSQL."""
    return {"writer": True, "locks": tuple(wanted), "in_order": in_order}


def begin_sqlite(connection: Any) -> None:
    """Begin a transaction of SQLite.

    A deferred transaction that reads first and then writes fails at once when another wrote in between, whatever the
    busy timeout says. A writer therefore takes its place in the queue when it begins.
    """
    is_writer = connection.get_execution_options().get("writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def begin_postgres(connection: Any) -> None:
    """Begin a transaction of PostgreSQL with its locks, unless each statement is to be one of its own."""
    options = connection.get_execution_options()
    if options.get("isolation_level") == "AUTOCOMMIT":
        return
    begin = _WRITER if options.get("writer") else _READER
    if wanted := options.get("locks"):
        begin += f"; {locks.statement(wanted)}{_IN_ORDER if options.get('in_order') else ''}"
    connection.exec_driver_sql(begin)


def end_reading(session: Session) -> None:
    """End a transaction that wrote nothing, on PostgreSQL by a commit.

    At a rollback the driver has the server forget all statements that it prepared, since a table may be gone with it.
    """
    dialect: Any = session.get_bind().dialect
    if dialect.name == "postgresql" and session.in_transaction():
        driver: Any = session.connection().connection.driver_connection
        with suppress(dialect.loaded_dbapi.Error):  # a connection that is gone is found to be when it is given back
            driver.commit()
