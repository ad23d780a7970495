"""Hold a run that would write what looks like a mistake, unless a person looked at it and approved it."""

from __future__ import annotations

from core.export.compare import Comparison
from core.export.job import Job
from core.rules import holding
from data.members.collector import Tally


def hold_if_wrong(job: Job, tally: Tally, comparison: Comparison) -> None:
    """Hold a run without usable ids, or one that goes beyond the sync's shrink limit. Raises RunHeld."""
    if job.is_approved("held_no_ids"):
        return
    base_members, most_percent = job.group.members, job.sync.max_shrink
    holding.hold_for_no_ids(
        profiles=tally.profiles,
        members=tally.members,
        base_members=base_members,
        match_property=job.rule.match_property,
    )
    if job.is_approved("held_shrink"):
        return
    if comparison.base is None:
        holding.hold_for_unknown_base(base_members=base_members, most_percent=most_percent)
    removed = comparison.difference.removed
    holding.hold_for_shrinking(removed=removed, base_members=base_members, most_percent=most_percent)
