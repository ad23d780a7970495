"""The table of tokens that pipelines ask with."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from data.row_ids import RowId as RowId  # the type that every id is given


class ApiToken(SQLModel, table=True):
    """A token that a pipeline acts by, as a viewer or an analyst; of its text a hash is kept, and the end."""

    __tablename__: ClassVar[Any] = "api_token"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=64)
    role: str = Field(max_length=16)
    secret_hash: str = Field(max_length=64, unique=True)
    secret_end: str = Field(max_length=4)
    created_by: str = Field(max_length=320)
    created_by_id: int | None = Field(default=None, foreign_key="person.id")  # None: made without sign-in
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_why: str | None = None
