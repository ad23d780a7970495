"""What a run that did not succeed had written when it ended."""

from __future__ import annotations

from core.syncs.held_runs import decision
from data.models import NOT_DONE, Run, RunStatus

# How the codes of errors begin that the destination answered with, or did not answer.
_DESTINATION_CODES = ("apptimize_", "receiver_")


def began_writing(run: Run) -> bool:
    """Return whether a run had begun to write its group, as far as is known.

    The step and the messages tell it of runs of earlier versions.
    """
    if run.dry_run:
        return False
    return bool(run.began_writing) or run.step == "delivering" or run.messages > 0


def written_text(run: Run) -> str:
    """Format whether anything was written before a run failed, was interrupted or cancelled; "" for all others."""
    if run.status not in NOT_DONE or run.dry_run or decision(run):
        return ""
    if not began_writing(run):
        return "Nothing was written: the group is as it was."
    sent = ""
    if run.messages_expected is not None:
        sent = f": {min(run.messages, run.messages_expected):,} of {run.messages_expected:,} messages were sent"
        if run.status == RunStatus.FAILED and (run.error_code or "").startswith(_DESTINATION_CODES):
            sent += ", of which the last was not confirmed"
    return f"It had begun to write{sent}. What the group held then is in doubt: the run after it writes all again."
