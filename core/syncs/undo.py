"""Roll a group back to its members as of an earlier run."""

from __future__ import annotations

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound
from core.syncs.queueing import new_run
from data import leases
from data.engine import write_session
from data.models import UNFINISHED, LeaseKind, Run, RunStatus, Sync, SyncKind, SyncState, utc_now


@action(Role.ANALYST)
def undo_to(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Queue a run that puts a group back to its members as of an earlier run, and pause what would undo that.

    Raises: NotFound when the run, or what it left, is no longer kept.
    """
    with write_session(bridge.engine) as session:
        kept = session.get(Run, run_id)
        if kept is None:
            raise NotFound(
                f"There is no run {run_id}.", advice="See the list of runs: `python -m core runs`, or History."
            )
        if kept.snapshot is None or not bridge.snapshots.exists(kept.snapshot):
            raise NotFound(
                f"The members as of run {run_id} are not kept (any more).",
                advice="Choose a later run that succeeded: the last 30 that changed something are kept.",
            )
        session.exec(
            update(Sync)
            .where(
                col(Sync.group_id) == kept.group_id,
                col(Sync.kind) == SyncKind.RECURRING,
                col(Sync.state) == SyncState.ACTIVE,
            )
            .values(
                state=SyncState.PAUSED,
                next_run_at=None,
                paused_reason=f"{actor.name} put the group back to run {run_id}. Resume to follow the cohort again.",
            )
        )
        cancel_queued(session, col(Run.group_id) == kept.group_id)
        # One that is at work would write after the undo if it has to wait, or to be made good, meanwhile.
        session.exec(
            update(Run)
            .where(
                col(Run.group_id) == kept.group_id,
                col(Run.status).in_(UNFINISHED),
                col(Run.dry_run).is_(False),
            )
            .values(cancel_asked=True)
        )
        sync = session.get_one(Sync, kept.sync_id)
        run = new_run(session, sync, trigger="undo", actor=actor.name, force_full=True, restore_snapshot=kept.snapshot)
        session.add(run)
    return run


def cancel_queued(session: Session, which: ColumnElement[bool], *more: RunStatus) -> None:
    """Cancel the runs that nobody has taken up yet: they would write after, and against, what was just decided."""
    session.exec(
        update(Run)
        .where(
            which,
            col(Run.status).in_((RunStatus.QUEUED, RunStatus.WAITING, *more)),
            ~leases.is_held(LeaseKind.RUN, Run.id),
        )
        .values(status=RunStatus.CANCELLED, finished_at=utc_now(), waiting_until=None)
    )


def no_run(run_id: int) -> NotFound:
    return NotFound(f"There is no run {run_id}.", advice="See the list: `python -m core runs`, or History.")
