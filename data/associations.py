"""Associations: queued, claimed, recorded batch by batch, ended. Rows of a table, held by a lease as runs are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, update
from sqlmodel import Session, col, select

from data import leases
from data.engine import read_session, write_session
from data.failure import Failure
from data.leases import Renewal
from data.locks import RELYING
from data.member_ids import is_by_apptimize_id
from data.members.association_rows import ImportSummary
from data.models import Association, AssociationBatch, Group, ImportStage, Lease, LeaseKind, Run
from data.repeating import repeated

_KIND = LeaseKind.ASSOCIATION
_WAITING = {ImportStage.TO_CHECK: ImportStage.CHECKING, ImportStage.TO_WRITE: ImportStage.WRITING}
_RUNNING = {running: waiting for waiting, running in _WAITING.items()}
ENDED = (ImportStage.DONE, ImportStage.FAILED, ImportStage.CANCELLED)
# The reason that stands for rows of a batch of which Mixpanel took some, and did not report which: kept as `unaliased`.
NOT_REPORTED = "Mixpanel refused a part of the batch and did not say which rows."
_NO_ERROR = {"error_code": None, "error_message": None, "error_advice": None}
# One that kills its process again and again without getting further is left alone.
_MOST_INTERRUPTIONS = 3


@dataclass(frozen=True)
class LookUp:
    """Of the rows written, so many were asked for afterwards, and so many had their new id."""

    asked: int
    found: int


@dataclass(frozen=True)
class Ending:
    """How an association ended. None: what was recorded until then stays."""

    stage: ImportStage
    at: datetime
    failure: Failure | None = None
    requests: int | None = None
    look_up: LookUp | None = None


@dataclass(frozen=True)
class PrefixChoice:
    """Ids without a prefix are given this one; empty: they are written as they are; None: they are not written."""

    prefix: str | None

    def values(self) -> dict[str, Any]:
        return {"prefix": self.prefix}


@dataclass(frozen=True)
class AcceptedChoice:
    """Rows are written that have no other problem than these."""

    accepted: Sequence[str]

    def values(self) -> dict[str, Any]:
        return {"accepted": " ".join(self.accepted)}


Choice = PrefixChoice | AcceptedChoice


class Refusal(Enum):
    """Why an association was not moved to another stage."""

    UNKNOWN = auto()
    OTHER_STAGE = auto()  # or another process holds it
    CHECKED_AGAIN = auto()  # since it was seen


@dataclass(frozen=True)
class Move:
    """An association as it is now, None if there is none, and why it was not moved, None if it was."""

    association: Association | None
    refusal: Refusal | None = None


# --- what people ask for ---------------------------------------------------------------------------------------------


def add(
    engine: Engine,
    association: Association,
    *,
    before_commit: Callable[[int], None],
    lease_owner: str | None,
    now: datetime,
) -> Association:
    """Queue an association; what `before_commit` does with its id is there when a worker sees the row.

    With a `lease_owner` it is that process's own to do.
    """
    with write_session(engine) as session:
        session.add(association)
        session.flush()
        assert association.id is not None
        if lease_owner is not None:
            leases.claim(session, _KIND, association.id, lease_owner=lease_owner, now=now)
        before_commit(association.id)
    return association


def check_again(engine: Engine, association_id: int, choice: Choice, *, lease_owner: str | None, now: datetime) -> Move:
    """Queue one that was checked to be checked with another choice of what is written."""
    move = _Transition((ImportStage.CHECKED,), ImportStage.TO_CHECK, choice.values())
    return _move(engine, association_id, move, lease_owner=lease_owner, now=now)


def confirm(
    engine: Engine,
    association_id: int,
    *,
    seen: Association,
    confirmed_by: str,
    lease_owner: str | None,
    now: datetime,
) -> Move:
    """Queue one that was checked to be written, if what was chosen and its number of rows are as they were `seen`."""
    as_seen = (
        col(Association.prefix).is_not_distinct_from(seen.prefix),
        col(Association.accepted) == seen.accepted,
        col(Association.writable) == seen.writable,
    )
    move = _Transition((ImportStage.CHECKED,), ImportStage.TO_WRITE, {"confirmed_by": confirmed_by}, as_seen)
    return _move(engine, association_id, move, lease_owner=lease_owner, now=now)


def resume(engine: Engine, association_id: int, *, lease_owner: str | None, now: datetime) -> Move:
    """Queue one that failed, was cancelled or waits to be written, as if it had never stopped."""
    move = _Transition(
        (ImportStage.FAILED, ImportStage.CANCELLED, ImportStage.TO_WRITE),
        ImportStage.TO_WRITE,
        {"finished_at": None, "interruptions": 0, **_NO_ERROR},
    )
    return _move(engine, association_id, move, lease_owner=lease_owner, now=now)


@dataclass(frozen=True)
class _Transition:
    """From one of these stages to another, what changes by it, and what must be so."""

    before: Sequence[ImportStage]
    after: ImportStage
    values: dict[str, Any]
    only_if: Sequence[ColumnElement[bool]] = ()


def _move(engine: Engine, association_id: int, move: _Transition, *, lease_owner: str | None, now: datetime) -> Move:
    with write_session(engine) as session:
        moved = session.exec(
            update(Association)
            .where(
                col(Association.id) == association_id,
                col(Association.stage).in_(move.before),
                ~leases.is_held(_KIND, Association.id, but_by=lease_owner),
                *move.only_if,
            )
            .values(stage=move.after, cancel_asked=False, **move.values)
        )
        association = session.get(Association, association_id, populate_existing=True)
        if association is None:
            return Move(None, Refusal.UNKNOWN)
        if moved.rowcount != 1:
            lease = leases.find(session, _KIND, association_id)
            is_there = association.stage in move.before and (lease is None or lease.lease_owner == lease_owner)
            return Move(association, Refusal.CHECKED_AGAIN if is_there else Refusal.OTHER_STAGE)
        if lease_owner is not None:
            leases.claim(session, _KIND, association_id, lease_owner=lease_owner, now=now)
        return Move(association)


def cancel(engine: Engine, association_id: int, *, now: datetime) -> Move:
    """Cancel one that no process holds; have the process that holds one cancel it."""
    with write_session(engine) as session:
        association = session.get(Association, association_id)
        if association is None:
            return Move(None, Refusal.UNKNOWN)
        if association.stage in ENDED:
            return Move(association, Refusal.OTHER_STAGE)
        if leases.find(session, _KIND, association_id) is None:
            association.stage, association.finished_at = ImportStage.CANCELLED, now
        else:
            association.cancel_asked = True
        session.add(association)
        return Move(association)


# --- who does it -----------------------------------------------------------------------------------------------------


def claimable(engine: Engine, *, limit: int = 5) -> list[int]:
    """List the associations that a worker may try to claim, the oldest first."""
    with read_session(engine) as session:
        query = select(Association.id).where(
            col(Association.stage).in_(_WAITING), ~leases.is_held(_KIND, Association.id)
        )
        ids = session.exec(query.order_by(col(Association.id)).limit(limit)).all()
        return [association_id for association_id in ids if association_id is not None]


def claim(engine: Engine, association_id: int, *, lease_owner: str, now: datetime) -> bool:
    """Take an association that waits for work and that no process holds.

    False when another was faster, or somebody is being forgotten.
    """
    with write_session(engine, RELYING) as session:
        for waiting, working in _WAITING.items():
            taken = session.exec(
                update(Association)
                .where(
                    col(Association.id) == association_id,
                    col(Association.stage) == waiting,
                    ~leases.is_held(_KIND, Association.id, but_by=lease_owner),
                    ~leases.is_kind_held(LeaseKind.FORGETTING),
                )
                .values(stage=working, started_at=func.coalesce(Association.started_at, now))
            )
            if taken.rowcount == 1:
                return leases.claim(session, _KIND, association_id, lease_owner=lease_owner, now=now)
        return False


def heartbeat(engine: Engine, association_id: int, *, lease_owner: str, retry: Failure | None = None) -> Renewal:
    """Renew the lease, and record why something waits to be tried again; None: nothing does."""
    return _renew(engine, association_id, lease_owner, dict(retry.columns() if retry else _NO_ERROR))


def begin_batch(engine: Engine, association_id: int, *, lease_owner: str, last_row: int) -> Renewal:
    """Renew the lease, and record that the rows up to this one are about to be sent."""
    return _renew(engine, association_id, lease_owner, {"begun": last_row})


@repeated
def _renew(engine: Engine, association_id: int, lease_owner: str, values: dict[str, Any]) -> Renewal:
    with write_session(engine, by_rows=True) as session:
        if not _hold(session, association_id, lease_owner, values):
            return Renewal(ours=False, cancel_asked=False)
        cancel_asked = session.exec(select(Association.cancel_asked).where(Association.id == association_id)).one()
        return Renewal(ours=True, cancel_asked=cancel_asked)


@contextmanager
def held(engine: Engine, association_id: int, *, lease_owner: str) -> Generator[bool]:
    """Renew the lease, and let no one else take it until this is left; False when it is lost."""
    with write_session(engine, by_rows=True) as session:
        yield _hold(session, association_id, lease_owner, {})


@repeated
def record_batch(engine: Engine, batch: AssociationBatch, *, lease_owner: str, requests: int) -> bool:
    """Record a batch and the progress that it is, in one transaction; False, and nothing, when the lease is lost."""
    with write_session(engine, by_rows=True) as session:
        refused = len(batch.refused)
        unsure = sum(reason == NOT_REPORTED for reason in batch.unaliased.values())
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
    if not leases.hold(session, _KIND, association_id, lease_owner=lease_owner):
        return False
    _update(session, association_id, values)
    return True


def _update(session: Session, association_id: int, values: dict[str, Any]) -> None:
    if values:
        session.exec(update(Association).where(col(Association.id) == association_id).values(**values))


def record_check(
    engine: Engine, association_id: int, *, lease_owner: str, summary: ImportSummary, bundle: str | None = None
) -> bool:
    """Record what a check came to, and the object that has it; give the lease up. False, and nothing, if lost."""
    values = check_values(summary) | ({} if bundle is None else {"bundle": bundle})
    return _let_go(engine, association_id, lease_owner, {"stage": ImportStage.CHECKED, **values})


def check_values(summary: ImportSummary) -> dict[str, Any]:
    """Return what is recorded of what a check came to."""
    return {
        "rows": summary.rows,
        "writable": summary.writable,
        "problems": summary.problems,
        "effects": summary.effects | ({"taken": summary.taken} if summary.taken else {}),
        "warnings": summary.warnings,
    }


def record_end(engine: Engine, association_id: int, *, lease_owner: str, ending: Ending) -> bool:
    """Record how an association ended, and give the lease up. False, and nothing, when it was lost."""
    values: dict[str, Any] = {"stage": ending.stage, "finished_at": ending.at, "cancel_asked": False, **_NO_ERROR}
    if ending.failure:
        values |= ending.failure.columns()
    if ending.requests is not None:
        values["requests"] = ending.requests
    if ending.look_up:
        values |= {"looked_up": ending.look_up.asked, "found": ending.look_up.found}
    return _let_go(engine, association_id, lease_owner, values)


@repeated
def _let_go(engine: Engine, association_id: int, lease_owner: str, values: dict[str, Any]) -> bool:
    with write_session(engine, RELYING) as session:
        if not leases.hand_back(session, _KIND, association_id, lease_owner=lease_owner):
            return False
        _update(session, association_id, values)
        return True


@repeated
def hand_back(engine: Engine, association_id: int, *, lease_owner: str, now: datetime) -> bool:
    """Put an association back into the queue, or end it if that was asked for; what was recorded of it stays."""
    with write_session(engine, RELYING) as session:
        association = session.get(Association, association_id)
        if association is None or association.stage not in _RUNNING:
            return False
        if not leases.hand_back(session, _KIND, association_id, lease_owner=lease_owner):
            return False
        _update(session, association_id, _put_down(association, now))
        return True


def _put_down(association: Association, now: datetime) -> dict[str, Any]:
    """Return what changes of one that no process works on any more: one that was cancelled is not taken up again."""
    if association.cancel_asked:
        return {"stage": ImportStage.CANCELLED, "finished_at": now, "cancel_asked": False, **_NO_ERROR}
    return {"stage": _RUNNING.get(ImportStage(association.stage), association.stage), **_NO_ERROR}


def interrupt(engine: Engine, lease: Lease, *, failure: Failure, now: datetime) -> bool:
    """Put the work of a process that died back into the queue, if its lease has not moved since it was read.

    One that dies again and again without getting further fails.
    """
    with write_session(engine, RELYING) as session:
        if not leases.end_if_unmoved(session, lease):
            return False
        association = session.get(Association, int(lease.key))
        if association is None:
            return True  # a lease of nothing: it must not keep the others from being recovered
        values = _put_down(association, now)
        if association.interruptions >= _MOST_INTERRUPTIONS and values["stage"] != ImportStage.CANCELLED:
            values = {"stage": ImportStage.FAILED, "finished_at": now} | failure.columns()
        _update(session, int(lease.key), values | {"interruptions": association.interruptions + 1})
        return True


# --- reading it ------------------------------------------------------------------------------------------------------


def get(engine: Engine, association_id: int) -> Association | None:
    """Return an association, None if unknown."""
    with read_session(engine) as session:
        return session.get(Association, association_id)


def list_newest(engine: Engine, *, stages: Sequence[str] = (), limit: int = 20) -> list[Association]:
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
    """Return whether a row is recorded as written: in a batch that was recorded, and not refused."""
    batches = list_batches(engine, association_id, after=row - 1, limit=1)
    if not batches or batches[0].start > row:
        return False
    return str(row) not in batches[0].refused and batches[0].unaliased.get(str(row)) != NOT_REPORTED


def list_batches(engine: Engine, association_id: int, *, after: int = 0, limit: int = 50) -> list[AssociationBatch]:
    """List batches that were recorded, by row, from the one that ends after this row."""
    with read_session(engine) as session:
        query = select(AssociationBatch).where(
            AssociationBatch.association_id == association_id, col(AssociationBatch.end) > after
        )
        return list(session.exec(query.order_by(col(AssociationBatch.start)).limit(limit)).all())


@dataclass(frozen=True)
class ReadFiles:
    """What the latest reads of a project's cohorts have kept, by name: their members, and the profiles excluded."""

    members: list[str]
    excluded: list[str]


def list_read_files(engine: Engine, project_id: int) -> ReadFiles:
    """List the files that show which profiles of a project have which Apptimize id."""
    with read_session(engine) as session:
        groups = select(Group.id).where(Group.project_id == project_id)
        members = session.exec(
            select(Group.base_snapshot).where(Group.project_id == project_id, is_by_apptimize_id(col(Group.base_match)))
        ).all()
        excluded = session.exec(
            select(Run.excluded).where(
                col(Run.group_id).in_(groups), col(Run.excluded).is_not(None), is_by_apptimize_id(col(Run.matched_by))
            )
        ).all()
    return ReadFiles(
        members=[name for name in dict.fromkeys(members) if name], excluded=[name for name in excluded if name]
    )


def list_older(engine: Engine, created_before: datetime, *, limit: int) -> list[int]:
    """List associations of an earlier time that ended, or were never confirmed."""
    with read_session(engine) as session:
        query = select(Association.id).where(
            col(Association.stage).in_((*ENDED, ImportStage.CHECKED)), Association.created_at < created_before
        )
        return [association_id for association_id in session.exec(query.limit(limit)).all() if association_id]
