"""What a group knows of a user, in the form that scripts and pipelines rely on: changed only by adding to it."""

from __future__ import annotations

from typing import Any

from core.reports.user_lookup import InGroup
from core.syncs.as_json import time_as_json


def in_group_as_json(answer: InGroup) -> dict[str, Any]:
    """Turn what one group knows of a user into that form."""
    return {
        "cohort_id": answer.group.cohort_id,
        "group_name": answer.group.name,
        "destination": answer.destination,
        "is_member": answer.is_member,
        "apptimize_id": None if answer.kind else answer.apptimize_id,
        "member_id": answer.apptimize_id,
        "since": time_as_json(answer.since),
        "run_id": answer.run_id,
        "reason": answer.reason,
        "instead": answer.instead,
        "group_id": answer.group.id,
        "in_doubt": answer.group.in_doubt,
    }
