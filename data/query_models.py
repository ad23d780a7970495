"""The tables of what is learnt of each Mixpanel project: its cohorts, its query budget, and the pages that it sends."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from data.row_ids import RowId as RowId  # the type that every id is given


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


class PageSize(SQLModel, table=True):
    """What came of asking a Mixpanel project for pages of one size: core/rules/page_sizes.py decides by it."""

    __tablename__: ClassVar[Any] = "page_size"

    project: str = Field(primary_key=True, max_length=200)
    size: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    is_proven: bool = False  # when last it was asked the read was whole
    offered_size: int | None = None  # a smaller one that it sends instead, and is asked for since
    refused_at: datetime | None = None
    failures: int = 0  # runs running that failed with the size, and were whole without
    doubt: str | None = Field(default=None, max_length=16)  # why the latest read with it failed, until that is settled


class CohortList(SQLModel, table=True):
    """The project's cohorts as last read, shared by every run and page."""

    __tablename__: ClassVar[Any] = "cohort_list"

    project: str = Field(primary_key=True, max_length=200)
    read_at: datetime
    # What could be taken and how many entries could not: see data/cohort_list.py.
    cohorts: dict[str, Any] | list[dict[str, Any]] = Field(sa_column=Column("cohorts", JSON, nullable=False))
