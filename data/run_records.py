"""How a run ends, and what that means for its group and its sync."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, update
from sqlmodel import Session, col, select

from data import leases
from data.audit import recorder
from data.audit.scope import Scope
from data.engine import write_session
from data.models import Connection, Group, LeaseKind, Run, RunLogRow, RunStatus, Sync, SyncKind, SyncState


def mark_in_doubt(engine: Engine, run_id: int, group_id: int, *, lease_owner: str) -> bool:
    """Note that the group may soon hold something unknown; False, and nothing noted, when the lease is lost."""
    with write_session(engine) as session:
        if not leases.hold(session, LeaseKind.RUN, run_id, lease_owner=lease_owner):
            return False
        session.exec(update(Group).where(col(Group.id) == group_id).values(in_doubt=True))
        return True


def record(
    engine: Engine,
    run_id: int,
    *,
    lease_owner: str,
    values: dict[str, Any],
    group_values: dict[str, Any] | None = None,
    delivered_to: Connection | None = None,
    paused_reason: str | None = None,
    pausing: Scope | None = None,
    log: dict[str, Any] | None = None,
) -> bool:
    """Write the end of a run, and what it means for its group and its recurring sync, in one transaction.

    A group whose destination leads elsewhere by now than to `delivered_to` stays in doubt. That a sync is paused is
    written to the audit log, as what `pausing` does. Returns False, and writes nothing, when the lease is lost.
    """
    with write_session(engine) as session:
        if not leases.hand_back(session, LeaseKind.RUN, run_id, lease_owner=lease_owner):
            return False
        session.exec(update(Run).where(col(Run.id) == run_id).values(cancel_asked=False, **values))
        if log is not None:
            session.merge(RunLogRow(run_id=run_id, log=log))
        if group_values:
            group_id = select(Run.group_id).where(Run.id == run_id).scalar_subquery()
            if delivered_to and _was_moved(session, delivered_to):
                group_values = group_values | {"in_doubt": True}
            session.exec(update(Group).where(col(Group.id) == group_id).values(**group_values))
        if paused_reason:
            _pause(session, session.get_one(Run, run_id).sync_id, paused_reason, pausing)
        if values.get("status") in (RunStatus.HELD, RunStatus.SUCCEEDED):
            drop_held(session, run_id)
        return True


def _pause(session: Session, sync_id: int, reason: str, pausing: Scope | None) -> None:
    paused = session.exec(
        update(Sync)
        .where(col(Sync.id) == sync_id, col(Sync.kind) == SyncKind.RECURRING, col(Sync.state) == SyncState.ACTIVE)
        .values(state=SyncState.PAUSED, paused_reason=reason, next_run_at=None)
    )
    if pausing and paused.rowcount:
        subject = f"sync {sync_id}"
        before = {subject: {"state": SyncState.ACTIVE}}
        after = {subject: {"state": SyncState.PAUSED, "paused_reason": reason}}
        recorder.append(session, pausing, subject=subject, before=before, after=after)


def forget_previews(engine: Engine, run_id: int) -> list[str]:
    """Let a dry run take the place of the older ones of its group; returns the differences that nobody names now."""
    with write_session(engine) as session:
        run = session.get_one(Run, run_id)
        older = (
            col(Run.group_id) == run.group_id,
            col(Run.id) < run_id,
            col(Run.dry_run),
            col(Run.difference).is_not(None),
        )
        names = session.exec(select(Run.difference).where(*older)).all()
        session.exec(update(Run).where(*older).values(difference=None))
    return [name for name in names if name]


def _was_moved(session: Session, before: Connection) -> bool:
    now = session.get(Connection, before.id)
    return now is None or (now.kind, now.url, now.folder) != (before.kind, before.url, before.folder)


def drop_held(session: Session, run_id: int) -> None:
    """Drop the held runs of a run's group that are older: it takes their place."""
    run = session.get_one(Run, run_id)
    if run.dry_run:
        return
    session.exec(
        update(Run)
        .where(col(Run.group_id) == run.group_id, col(Run.id) < run_id, col(Run.status) == RunStatus.HELD)
        # The worker removes the file that no row names any more.
        .values(status=RunStatus.CANCELLED, step="replaced", difference=None)
    )
