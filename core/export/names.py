"""The name of a group: its own, or its cohort's; never another cohort's."""

from __future__ import annotations

from dataclasses import replace

from core.bridge import Bridge
from core.errors import GroupTaken
from core.export.job import Job
from data.engine import write_session
from data.groups import NameTaken, require_free_name
from data.models import Group, Run


def take_over_name(bridge: Bridge, job: Job, cohort_name: str) -> Job:
    """Note the cohort's present name, which a group without a name of its own follows.

    Raises: GroupTaken when another cohort's group at this destination has that name.
    """
    name = job.group.own_name or cohort_name
    with write_session(bridge.engine) as session:
        try:
            require_free_name(session, job.group, name)
        except NameTaken as exc:
            raise group_taken(exc) from None
        group = session.get_one(Group, job.group.id)
        run = session.get_one(Run, job.run.id)
        group.cohort_name = run.cohort_name = cohort_name
        group.name = run.group_name = name
        session.add_all([group, run])
        session.flush()
    return replace(job, group=group, run=run)


def group_taken(exc: NameTaken) -> GroupTaken:
    """Build the error for a name that another cohort's group has."""
    return GroupTaken(
        f"The group {exc.name} is fed by cohort {exc.cohort_id} at this destination.",
        advice="Choose another group name: a group fed by two cohorts would hold neither.",
    )
