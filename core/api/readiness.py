"""Whether an installation can work: its database, the version of that, a worker that is alive, its storage."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from core.access.roles import LOCAL
from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError
from core.leases.workers import worker_is_up
from core.reports.clocks import find_warnings
from core.reports.storage import find_storage_trouble
from data.engine import is_up_to_date


@dataclass(frozen=True)
class Readiness:
    """What keeps an installation from working, and what it should be told of though it works; a sentence each."""

    troubles: list[str]
    warnings: list[str] = field(default_factory=list[str])


def look(bridge: Bridge) -> Readiness:
    """Look whether an installation can work."""
    troubles = find_troubles(bridge)
    if troubles:
        return Readiness(troubles)
    with suppress(CohortBridgeError):
        return Readiness([], find_warnings(bridge))
    return Readiness([])


def find_troubles(bridge: Bridge) -> list[str]:
    """Return what keeps it from working, a sentence each; empty: it can."""
    try:
        with storage_errors():
            if not is_up_to_date(bridge.engine):
                return ["The database is of another version of Cohort Bridge: restart what is older than it."]
            troubles = [] if worker_is_up(bridge, LOCAL) else ["No worker's heartbeat was seen in the last minute."]
            storage = find_storage_trouble(bridge, LOCAL)
            return [*troubles, f"{storage.message} {storage.advice}"] if storage else troubles
    except CohortBridgeError as exc:
        return [exc.message]
