"""Statistics: what the screens ask of very many runs, each in a query whose work or answer is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, func, or_
from sqlalchemy import select as select_columns
from sqlalchemy.orm import InstrumentedAttribute, aliased, load_only
from sqlmodel import col, extract, select, union_all
from sqlmodel.sql.expression import SelectOfScalar

from data.engine import Engine, read_session
from data.models import UNFINISHED, Connection, Group, Run, RunStatus, Sync, SyncKind, SyncState, Timing
from data.run_order import last_ended_first, last_of_group, of_each_group, status_in_order
from data.runs import told_status
from data.sync_models import read_timing

# Of very many runs only what makes a change is loaded.
_OF_A_CHANGE: list[InstrumentedAttribute[Any]] = [
    getattr(Run, name)
    for name in ("id", "group_id", "difference", "finished_at", "added", "removed", "members", "unchanged", "trigger")
]


_IS_MEANT, _IS_HELD = col(Run.dry_run).is_(False), col(Run.status) == RunStatus.HELD
# Such a run wrote its group, or found it as it should be. The last of them to end made it what it is: one that waits
# for a query is overtaken by later ones.
_WROTE = (col(Run.status) == RunStatus.SUCCEEDED, _IS_MEANT)


@dataclass(frozen=True)
class Size:
    """How many members a group had at the end of a stretch of time, and how many joined and left in it."""

    at: datetime
    members: int
    added: int
    removed: int
    run_id: int


@dataclass(frozen=True)
class Change:
    """A run that changed who is in a group. `is_whole`: what it added is all that the group held after it."""

    run_id: int
    group_id: int
    difference: str
    at: datetime
    added: int
    removed: int
    is_whole: bool
    is_undo: bool = False


def runs_by_status(engine: Engine, *, since: datetime) -> dict[str, int]:
    """Count the runs that were queued since then, without dry runs, by status.

    Of runs that were held, those that a person decided about are counted as `applied` or `discarded`.
    """
    status = told_status()
    with read_session(engine) as session:
        rows = session.exec(
            select(status, func.count()).where(Run.queued_at >= since, col(Run.dry_run).is_(False)).group_by(status)
        ).all()
    return dict(rows)


class ConnectedRun(NamedTuple):
    """A run with the connections that it reads and writes through."""

    run: Run
    mixpanel_id: int
    destination_id: int


def select_newest_of_groups(*which: Any) -> SelectOfScalar[Any]:
    """Select the newest run that was meant to write of each group, or of `which` groups: the one asked for last, while
    that is not done; then the one that ended last.
    """
    asked, other = aliased(Run), aliased(Run)
    newest = select(Run.id).where(Run.group_id == Group.id, col(Run.dry_run).is_(False))
    newest = newest.order_by(col(Run.id).desc()).limit(1).correlate(Group).scalar_subquery()
    ended = select(other.id).where(
        other.group_id == asked.group_id, col(other.dry_run).is_(False), col(other.status).not_in(UNFINISHED)
    )
    ended = ended.order_by(*last_ended_first(other)).limit(1).correlate(asked).scalar_subquery()
    latest = case((col(asked.status).in_(UNFINISHED), col(asked.id)), else_=ended)
    return select(latest).where(col(asked.id).in_(of_each_group(newest, *which)))


def newest_of_each_group(engine: Engine) -> list[ConnectedRun]:
    """Return each group's newest run that was meant to write (`select_newest_of_groups`), the newest first."""
    connected = select(Run, Sync.mixpanel_id, Group.destination_id).where(
        Run.sync_id == Sync.id, Run.group_id == Group.id
    )
    with read_session(engine) as session:
        rows = session.exec(connected.where(col(Run.id).in_(select_newest_of_groups()))).all()
    return sorted((ConnectedRun(*row) for row in rows), key=lambda row: row.run.id or 0, reverse=True)


def newest_ended_of_cohort(engine: Engine, cohort_id: int) -> list[Run]:
    """Return the run of each group of a cohort that ended last, the last one of those that were meant to write, and the
    one that is held, the last one first.
    """
    has_ended = col(Run.status).not_in(UNFINISHED)
    newest = [last_of_group(has_ended), last_of_group(has_ended, _IS_MEANT), last_of_group(_IS_MEANT, _IS_HELD)]
    ids = [col(Run.id).in_(select(each).select_from(Group).where(Group.cohort_id == cohort_id)) for each in newest]
    with read_session(engine) as session:
        return list(session.exec(select(Run).where(or_(*ids)).order_by(*last_ended_first())).all())


def last_success_of_each_group(engine: Engine, *, only: Sequence[int] | None = None) -> dict[int, Run]:
    """Return the last run to end of each group, or of these, that wrote it, or found it as it should be."""
    newest = last_of_group(*_WROTE)
    ids = select(newest).select_from(Group)
    ids = ids if only is None else ids.where(col(Group.id).in_(only))
    with read_session(engine) as session:
        runs = session.exec(select(Run).where(col(Run.id).in_(ids))).all()
    return {run.group_id: run for run in runs}


def newest_of_each_sync(engine: Engine, sync_ids: Sequence[int]) -> dict[int, Run]:
    """Return the newest run of each of these syncs, by sync."""
    newest = select(Run.id).where(Run.sync_id == Sync.id)
    newest = newest.order_by(col(Run.id).desc()).limit(1).correlate(Sync).scalar_subquery()
    asked = select(newest).select_from(Sync).where(col(Sync.id).in_(sync_ids))
    with read_session(engine) as session:
        return {run.sync_id: run for run in session.exec(select(Run).where(col(Run.id).in_(asked))).all()}


def sizes(engine: Engine, group_id: int, *, since: datetime, bucket_s: int) -> list[Size]:
    """Return a group's size over time, one row for each `bucket_s` seconds in which a run found or made it so."""
    of_group = (*_WROTE, col(Run.group_id) == group_id)
    stretches = (
        select(
            func.max(Run.finished_at).label("at"),
            func.sum(Run.added).label("added"),
            func.sum(Run.removed).label("removed"),
        )
        .where(*of_group, col(Run.finished_at) >= since)
        .group_by(_stretch(bucket_s))
        .cte("stretches")
    )
    # The last run of each by its id: by its time SQLite would compare every run with every stretch.
    last = select(Run.id).where(*of_group, col(Run.finished_at) == stretches.c.at).order_by(col(Run.id).desc())
    is_last = col(Run.id) == last.limit(1).correlate(stretches).scalar_subquery()
    columns = col(Run.id), col(Run.finished_at), col(Run.members), stretches.c.added, stretches.c.removed
    query = select_columns(*columns).select_from(stretches).join(Run, is_last).order_by(col(Run.finished_at))
    with read_session(engine) as session:
        rows = session.connection().execute(query).all()
    return [
        Size(at, members, int(added), int(removed), run_id)
        for run_id, at, members, added, removed in rows
        if run_id is not None and at is not None
    ]


def _stretch(seconds: int) -> ColumnElement[Any]:
    """Return the second that a run's stretch of time began in, all of them counted from 1970.

    Not by division: SQLite truncates what it makes a whole number of, PostgreSQL rounds, which ends days at noon.
    """
    ended_s = extract("epoch", col(Run.finished_at))
    return ended_s - ended_s % seconds


def first_success(engine: Engine, group_id: int, *, since: datetime) -> datetime | None:
    """Return when the first run since then succeeded that was meant to write the group."""
    with read_session(engine) as session:
        return session.exec(
            select(func.min(Run.finished_at)).where(
                Run.group_id == group_id,
                Run.status == RunStatus.SUCCEEDED,
                col(Run.dry_run).is_(False),
                col(Run.finished_at) >= since,
            )
        ).one()


def largest_drop(engine: Engine, group_id: int, *, changes: int) -> float | None:
    """Return the largest share of its members that one of a group's last `changes` took from it.

    None: there was no change. What a person let through, or asked for, is no measure of what is usual.
    """
    newest = (
        select(Run.removed, Run.unchanged)
        .where(
            Run.group_id == group_id,
            col(Run.difference).is_not(None),
            Run.status == RunStatus.SUCCEEDED,
            col(Run.dry_run).is_(False),
            col(Run.approved).is_(False),
            Run.trigger != "undo",
        )
        .order_by(*last_ended_first())
        .limit(changes)
        .subquery()
    )
    before = newest.c.removed + newest.c.unchanged
    share = case((before > 0, newest.c.removed * 1.0 / before), else_=0.0)
    with read_session(engine) as session:
        largest = session.exec(select(func.max(share))).one()
    return None if largest is None else float(largest)


def trends(engine: Engine, *, since: datetime, until: datetime) -> dict[int, list[int]]:
    """Return each group's size at the end of each day, in UTC, from one time to another, on which a run succeeded."""
    # Asked for each group and day, which the index answers at once: together they would read every run in the period.
    last = [
        of_each_group(last_of_group(*_WROTE, col(Run.finished_at) >= begin, col(Run.finished_at) < end))
        for begin, end in _days(since, until)
    ]
    query = select(Run.group_id, Run.members).where(col(Run.id).in_(union_all(*last)))
    sizes_by_group: dict[int, list[int]] = {}
    with read_session(engine) as session:
        for group_id, members in session.exec(query.order_by(col(Run.finished_at))).all():
            sizes_by_group.setdefault(group_id, []).append(members)
    return sizes_by_group


def _days(since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """List the days in UTC from one time to another, the first from that time on and the last to its end."""
    days, begin = list[tuple[datetime, datetime]](), since
    while begin < until:
        midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        days.append((begin, midnight))
        begin = midnight
    return days


class LoggedChange(NamedTuple):
    """How many joined and left with a run, and the file of them; None where none is named."""

    run_id: int
    at: datetime
    added: int
    removed: int
    difference: str | None
    trigger: str
    matched_by: str


def changes_between(
    engine: Engine, group_id: int, *, since: datetime | None = None, until: datetime | None = None, limit: int
) -> list[LoggedChange]:
    """List the newest runs that changed who is in a group in a period, newest first: only what counts of each."""
    conditions = [
        *_WROTE,
        col(Run.group_id) == group_id,
        or_(col(Run.added) > 0, col(Run.removed) > 0),
        *([] if since is None else [col(Run.finished_at) >= since]),
        *([] if until is None else [col(Run.finished_at) < until]),
    ]
    query = select_columns(
        col(Run.id), col(Run.finished_at), col(Run.added), col(Run.removed), col(Run.difference), col(Run.trigger),
        col(Run.matched_by),
    ).where(*conditions).order_by(*last_ended_first()).limit(limit)  # fmt: skip
    with read_session(engine) as session:
        rows = session.connection().execute(query).all()
    return [
        LoggedChange(run_id, at, added, removed, difference, trigger, matched_by)
        for run_id, at, added, removed, difference, trigger, matched_by in rows
        if run_id is not None and at is not None
    ]


def changes(engine: Engine, group_id: int | None, *, limit: int) -> list[Change]:
    """List the newest runs that changed who is in a group, or in any: what ended last wrote last, and comes first."""
    query = select(Run).options(load_only(*_OF_A_CHANGE))
    query = query.where(col(Run.difference).is_not(None), col(Run.dry_run).is_(False))
    if group_id is None:
        query = query.where(status_in_order() == RunStatus.SUCCEEDED)
    else:
        query = query.where(Run.status == RunStatus.SUCCEEDED, Run.group_id == group_id)
    with read_session(engine) as session:
        runs = session.exec(query.order_by(*last_ended_first()).limit(limit)).all()
    return [
        Change(
            run.id,
            run.group_id,
            run.difference,
            run.finished_at,
            run.added,
            run.removed,
            is_whole=not run.unchanged and run.added == run.members,
            is_undo=run.trigger == "undo",
        )
        for run in runs
        if run.id is not None and run.difference is not None and run.finished_at is not None
    ]


class ExcludedFile(NamedTuple):
    """The file of the profiles that a read excluded, and the match setting that it read with."""

    name: str
    matched_by: str


def excluded_files(engine: Engine, *, only: int | None = None) -> dict[int, ExcludedFile]:
    """Return the file of profiles that each group's latest read excluded, of all groups or of one, by group."""
    # Asked group by group: the newest run has it nearly always, and the others need not be looked at.
    newest = last_of_group(col(Run.excluded).is_not(None))
    query = select(Run.group_id, Run.excluded, Run.matched_by)
    with read_session(engine) as session:
        looked_at = select(newest).select_from(Group)
        looked_at = looked_at if only is None else looked_at.where(col(Group.id) == only)
        rows = session.exec(query.where(col(Run.id).in_(looked_at))).all()
    return {group_id: ExcludedFile(name, matched_by) for group_id, name, matched_by in rows if name}


def members_of_snapshot(engine: Engine, name: str) -> int:
    """Return how many members the runs had that share a snapshot."""
    with read_session(engine) as session:
        return session.exec(select(func.max(Run.members)).where(Run.snapshot == name)).one() or 0


def rules_of_snapshot(engine: Engine, name: str) -> list[str]:
    """List the match settings that the runs read with that share a snapshot."""
    with read_session(engine) as session:
        query = select(Run.matched_by).where(Run.snapshot == name, Run.matched_by != "").distinct()
        return list(session.exec(query).all())


def kept_runs(engine: Engine, group_id: int) -> list[Run]:
    """List the runs whose members are kept, the one that ended last first: of those in a row that share a snapshot the
    one that began.

    A group that was rolled back has the snapshot of an earlier run again.
    """
    is_kept = (Run.group_id == group_id, col(Run.snapshot).is_not(None), Run.status == RunStatus.SUCCEEDED)
    with read_session(engine) as session:
        rows = session.exec(select(Run.id, Run.snapshot).where(*is_kept).order_by(*last_ended_first())).all()[::-1]
        begun = [
            run_id
            for (run_id, snapshot), before in zip(rows, [None, *(snapshot for _, snapshot in rows)], strict=False)
            if snapshot != before
        ]
        return list(session.exec(select(Run).where(col(Run.id).in_(begun)).order_by(*last_ended_first())).all())


def actors(engine: Engine) -> list[str]:
    """List who ever started a run that is kept."""
    with read_session(engine) as session:
        return list(session.exec(select(Run.actor).distinct().order_by(Run.actor).limit(500)).all())


def sync_names(engine: Engine) -> list[tuple[int, str, str, str]]:
    """List syncs, removed ones too: id, group, destination, kind."""
    with read_session(engine) as session:
        rows = session.exec(
            select(Sync.id, Group.name, Connection.name, Sync.kind)
            .where(col(Sync.group_id) == col(Group.id), col(Group.destination_id) == col(Connection.id))
            .order_by(Group.name, col(Sync.id))
        ).all()
    return [(sync_id, group, place, kind) for sync_id, group, place, kind in rows if sync_id is not None]


def intervals(engine: Engine) -> list[tuple[int, Timing]]:
    """List the project of each active recurring sync, and how often it runs."""
    with read_session(engine) as session:
        rows = session.exec(
            select(Sync.project_id, Sync.every_minutes, Sync.cron, Sync.zone).where(
                Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE
            )
        ).all()
    timings = [(project, read_timing(every, cron, zone)) for project, every, cron, zone in rows]
    return [(project, timing) for project, timing in timings if timing is not None]


def planned_changes(engine: Engine, *, only: int | None = None, limit: int) -> list[Run]:
    """List the newest runs whose change to a group is kept and was not made, newest first: of each group the one that
    is held, or, where it was never delivered, its last preview.
    """
    of_group = [] if only is None else [Run.group_id == only]
    newest = select(func.max(Run.id)).where(col(Run.difference).is_not(None), *of_group).group_by(col(Run.group_id))
    held = newest.where(Run.status == RunStatus.HELD, col(Run.dry_run).is_(False))
    never_delivered = select(Group.id).where(col(Group.delivered_at).is_(None))
    previews = newest.where(Run.status == RunStatus.SUCCEEDED, col(Run.dry_run), col(Run.group_id).in_(never_delivered))
    query = select(Run).where(col(Run.id).in_(union_all(held, previews)))
    with read_session(engine) as session:
        return list(session.exec(query.order_by(col(Run.id).desc()).limit(limit)).all())
