"""The JSON that scripts and pipelines rely on, from commands and over HTTP: changed only by adding to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.rules.id_words import id_words
from core.rules.schedules import text_of
from core.syncs import held_runs, run_ends
from data.models import Association, Group, Run, Schedule, Sync

if TYPE_CHECKING:
    # A command that prints something else does without what makes it.
    from core.syncs import listing

# fmt: off
_RUN = (
    "id", "sync_id", "cohort_id", "cohort_name", "group_name", "destination", "trigger", "actor", "dry_run", "status",
    "write", "started_at", "finished_at", "profiles", "members", "duplicates", "unmatched", "invalid", "unprefixed",
    "added", "removed", "unchanged", "queries", "requests", "messages",
)
# fmt: on


def run_as_json(run: Run) -> dict[str, Any]:
    """Turn a run into the form that scripts rely on."""
    decided = run.step if held_runs.decision(run) else None
    return columns_as_json(run, _RUN) | {
        "error": error_as_json(run),
        "decision": decided,
        "decided_by": run.decided_by,
        "known_by": id_words(run.matched_by).code if run.matched_by else None,  # not known before it read
        "group_id": run.group_id,
        "worker": run.worker,
        "decision_note": run.decision_note,
        "began_writing": run_ends.began_writing(run),
        "held_run_id": run.held_run_id,
        "applied_run_id": run.applied_run_id,
        "superseded_by_run_id": run.superseded_by_run_id,
    }


def sync_as_json(view: listing.SyncView) -> dict[str, Any]:
    """Turn a sync into the form that scripts rely on."""
    return {
        "id": view.sync.id,
        "cohort_id": view.sync.cohort_id,
        "cohort_name": view.group.cohort_name,
        "group_name": view.group.name,
        "destination": view.destination,
        "kind": view.sync.kind,
        "every_minutes": view.sync.every_minutes,
        "state": view.sync.state,
        "paused_reason": view.sync.paused_reason,
        "next_run_at": time_as_json(view.sync.next_run_at),
        "max_shrink": view.sync.max_shrink,
        "tags": view.sync.tags,
        "schedule": schedule_as_json(view.sync),
        "paused_until": time_as_json(view.sync.paused_until),
        "last_run": run_as_json(view.last_run) if view.last_run else None,
        "group_id": view.group.id,
    }


def schedule_as_json(sync: Sync) -> dict[str, str] | None:
    """Turn a sync's set times into the form that scripts rely on, None at an interval."""
    timing = sync.timing
    if not isinstance(timing, Schedule):
        return None
    return {"cron": timing.cron, "zone": timing.zone, "text": text_of(timing)}


def group_as_json(group: Group, destination: str | None) -> dict[str, Any]:
    """Turn a group into the form that scripts rely on."""
    return {
        "cohort_id": group.cohort_id,
        "cohort_name": group.cohort_name,
        "group_name": group.name,
        "destination": destination,
        "members": group.members,
        "delivered_at": time_as_json(group.delivered_at),
        "last_run_id": group.base_run_id,
        "in_doubt": group.in_doubt,
        "known_by": id_words(group.base_match).code,
        "id": group.id,
    }


def columns_as_json(row: Run | Association, names: Sequence[str]) -> dict[str, Any]:
    """Turn these columns of a row into what JSON can hold."""
    values = {name: getattr(row, name) for name in names}
    return {name: time_as_json(value) if isinstance(value, datetime) else value for name, value in values.items()}


def error_as_json(row: Run | Association) -> dict[str, Any] | None:
    """Return why something failed, None where it has not."""
    if not row.error_code:
        return None
    return {"code": row.error_code, "message": row.error_message, "advice": row.error_advice}


def time_as_json(at: datetime | None) -> str | None:
    """Format a time, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
