"""Search for a part of a text whatever the case: the same on every database, and as lists of the pages compare names.

SQLite knows the case of ASCII alone, and PostgreSQL what the locale of the database knows. So values that hold other
letters are compared here: each once, however many rows bear it.
"""

from __future__ import annotations

import json
from typing import Any, cast

from sqlalchemy import JSON, ColumnElement, LargeBinary, func, or_
from sqlalchemy import cast as sql_cast
from sqlmodel import Session, select

# Of columns that are only known when it is called pyright knows no type.
_select = cast("Any", select)


def contains(session: Session, text: str, *columns: Any) -> ColumnElement[bool]:
    """Build the condition that one of these columns of a table has a text in it, as it is at this moment."""
    wanted = text.casefold()
    return or_(*(_has(session, wanted, column) for column in columns))


def _has(session: Session, wanted: str, column: Any) -> ColumnElement[bool]:
    """Build the condition that a column has a text in it, in small letters, by the database for all that is ASCII."""
    others = _select(column).where(func.length(sql_cast(column, LargeBinary)) > func.length(column)).distinct()
    found = [value for value in session.connection().execute(others).scalars() if wanted in value.casefold()]
    by_database = column.icontains(wanted, autoescape=True)
    return or_(by_database, column.in_(_listed(session, found))) if found else by_database


def _listed(session: Session, values: list[str]) -> Any:
    """Build a list of any length of one parameter: a database takes only so many of them."""
    if session.get_bind().dialect.name == "postgresql":
        return _select(func.json_array_elements_text(sql_cast(values, JSON)))
    return _select(func.json_each(json.dumps(values)).table_valued("value").c.value)
