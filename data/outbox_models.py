"""The tables of what is told: what is not well at this moment, and the outbox of messages about it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, Column, Text
from sqlmodel import Field, SQLModel

from data.row_ids import RowId as RowId  # the type that every id is given

CRITICAL, WARNING, RECOVERED = "critical", "warning", "recovered"
# The subjects that there is one of.
WORKER, DISK = "worker", "disk"


class Condition(StrEnum):
    """What may be wrong. A subject, such as a sync, is in one of them at most: the one that asks most of a person."""

    PAUSED = "sync_paused"
    HELD = "sync_held"
    FAILING = "sync_failing"
    LATE = "sync_late"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_EXPIRES = "connection_expires"
    WORKER_GONE = "worker_gone"
    BUDGET = "budget_too_small"
    DISK = "disk_low"


class MessageStatus(StrEnum):
    """What became of a message to one channel."""

    WAITING = "waiting"
    SENDING = "sending"  # marked: from here on it is never sent again unless it is known that it did not arrive
    SENT = "sent"
    UNDECIDED = "undecided"  # it may have arrived, or not
    GIVEN_UP = "given_up"
    DROPPED = "dropped"  # nobody wants it any more


UNSENT = (MessageStatus.WAITING, MessageStatus.SENDING)
# What a person should know of, until they have seen it.
LOST = (MessageStatus.UNDECIDED, MessageStatus.GIVEN_UP)


class AlertState(SQLModel, table=True):
    """Something that is, or was, not well. Of one subject at most one is open (data/partial_indexes.py)."""

    __tablename__: ClassVar[Any] = "alert_state"

    id: int | None = Field(default=None, primary_key=True)
    subject: str = Field(max_length=300, index=True)
    condition: str = Field(max_length=32)
    severity: str = Field(max_length=16)
    sync_id: int | None = Field(default=None, foreign_key="sync.id", index=True)
    facts: dict[str, Any] = Field(default_factory=dict, sa_column=Column("facts", JSON, nullable=False))
    opened_at: datetime
    changed_at: datetime
    told_at: datetime | None = None
    messages: int = 0  # written for it so far, one for each channel
    muted: bool = False  # it is of a backup: nobody is told that it is over, who was told has been told since
    closed_at: datetime | None = None


class AlertMessage(SQLModel, table=True):
    """One message to one channel. What it says is fixed when it is written: names and sentences, no id of a person."""

    __tablename__: ClassVar[Any] = "alert_message"

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(max_length=32)  # a receiver may drop repeats by it
    state_id: int = Field(foreign_key="alert_state.id", index=True)
    channel_id: int = Field(foreign_key="alert_channel.id", index=True)
    subject: str = Field(max_length=300)
    event: str = Field(max_length=32)
    severity: str = Field(max_length=16)
    facts: dict[str, Any] = Field(default_factory=dict, sa_column=Column("facts", JSON, nullable=False))
    written_at: datetime = Field(index=True)
    status: str = Field(default=MessageStatus.WAITING, max_length=16, index=True)
    tries: int = 0
    next_try_at: datetime
    sender: str | None = Field(default=None, max_length=64)  # the process that marked it
    ended_at: datetime | None = None
    why: str | None = Field(default=None, sa_column=Column("why", Text))  # why it was not accepted, the last time
    seen_by: str | None = Field(default=None, max_length=320)


class AlertSetting(SQLModel, table=True):
    """What is set for all alerts; one row, none while all is as usual."""

    __tablename__: ClassVar[Any] = "alert_setting"

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    failing_after: int
