"""The table of the times that syncs were paused."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from data.row_ids import RowId as RowId  # the type that every id is given


class SyncPause(SQLModel, table=True):
    """A time that a sync is, or was, paused: nothing was expected of it then."""

    __tablename__: ClassVar[Any] = "sync_pause"

    id: int | None = Field(default=None, primary_key=True)
    sync_id: int = Field(foreign_key="sync.id", index=True)
    began_at: datetime
    ended_at: datetime | None = None
