"""What a worker is called: the name that it was given, if any, and where it runs."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func
from sqlmodel import col, select

from data.models import WorkerHeartbeat


def place_of(lease_owner: str) -> str:
    """Return the machine and the number of the process that a claim belongs to, `machine:4711`."""
    return lease_owner.rpartition(":")[0] or lease_owner


def called(label: str | None, lease_owner: str) -> str:
    """Return what a worker is called: two of one name are told apart by where they run."""
    return f"{label} ({place_of(lease_owner)})" if label else place_of(lease_owner)


def called_now(lease_owner: str) -> ColumnElement[str]:
    """Return the same as a part of a statement, by the name that a worker has signed on with."""
    place = place_of(lease_owner)
    label = col(WorkerHeartbeat.label) + f" ({place})"
    return func.coalesce(select(label).where(col(WorkerHeartbeat.name) == lease_owner).scalar_subquery(), place)
