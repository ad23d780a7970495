"""The type of rows' numbers: 64 bits wide, and one that no row could have finds none, on either kind of database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, Integer, Table, TypeDecorator, event
from sqlalchemy.types import TypeEngine
from sqlmodel import SQLModel

# The farthest that either database compares with. No row has these numbers.
_MOST, _LEAST = 2**63 - 1, -(2**63)


class RowId(TypeDecorator[int]):
    """A whole number of 64 bits, which may be asked for as what people and programs sent, however large.

    PostgreSQL would call it an error that a number is not of the column's type, and SQLite's driver that it has more
    than 64 bits. SQLite counts up a column by itself only where that is an INTEGER, which is as wide.
    """

    impl = Integer
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(BigInteger() if dialect.name == "postgresql" else Integer())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else max(_LEAST, min(value, _MOST))


@event.listens_for(Column, "after_parent_attach")
def _use_for_ids(column: Column[Any], table: Any) -> None:
    """Give this type to every number that rows are known by, in any of our tables; a vendor's ids have their own."""
    is_ours = isinstance(table, Table) and table.metadata is SQLModel.metadata
    if is_ours and type(column.type) is Integer and (column.primary_key or column.name.endswith("_id")):
        column.type = RowId()
