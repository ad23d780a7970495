"""In which order runs ended, which is not that of their numbers: one that waits for a query is overtaken by later ones.

The run that ended last wrote, or read, last. Its number says when it was asked for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, func, or_, select
from sqlmodel import col

from data.models import Group, Run


def last_ended_first(run: type[Run] = Run) -> tuple[Any, ...]:
    """Return what runs that have ended are put in order by, the one that ended last first.

    Of two that ended at one moment that is the one that was asked for later.
    """
    return col(run.finished_at).desc(), col(run.id).desc()


def status_in_order() -> ColumnElement[Any]:
    """Return the status of runs of which a few are read in another order, or by time.

    By the index on the status SQLite would read all runs that have it.
    """
    return func.coalesce(Run.status, "")


def last_of_group(*which: Any) -> ScalarSelect[Any]:
    """Build the subquery for the run of a group that ended last, of `which` runs; for statements about groups."""
    of_group = select(col(Run.id)).where(col(Run.group_id) == col(Group.id), *which)
    return of_group.order_by(*last_ended_first()).limit(1).correlate(Group).scalar_subquery()


def of_each_group(run_id: ScalarSelect[Any], *which: Any) -> Select[Any]:
    """Select the run that a subquery finds for each group, or each of `which` groups.

    PostgreSQL would ask that again wherever the answer is compared, and read all runs to spare itself the trouble.
    """
    each = (
        select(run_id.label("run_id"))
        .select_from(Group)
        .where(*which)
        .cte()
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return select(each.c.run_id)


def when_ended(run: Run) -> tuple[datetime, int]:
    """Return what runs that have ended are put in order by, the one that ended last last."""
    return run.finished_at or run.queued_at, run.id or 0


def ended_before(run: Run | type[Run]) -> ColumnElement[bool]:
    """Build the condition that a run ended before another one, a row or an alias of the table: of any two, one did."""
    ended: Any = col(Run.finished_at)
    return or_(ended < run.finished_at, and_(ended == run.finished_at, col(Run.id) < run.id))
