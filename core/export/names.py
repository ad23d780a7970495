"""The name of a group: its own, or its cohort's; never another cohort's."""

from __future__ import annotations

from dataclasses import replace

from core.bridge import Bridge
from core.errors import GroupTaken
from core.export.job import Job
from core.text import shown
from data import groups
from data.groups import NameTaken


def follow_cohort_name(bridge: Bridge, job: Job, cohort_name: str) -> Job:
    """Note the cohort's present name, which a group without its own name follows.

    Raises: GroupTaken when another cohort's group at this destination has that name.
    """
    assert job.run.id is not None
    try:
        if groups.is_called(bridge.engine, job.run, job.group, cohort_name):
            return job
        run, group = groups.follow_cohort_name(bridge.engine, job.run.id, cohort_name)
    except NameTaken as exc:
        raise group_taken(exc) from None
    return replace(job, run=run, group=group)


def group_taken(exc: NameTaken) -> GroupTaken:
    """Build the error for a name that another cohort's group has."""
    return GroupTaken(
        f"The group {shown(exc.name, most=100)} is fed by cohort {exc.cohort_id} at this destination.",
        advice="Choose another group name: a group fed by two cohorts would hold neither.",
    )
