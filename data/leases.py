"""Who holds a piece of work: one row for each lease that is held, and none for what is free.

What is written for a process is written in a transaction that called `hold` first. That locks the row to its end: who
finds the process dead meanwhile waits, and then sees that it moved. So nothing is written for one that lost the lease.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, String, bindparam, cast, delete, exists, insert, update
from sqlmodel import Session, col, select

from data.engine import read_session, write_session
from data.locks import SETUP, of_lease
from data.models import Lease, LeaseKind
from data.process_identity import identify_process
from data.repeating import repeated
from data.tables import table_of

# A heartbeat starts anywhere below this: a lease that was handed back and taken again by the same owner must not look
# like one that has not moved.
_FIRST_HEARTBEAT_BELOW = 2**30

# What every run, request slot and message asks again and again: built once, which takes longer than to ask it.
_LEASE = table_of(Lease)
IS_OURS = (
    _LEASE.c.kind == bindparam("of_kind"),
    _LEASE.c.key == bindparam("of_key"),
    _LEASE.c.lease_owner == bindparam("of_owner"),
)
_TAKE = insert(_LEASE)
_HOLD = update(_LEASE).where(*IS_OURS).values(heartbeat=_LEASE.c.heartbeat + 1, still_s=0.0)
_HAND_BACK = delete(_LEASE).where(*IS_OURS)


class Renewal(NamedTuple):
    """What came of a heartbeat."""

    ours: bool
    cancel_asked: bool


@dataclass(frozen=True)
class Stillness:
    """How long the heartbeat of a lease has not moved, where `before_s` is written down until now."""

    lease: Lease
    before_s: float
    still_s: float


def claim(
    session: Session, kind: LeaseKind, key: object, *, lease_owner: str, now: datetime, dead: Lease | None = None
) -> bool:
    """Take a lease that is free or ours already, or that has not moved since it was read as `dead`.

    False when another holds it.
    """
    if dead is not None:
        end_if_unmoved(session, dead)
    present = find(session, kind, key)
    if present is not None:
        return present.lease_owner == lease_owner and hold(session, kind, key, lease_owner=lease_owner)
    take_free(session, kind, key, lease_owner=lease_owner, now=now)
    return True


def take_free(session: Session, kind: LeaseKind, *keys: object, lease_owner: str, now: datetime) -> None:
    """Take leases that are known to be free, in a writing session."""
    process = asdict(identify_process())
    rows = [
        {
            "kind": kind,
            "key": str(key),
            "lease_owner": lease_owner,
            "heartbeat": secrets.randbelow(_FIRST_HEARTBEAT_BELOW),
            "taken_at": now,
            "still_s": 0.0,
            **process,
        }
        for key in keys
    ]
    if rows:
        session.connection().execute(_TAKE, rows)


def hold(session: Session, kind: LeaseKind, key: object, *, lease_owner: str) -> bool:
    """Renew a lease, and let no one take it before the transaction ends. False when it is not ours any more."""
    return session.connection().execute(_HOLD, values_of(kind, key, lease_owner)).rowcount == 1


def hold_all(session: Session, kind: LeaseKind, keys: Collection[str], *, lease_owner: str) -> list[str]:
    """Renew those of several leases that are ours still, as `hold` does. Returns their keys."""
    renewed = session.exec(
        update(Lease)
        .where(col(Lease.kind) == kind, col(Lease.key).in_(keys), col(Lease.lease_owner) == lease_owner)
        .values(heartbeat=Lease.heartbeat + 1, still_s=0.0)
        .returning(col(Lease.key))
        .execution_options(synchronize_session=False)
    )
    return list(renewed.scalars())


@repeated
def heartbeat(engine: Engine, kind: LeaseKind, key: object, *, lease_owner: str) -> bool:
    """Renew a lease. Returns whether it is still ours."""
    with write_session(engine, by_rows=True) as session:
        return hold(session, kind, key, lease_owner=lease_owner)


@repeated
def acquire(
    engine: Engine, kind: LeaseKind, key: object, *, lease_owner: str, now: datetime, dead: Lease | None = None
) -> bool:
    """Take a lease with nothing else, as `claim` does.

    That to forget somebody waits for the claims that are under way, which did not see it.
    """
    wanted = SETUP if kind == LeaseKind.FORGETTING else of_lease(kind, key)
    with write_session(engine, wanted) as session:
        return claim(session, kind, key, lease_owner=lease_owner, now=now, dead=dead)


@repeated
def release(engine: Engine, kind: LeaseKind, key: object, *, lease_owner: str) -> None:
    """Give a lease up with nothing else, if it is ours still."""
    with write_session(engine, by_rows=True) as session:
        hand_back(session, kind, key, lease_owner=lease_owner)


def hand_back(session: Session, kind: LeaseKind, key: object, *, lease_owner: str) -> bool:
    """Give a lease up. False when it was not ours any more."""
    return session.connection().execute(_HAND_BACK, values_of(kind, key, lease_owner)).rowcount == 1


def hand_back_all(session: Session, kind: LeaseKind, keys: Collection[str], *, lease_owner: str) -> None:
    """Give up those of several leases that are ours still."""
    mine = delete(Lease).where(col(Lease.kind) == kind, col(Lease.key).in_(keys), col(Lease.lease_owner) == lease_owner)
    session.exec(mine.execution_options(synchronize_session=False))


def end_if_unmoved(session: Session, lease: Lease) -> bool:
    """End the lease of a process that died. False when it has moved since it was read."""
    ended = session.exec(delete(Lease).where(*_unmoved(lease)))
    return ended.rowcount == 1


@repeated
def end(engine: Engine, lease: Lease) -> bool:
    """End the lease of a process that died with nothing else, as `end_if_unmoved` does."""
    with write_session(engine, by_rows=True) as session:
        return end_if_unmoved(session, lease)


def free_all(session: Session, lease_owner: str) -> None:
    """Free whatever this owner holds."""
    session.exec(delete(Lease).where(col(Lease.lease_owner) == lease_owner))


def find(session: Session, kind: LeaseKind, key: object) -> Lease | None:
    """Return a lease, None while it is free."""
    return session.get(Lease, (kind, str(key)), populate_existing=True)


def find_all(session: Session, kind: LeaseKind, keys: Collection[str]) -> Sequence[Lease]:
    """Return those of several leases that are held."""
    return session.exec(select(Lease).where(Lease.kind == kind, col(Lease.key).in_(keys))).all()


def list_held(engine: Engine, *kinds: LeaseKind, keys: Collection[str] | None = None) -> list[Lease]:
    """List the leases of these kinds that are held: all of them, or those of these keys."""
    with read_session(engine) as session:
        query = select(Lease).where(col(Lease.kind).in_(kinds))
        if keys is not None:
            query = query.where(col(Lease.key).in_(keys))
        return list(session.exec(query.order_by(Lease.key)).all())


@repeated
def note_stillness(engine: Engine, notes: Sequence[Stillness]) -> None:
    """Record how long heartbeats have not moved.

    Each on top of what its watcher saw written: of several watchers that add the same seconds, one does.
    """
    with write_session(engine, by_rows=True) as session:
        for note in sorted(notes, key=lambda note: (note.lease.kind, note.lease.key)):
            session.exec(
                update(Lease)
                .where(*_unmoved(note.lease), col(Lease.still_s) == note.before_s)
                .values(still_s=note.still_s)
            )


def is_held(kind: LeaseKind, key: Any, *, but_by: str | None = None) -> ColumnElement[bool]:
    """Build the condition that a process, other than `but_by`, holds the lease whose key is this column."""
    lease = exists().where(col(Lease.kind) == kind, col(Lease.key) == cast(key, String))
    return lease.where(col(Lease.lease_owner) != but_by) if but_by is not None else lease


def is_free(kind: LeaseKind, key: Any) -> ColumnElement[bool]:
    """Build the condition that no process holds the lease whose key is this column, where few rows of many are wanted.

    PostgreSQL looks it up for each row that it comes to; what `is_held` denies it may compare for all rows first.
    """
    owner = select(Lease.lease_owner).where(col(Lease.kind) == kind, col(Lease.key) == cast(key, String))
    return owner.scalar_subquery().is_(None)


def is_kind_held(kind: LeaseKind) -> ColumnElement[bool]:
    """Build the condition that a process holds any lease of a kind."""
    return exists().where(col(Lease.kind) == kind)


def values_of(kind: LeaseKind, key: object, lease_owner: str) -> dict[str, str]:
    """Return the values of a statement with the conditions of `IS_OURS`."""
    return {"of_kind": kind, "of_key": str(key), "of_owner": lease_owner}


def _is(kind: LeaseKind, key: object) -> tuple[ColumnElement[bool], ...]:
    return col(Lease.kind) == kind, col(Lease.key) == str(key)


def _unmoved(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    seen = col(Lease.lease_owner) == lease.lease_owner, col(Lease.heartbeat) == lease.heartbeat
    return *_is(LeaseKind(lease.kind), lease.key), *seen
