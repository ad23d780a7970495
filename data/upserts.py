"""A row in place of the one before, in one statement that is built once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Executable, Table
from sqlmodel import Session


def put(session: Session, table: Table, row: Mapping[str, Any]) -> None:
    """Keep a row, all of whose columns are given, in place of the one with its key. The audit log does not see it."""
    connection = session.connection()
    connection.execute(_putting(table, connection.dialect.name), dict(row))


@cache
def _putting(table: Table, dialect: str) -> Executable:
    if dialect == "postgresql":  # what SQLAlchemy has for either is loaded where it is used
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert
    new = insert(table)
    others = {column.name: new.excluded[column.name] for column in table.columns if not column.primary_key}
    return new.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=others)
