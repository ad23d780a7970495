"""What people decide about runs that are there: apply or discard a held one, roll a group back to an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, select

from data.engine import Engine, read_session, write_session
from data.models import (
    APPLIED,
    APPLIED_RUN_ID,
    DISCARDED,
    HELD_RUN_ID,
    SUPERSEDED_BY_RUN_ID,
    UNFINISHED,
    Run,
    RunStatus,
    Sync,
    SyncKind,
)
from data.repeating import repeated
from data.run_queue import RunRequest
from data.sync_runs import add_run, cancel_queued, stop_syncs, supersede_held

# What is kept of a hold, and of an approval of it.
HoldRow = dict[str, Any]
_OUTCOMES = (APPLIED_RUN_ID, SUPERSEDED_BY_RUN_ID)
# Whether the first goes no further than the second.
KeepsTo = Callable[[HoldRow, HoldRow], bool]


class RunUnknown(LookupError):
    """There is no such run."""


class RunNotHeld(Exception):
    """The run waits for no decision (any more), or was a preview; `run` is as it is now."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.status)
        self.run = run


class HoldChanged(Exception):
    """A newer held run took the place of what was looked at, and goes beyond it."""

    def __init__(self, newer: Run) -> None:
        super().__init__(f"Run {newer.id} is held now.")
        self.newer = newer


class MembersNotKept(LookupError):
    """The members as of a run are not kept."""


@repeated
def apply_held(
    engine: Engine,
    run_id: int,
    looked_at: HoldRow | None,
    *,
    actor: str,
    keeps_to: KeepsTo,
    now: datetime,
    note: str | None = None,
) -> Run:
    """Queue an approved run in place of a held one, or of the newer one that took its place and keeps to it.

    `looked_at` is what the person saw of the run, as it is kept with it; None: what is kept. `note` says why.

    Raises: RunUnknown, RunNotHeld, HoldChanged.
    """
    with write_session(engine) as session:
        held, approvals = _find_decidable(session, run_id, looked_at, keeps_to)
        _end(session, held, APPLIED, actor, note)
        # Each of the two names the other.
        approvals[-1:] = [row | {HELD_RUN_ID: held.id} for row in approvals[-1:]]
        request = RunRequest(trigger="manual", actor=actor, approved=True, approvals=approvals)
        queued = add_run(session, session.get_one(Sync, held.sync_id), request, now=now)
        held.hold = (held.hold or {}) | {APPLIED_RUN_ID: queued.id}
    return queued


@repeated
def discard_held(
    engine: Engine, run_id: int, looked_at: HoldRow | None, *, actor: str, keeps_to: KeepsTo, now: datetime
) -> Run:
    """End a held run, or the newer one that took its place and keeps to it, with every approval that still waits.

    Raises: RunUnknown, RunNotHeld, HoldChanged.
    """
    with write_session(engine) as session:
        held, _ = _find_decidable(session, run_id, looked_at, keeps_to)
        _end(session, held, DISCARDED, actor)
        cancel_queued(session, (col(Run.group_id) == held.group_id) & col(Run.approved), now=now)
    return held


def _find_decidable(
    session: Session, run_id: int, looked_at: HoldRow | None, keeps_to: KeepsTo
) -> tuple[Run, list[HoldRow]]:
    """Return the held run that a decision about one is for, and what was looked at of it."""
    asked = _get(session, run_id)
    held = asked if asked.status == RunStatus.HELD else _held_in_place_of(session, asked)
    approvals = _approvals(asked, looked_at or asked.hold)
    # One without a hold is of an earlier version: nothing of it is known, so nothing is let through.
    if held.hold and not any(keeps_to(held.hold, approval) for approval in approvals):
        raise HoldChanged(held)
    return held, approvals


def find_held(engine: Engine, run_id: int) -> Run:
    """Return a held run, or the one that took its place. Raises RunUnknown, RunNotHeld."""
    with read_session(engine) as session:
        run = _get(session, run_id)
        return run if run.status == RunStatus.HELD else _held_in_place_of(session, run)


def name_other_of_pair(engine: Engine, run: Run) -> None:
    """Have a run that let a held one through, or that held one, name the other where versions before did not note it.

    It is known by the order of the group's runs, by who decided, and by the numbers that were looked at.
    """
    applied = (col(Run.status) == RunStatus.CANCELLED) & (col(Run.step) == APPLIED)
    if run.approved and run.approvals and run.held_run_id is None:
        held = _next_to(engine, run, applied & (col(Run.id) < run.id), col(Run.id).desc())
        if held and _are_pair(held, run):
            run.approvals = [*run.approvals[:-1], run.approvals[-1] | {HELD_RUN_ID: held.id}]
    if run.status == RunStatus.CANCELLED and run.step == APPLIED and run.hold and run.applied_run_id is None:
        queued = _next_to(engine, run, col(Run.approved) & (col(Run.id) > run.id), col(Run.id))
        if queued and _are_pair(run, queued):
            run.hold = run.hold | {APPLIED_RUN_ID: queued.id}


def _next_to(engine: Engine, run: Run, which: ColumnElement[bool], order: Any) -> Run | None:
    with read_session(engine) as session:
        query = select(Run).where(col(Run.group_id) == run.group_id, which)
        return session.exec(query.order_by(order).limit(1)).first()


def _are_pair(held: Run, queued: Run) -> bool:
    looked_at = queued.approvals[-1] if queued.approvals else None
    names_none = held.applied_run_id is None and queued.held_run_id is None
    return names_none and held.decided_by == queued.actor and held.hold is not None and held.hold == looked_at


def _get(session: Session, run_id: int) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise RunUnknown(run_id)
    if run.dry_run:
        raise RunNotHeld(run)
    return run


def _held_in_place_of(session: Session, run: Run) -> Run:
    """Return the run that is held now of a group that had held another. Raises RunNotHeld."""
    of_group = (Run.group_id == run.group_id, Run.status == RunStatus.HELD, col(Run.dry_run).is_(False))
    newer = session.exec(select(Run).where(*of_group).order_by(col(Run.id).desc())).first()
    if newer is None or run.status != RunStatus.SUPERSEDED:
        raise RunNotHeld(run)
    return newer


def _approvals(asked: Run, looked_at: HoldRow | None) -> list[HoldRow]:
    """List what was looked at: of this hold, and of those for other causes that were let through on the way to it."""
    if looked_at is None:
        return []
    earlier = [row for row in asked.approvals or () if row["cause"] != looked_at["cause"]]
    # What became of the hold is no part of what was looked at.
    return [*earlier, {name: value for name, value in looked_at.items() if name not in _OUTCOMES}]


def _end(session: Session, run: Run, step: str, actor: str, note: str | None = None) -> None:
    run.status, run.step, run.decided_by, run.difference = RunStatus.CANCELLED, step, actor, None
    run.decision_note = note
    session.add(run)


@repeated
def roll_back(
    engine: Engine, run_id: int, *, actor: str, reason: str, is_kept: Callable[[str | None], bool], now: datetime
) -> Run:
    """Queue a run that restores a group's members as of an earlier run, and pause what would undo that.

    `is_kept` says whether the snapshot of this name can be read. Raises: RunUnknown, MembersNotKept.
    """
    with write_session(engine) as session:
        earlier = session.get(Run, run_id)
        if earlier is None:
            raise RunUnknown(run_id)
        if not is_kept(earlier.snapshot):
            raise MembersNotKept(run_id)
        _stop_syncs(session, earlier.group_id, reason, now)
        sync = session.get_one(Sync, earlier.sync_id)
        request = RunRequest(trigger="undo", actor=actor, force_full=True, restore_snapshot=earlier.snapshot)
        rollback = add_run(session, sync, request, now=now)
        supersede_held(session, earlier.group_id, by=rollback.id)
    return rollback


def _stop_syncs(session: Session, group_id: int, reason: str, now: datetime) -> None:
    of_group = (col(Sync.group_id) == group_id, col(Sync.kind) == SyncKind.RECURRING)
    stop_syncs(session, *of_group, reason=reason, now=now)
    cancel_queued(session, col(Run.group_id) == group_id, now=now)
    # One that is running would write after the undo if it has to wait, or to be recovered, meanwhile.
    session.exec(
        update(Run)
        .where(col(Run.group_id) == group_id, col(Run.status).in_(UNFINISHED), col(Run.dry_run).is_(False))
        .values(cancel_asked=True)
    )
