"""The JSON that commands alone print: changed only by adding to it. What others tell too: core/syncs/as_json.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.syncs.as_json import time_as_json

if TYPE_CHECKING:
    # A command that prints something else does without what makes these.
    from core.access.audit_log import AuditCheck
    from core.access.people import PersonView


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
