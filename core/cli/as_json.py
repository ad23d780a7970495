"""The JSON that scripts rely on: changed only by adding to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.rules.id_words import id_words
from core.syncs import held_runs
from data.models import Association, Group, Run

if TYPE_CHECKING:
    # A command that prints something else does without what makes these.
    from core.access.audit_log import AuditCheck
    from core.access.people import PersonView
    from core.syncs import listing

# fmt: off
_RUN = (
    "id", "sync_id", "cohort_id", "cohort_name", "group_name", "destination", "trigger", "actor", "dry_run", "status",
    "write", "started_at", "finished_at", "profiles", "members", "duplicates", "unmatched", "invalid", "unprefixed",
    "added", "removed", "unchanged", "queries", "requests", "messages",
)
# fmt: on


def run_as_json(run: Run) -> dict[str, Any]:
    decided = run.step if held_runs.decision(run) else None
    return columns_as_json(run, _RUN) | {
        "error": error_as_json(run),
        "decision": decided,
        "decided_by": run.decided_by,
        "known_by": id_words(run.matched_by).code if run.matched_by else None,  # not known before it read
    }


def sync_as_json(view: listing.SyncView) -> dict[str, Any]:
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
        "last_run": run_as_json(view.last_run) if view.last_run else None,
    }


def group_as_json(group: Group, destination: str | None) -> dict[str, Any]:
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
    }


def person_as_json(view: PersonView) -> dict[str, Any]:
    return {
        "email": view.person.email,
        "name": view.person.name,
        "role": view.role.label,
        "by_setting": view.fixed,
        "disabled": view.person.disabled,
        "signed_in_at": time_as_json(view.person.signed_in_at),
    }


def audit_check_as_json(check: AuditCheck) -> dict[str, Any]:
    return {
        "ok": check.ok,
        "entries": check.entries,
        "head": check.head,
        "problems": check.problems,
        "notes": check.notes,
    }


def columns_as_json(row: Run | Association, names: Sequence[str]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    return {name: time_as_json(value) if isinstance(value, datetime) else value for name, value in values.items()}


def error_as_json(row: Run | Association) -> dict[str, Any] | None:
    if not row.error_code:
        return None
    return {"code": row.error_code, "message": row.error_message, "advice": row.error_advice}


def time_as_json(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
