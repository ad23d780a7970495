"""What writers on PostgreSQL keep from each other: locks by name, each as narrow as what it protects.

SQLite has one writer at a time, and needs none of them. On PostgreSQL a writing transaction is of one of three kinds:

- **It changes what is set up**, or decides on more rows than it writes (`SETUP`, where nothing is said): connections
  and what leads to one place, syncs and their room in the budget, what people decide of runs, doubt for many groups at
  once, forgetting, retention, keys. Nobody else of this kind, or of the next, writes meanwhile.
- **It relies on what is set up** (`RELYING`): runs are queued when due, claimed, end, are recovered. Any number at a
  time, beside what has a lock of its own (`of_group`).
- **It is a matter of rows** (`by_rows`), or of one lock of its own: heartbeats, leases, the query budget of a project,
  messages, sign-ins, lines of the audit log. It waits for none of the above, and none of them for it. What it writes it
  writes by statements that say what must be so, or in rows that nobody else writes.

A transaction takes its locks as it begins, in the order of `Kind`, and that of the audit log last, as it adds a line.
What it reads after that, each statement reads of its own moment. Of two that wait for each other by rows all the same,
the server ends one, which is done again (`data/repeating.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from zlib import crc32

from sqlalchemy import ColumnElement, Integer, cast, func
from sqlmodel import Session

# What other programs in the same database would have to guess to meet us.
_OURS = 7_021_000
# So many groups have a lock of their own.
_GROUPS = 2**31


class Kind(IntEnum):
    """What a lock protects, in the order in which they are taken."""

    SETUP = 1
    PEOPLE = 2
    PROJECT = 3
    GROUP = 4
    LEASE = 5
    OUTBOX = 6
    DELIVERIES = 7
    AUDIT = 9


@dataclass(frozen=True)
class Lock:
    """One lock. A `shared` one keeps out those that are not."""

    kind: Kind
    key: str = ""
    shared: bool = False


SETUP = Lock(Kind.SETUP)
RELYING = Lock(Kind.SETUP, shared=True)
PEOPLE = Lock(Kind.PEOPLE)
OUTBOX = Lock(Kind.OUTBOX)
DELIVERIES = Lock(Kind.DELIVERIES)
AUDIT = Lock(Kind.AUDIT)


def of_group(group_id: int) -> Lock:
    """Return the lock of what runs make of a group, and of what is told of its sync."""
    return Lock(Kind.GROUP, str(group_id))


def taken_of_group(group_id: ColumnElement[int]) -> ColumnElement[None]:
    """Build what takes that lock as a part of a statement on PostgreSQL, where the group is not known before."""
    return func.pg_advisory_xact_lock(_OURS + Kind.GROUP, cast(group_id % _GROUPS, Integer))


def of_project(project: str) -> Lock:
    """Return the lock of what is counted and remembered of a Mixpanel project."""
    return Lock(Kind.PROJECT, project)


def of_lease(kind: str, key: object) -> Lock:
    """Return the lock of a lease that somebody is about to take."""
    return Lock(Kind.LEASE, f"{kind} {key}")


def take(session: Session, *locks: Lock) -> None:
    """Take locks within a writing session, until its transaction ends. Those that it has already are free."""
    connection = session.connection()
    if connection.dialect.name == "postgresql" and locks:
        connection.exec_driver_sql(statement(locks))


def statement(locks: Sequence[Lock]) -> str:
    """Write the statement that takes locks, one after the other in their order."""
    ordered = sorted(set(locks), key=lambda lock: (lock.kind, _number(lock), lock.shared))
    return "SELECT " + ", ".join(_call(lock) for lock in ordered)


def _call(lock: Lock) -> str:
    shared = "_shared" if lock.shared else ""
    return f"pg_advisory_xact_lock{shared}({_OURS + lock.kind}, {_number(lock)})"


def _number(lock: Lock) -> int:
    """Return a number of 32 bits with a sign for a key; two that have one by chance wait for each other, no more."""
    if lock.kind == Kind.GROUP:
        return int(lock.key) % _GROUPS
    return crc32(lock.key.encode()) - 2**31 if lock.key else 0
