"""The name of a group: its own, or its cohort's; never another cohort's."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import Session, col, select

from core.bridge import Bridge
from core.errors import GroupTaken
from core.export.job import Job
from data.engine import write_session
from data.models import Group, Run


def take_over_name(bridge: Bridge, job: Job, cohort_name: str) -> Job:
    """Note the cohort's present name, which a group without a name of its own follows.

    Raises: GroupTaken when another cohort's group at this destination has that name.
    """
    name = job.group.own_name or cohort_name
    with write_session(bridge.engine) as session:
        refuse_taken_name(session, job.group, name)
        group = session.get_one(Group, job.group.id)
        run = session.get_one(Run, job.run.id)
        group.cohort_name = run.cohort_name = cohort_name
        group.name = run.group_name = name
        session.add_all([group, run])
        session.flush()
    return replace(job, group=group, run=run)


def refuse_taken_name(session: Session, group: Group, name: str) -> None:
    """Refuse a group name that another cohort's group at the same destination has. Raises GroupTaken."""
    other = session.exec(
        select(Group).where(
            Group.destination_id == group.destination_id,
            Group.name == name,
            col(Group.id) != group.id,
            col(Group.delivered_at).is_not(None) | col(Group.in_doubt),
        )
    ).first()
    if other:
        raise GroupTaken(
            f"The group {name} is fed by cohort {other.cohort_id} at this destination.",
            advice="Choose another group name: a group fed by two cohorts would hold neither.",
        )
