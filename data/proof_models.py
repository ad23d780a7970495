"""The tables that tell whether what is kept is still true: proofs of snapshots, and how much was delivered."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class SnapshotProof(SQLModel, table=True):
    """What a snapshot must hold to be believed. Made with it, and forgotten with it."""

    __tablename__: ClassVar[Any] = "snapshot_proof"

    name: str = Field(primary_key=True, max_length=64)
    members: int
    fingerprint: str | None = Field(default=None, max_length=80)  # None: worked out when it is used next
    key: str | None = Field(default=None, max_length=32)  # of the fingerprint, the same for all snapshots of a group
    # The file as it proved itself last: one that is as it was then need not again before it is written from.
    size: int | None = Field(default=None, sa_type=BigInteger)
    written_ns: int | None = Field(default=None, sa_type=BigInteger)


class DeliveryCount(SQLModel, table=True):
    """How many deliveries this database knows to have begun: one row. A file beside the database says so too."""

    __tablename__: ClassVar[Any] = "delivery_count"

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    number: int = 0
    noticed_at: datetime | None = None  # when it was last noticed that this database is older than what was delivered
    noticed_why: str | None = Field(default=None, max_length=16)
    noticed_anchor: str = Field(default="", max_length=100)  # the audit log's anchor that this database lacks
