"""Reads of cohorts, by the runs that made them: the latest of each group, those of a cohort, the share that matched."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select as select_columns
from sqlmodel import col, select

from data.engine import Engine, read_session
from data.models import Group, Run, RunStatus
from data.run_order import last_ended_first, last_of_group, of_each_group, status_in_order, when_ended

# Such a read had everything: its run ended well, or it was held with all that it had read. One that was held because
# Mixpanel's own total did not agree with what was read had a part.
_READS = (
    status_in_order().in_((RunStatus.SUCCEEDED, RunStatus.HELD)),
    col(Run.error_code).is_distinct_from("held_total"),
    col(Run.restore_snapshot).is_(None),
)


class CohortRead(NamedTuple):
    """A run that read a cohort, and the project whose cohort it is: others may have one of its number."""

    run: Run
    project_id: int


class ReadShare(NamedTuple):
    """Which share of its profiles a read of a project's cohort matched, and by which id."""

    run_id: int
    project_id: int
    cohort_id: int
    cohort_name: str
    matched_by: str
    at: datetime
    share: float


def newest_reads(engine: Engine, project_id: int) -> list[Run]:
    """Return the last run to end of each group of a project's cohorts that read its cohort whole."""
    newest = last_of_group(Run.status == RunStatus.SUCCEEDED, Run.trigger != "undo")
    of_project = select(newest).select_from(Group).where(Group.project_id == project_id)
    with read_session(engine) as session:
        return list(session.exec(select(Run).where(col(Run.id).in_(of_project))).all())


def latest_reads(engine: Engine) -> list[CohortRead]:
    """Return the latest whole read for each group, dry runs too."""
    newest = last_of_group(*_READS)
    query = select(Run, Group.project_id).where(Run.group_id == Group.id)
    with read_session(engine) as session:
        rows = session.exec(query.where(col(Run.id).in_(of_each_group(newest)))).all()
    return [CohortRead(*row) for row in rows]


def list_reads(engine: Engine, project_id: int, cohort_id: int, *, limit: int) -> list[Run]:
    """List the latest whole reads of a project's cohort, dry runs too, newest first."""
    groups = select(Group.id).where(Group.project_id == project_id, Group.cohort_id == cohort_id)
    query = select(Run).where(*_READS).order_by(*last_ended_first()).limit(limit)
    with read_session(engine) as session:
        # Group by group, which an index has in this order: there is one for each destination.
        ids = session.exec(groups).all()
        reads = [run for group_id in ids for run in session.exec(query.where(Run.group_id == group_id)).all()]
    return sorted(reads, key=when_ended, reverse=True)[:limit]


def list_shares(engine: Engine, *, limit: int) -> list[ReadShare]:
    """List which share of its profiles each of the latest whole reads matched, dry runs too, newest first."""
    project = select(Group.project_id).where(Group.id == Run.group_id).correlate(Run).scalar_subquery()
    query = select_columns(
        col(Run.id), project, col(Run.cohort_id), col(Run.cohort_name), col(Run.matched_by), col(Run.finished_at),
        col(Run.profiles), col(Run.members) + col(Run.duplicates),
    ).where(*_READS)  # fmt: skip
    with read_session(engine) as session:
        rows = session.connection().execute(query.order_by(*last_ended_first()).limit(limit)).all()
    return [
        ReadShare(run_id, project_id, cohort_id, name, matched_by, at, usable / profiles)
        for run_id, project_id, cohort_id, name, matched_by, at, profiles, usable in rows
        if run_id and at and profiles
    ]
