"""Many runs as pictures show them: the last of each sync, what each day had, and what times were met."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import BigInteger, column, func, literal, union_all, values
from sqlalchemy.types import TypeEngine
from sqlmodel import col, extract, select

from data.engine import Engine, read_session
from data.models import Run, RunFilter, RunStatus, Sync, TimedRun
from data.runs import conditions, told_status

# Of columns with names of their own pyright knows no type.
_select = cast("Any", select)
# More runs of a few syncs than this are not looked at for a picture: as many as a sync every minute has in two weeks.
_MOST_RUNS = 20_000


# Such a run was to make its group equal to its cohort, and such a one did.
_IS_MEANT = (col(Run.dry_run).is_(False), col(Run.restore_snapshot).is_(None))
_MADE_EQUAL = (*_IS_MEANT, col(Run.status) == RunStatus.SUCCEEDED)


class RunMark(NamedTuple):
    """A run in a row of them, with its `told_status`."""

    run_id: int
    status: str


def latest_of_syncs(engine: Engine, sync_ids: Sequence[int], *, limit: int) -> dict[int, list[RunMark]]:
    """List the latest runs of each of these syncs that were meant to write, the oldest first, by sync."""
    # Where they begin is asked sync by sync, so that only those runs are read and not all that there are.
    begin = select(Run.id).where(Run.sync_id == Sync.id, col(Run.dry_run).is_(False))
    begin = begin.order_by(col(Run.id).desc()).offset(limit - 1).limit(1).correlate(Sync).scalar_subquery()
    syncs = _select(col(Sync.id).label("sync_id"), func.coalesce(begin, 0).label("begin"))
    begins = syncs.where(col(Sync.id).in_(sync_ids)).cte("begins")
    query = (
        select(Run.sync_id, Run.id, told_status())
        .join(begins, (col(Run.sync_id) == begins.c.sync_id) & (col(Run.id) >= begins.c.begin))
        .where(col(Run.dry_run).is_(False))
        .order_by(col(Run.id))
    )
    marks: dict[int, list[RunMark]] = {}
    with read_session(engine) as session:
        for sync_id, run_id, status in session.connection().execute(query):
            if run_id is not None:
                marks.setdefault(sync_id, []).append(RunMark(run_id, status))
    return marks


def count_by_day(engine: Engine, which: RunFilter, days: Sequence[tuple[datetime, datetime]]) -> list[dict[str, int]]:
    """Count the runs that a filter asks for by status, for each of these stretches of time that they were queued in."""
    counts: list[dict[str, int]] = [{} for _ in days]
    if not days:
        return counts
    with read_session(engine) as session:
        wanted = conditions(session, which)
        together = union_all(*(_count_in(number, wanted, *day) for number, day in enumerate(days))).subquery()
        for number, name, runs in session.exec(select(together.c.number, together.c.status, together.c.runs)).all():
            counts[number][name] = runs
    return counts


def _count_in(number: int, wanted: list[Any], begins: datetime, ends: datetime) -> Any:
    """Build the query for how many runs a day has of each status; `number` says which day it is."""
    status = told_status()
    columns: list[Any] = [literal(number).label("number"), status.label("status"), func.count().label("runs")]
    return _select(*columns).where(*wanted, col(Run.queued_at) >= begins, col(Run.queued_at) < ends).group_by(status)


class SlotGrid(NamedTuple):
    """When a sync with an interval was due: from `begin` on, and last at `end`, which is the time that is not over."""

    sync_id: int
    group_id: int
    begin: datetime
    end: datetime
    every_s: int


def count_met(engine: Engine, grids: Sequence[SlotGrid]) -> dict[int, int]:
    """Count the times of each of these syncs, of those that are over, in which a run was queued that succeeded before
    the next one.
    """
    if not grids:
        return {}
    grid = _as_rows(grids)
    queued_s, ended_s, begin_s = (
        extract("epoch", at) for at in (col(Run.queued_at), col(Run.finished_at), grid.c.begin)
    )
    into_s = (queued_s - begin_s) % grid.c.every_s  # how far into its slot it was queued
    query: Any = (
        _select(grid.c.sync_id, func.count((queued_s - into_s).distinct()))
        # By group, since there is an index for what made one equal to its cohort recently.
        .where(col(Run.group_id) == grid.c.group_id, col(Run.sync_id) == grid.c.sync_id, *_MADE_EQUAL)
        .where(col(Run.finished_at) >= min(each.begin for each in grids))
        .where(col(Run.queued_at) >= grid.c.begin, col(Run.queued_at) < grid.c.end)
        .where(ended_s - queued_s <= grid.c.every_s - into_s)
        .group_by(grid.c.sync_id)
    )
    with read_session(engine) as session:
        return dict(cast("Any", session).exec(query).all())


def _as_rows(grids: Sequence[SlotGrid]) -> Any:
    number, at = BigInteger(), cast("Any", col(Run.queued_at)).type
    types: tuple[TypeEngine[Any], ...] = (number, number, at, at, number)
    columns = [column(name, kind) for name, kind in zip(SlotGrid._fields, types, strict=True)]
    return values(*columns, name="grid").data([tuple(each) for each in grids]).cte("grid")


def list_timed(
    engine: Engine, sync_ids: Sequence[int], *, since: datetime, until: datetime | None = None
) -> dict[int, list[TimedRun]]:
    """List the runs of these syncs queued in a while that were to make a group equal to its cohort, by sync."""
    query = select(Run.sync_id, Run.queued_at, Run.finished_at, Run.status)
    query = query.where(col(Run.sync_id).in_(sync_ids), col(Run.queued_at) >= since, *_IS_MEANT)
    query = query if until is None else query.where(col(Run.queued_at) <= until)
    runs: dict[int, list[TimedRun]] = {}
    with read_session(engine) as session:
        newest = query.order_by(col(Run.id).desc()).limit(_MOST_RUNS)
        for sync_id, queued_at, finished_at, status in session.exec(newest).all():
            runs.setdefault(sync_id, []).append(TimedRun(queued_at, finished_at, status))
    return {sync_id: sorted(timed, key=lambda run: run.queued_at) for sync_id, timed in runs.items()}
