"""Search for a part of a text whatever the case: the same on every database, and as lists of the pages compare names.

SQLite knows the case of ASCII alone, and PostgreSQL what the locale of the database knows. So the values that there are
are compared here: names are few, however many rows bear them.
"""

from __future__ import annotations

import json
from typing import Any, cast

from sqlalchemy import JSON, ColumnElement, func, or_
from sqlalchemy import cast as sql_cast
from sqlmodel import Session, select

# Of columns that are only known when it is called pyright knows no type.
_select = cast("Any", select)


def contains(session: Session, text: str, *columns: Any) -> ColumnElement[bool]:
    """Build the condition that one of these columns of a table has a text in it, as it is at this moment."""
    wanted = text.casefold()
    rows = session.connection().execute(_select(*columns).distinct()).all()
    known = [set(values) for values in zip(*rows, strict=True)] or [set[str]()] * len(columns)
    found = [[value for value in values if value and wanted in value.casefold()] for values in known]
    return or_(*(column.in_(_listed(session, values)) for column, values in zip(columns, found, strict=True)))


def _listed(session: Session, values: list[str]) -> Any:
    """Build a list of any length of one parameter: a database takes only so many of them."""
    if session.get_bind().dialect.name == "postgresql":
        return _select(func.json_array_elements_text(sql_cast(values, JSON)))
    return _select(func.json_each(json.dumps(values)).table_valued("value").c.value)
