"""The tables of the query budget of each Mixpanel project."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index
from sqlmodel import Field, SQLModel


class QuerySpend(SQLModel, table=True):
    """One counted query of a Mixpanel project, for the rolling hour."""

    __tablename__: ClassVar[Any] = "query_spend"
    __table_args__: ClassVar[Any] = (Index("query_spend_project_at", "project", "at"),)

    id: int | None = Field(default=None, primary_key=True)
    project: str = Field(max_length=200)
    at: datetime


class QueryBudget(SQLModel, table=True):
    """What a Mixpanel project allows, as learnt from its answers."""

    __tablename__: ClassVar[Any] = "query_budget"

    project: str = Field(primary_key=True, max_length=200)
    queries: int = 60
    window_s: int = 3600
    blocked_until: datetime | None = None
    slots_wanted: int = 0  # counts up when a process needed a slot and none was free: others hand back
