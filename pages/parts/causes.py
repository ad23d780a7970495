"""Why something is not as it should be, in so few words that a column of a list holds them."""

from __future__ import annotations

import re

from core.syncs.listing import SyncView
from data.models import Run, RunStatus, SyncState
from pages.parts.formatting import clock, pause_reason

# By the error's code; where a code names the vendor, what stands after that decides.
_WORDS = {
    "held_shrink": "Too many would leave",
    "held_no_ids": "No usable id",
    "held_total": "Total does not add up",
    "held_unknown_members": "Not known whom it holds",
    "incomplete_read": "Read was not complete",
    "mixpanel_no_total": "Total is missing",
    "mixpanel_odd_number": "Number cannot be right",
    "mixpanel_odd_cohort": "Cohort cannot be used",
    "mixpanel_no_session": "No query session",
    "cohort_unknown": "Cohort not found",
    "cohort_not_exportable": "Cohort cannot be used",
    "took_too_long": "Took too long",
    "out_of_memory": "Out of memory",
    "lease_lost": "Slept too long",
    "storage_failed": "Storage cannot be used",
    "secret_key_lost": "Secret key is lost",
    "csv_not_written": "File not written",
    "connection_changed": "Connection was changed",
    "not_connected": "Not connected any more",
    "members_by_other_id": "Known by another id",
    "members_damaged": "Kept members are damaged",
    "no_query_slot": "No query slot",
    "session_lost": "Query session was lost",
    "rate_limited": "Too many requests",
    "cancelled": "Stopped",
    "unexpected": "Error in Cohort Bridge",
}
_SIDES = {"mixpanel": "Mixpanel", "apptimize": "Destination", "receiver": "Destination"}
_BY_SIDE = {
    "unauthorized": "{} refused access",
    "forbidden": "{} refused access",
    "no_api_access": "{} refused access",
    "not_admin": "{} refused access",
    "not_found": "{} refused it",
    "failed": "{} is failing",
    "redirected": "{} not reached",
    "unreadable_answer": "{} not understood",
    "refused": "{} refused it",
    "unavailable": "{} is failing",
    "unreachable": "{} not reached",
    "untrusted_certificate": "{} not trusted",
}
_FIRST_SENTENCE = re.compile(r"(.+?[.!?])(?=\s|$)", re.DOTALL)


def of_run(run: Run) -> str:
    """Return why a run did not succeed; empty for one that did, or has not ended."""
    if run.status == RunStatus.SUCCEEDED or not run.error_message:
        return ""
    return _by_code(run.error_code or "") or first_sentence(run.error_message)


def of_sync(view: SyncView) -> str:
    """Return what paused a sync, or why a run of its group needs a person."""
    run = view.unresolved_run
    if view.sync.state != SyncState.PAUSED:
        return of_run(run) if run else ""
    reason = pause_reason(view.sync)
    is_of_run = run is not None and reason.startswith(run.error_message or reason)
    cause = of_run(run) if run and is_of_run else first_sentence(reason)
    return f"Until {clock(view.sync.paused_until)}: {cause}" if view.sync.paused_until else cause


def first_sentence(text: str) -> str:
    """Return a text up to the end of its first sentence, without the full stop."""
    match = _FIRST_SENTENCE.match(text.strip())
    return (match[1] if match else text.strip()).removesuffix(".")


def _by_code(code: str) -> str:
    if words := _WORDS.get(code):
        return words
    side, _, what = code.partition("_")
    return _BY_SIDE[what].format(_SIDES[side]) if side in _SIDES and what in _BY_SIDE else ""
