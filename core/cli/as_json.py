"""The JSON that scripts rely on: changed only by adding to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from core.access.audit_log import AuditCheck
from core.access.people import PersonView
from core.associate.retrying import RETRYING
from core.reports import match_funnel, user_lookup
from core.syncs import cohorts, held_runs, listing
from core.vendors.mixpanel_answers import Cohort
from data.models import Association, Group, Run

# fmt: off
_RUN = (
    "id", "sync_id", "cohort_id", "cohort_name", "group_name", "destination", "trigger", "actor", "dry_run", "status",
    "write", "started_at", "finished_at", "profiles", "members", "duplicates", "unmatched", "invalid", "unprefixed",
    "added", "removed", "unchanged", "queries", "requests", "messages",
)
_ASSOCIATION = (
    "id", "source", "stage", "actor", "created_at", "finished_at", "match_property", "aliases", "prefix", "rows",
    "writable", "problems", "effects", "warnings", "written", "refused", "looked_up", "found", "requests",
)
# fmt: on


def cohort_as_json(cohort: Cohort) -> dict[str, Any]:
    return {
        "id": cohort.id,
        "name": cohort.name,
        "description": cohort.description,
        "count": cohort.count,
        "created": cohort.created,
        "is_visible": cohort.is_visible,
        "exportable": cohorts.why_not_exportable(cohort) is None,
        "reason": cohorts.why_not_exportable(cohort),
    }


def run_as_json(run: Run) -> dict[str, Any]:
    decided = run.step if held_runs.decision(run) else None
    return _columns(run, _RUN) | {"error": _error(run), "decision": decided, "decided_by": run.decided_by}


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
        "next_run_at": _time_json(view.sync.next_run_at),
        "max_shrink": view.sync.max_shrink,
        "tags": view.sync.tags,
        "last_run": run_as_json(view.last_run) if view.last_run else None,
    }


def funnel_as_json(run: Run) -> dict[str, Any]:
    id_merge, _, match_property = run.matched_by.partition(":")
    return {
        "cohort_id": run.cohort_id,
        "cohort_name": run.cohort_name,
        "run_id": run.id,
        "read_at": _time_json(run.finished_at),
        "id_merge": id_merge or None,
        "match_property": match_property or None,
        **asdict(match_funnel.get_funnel(run)),
    }


def association_as_json(association: Association) -> dict[str, Any]:
    columns = _columns(association, _ASSOCIATION)
    error = _error(association)
    columns |= {"accepted": association.accepted_problems, "error": error}
    # Nothing has failed yet: what is being tried again is named only for as long as it is.
    return columns | {"error": None, "retry": error} if association.error_code == RETRYING else columns


def user_as_json(user: user_lookup.UserLookup) -> dict[str, Any]:
    """Turn what is known of a user into the form that scripts rely on."""
    return {
        "id": user.id,
        "distinct_ids": user.distinct_ids,
        "apptimize_ids": user.apptimize_ids,
        "is_cut_short": user.is_cut_short,
        "known_back_to": _time_json(user.lookback.back_to),
        "groups": [
            {
                "cohort_id": answer.group.cohort_id,
                "group_name": answer.group.name,
                "destination": answer.destination,
                "is_member": answer.is_member,
                "apptimize_id": answer.apptimize_id,
                "since": _time_json(answer.since),
                "run_id": answer.run_id,
                "reason": answer.reason,
                "instead": answer.instead,
            }
            for answer in user.groups
        ],
        "associated": [
            {
                "association_id": association.id,
                "distinct_id": member.distinct_id,
                "apptimize_id": member.apptimize_id,
                "at": _time_json(association.finished_at or association.started_at),
                "by": association.confirmed_by,
            }
            for association, member in user.associated
        ],
    }


def group_as_json(group: Group, destination: str | None) -> dict[str, Any]:
    return {
        "cohort_id": group.cohort_id,
        "cohort_name": group.cohort_name,
        "group_name": group.name,
        "destination": destination,
        "members": group.members,
        "delivered_at": _time_json(group.delivered_at),
        "last_run_id": group.base_run_id,
        "in_doubt": group.in_doubt,
    }


def person_as_json(view: PersonView) -> dict[str, Any]:
    return {
        "email": view.person.email,
        "name": view.person.name,
        "role": view.role.label,
        "by_setting": view.fixed,
        "disabled": view.person.disabled,
        "signed_in_at": _time_json(view.person.signed_in_at),
    }


def audit_check_as_json(check: AuditCheck) -> dict[str, Any]:
    return {
        "ok": check.ok,
        "entries": check.entries,
        "head": check.head,
        "problems": check.problems,
        "notes": check.notes,
    }


def _columns(row: Run | Association, names: Sequence[str]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    return {name: _time_json(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _error(row: Run | Association) -> dict[str, Any] | None:
    if not row.error_code:
        return None
    return {"code": row.error_code, "message": row.error_message, "advice": row.error_advice}


def _time_json(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
