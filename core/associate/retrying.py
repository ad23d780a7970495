"""What of an association waits to be tried again: recorded with it while it is written, and shown."""

from __future__ import annotations

from core.run_log import RunLog, seconds_left
from data.failure import Failure
from data.models import Association, ImportStage

# Stands where an error stands: nothing has failed yet.
RETRYING = "retrying"


def failure_to_retry(run_log: RunLog) -> Failure | None:
    """Return what waits to be tried again, why, and when; None: nothing does."""
    retry, failed = run_log.retry, sum(run_log.refusals.values())
    if retry is None:
        return None
    left_s = seconds_left(retry, run_log.clock.now())
    when = f"in {round(left_s)} s" if left_s >= 1 else "now"
    tries = "1 try has failed" if failed == 1 else f"{failed:,} tries have failed"
    return Failure(RETRYING, retry["why"], f"It is tried again {when}; {tries}.")


def retry_text(association: Association) -> str:
    """Format why nothing moves and when it goes on, while something waits to be tried again; empty otherwise."""
    if association.error_code != RETRYING or association.stage != ImportStage.WRITING:
        return ""
    return f"{association.error_message} {association.error_advice}"
