"""Queueing, claiming, recording and listing runs, and the groups they feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, func, or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from data import trail
from data.engine import reading, writing
from data.models import (
    UNFINISHED,
    CohortList,
    Connection,
    Group,
    QuerySlot,
    Run,
    RunLog,
    Status,
    Sync,
    SyncKind,
    SyncState,
    utc_now,
)
from data.trail import Scope

# No wait for a query slot is longer than the window that they are counted in.
_LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True)
class RunFilter:
    """Which runs to list. Empty fields do not filter."""

    sync_id: int | None = None
    group_id: int | None = None
    cohort_id: int | None = None
    statuses: Sequence[str] = ()
    triggers: Sequence[str] = ()
    actor: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    with_dry_runs: bool = True


def new_run(
    sync: Sync,
    group: Group,
    *,
    destination: str,
    trigger: str,
    actor: str,
    dry_run: bool,
    full: bool,
    owner: str | None = None,
    permitted: bool = False,
    restores: str | None = None,
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
        full=full,
        owner=owner,
        permitted=permitted,
        restores=restores,
    )


def holder_name(owner: str, run_id: int) -> str:
    """Name what a run holds besides its row (query slots, the reading of the cohort list), so that it can be freed."""
    return f"{owner}/{run_id}"


def claim(engine: Engine, run_id: int, *, owner: str, now: datetime | None = None) -> bool:
    """Take a queued or waiting run that nobody holds. False when somebody was faster or the group is being written."""
    now = now or utc_now()
    try:
        with writing(engine) as session:
            taken = session.exec(
                update(Run)
                .where(
                    col(Run.id) == run_id,
                    col(Run.status).in_((Status.QUEUED, Status.WAITING)),
                    or_(col(Run.owner).is_(None), col(Run.owner) == owner),
                )
                .values(
                    status=Status.RUNNING,
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
    with reading(engine) as session:
        busy = select(Run.group_id).where(Run.status == Status.RUNNING, col(Run.dry_run).is_(False))
        found = session.exec(
            select(Run)
            .where(
                col(Run.owner).is_(None),
                or_(
                    col(Run.status) == Status.QUEUED,
                    (col(Run.status) == Status.WAITING) & its_time,
                ),
                or_(col(Run.dry_run), col(Run.group_id).not_in(busy)),
            )
            .order_by(col(Run.queued_at), col(Run.id))
            .limit(limit)
        ).all()
    return [run.id for run in found if run.id is not None]


def beat(
    engine: Engine,
    run_id: int,
    *,
    owner: str,
    progress: dict[str, Any] | None = None,
    log: dict[str, Any] | None = None,
) -> tuple[bool, bool]:
    """Renew the lease and write progress. Returns whether it is still ours, and whether somebody asked to cancel."""
    with writing(engine) as session:
        ours = session.exec(
            update(Run)
            .where(col(Run.id) == run_id, col(Run.owner) == owner, col(Run.status).in_(UNFINISHED))
            .values(beat=Run.beat + 1, **(progress or {}))
        )
        if ours.rowcount != 1:
            return False, False
        if log is not None:
            session.merge(RunLog(run_id=run_id, log=log))
        return True, bool(session.exec(select(Run.cancel_asked).where(Run.id == run_id)).one())


def wait(engine: Engine, run_id: int, *, owner: str, until: datetime, keep: bool) -> bool:
    """Let a run wait for a query slot until then; without `keep` any worker may take it up again.

    One that somebody asked to cancel meanwhile ends instead.
    """
    with writing(engine) as session:
        if not keep and _cancel_if_asked(session, run_id, owner):
            return True
        moved = session.exec(
            update(Run)
            .where(col(Run.id) == run_id, col(Run.owner) == owner, col(Run.status).in_(UNFINISHED))
            .values(
                status=Status.WAITING,
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
    with writing(engine) as session:
        if _cancel_if_asked(session, run_id, owner):
            return True
        moved = session.exec(
            update(Run)
            .where(col(Run.id) == run_id, col(Run.owner) == owner, col(Run.status).in_(UNFINISHED))
            .values(status=Status.QUEUED, step="queued", owner=None, waiting_until=None)
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
            status=Status.CANCELLED,
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


def running(engine: Engine, group_id: int) -> Run | None:
    """Return the run that writes the group at this moment, if one does."""
    with reading(engine) as session:
        return session.exec(
            select(Run).where(Run.group_id == group_id, Run.status == Status.RUNNING, col(Run.dry_run).is_(False))
        ).first()


def doubt(engine: Engine, run_id: int, group_id: int, *, owner: str) -> bool:
    """Note that the group may soon hold something unknown; False, and nothing noted, when the lease is lost."""
    with writing(engine) as session:
        if not _holds(session, run_id, owner):
            return False
        session.exec(update(Group).where(col(Group.id) == group_id).values(in_doubt=True))
        return True


def record(
    engine: Engine,
    run_id: int,
    *,
    owner: str,
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
    with writing(engine) as session:
        if not _holds(session, run_id, owner):
            return False
        session.exec(update(Run).where(col(Run.id) == run_id).values(owner=None, cancel_asked=False, **values))
        if log is not None:
            session.merge(RunLog(run_id=run_id, log=log))
        if group_values:
            group_id = select(Run.group_id).where(Run.id == run_id).scalar_subquery()
            if delivered_to and _was_moved(session, delivered_to):
                group_values = group_values | {"in_doubt": True}
            session.exec(update(Group).where(col(Group.id) == group_id).values(**group_values))
        if paused_reason:
            _pause(session, session.get_one(Run, run_id).sync_id, paused_reason, pausing)
        if values.get("status") in (Status.HELD, Status.SUCCEEDED):
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
        trail.append(session, pausing, subject=subject, before=before, after=after)


def log_of(engine: Engine, run_id: int) -> dict[str, Any] | None:
    """Return what is kept of a run's steps and calls."""
    with reading(engine) as session:
        kept = session.get(RunLog, run_id)
    return kept.log if kept else None


def forget_previews(engine: Engine, run_id: int) -> list[str]:
    """Let a dry run take the place of the older ones of its group; returns the differences that nobody names now."""
    with writing(engine) as session:
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
        .where(col(Run.group_id) == run.group_id, col(Run.id) < run_id, col(Run.status) == Status.HELD)
        # The worker removes the file that no row names any more.
        .values(status=Status.CANCELLED, step="replaced", difference=None)
    )


def _holds(session: Session, run_id: int, owner: str) -> bool:
    run = session.get(Run, run_id)
    return run is not None and run.owner == owner and run.status in UNFINISHED


def leases(engine: Engine) -> list[tuple[int, str, int]]:
    """List runs that somebody holds: id, owner, beat."""
    with reading(engine) as session:
        rows = session.exec(select(Run.id, Run.owner, Run.beat).where(col(Run.owner).is_not(None))).all()
    return [(run_id, owner, number) for run_id, owner, number in rows if run_id is not None and owner is not None]


def interrupt(engine: Engine, run_id: int, *, owner: str, beat_seen: int, error: dict[str, str]) -> bool:
    """End a run whose process died, if it has not moved since `beat_seen`, and free what it held besides.

    A run of its own makes it good, unless its sync was stopped meanwhile. One that is interrupted twice running is not
    tried again: it may be what kills the process.
    """
    with writing(engine) as session:
        ended = session.exec(
            update(Run)
            .where(col(Run.id) == run_id, col(Run.owner) == owner, col(Run.beat) == beat_seen)
            .values(status=Status.INTERRUPTED, owner=None, waiting_until=None, finished_at=utc_now(), **error)
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
        if not unwanted and before != Status.INTERRUPTED:
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
        "permitted",
        "restores",
    ]
    return Run(**{name: getattr(run, name) for name in kept}, full=True)


def ask_to_cancel(engine: Engine, run_id: int) -> Run | None:
    """Cancel a run that nobody holds at once, or leave word for its holder. Returns the run, None if unknown."""
    with writing(engine) as session:
        run = session.get(Run, run_id)
        if run is None or run.status not in UNFINISHED:
            return run
        if run.owner is None:
            run.status, run.finished_at, run.waiting_until = Status.CANCELLED, utc_now(), None
        else:
            run.cancel_asked = True
        session.add(run)
        return run


def get(engine: Engine, run_id: int) -> Run | None:
    """Return a run, None if unknown."""
    with reading(engine) as session:
        return session.get(Run, run_id)


def list_runs(engine: Engine, wanted: RunFilter, *, limit: int = 50, offset: int = 0) -> list[Run]:
    """List runs, newest first."""
    with reading(engine) as session:
        query = select(Run).where(*_conditions(wanted)).order_by(col(Run.id).desc()).limit(limit).offset(offset)
        return list(session.exec(query).all())


def count_runs(engine: Engine, wanted: RunFilter) -> int:
    """Count the runs that `list_runs` would page through."""
    with reading(engine) as session:
        return session.exec(select(func.count()).select_from(Run).where(*_conditions(wanted))).one()


def _conditions(wanted: RunFilter) -> list[Any]:
    conditions: list[Any] = []
    if wanted.sync_id is not None:
        conditions.append(col(Run.sync_id) == wanted.sync_id)
    if wanted.group_id is not None:
        conditions.append(col(Run.group_id) == wanted.group_id)
    if wanted.cohort_id is not None:
        conditions.append(col(Run.cohort_id) == wanted.cohort_id)
    if wanted.statuses:
        conditions.append(col(Run.status).in_(wanted.statuses))
    if wanted.triggers:
        conditions.append(col(Run.trigger).in_(wanted.triggers))
    if wanted.actor:
        conditions.append(col(Run.actor) == wanted.actor)
    if wanted.text:
        found = col(Run.cohort_name).icontains(wanted.text, autoescape=True)
        conditions.append(or_(found, col(Run.group_name).icontains(wanted.text, autoescape=True)))
    if wanted.since:
        conditions.append(col(Run.queued_at) >= wanted.since)
    if wanted.until:
        conditions.append(col(Run.queued_at) < wanted.until)
    if not wanted.with_dry_runs:
        conditions.append(col(Run.dry_run).is_(False))
    return conditions


def list_groups(engine: Engine) -> list[Group]:
    """List the groups that were delivered at least once, by id."""
    with reading(engine) as session:
        query = select(Group).where(col(Group.delivered_at).is_not(None)).order_by(col(Group.id))
        return list(session.exec(query).all())
