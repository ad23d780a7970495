"""The table of sign-ins."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from data.row_ids import RowId as RowId  # the type that every id is given


class SignIn(SQLModel, table=True):
    """One sign-in of one person in one browser, from the provider's answer to its end; refused ones too."""

    __tablename__: ClassVar[Any] = "sign_in"

    key: str = Field(primary_key=True, max_length=64)  # digest of issuer, subject and issue time
    person_id: int | None = Field(default=None, foreign_key="person.id", index=True)
    email: str = Field(default="", max_length=320)
    issued_at: datetime  # by the provider's clock
    seen_at: datetime
    ended_at: datetime | None = None
    ended_why: str | None = None
    refused: str | None = None  # why it leads nowhere
