"""Queueing, claiming and recording associations: rows of a table, held by a lease as runs are."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, update
from sqlmodel import Session, col, delete, select

from data import leases
from data.engine import read_session, write_session
from data.leases import Renewal
from data.models import Association, AssociationBatch, ImportStage, Lease, LeaseKind

WAITING = {ImportStage.TO_CHECK: ImportStage.CHECKING, ImportStage.TO_WRITE: ImportStage.WRITING}
AT_WORK = {working: waiting for waiting, working in WAITING.items()}
UNFINISHED = (*WAITING, *AT_WORK)
# The reason that stands for rows of a batch of which Mixpanel took some, and did not say which: kept as `unaliased`.
NOT_SAID = "Mixpanel refused a part of the batch and did not say which rows."
# One that kills its process again and again without getting further is left alone.
_MOST_INTERRUPTIONS = 3


def claimable(engine: Engine, *, limit: int = 5) -> list[int]:
    """List the associations that a worker may try to claim, the oldest first."""
    with read_session(engine) as session:
        query = select(Association.id).where(
            col(Association.stage).in_(WAITING), ~leases.is_held(LeaseKind.ASSOCIATION, Association.id)
        )
        return [one for one in session.exec(query.order_by(col(Association.id)).limit(limit)).all() if one is not None]


def claim(engine: Engine, association_id: int, *, lease_owner: str, now: datetime) -> bool:
    """Take an association that waits for work and that nobody holds. False when somebody was faster."""
    with write_session(engine) as session:
        for waiting, working in WAITING.items():
            taken = session.exec(
                update(Association)
                .where(
                    col(Association.id) == association_id,
                    col(Association.stage) == waiting,
                    ~leases.is_held(LeaseKind.ASSOCIATION, Association.id, but_by=lease_owner),
                )
                .values(stage=working, started_at=func.coalesce(Association.started_at, now))
            )
            if taken.rowcount == 1:
                return leases.claim(session, LeaseKind.ASSOCIATION, association_id, lease_owner=lease_owner, now=now)
    return False


def heartbeat(
    engine: Engine, association_id: int, *, lease_owner: str, values: dict[str, Any] | None = None
) -> Renewal:
    """Renew the lease, and write progress."""
    with write_session(engine) as session:
        if not _hold(session, association_id, lease_owner, values or {}):
            return Renewal(ours=False, cancel_asked=False)
        cancel_asked = session.exec(select(Association.cancel_asked).where(Association.id == association_id)).one()
        return Renewal(ours=True, cancel_asked=cancel_asked)


@contextmanager
def held(engine: Engine, association_id: int, *, lease_owner: str) -> Generator[bool]:
    """Renew the lease, and let nobody else write to the database until this is left; False when the lease is lost."""
    with write_session(engine) as session:
        yield _hold(session, association_id, lease_owner, {})


def record_batch(engine: Engine, batch: AssociationBatch, *, lease_owner: str, requests: int) -> bool:
    """Record a batch and the progress that it is, in one transaction; False, and nothing, when the lease is lost."""
    with write_session(engine) as session:
        refused = len(batch.refused)
        unsure = sum(reason == NOT_SAID for reason in batch.unaliased.values())
        progress = {
            "written": Association.written + batch.size - refused - unsure,
            "refused": Association.refused + refused,
            "requests": requests,
            "interruptions": 0,
        }
        if not _hold(session, batch.association_id, lease_owner, progress):
            return False
        session.add(batch)
        return True


def _hold(session: Session, association_id: int, lease_owner: str, values: dict[str, Any]) -> bool:
    if not leases.hold(session, LeaseKind.ASSOCIATION, association_id, lease_owner=lease_owner):
        return False
    _update(session, association_id, values)
    return True


def _update(session: Session, association_id: int, values: dict[str, Any]) -> None:
    if values:
        session.exec(update(Association).where(col(Association.id) == association_id).values(**values))


def let_go(engine: Engine, association_id: int, *, lease_owner: str, values: dict[str, Any]) -> bool:
    """End one's work on an association: write what came of it, and give the lease up. False when it was lost."""
    with write_session(engine) as session:
        if not leases.hand_back(session, LeaseKind.ASSOCIATION, association_id, lease_owner=lease_owner):
            return False
        _update(session, association_id, values)
        return True


def hand_back(engine: Engine, association_id: int, *, lease_owner: str, now: datetime) -> bool:
    """Put an association back into the queue, or end it if that was asked for; what was recorded of it stays."""
    with write_session(engine) as session:
        association = session.get(Association, association_id)
        if association is None or association.stage not in AT_WORK:
            return False
        if not leases.hand_back(session, LeaseKind.ASSOCIATION, association_id, lease_owner=lease_owner):
            return False
        _update(session, association_id, _put_down(association, now))
        return True


def _put_down(association: Association, now: datetime) -> dict[str, Any]:
    """What becomes of one that nobody works on any more: one that somebody cancelled is not taken up again."""
    if association.cancel_asked:
        return {"stage": ImportStage.CANCELLED, "finished_at": now, "cancel_asked": False}
    return {"stage": AT_WORK.get(ImportStage(association.stage), association.stage)}


def interrupt(engine: Engine, lease: Lease, *, error: dict[str, str], now: datetime) -> bool:
    """Put the work of a process that died back into the queue, if its lease has not moved since it was read.

    One that dies again and again without getting further fails.
    """
    with write_session(engine) as session:
        if not leases.end_if_unmoved(session, lease):
            return False
        association = session.get_one(Association, int(lease.key))
        values = _put_down(association, now)
        if association.interruptions >= _MOST_INTERRUPTIONS and values["stage"] != ImportStage.CANCELLED:
            values = {"stage": ImportStage.FAILED, "finished_at": now} | error
        _update(session, int(lease.key), values | {"interruptions": association.interruptions + 1})
        return True


def get(engine: Engine, association_id: int) -> Association | None:
    """Return an association, None if unknown."""
    with read_session(engine) as session:
        return session.get(Association, association_id)


def listed(engine: Engine, *, stages: Sequence[str] = (), limit: int = 20) -> list[Association]:
    """List associations, newest first."""
    with read_session(engine) as session:
        query = select(Association)
        if stages:
            query = query.where(col(Association.stage).in_(stages))
        return list(session.exec(query.order_by(col(Association.id).desc()).limit(limit)).all())


def last_row(engine: Engine, association_id: int) -> int:
    """Return the number of the last row whose outcome is recorded, 0 when none is."""
    with read_session(engine) as session:
        ends = select(func.max(AssociationBatch.end)).where(AssociationBatch.association_id == association_id)
        return session.exec(ends).one() or 0


def is_written(engine: Engine, association_id: int, row: int) -> bool:
    """Tell whether a row is recorded as written: in a batch that was recorded, and not refused."""
    found = batches(engine, association_id, after=row - 1, limit=1)
    if not found or found[0].start > row:
        return False
    return str(row) not in found[0].refused and found[0].unaliased.get(str(row)) != NOT_SAID


def batches(engine: Engine, association_id: int, *, after: int = 0, limit: int = 50) -> list[AssociationBatch]:
    """List batches that were recorded, by row, from the one that ends after this row."""
    with read_session(engine) as session:
        query = select(AssociationBatch).where(
            AssociationBatch.association_id == association_id, col(AssociationBatch.end) > after
        )
        return list(session.exec(query.order_by(col(AssociationBatch.start)).limit(limit)).all())


def forget(engine: Engine, association_id: int) -> None:
    """Remove an association with its batches."""
    with write_session(engine) as session:
        session.exec(delete(AssociationBatch).where(col(AssociationBatch.association_id) == association_id))
        session.exec(delete(Association).where(col(Association.id) == association_id))
