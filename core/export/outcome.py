"""What a run came to, as its row keeps it."""

from __future__ import annotations

from typing import Any

from core.errors import CohortBridgeError
from core.rules.matching import ANONYMOUS, IDENTIFIED, Reason
from data.members.changes import Difference
from data.members.collector import Tally


def tally_values(tally: Tally) -> dict[str, Any]:
    """Turn what was collected into the run's counts, which add up to `profiles`."""
    unmatched = tally.reasons.get(Reason.UNMATCHED, 0)
    return {
        "profiles": tally.profiles,
        "members": tally.members,
        "duplicates": tally.duplicates,
        "unmatched": unmatched,
        "invalid": sum(tally.reasons.values()) - unmatched,
        "unprefixed": tally.unprefixed,
        "identified": tally.prefixed.get(IDENTIFIED, 0),
        "anonymous": tally.prefixed.get(ANONYMOUS, 0),
        "reasons": {reason: number for reason, number in tally.reasons.items() if reason != Reason.UNMATCHED},
    }


def difference_values(difference: Difference) -> dict[str, int]:
    """Turn a difference into the run's counts."""
    return {"added": difference.added, "removed": difference.removed, "unchanged": difference.unchanged}


def error_values(exc: CohortBridgeError) -> dict[str, str]:
    """Turn an error into what the run's row keeps of it."""
    return {"error_code": exc.code, "error_message": exc.message, "error_advice": exc.advice}
