"""The tables of who works on what, and of who is alive. The rest of the house takes these from `data.models`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class LeaseKind(StrEnum):
    """What a lease is held on, and what its key is then."""

    RUN = "run"  # the run's id
    ASSOCIATION = "association"  # the association's id
    COHORT_LIST = "cohort_list"  # the project
    QUERY_SLOT = "query_slot"  # <project>/<number>
    PAGE_SIZE = "page_size"  # the project: a run asks it for larger pages than were proven
    ALERT = "alert"  # the id of a message that is being sent
    FORGETTING = "forgetting"  # all that is kept: somebody is removed from it, and nothing that reads people begins


class Lease(SQLModel, table=True):
    """Who holds a piece of work. What is free has no row."""

    __tablename__: ClassVar[Any] = "lease"

    kind: str = Field(primary_key=True, max_length=16)
    key: str = Field(primary_key=True, max_length=220)
    lease_owner: str = Field(max_length=64)
    heartbeat: int  # moves while the process that took it is alive
    # The process that took it; None where its system does not provide it, or an older version of this program took it.
    machine: str | None = Field(default=None, max_length=255)
    pid_namespace: str | None = Field(default=None, max_length=64)
    pid: int | None = None
    process_started: int | None = Field(default=None, sa_type=BigInteger)  # clock ticks since the machine started
    taken_at: datetime
    still_s: float = 0.0  # how long the heartbeat has not moved, as those that watch it added it up


class WorkerHeartbeat(SQLModel, table=True):
    """A worker that is, or was, alive."""

    __tablename__: ClassVar[Any] = "worker_beat"

    name: str = Field(primary_key=True, max_length=64)
    started_at: datetime
    seen_at: datetime
    clock_ahead_s: float | None = None  # of its machine, beside that of the database; None: they are one
    label: str | None = Field(default=None, max_length=64)  # what whoever started it calls it
    revision: str | None = Field(default=None, max_length=16)  # of the schema that it works with
