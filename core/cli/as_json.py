"""The JSON that scripts rely on."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from core.access import people
from core.reports import match_funnel, user_lookup
from core.syncs import listing
from data.models import Association, Group, Run


def person_as_json(one: people.PersonView) -> dict[str, Any]:
    return {
        "email": one.person.email,
        "name": one.person.name,
        "role": one.role.label,
        "by_setting": one.fixed,
        "disabled": one.person.disabled,
        "signed_in_at": _time_json(one.person.signed_in_at),
    }


# --- what is printed -----------------------------------------------------------------------------------------------


def run_as_json(run: Run) -> dict[str, Any]:
    """Turn a run into the form that scripts rely on."""
    error = None
    if run.error_code:
        error = {"code": run.error_code, "message": run.error_message, "advice": run.error_advice}
    plain = (
        "id sync_id cohort_id cohort_name group_name destination trigger actor dry_run status write "
        "started_at finished_at profiles members duplicates unmatched invalid unprefixed "
        "added removed unchanged queries requests messages"
    )
    values = {name: getattr(run, name) for name in plain.split()}
    return {name: _time_json(value) if isinstance(value, datetime) else value for name, value in values.items()} | {
        "error": error
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
        "next_run_at": _time_json(view.sync.next_run_at),
        "max_shrink": view.sync.max_shrink,
        "tags": view.sync.tags,
        "last_run": run_as_json(view.last_run) if view.last_run else None,
    }


def funnel_as_json(run: Run) -> dict[str, Any]:
    """Turn a reading into the form that scripts rely on."""
    found = match_funnel.get_funnel(run)
    id_merge, _, match_property = run.matched_by.partition(":")
    return {
        "cohort_id": run.cohort_id,
        "cohort_name": run.cohort_name,
        "run_id": run.id,
        "read_at": _time_json(run.finished_at),
        "id_merge": id_merge or None,
        "match_property": match_property or None,
        **asdict(found),
    }


def association_as_json(found: Association) -> dict[str, Any]:
    """Turn an association into the form that scripts rely on."""
    error = None
    if found.error_code:
        error = {"code": found.error_code, "message": found.error_message, "advice": found.error_advice}
    names = (
        "id source stage actor created_at finished_at match_property aliases prefix rows writable problems effects "
        "written refused looked_up found requests"
    )
    values = {name: getattr(found, name) for name in names.split()}
    return {name: _time_json(value) if isinstance(value, datetime) else value for name, value in values.items()} | {
        "error": error
    }


def who_as_json(found: user_lookup.UserLookup) -> dict[str, Any]:
    """Turn what is known of a user into the form that scripts rely on."""
    return {
        "id": found.id,
        "distinct_ids": found.distinct_ids,
        "apptimize_ids": found.apptimize_ids,
        "is_cut_short": found.is_cut_short,
        "known_back_to": _time_json(found.lookback.back_to),
        "groups": [
            {
                "cohort_id": one.group.cohort_id,
                "group_name": one.group.name,
                "destination": one.destination,
                "is_member": one.is_member,
                "apptimize_id": one.apptimize_id,
                "since": _time_json(one.since),
                "run_id": one.run_id,
                "reason": one.reason,
                "instead": one.instead,
            }
            for one in found.groups
        ],
        "associated": [
            {
                "association_id": one.id,
                "distinct_id": member.distinct_id,
                "apptimize_id": member.apptimize_id,
                "at": _time_json(one.finished_at or one.started_at),
                "by": one.confirmed_by,
            }
            for one, member in found.associated
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


def _time_json(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
