"""What a worker is called, by the name that it was given, if any, and where it runs; and whether it is there."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, String, bindparam, func
from sqlmodel import col, select

from data.models import WorkerHeartbeat

# A worker gives a heartbeat every ten seconds. One that is further ahead was given before the clock was set back.
_SEEN_WITHIN, _SKEW = timedelta(seconds=60), timedelta(minutes=5)
_HOST_LENGTH = 24


def is_up(seen_at: datetime, now: datetime) -> bool:
    """Return whether a worker that gave its last heartbeat then is there still."""
    return -_SKEW < now - seen_at < _SEEN_WITHIN


def are_up(now: datetime) -> ColumnElement[bool]:
    """Build the same condition, for the rows of workers."""
    seen_at = col(WorkerHeartbeat.seen_at)
    return (seen_at > now - _SEEN_WITHIN) & (seen_at < now + _SKEW)


def shorten_host(host: str) -> str:
    """Return a machine's name as the names of claims begin with it."""
    return host[:_HOST_LENGTH]


def host_of(lease_owner: str) -> str:
    """Return the machine that a claim belongs to, shortened."""
    return lease_owner.partition(":")[0]


def place_of(lease_owner: str) -> str:
    """Return the machine and the number of the process that a claim belongs to, `machine:4711`."""
    return lease_owner.rpartition(":")[0] or lease_owner


def called(label: str | None, lease_owner: str) -> str:
    """Return what a worker is called: two of one name are told apart by where they run."""
    return f"{label} ({place_of(lease_owner)})" if label else place_of(lease_owner)


def called_now() -> ColumnElement[str]:
    """Return the same as a part of a statement, by the name that a worker has signed on with."""
    place = bindparam("of_place", type_=String())
    label = col(WorkerHeartbeat.label) + " (" + place + ")"
    signed_on = select(label).where(col(WorkerHeartbeat.name) == bindparam("of_worker")).scalar_subquery()
    return func.coalesce(signed_on, place)


def values_of(lease_owner: str) -> dict[str, str]:
    """Return the values of `called_now` for a claim."""
    return {"of_worker": lease_owner, "of_place": place_of(lease_owner)}
