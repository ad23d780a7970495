"""How a group is written: not at all, by the difference, or in full after any doubt about what it holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from core.export.job import Job
from core.vendors.delivery import Delivery
from data.members.changes import Difference
from data.models import utc_now

# Groups can be edited by hand at the destination: once a day the whole of them is written again.
_FULL_EVERY = timedelta(hours=24)

WriteMode = Literal["full", "delta", "none"]


def choose_write_mode(
    job: Job, difference: Difference, *, base_is_there: bool, in_place: bool, delivery: Delivery
) -> WriteMode:
    """Choose how a group is written: not at all, by the difference, or in full after any doubt about what it holds."""
    group = job.group
    must_be_full = (
        job.run.force_full
        or job.run.restore_snapshot is not None
        or not base_is_there
        or group.in_doubt
        or group.full_at is None
        or not timedelta(0) <= utc_now() - group.full_at < _FULL_EVERY
        or group.delivered_name != group.name
        or group.base_match != str(job.rule)
    )
    changed = bool(difference.added or difference.removed)
    if delivery.takes_differences:
        if must_be_full:
            return "full"
        return "delta" if changed else "none"
    known = base_is_there and not group.in_doubt and group.delivered_name == group.name and in_place
    return "none" if known and not changed and not job.run.force_full else "full"
