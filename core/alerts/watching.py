"""What no run and no person tells of by itself: found by looking, every half a minute, and told once."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta

from core.bridge import Bridge, storage_errors
from core.connections.project import project_key
from core.connections.query_budget import budget_for
from core.rules import due_times
from core.syncs.checks import queries_an_hour
from data import account_alerts, alert_states, connections, run_stats, workers
from data.alert_states import Finding, SyncHealth
from data.models import MIXPANEL_SIDE, Connection, SyncState
from data.outbox_models import CRITICAL, DISK, WARNING, AlertState, Condition
from data.worker_names import host_of, shorten_host

log = logging.getLogger(__name__)

# Below this share of the disk it is low; it has room again a little above, so that no run tells the two by turns.
_LOW, _ROOM = 0.10, 0.12
# A worker that has just begun first does what became due while none was there.
_FIRST_LOOK_AFTER = timedelta(minutes=10)
# So has one that did not look for so long, by the clock on the wall: the machine slept, or its clock was set.
_LONGEST_BREAK = timedelta(minutes=5)


class Watching:
    """A worker's looks, every half a minute."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._since: datetime | None = None
        self._looked_at = bridge.clock.now()

    def look(self) -> None:
        """Look for what is new, and tell of it."""
        now = self._bridge.clock.now()
        if self._since is None:
            self._since = _find_begin(self._bridge, now)
        elif abs(now - self._looked_at) > _LONGEST_BREAK:
            self._since = now
        self._looked_at = now
        look(self._bridge, since=self._since)


def _find_begin(bridge: Bridge, now: datetime) -> datetime:
    """Return since when workers are there, one after the other: one that dies time and again makes groups late."""
    begun = now
    with storage_errors():
        for worker in workers.list_beats(bridge.engine):
            if begun - worker.seen_at > _LONGEST_BREAK:
                break
            begun = min(begun, worker.started_at)
    return begun


def look(bridge: Bridge, *, since: datetime) -> None:
    """Look for what is late, low or about to end, and tell of what is new. `since` is when this worker began."""
    now = bridge.clock.now()
    with storage_errors():
        found: dict[str, Finding | None] = {}
        present = {alert.subject: alert for alert in alert_states.list_open(bridge.engine)}
        projects = connections.list_side(bridge.engine, MIXPANEL_SIDE)
        found |= _find_accounts(projects, present, now)
        found |= _find_budgets(bridge, projects, present, now)
        found |= _find_disk(bridge, present.get(DISK))
        alert_states.settle_found(bridge.engine, found, now=now)
        for health in alert_states.list_health(bridge.engine):
            _look_at_sync(bridge, health, now, may_be_late=now - since >= _FIRST_LOOK_AFTER)


def _find_accounts(
    projects: Sequence[Connection], present: dict[str, AlertState], now: datetime
) -> dict[str, Finding | None]:
    """Look which accounts expire soon, or are not accepted."""
    found: dict[str, Finding | None] = {subject: None for subject in present if subject.startswith("connection:")}
    for connection in projects:
        found[account_alerts.subject_of(connection)] = account_alerts.find_trouble(connection, now)
    return found


def _find_budgets(
    bridge: Bridge, projects: Sequence[Connection], present: dict[str, AlertState], now: datetime
) -> dict[str, Finding | None]:
    """Look whether each project allows as many queries an hour as its active syncs need."""
    found: dict[str, Finding | None] = {subject: None for subject in present if subject.startswith("budget:")}
    intervals = run_stats.intervals(bridge.engine)
    for connection in projects:
        of_project = [every for project, every in intervals if project == connection.project_id]
        planned = queries_an_hour(of_project, now=now)
        if not planned:
            continue
        key = project_key(connection)
        limit = budget_for(bridge, key).status().limit
        facts = {"project_id": connection.project_id, "planned": round(planned, 1), "limit": limit}
        found[f"budget:{key}"] = Finding(Condition.BUDGET, WARNING, facts) if planned > limit else None
    return found


def _find_disk(bridge: Bridge, present: AlertState | None) -> dict[str, Finding | None]:
    """Look how much room is left where the home is. Of another machine's disk that machine's worker tells."""
    here = socket.gethostname()
    if present is not None and present.facts.get("host") != here and _has_worker(bridge, present.facts.get("host")):
        return {}
    try:
        usage = shutil.disk_usage(bridge.settings.home)
    except OSError as exc:
        log.warning("disk not looked at reason=%s", exc.strerror)
        return {}
    least = _LOW if present is None else _ROOM
    if usage.total <= 0 or usage.free / usage.total >= least:
        return {DISK: None}
    facts = {"host": here, "free_bytes": usage.free, "total_bytes": usage.total}
    return {DISK: Finding(Condition.DISK, CRITICAL, facts)}


def _has_worker(bridge: Bridge, host: object) -> bool:
    name = shorten_host(str(host))
    return any(host_of(worker.name) == name for worker in workers.list_beats(bridge.engine))


def _look_at_sync(bridge: Bridge, health: SyncHealth, now: datetime, *, may_be_late: bool) -> None:
    sync, present = health.sync, health.open_alert
    assert sync.id is not None
    is_told_paused = present is not None and present.condition == Condition.PAUSED
    if (sync.state == SyncState.PAUSED) != is_told_paused:
        alert_states.catch_up(bridge.engine, sync.id, now=now)
        return
    # One that was paused, or otherwise told of, has as long from then on.
    is_late = due_times.is_late(sync, health.group, now, not_before=health.resumed_at)
    if present is not None and present.condition == Condition.LATE and not is_late:
        alert_states.catch_up(bridge.engine, sync.id, now=now)
    elif present is None and is_late and may_be_late:
        alert_states.open_late(bridge.engine, health, now=now)
