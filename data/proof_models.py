"""The tables that tell whether what is kept is still true: proofs of snapshots, what was delivered, what was tried."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, ForeignKey
from sqlmodel import Field, SQLModel

from data import models as models  # (the tables that these refer to: a reference has the type of its column)
from data.row_ids import RowId  # the type that every id is given


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
    number: int = Field(default=0, sa_type=RowId)
    noticed_at: datetime | None = None  # when it was last noticed that this database is older than what was delivered
    noticed_why: str | None = Field(default=None, max_length=16)
    noticed_anchor: str = Field(default="", max_length=100)  # the audit log's anchor that this database lacks


class Installation(SQLModel, table=True):
    """Which storage and which keys are this installation's own: one row. Empty ones take what the next process has."""

    __tablename__: ClassVar[Any] = "installation"

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    storage_id: str | None = Field(default=None, max_length=64)  # that lies in the storage itself
    storage_address: str | None = Field(default=None, max_length=400)  # as the process called it that bound it
    key_checks: str | None = None  # of each key, newest first; they are no keys
    searched_at: datetime | None = None  # when a worker last began to look for what lies there and no row names


class Untraced(StrEnum):
    """Why it is not known of everybody whom a receiver may hold: those that only add are told whom to remove."""

    DELIVERY = "delivery"  # one began, and was not confirmed, without a record of whom it was to add
    RESTORED = "restored"  # the database is older than what was delivered
    PLACE = "place"  # where it leads was changed, or another connection led there
    SIGN_IN = "sign_in"  # its sign-in was changed again: an earlier one may lead to what was delivered before
    MEMBER_ID = "member_id"  # the id that people are known by there, or what it is sent under, was changed
    FORGOTTEN = "forgotten"  # somebody whom it may hold was to be forgotten here
    REPLACED = "replaced"  # it counted as a receiver that replaces: full overwrites removed no one by name


class TriedDelivery(SQLModel, table=True):
    """A snapshot that a delivery to a receiver that only adds began with, until one is accepted whole."""

    __tablename__: ClassVar[Any] = "tried_delivery"

    group_id: int = Field(
        sa_column=Column(
            "group_id", ForeignKey("group_at_destination.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
        )
    )
    snapshot: str = Field(primary_key=True, max_length=64)
    run_id: int  # that began with it first; the snapshot may be another's, and outlives both


class LeftPlace(SQLModel, table=True):
    """Where a destination led before (another address, or another sign-in there): a later one may lead there again."""

    __tablename__: ClassVar[Any] = "left_place"

    id: int | None = Field(default=None, primary_key=True)
    connection_id: int = Field(
        sa_column=Column("connection_id", ForeignKey("connection.id", ondelete="CASCADE"), nullable=False, index=True)
    )
    url: str
    is_hidden: bool = False  # the address was a secret: `url` is its host only
