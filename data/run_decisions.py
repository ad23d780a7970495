"""What people decide about runs that are there: apply or discard a held one, roll a group back to an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col

from data.engine import Engine, write_session
from data.models import UNFINISHED, Run, RunStatus, Sync, SyncKind, SyncState
from data.run_queue import RunRequest
from data.sync_runs import add_run, cancel_queued


class RunUnknown(LookupError):
    """There is no such run."""


class RunNotHeld(Exception):
    """The run is not held, or was a preview; `status` is what it is."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class MembersNotKept(LookupError):
    """The members as of a run are not kept."""


def apply_held(engine: Engine, run_id: int, *, actor: str, get_key: Callable[[Run], str], now: datetime) -> Run:
    """Queue an approved run in place of a held one; `get_key` names what was looked at of it.

    Raises: RunUnknown, RunNotHeld.
    """
    with write_session(engine) as session:
        held_run = _get_held(session, run_id)
        sync = session.get_one(Sync, held_run.sync_id)
        _end(session, held_run, "applied")
        run = add_run(session, sync, RunRequest(trigger="manual", actor=actor, approved=True), now=now)
        run.approval_key = get_key(held_run)
    return run


def discard_held(engine: Engine, run_id: int) -> Run:
    """End a held run; the group stays as it is. Raises RunUnknown, RunNotHeld."""
    with write_session(engine) as session:
        run = _get_held(session, run_id)
        _end(session, run, "discarded")
    return run


def _get_held(session: Session, run_id: int) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise RunUnknown(run_id)
    if run.status != RunStatus.HELD or run.dry_run:
        raise RunNotHeld(run.status)
    return run


def _end(session: Session, run: Run, step: str) -> None:
    run.status, run.step, run.difference = RunStatus.CANCELLED, step, None
    session.add(run)


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
        return add_run(session, sync, request, now=now)


def _stop_syncs(session: Session, group_id: int, reason: str, now: datetime) -> None:
    session.exec(
        update(Sync)
        .where(
            col(Sync.group_id) == group_id,
            col(Sync.kind) == SyncKind.RECURRING,
            col(Sync.state) == SyncState.ACTIVE,
        )
        .values(state=SyncState.PAUSED, next_run_at=None, paused_reason=reason)
    )
    cancel_queued(session, col(Run.group_id) == group_id, now=now)
    # One that is running would write after the undo if it has to wait, or to be recovered, meanwhile.
    session.exec(
        update(Run)
        .where(col(Run.group_id) == group_id, col(Run.status).in_(UNFINISHED), col(Run.dry_run).is_(False))
        .values(cancel_asked=True)
    )
