"""The JSON that commands alone print: changed only by adding to it. What others tell too: core/syncs/as_json.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.syncs.as_json import time_as_json

if TYPE_CHECKING:
    # A command that prints something else does without what makes these.
    from core.access.audit_log import AuditCheck
    from core.access.people import PersonView
    from core.reports.overlap import Overlap
    from data.models import Group


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


def overlap_as_json(overlap: Overlap) -> dict[str, Any]:
    """Turn what groups share into a document: `pairs` has each two that can be compared, those that share none too."""
    pairs = [pair for (first, second), pair in sorted(overlap.pairs.items()) if first != second]
    return {
        "groups": [_group(group) for group in overlap.groups],
        "pairs": [
            {
                "first": pair.first.id,
                "second": pair.second.id,
                "shared": pair.members,
                "of_first": pair.share_of(pair.first),
                "of_second": pair.share_of(pair.second),
            }
            for pair in pairs
        ],
        "not_compared": [_group(group) | {"reason": why.value} for group, why in overlap.not_compared],
    }


def _group(group: Group) -> dict[str, Any]:
    return {"id": group.id, "cohort_id": group.cohort_id, "group_name": group.name, "members": group.members}
