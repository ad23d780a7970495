"""Where a run stands, and which of its states mean the same. The rest of the house takes these from `data.models`."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    HELD = "held"
    SUPERSEDED = "superseded"  # was held until a newer run took its place
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


UNFINISHED = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)
# The steps of a run that was held and is cancelled, by what a person decided about it.
DECISIONS = APPLIED, DISCARDED = "applied", "discarded"
# What is said of a dry run that succeeded, in place of that.
PREVIEW = "preview"
FAILED = (RunStatus.FAILED, RunStatus.INTERRUPTED)  # by themselves: one of the group that ends later may recover them
NOT_DONE = (*FAILED, RunStatus.CANCELLED)  # of what it was for
# What stands beside an approval, and beside the hold of a run that was applied or superseded: the other run of the two.
HELD_RUN_ID, APPLIED_RUN_ID, SUPERSEDED_BY_RUN_ID = "held_run_id", "applied_run_id", "superseded_by_run_id"
TO_CLAIM = (RunStatus.QUEUED, RunStatus.WAITING)  # in the words of the index `run_to_claim`
