"""The table of what people keep of a list's filters under a name."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Column, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from data.row_ids import RowId as RowId  # the type that every id is given


class SavedFilter(SQLModel, table=True):
    """What one person filters a list by, as the address of the page says it."""

    __tablename__: ClassVar[Any] = "saved_filter"
    __table_args__: ClassVar[Any] = (UniqueConstraint("person_id", "page", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    person_id: int = 0  # 0: the one local person of an installation without sign-in
    page: str = Field(max_length=32)
    name: str = Field(max_length=60)
    query: str = Field(sa_column=Column("query", Text, nullable=False))
    created_at: datetime
