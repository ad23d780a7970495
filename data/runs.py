"""Queueing, claiming, recording and listing runs, and the groups they feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Engine, String, case, cast, func, not_, or_
from sqlmodel import Session, col, select

from data import folded_search, proofs, receivers, tried
from data.engine import read_session
from data.members.proof import Proof
from data.models import (
    DECISIONS,
    FAILED,
    PREVIEW,
    UNFINISHED,
    Connection,
    Group,
    Lease,
    LeaseKind,
    Run,
    RunFilter,
    RunLogRow,
    RunStatus,
    Sync,
    SyncState,
)
from data.proof_models import TriedDelivery, Untraced
from data.receivers import SharedReceiver
from data.run_order import status_in_order

_FAILURES_LOOKED_AT = 50
# Of a run that was held: a person applied or discarded it.
_IS_DECIDED = (col(Run.status) == RunStatus.CANCELLED) & col(Run.step).in_(DECISIONS)
_IS_PREVIEWED = (col(Run.status) == RunStatus.SUCCEEDED) & col(Run.dry_run)


def find_running(engine: Engine, group_id: int) -> tuple[Run, Lease] | None:
    """Return the run that writes the group at this moment, if one does, with its lease at the same moment."""
    with read_session(engine) as session:
        return session.exec(
            select(Run, Lease).where(
                Run.group_id == group_id,
                Run.status == RunStatus.RUNNING,
                col(Run.dry_run).is_(False),
                Lease.kind == LeaseKind.RUN,
                col(Lease.key) == cast(col(Run.id), String),
            )
        ).first()


def get_run_log(engine: Engine, run_id: int) -> dict[str, Any] | None:
    """Return what is kept of a run's steps and calls."""
    with read_session(engine) as session:
        kept = session.get(RunLogRow, run_id)
    return kept.log if kept else None


def get(engine: Engine, run_id: int) -> Run | None:
    """Return a run, None if unknown."""
    with read_session(engine) as session:
        return session.get(Run, run_id)


def get_several(engine: Engine, run_ids: Sequence[int]) -> list[Run]:
    """Return the runs of these ids, by id; those that are unknown are left out."""
    with read_session(engine) as session:
        return list(session.exec(select(Run).where(col(Run.id).in_(run_ids)).order_by(col(Run.id))).all())


@dataclass(frozen=True)
class RunRows:
    """A run and the rows that it refers to; None: that connection was removed for good.

    `shared` says why the group is not this destination's alone, if it is not. `tried` and `first_untraced` are told
    where a receiver only adds.
    """

    run: Run
    sync: Sync
    group: Group
    mixpanel: Connection | None
    destination: Connection | None
    approvals: list[dict[str, Any]]
    log: dict[str, Any] | None  # of earlier attempts
    base_proof: Proof | None
    shared: SharedReceiver | None = None
    tried: Sequence[TriedDelivery] = ()
    first_untraced: Untraced | None = None  # why the cohort may be there though this group was never delivered


def get_with_its_rows(engine: Engine, run_id: int) -> RunRows | None:
    """Return a run with its sync, group and connections as of one moment, None if the run is unknown."""
    query = select(Run, Sync, Group).where(Run.id == run_id, Run.sync_id == Sync.id, Run.group_id == Group.id)
    with read_session(engine) as session:
        rows = session.exec(query).first()
        if rows is None and session.get(Run, run_id) is None:
            return None
        run, sync, group = rows or session.exec(query).one()  # raises: a run without its sync or group is damage
        ids = (sync.mixpanel_id, group.destination_id)
        by_id = {row.id: row for row in session.exec(select(Connection).where(col(Connection.id).in_(ids))).all()}
        mixpanel, destination = by_id.get(sync.mixpanel_id), by_id.get(group.destination_id)
        kept, shared = session.get(RunLogRow, run_id), None
        try:
            receivers.require_own(session, group)
        except SharedReceiver as exc:
            shared = exc
        approvals, base_proof = _list_approvals(session, run), proofs.get(session, group.base_snapshot)
        log = kept.log if kept else None
        rows = RunRows(run, sync, group, mixpanel, destination, approvals, log, base_proof, shared)
        if destination is None or not destination.adds_only:
            return rows
        first_untraced = receivers.find_first_untraced(session, group, destination)
        return replace(rows, tried=tried.list_tried(session, group.id), first_untraced=first_untraced)


def _list_approvals(session: Session, run: Run) -> list[dict[str, Any]]:
    """List what people let through of the run's group: for this run, or for one that then failed, with nothing since.

    A run that fails has not done what was approved, and may have done half of it. Who asked to have the group rolled
    back took the approval back, whatever became of the rollback, and so did who removed the sync.
    """
    earlier = session.exec(
        select(Run.id, Run.status, Run.restore_snapshot, Sync.state)
        .where(
            Run.sync_id == Sync.id,
            Run.group_id == run.group_id,
            col(Run.id) < run.id,
            col(Run.dry_run).is_(False),
            col(Run.status).not_in(UNFINISHED),
        )
        .order_by(col(Run.id).desc())
        .limit(_FAILURES_LOOKED_AT)
    ).all()
    kept = list(run.approvals or ())
    for run_id, status, restore_snapshot, state in earlier:
        is_taken_back = restore_snapshot is not None or state == SyncState.REMOVED
        if is_taken_back or status not in FAILED:
            break
        kept += session.get_one(Run, run_id).approvals or ()
    return kept


def find_later_write(engine: Engine, run: Run) -> int | None:
    """Return the id of a run that may have written the same group since this one began, None where there is none.

    That may be one that was queued before this one and waited longer.
    """
    since = run.started_at or run.queued_at
    is_later = or_(col(Run.id) > run.id, col(Run.status).in_(UNFINISHED), col(Run.finished_at) > since)
    others = select(Run.id).where(Run.group_id == run.group_id, col(Run.dry_run).is_(False), is_later)
    with read_session(engine) as session:
        return session.exec(others.order_by(col(Run.id).desc()).limit(1)).first()


def list_runs(engine: Engine, which: RunFilter, *, limit: int = 50, offset: int = 0) -> list[Run]:
    """List runs, newest first."""
    with read_session(engine) as session:
        query = select(Run).where(*conditions(session, which)).order_by(col(Run.id).desc()).limit(limit).offset(offset)
        return list(session.exec(query).all())


def count_runs(engine: Engine, which: RunFilter) -> int:
    """Count the runs that `list_runs` would page through."""
    with read_session(engine) as session:
        return session.exec(select(func.count()).select_from(Run).where(*conditions(session, which))).one()


def told_status() -> ColumnElement[str]:
    """Build the status of a run as people are told: see `Run.told_status`."""
    return case((_IS_DECIDED, col(Run.step)), (_IS_PREVIEWED, PREVIEW), else_=status_in_order())


def _is_told_as(statuses: Sequence[str]) -> ColumnElement[bool]:
    """Build the condition for runs that are shown in one of these states, by the index on `status` where it can be."""
    decided = [status for status in statuses if status in DECISIONS]
    is_one = col(Run.status).in_([status for status in statuses if status not in DECISIONS])
    if RunStatus.CANCELLED in statuses:
        is_one = is_one & not_(_IS_DECIDED)
    if RunStatus.SUCCEEDED in statuses:
        is_one = is_one & not_(_IS_PREVIEWED)
    if decided:
        is_one = or_(is_one, (col(Run.status) == RunStatus.CANCELLED) & col(Run.step).in_(decided))
    return or_(is_one, col(Run.dry_run)) if PREVIEW in statuses else is_one


def conditions(session: Session, which: RunFilter) -> list[Any]:
    """Build the conditions of a statement in this session for the runs that a filter asks for."""
    conditions: list[Any] = []
    if which.sync_id is not None:
        conditions.append(col(Run.sync_id) == which.sync_id)
    if which.group_id is not None:
        conditions.append(col(Run.group_id) == which.group_id)
    if which.cohort_id is not None:
        conditions.append(col(Run.cohort_id) == which.cohort_id)
    if which.statuses:
        conditions.append(_is_told_as(which.statuses))
    if which.triggers:
        conditions.append(col(Run.trigger).in_(which.triggers))
    if which.actor:
        conditions.append(col(Run.actor) == which.actor)
    if which.destination:
        conditions.append(col(Run.destination) == which.destination)
    if which.text:
        conditions.append(folded_search.contains(session, which.text, Run.cohort_name, Run.group_name))
    if which.since:
        conditions.append(col(Run.queued_at) >= which.since)
    if which.until:
        conditions.append(col(Run.queued_at) < which.until)
    if not which.with_dry_runs:
        conditions.append(col(Run.dry_run).is_(False))
    return conditions
