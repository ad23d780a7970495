"""The tables of alerts: where they go, and what is told."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Column, Text
from sqlmodel import Field, SQLModel

from data.row_ids import RowId as RowId  # the type that every id is given


class AlertChannel(SQLModel, table=True):
    """A place that alerts are sent to: a webhook of one's own, or a service that speaks its own language.

    Its name is unique among those that are not removed (data/partial_indexes.py). What it wants is `all_syncs`, or the
    syncs of `sync_ids` and those that carry one of the `tags`; without `warnings` only what is critical.
    """

    __tablename__: ClassVar[Any] = "alert_channel"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=100)
    kind: str = Field(max_length=16)  # a WEBHOOK or a SERVICE of core/vendors/notifiers.py
    address: str | None = Field(default=None, sa_column=Column("address", Text))  # sealed; None once it is removed
    shown: str = ""  # what may be seen of it: the service and its host, no token
    all_syncs: bool = True
    sync_ids: list[int] = Field(default_factory=list, sa_column=Column("sync_ids", JSON, nullable=False))
    tags: list[str] = Field(default_factory=list, sa_column=Column("tags", JSON, nullable=False))
    warnings: bool = False
    enabled: bool = True
    removed: bool = False
    created_by: str = ""
    created_at: datetime
    checked_at: datetime | None = None  # when it last accepted a message
    trouble: str | None = None  # why the last message was not accepted
