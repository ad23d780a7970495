"""The table of syncs, and how often one runs. The rest of the house takes these from `data.models`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import JSON, BigInteger, Column, Integer
from sqlmodel import Field, SQLModel

from data.row_ids import RowId as RowId  # the type that every id is given

# An id of Mixpanel's: its documentation sets no bound. SQLite's integers are wide enough as they are.
VENDOR_ID: Any = BigInteger().with_variant(Integer(), "sqlite")


class SyncKind(StrEnum):
    """Whether a sync runs once or again and again."""

    ONE_TIME = "one-time"
    RECURRING = "recurring"


class SyncState(StrEnum):
    """Whether a sync may run."""

    ACTIVE = "active"
    PAUSED = "paused"
    REMOVED = "removed"


class Schedule(NamedTuple):
    """Set times: cron expressions in their normal form (see core/rules/cron.py), in a time zone."""

    cron: str
    zone: str


class Pause(NamedTuple):
    """A time that a sync was paused; without an end it still is."""

    began_at: datetime
    ended_at: datetime | None


class TimedRun(NamedTuple):
    """When a run of a sync was queued, when it ended, and how."""

    queued_at: datetime
    finished_at: datetime | None
    status: str


# The minutes of an interval, or set times.
Timing = int | Schedule


class Sync(SQLModel, table=True):
    """One cohort to one group: one-time or recurring."""

    __tablename__: ClassVar[Any] = "sync"

    id: int | None = Field(default=None, primary_key=True)
    kind: str = Field(max_length=16)
    mixpanel_id: int = Field(foreign_key="connection.id")
    group_id: int = Field(foreign_key="group_at_destination.id", index=True)
    project_id: int
    cohort_id: int = Field(sa_type=VENDOR_ID)
    every_minutes: int | None = None  # None with a schedule, and of a one-time export
    cron: str | None = None  # both with a schedule
    zone: str | None = None
    max_shrink: int | None = None
    match_property: str | None = None  # None: the connection's; the same for all syncs of a group
    expects_prefix: bool | None = None
    state: str = Field(default=SyncState.ACTIVE, max_length=16, index=True)
    paused_reason: str | None = None
    paused_until: datetime | None = None  # a worker resumes it then
    expected_since: datetime | None = None  # its runs, at its times: resumed, or given other times; None: as made
    next_run_at: datetime | None = Field(default=None, index=True)
    tags: list[str] = Field(default_factory=list, sa_column=Column("tags", JSON, nullable=False, server_default="[]"))
    created_by: str = ""
    created_at: datetime

    @property
    def timing(self) -> Timing | None:
        """How often it runs; None: it exports once only."""
        return read_timing(self.every_minutes, self.cron, self.zone)

    def set_timing(self, timing: Timing) -> None:
        """Let it run at an interval, or at set times."""
        if isinstance(timing, Schedule):
            self.every_minutes, self.cron, self.zone = None, timing.cron, timing.zone
        else:
            self.every_minutes, self.cron, self.zone = timing, None, None


def read_timing(every_minutes: int | None, cron: str | None, zone: str | None) -> Timing | None:
    """Return what these columns of a sync say; None: it exports once only."""
    return Schedule(cron, zone) if cron is not None and zone is not None else every_minutes
