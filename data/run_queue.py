"""Runs that wait, are claimed, held by a lease, handed back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, func, or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from data.engine import read_session, write_session
from data.models import UNFINISHED, CohortList, Group, QuerySlot, Run, RunLogRow, RunStatus, Sync, SyncState, utc_now

# No wait for a query slot is longer than the window that they are counted in.
_LONGEST_WAIT = timedelta(hours=1)


def new_run(
    sync: Sync,
    group: Group,
    *,
    destination: str,
    trigger: str,
    actor: str,
    dry_run: bool,
    force_full: bool,
    owner: str | None = None,
    approved: bool = False,
    restore_snapshot: str | None = None,
) -> Run:
    """Build a queued run of a sync; the caller adds it to a session. One with an owner waits for nobody else."""
    assert sync.id is not None
    assert group.id is not None
    return Run(
        sync_id=sync.id,
        group_id=group.id,
        cohort_id=sync.cohort_id,
        cohort_name=group.cohort_name,
        group_name=group.name,
        destination=destination,
        trigger=trigger,
        actor=actor,
        dry_run=dry_run,
        force_full=force_full,
        owner=owner,
        approved=approved,
        restore_snapshot=restore_snapshot,
    )


def holder_name(owner: str, run_id: int) -> str:
    """Name what a run holds besides its row (query slots, the reading of the cohort list), so that it can be freed."""
    return f"{owner}/{run_id}"


def claim(engine: Engine, run_id: int, *, owner: str, now: datetime | None = None) -> bool:
    """Take a queued or waiting run that nobody holds. False when somebody was faster or the group is being written."""
    now = now or utc_now()
    try:
        with write_session(engine) as session:
            taken = session.exec(
                update(Run)
                .where(
                    col(Run.id) == run_id,
                    col(Run.status).in_((RunStatus.QUEUED, RunStatus.WAITING)),
                    or_(col(Run.owner).is_(None), col(Run.owner) == owner),
                )
                .values(
                    status=RunStatus.RUNNING,
                    step="starting",
                    owner=owner,
                    beat=Run.beat + 1,
                    waiting_until=None,
                    started_at=func.coalesce(Run.started_at, now),
                )
            )
            return taken.rowcount == 1
    except IntegrityError:
        return False  # the partial unique index: another run of the group is running


def claimable(engine: Engine, *, now: datetime | None = None, limit: int = 20) -> list[int]:
    """List the runs that a worker may try to claim now, the oldest first.

    One that waits for longer than any wait takes began to wait before the clock was set back: it may try as well.
    """
    now = now or utc_now()
    its_time = (col(Run.waiting_until) <= now) | (col(Run.waiting_until) > now + _LONGEST_WAIT)
    with read_session(engine) as session:
        busy = select(Run.group_id).where(Run.status == RunStatus.RUNNING, col(Run.dry_run).is_(False))
        found = session.exec(
            select(Run)
            .where(
                col(Run.owner).is_(None),
                or_(
                    col(Run.status) == RunStatus.QUEUED,
                    (col(Run.status) == RunStatus.WAITING) & its_time,
                ),
                or_(col(Run.dry_run), col(Run.group_id).not_in(busy)),
            )
            .order_by(col(Run.queued_at), col(Run.id))
            .limit(limit)
        ).all()
    return [run.id for run in found if run.id is not None]


def heartbeat(
    engine: Engine,
    run_id: int,
    *,
    owner: str,
    progress: dict[str, Any] | None = None,
    log: dict[str, Any] | None = None,
) -> tuple[bool, bool]:
    """Renew the lease and write progress. Returns whether it is still ours, and whether somebody asked to cancel."""
    with write_session(engine) as session:
        ours = session.exec(
            update(Run)
            .where(col(Run.id) == run_id, col(Run.owner) == owner, col(Run.status).in_(UNFINISHED))
            .values(beat=Run.beat + 1, **(progress or {}))
        )
        if ours.rowcount != 1:
            return False, False
        if log is not None:
            session.merge(RunLogRow(run_id=run_id, log=log))
        return True, bool(session.exec(select(Run.cancel_asked).where(Run.id == run_id)).one())


def wait(engine: Engine, run_id: int, *, owner: str, until: datetime, keep: bool) -> bool:
    """Let a run wait for a query slot until then; without `keep` any worker may take it up again.

    One that somebody asked to cancel meanwhile ends instead.
    """
    with write_session(engine) as session:
        if not keep and _cancel_if_asked(session, run_id, owner):
            return True
        moved = session.exec(
            update(Run)
            .where(col(Run.id) == run_id, col(Run.owner) == owner, col(Run.status).in_(UNFINISHED))
            .values(
                status=RunStatus.WAITING,
                step="waiting",
                waiting_until=until,
                owner=owner if keep else None,
                beat=Run.beat + 1,
            )
        )
        return moved.rowcount == 1


def hand_back(engine: Engine, run_id: int, *, owner: str) -> bool:
    """Put a run back into the queue, for another process or a later start of this one.

    One that somebody asked to cancel meanwhile ends instead.
    """
    with write_session(engine) as session:
        if _cancel_if_asked(session, run_id, owner):
            return True
        moved = session.exec(
            update(Run)
            .where(col(Run.id) == run_id, col(Run.owner) == owner, col(Run.status).in_(UNFINISHED))
            .values(status=RunStatus.QUEUED, step="queued", owner=None, waiting_until=None)
        )
        return moved.rowcount == 1


def _cancel_if_asked(session: Session, run_id: int, owner: str) -> bool:
    """End a run whose holder lets go of it before it noticed that it was to be cancelled."""
    ended = session.exec(
        update(Run)
        .where(
            col(Run.id) == run_id,
            col(Run.owner) == owner,
            col(Run.status).in_(UNFINISHED),
            col(Run.cancel_asked),
        )
        .values(
            status=RunStatus.CANCELLED,
            owner=None,
            cancel_asked=False,
            waiting_until=None,
            finished_at=utc_now(),
            error_code="cancelled",
            error_message="The run was cancelled.",
            error_advice="Start the export again when you are ready.",
        )
    )
    return ended.rowcount == 1


def holds(session: Session, run_id: int, owner: str) -> bool:
    run = session.get(Run, run_id)
    return run is not None and run.owner == owner and run.status in UNFINISHED


def leases(engine: Engine) -> list[tuple[int, str, int]]:
    """List runs that somebody holds: id, owner, beat."""
    with read_session(engine) as session:
        rows = session.exec(select(Run.id, Run.owner, Run.beat).where(col(Run.owner).is_not(None))).all()
    return [(run_id, owner, number) for run_id, owner, number in rows if run_id is not None and owner is not None]


def interrupt(engine: Engine, run_id: int, *, owner: str, beat_seen: int, error: dict[str, str]) -> bool:
    """End a run whose process died, if it has not moved since `beat_seen`, and free what it held besides.

    A run of its own makes it good, unless its sync was stopped meanwhile. One that is interrupted twice running is not
    tried again: it may be what kills the process.
    """
    with write_session(engine) as session:
        ended = session.exec(
            update(Run)
            .where(col(Run.id) == run_id, col(Run.owner) == owner, col(Run.beat) == beat_seen)
            .values(status=RunStatus.INTERRUPTED, owner=None, waiting_until=None, finished_at=utc_now(), **error)
        )
        if ended.rowcount != 1:
            return False
        held = holder_name(owner, run_id)
        session.exec(update(QuerySlot).where(col(QuerySlot.holder) == held).values(holder=None))
        session.exec(update(CohortList).where(col(CohortList.reader) == held).values(reader=None, reader_since=None))
        run = session.get_one(Run, run_id)
        before = session.exec(
            select(Run.status)
            .where(Run.group_id == run.group_id, col(Run.id) < run_id, col(Run.dry_run).is_(False))
            .order_by(col(Run.id).desc())
            .limit(1)
        ).first()
        unwanted = run.dry_run or run.cancel_asked or _was_stopped(session, run)
        if not unwanted and before != RunStatus.INTERRUPTED:
            session.add(_again(run))
        return True


def _was_stopped(session: Session, run: Run) -> bool:
    """Whether the schedule that queued the run was paused or removed since: by a person, or by an undo."""
    return run.trigger == "schedule" and session.get_one(Sync, run.sync_id).state != SyncState.ACTIVE


def _again(run: Run) -> Run:
    kept = [
        "sync_id",
        "group_id",
        "cohort_id",
        "cohort_name",
        "group_name",
        "destination",
        "trigger",
        "actor",
        "approved",
        "restore_snapshot",
    ]
    return Run(**{name: getattr(run, name) for name in kept}, force_full=True)


def ask_to_cancel(engine: Engine, run_id: int) -> Run | None:
    """Cancel a run that nobody holds at once, or leave word for its holder. Returns the run, None if unknown."""
    with write_session(engine) as session:
        run = session.get(Run, run_id)
        if run is None or run.status not in UNFINISHED:
            return run
        if run.owner is None:
            run.status, run.finished_at, run.waiting_until = RunStatus.CANCELLED, utc_now(), None
        else:
            run.cancel_asked = True
        session.add(run)
        return run
