"""What the audit log keeps of rows, in the words of the screens: columns, and their values."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from core.errors import CohortBridgeError
from core.rules.schedules import text_of
from data.models import APPLIED_RUN_ID, HELD_RUN_ID, Schedule
from pages.parts import run_status
from pages.parts.connections.wording import MEMBER_IDS, MERGES, REGIONS, SIGN_INS
from pages.parts.formatting import EVERY, moment, number

# Only what is not said by the column's own name.
_LABELS = {
    "account_expires_at": "Service account expires",
    "account_trouble": "Why Mixpanel no longer accepts it",
    "adds_only": "Only adds",
    "all_syncs": "Told of all syncs",
    "anonymous": "Members that start with a_",
    "apart": "Groups kept apart",
    "approvals": "What was looked at",
    "approved": "Let through by a person",
    "base_match": "Members matched by",
    "base_run_id": "Run that wrote it last",
    "base_snapshot": "File of its members",
    "began_writing": "Had begun to write",
    "cancel_asked": "Cancellation asked for",
    "cron": "Set times",
    "decided_by": "Decided by",
    "decision_note": "Why it was let through",
    "delivered_name": "Name as delivered",
    "difference": "File of its changes",
    "doubt_cause": "Why it is in doubt",
    "dry_run": "Preview",
    "every_minutes": "Interval",
    "excluded": "File of its excluded profiles",
    "expected": "Announced profiles",
    "expects_prefix": "Expected to start with i_ or a_",
    "failing_after": "Failures until an alert",
    "force_full": "Written in full",
    "full_at": "Last written in full",
    "hold": "What was held",
    "id": "Number",
    "identified": "Members that start with i_",
    "id_merge": "ID merge",
    "id hash": "Hash of the id",
    "in_cohort": "Users, as Mixpanel counted",
    "invalid": "Invalid ids",
    "max_shrink": "Shrink limit",
    "member_id": "Knows people by",
    "member_key": "Field of the id",
    "members": "Members",
    "next_run_at": "Next run",
    "own_name": "Name of its own",
    "paused_reason": "Why it is paused",
    "project_token": "Project token",
    "reasons": "Why ids are invalid",
    "restore_snapshot": "Rolled back to the file",
    "sign_in": "Signed in to by",
    "sign_in_name": "User name or header",
    "sign_ins_from": "Sign-ins count from",
    "snapshot": "File of its members",
    "times_replaced": "Times replaced",
    "trigger": "Started",
    "untraced": "Why whom it holds is not known",
    "url": "Address",
    "warnings": "Told of warnings too",
    "zone": "Time zone",
}
# The columns that are kept as JSON.
_STRUCTURES = ("approvals", "effects", "hold", "problems", "refused", "sync_ids", "tags", "unaliased", "warnings")
_KINDS = {"mixpanel": "Mixpanel", "endpoint": "Endpoint", "csv": "CSV folder"}
_CAUSES = {
    "held_shrink": "Shrink limit",
    "held_no_ids": "No usable ids",
    "held_total": "Announced total",
    "held_unknown_members": "Unknown members",
}
# How the causes of a hold, and what it holds a run for, are counted.
_COUNTS = {"removed": "to remove", "added": "to add", "total": "announced", "profiles": "read"}

_OTHER_RUNS = {HELD_RUN_ID: "of run", APPLIED_RUN_ID: "applied as run"}


def column_text(name: str) -> str:
    """Format a column's name for reading."""
    return _LABELS.get(name) or action_text(name.removesuffix("_at"))


def action_text(action: str) -> str:
    """Format an action's name for reading."""
    return action.replace("_", " ").capitalize().replace("csv", "CSV").replace("mixpanel", "Mixpanel")


def value_text(name: str, value: object) -> str:
    """Format a value of a column as the screens do; one that says nothing of itself as it was kept."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if name in _FORMATS:
        try:
            return _FORMATS[name](value)
        except (CohortBridgeError, LookupError, ValueError, TypeError, AttributeError):
            return str(value)  # of an earlier version, or cut
    if isinstance(value, int):
        return str(value) if name == "id" or name.endswith("_id") else number(value)
    if isinstance(value, str):
        return _text(name, value)
    return _structure(value) if isinstance(value, list | dict) else str(value)


def _text(name: str, text: str) -> str:
    if name in _STRUCTURES:  # a name or a note may look like one, and is what somebody wrote
        try:
            return _structure(json.loads(text))
        except ValueError:
            return text  # it was cut
    if name.endswith(("_at", "_until", "_since", "_from")):
        try:
            return moment(datetime.fromisoformat(text))
        except ValueError:
            return text
    return text


def _structure(value: object) -> str:
    """Format what is kept as JSON: a hold as its cause and numbers, anything else by its names."""
    match value:
        case list():
            return "; ".join(_structure(each) for each in cast("list[object]", value))
        case {"cause": str(cause)}:
            return _hold(cause, cast("dict[str, Any]", value))
        case dict():
            named = cast("dict[str, object]", value)
            return ", ".join(f"{column_text(name).lower()}: {value_text(name, each)}" for name, each in named.items())
        case _:
            return value_text("", value)


def _hold(cause: str, hold: dict[str, Any]) -> str:
    counts = [f"{number(hold[name])} {words}" for name, words in _COUNTS.items() if hold.get(name)]
    others = [f" ({words} {hold[name]})" for name, words in _OTHER_RUNS.items() if hold.get(name)]
    return f"{_CAUSES.get(cause, action_text(cause))}: {', '.join(counts) or 'no numbers'}{''.join(others)}"


def _one_of(words: dict[Any, Any]) -> Callable[[Any], str]:
    def format_value(value: object) -> str:
        word = words.get(value, value)
        return str(word[0] if isinstance(word, tuple) else word)

    return format_value


def _state(value: object) -> str:
    text = str(value)
    return run_status.BADGES[text].word if text in run_status.BADGES else action_text(text)


def _often(value: object) -> str:
    return EVERY.get(cast("int", value), f"Every {value} minutes")


def _set_times(value: object) -> str:
    # The zone has a row of its own.
    text = text_of(Schedule(str(value), "UTC")).removesuffix(" UTC")
    return text[0].upper() + text[1:]


def _reasons(value: object) -> str:
    kept = json.loads(value) if isinstance(value, str) else value
    counts = cast("dict[str, int]", kept)
    return "; ".join(f"{run_status.REASONS.get(name, name)}: {number(count)}" for name, count in counts.items())


_FORMATS: dict[str, Callable[[Any], str]] = {
    "cron": _set_times,
    "every_minutes": _often,
    "id_merge": _one_of(MERGES),
    "kind": lambda value: _KINDS.get(value, action_text(str(value))),
    "max_shrink": lambda value: f"{value}%",
    "member_id": _one_of(MEMBER_IDS),
    "reasons": _reasons,
    "region": _one_of(REGIONS),
    "role": lambda value: str(value).capitalize(),
    "sign_in": _one_of(SIGN_INS),
    "stage": lambda value: action_text(str(value)),
    "state": _state,
    "status": _state,
    "step": lambda value: action_text(str(value)),
    "trigger": _one_of(run_status.TRIGGERS),
    "write": _one_of({"full": "Everything", "delta": "What changed", "none": "Nothing"}),
}
