"""The overview: freshness, what needs a person, the query budget, the health of connections, workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from core import spreadsheet
from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.failures import DESTINATION_PREFIXES, MIXPANEL_PREFIXES
from core.connections.lookup import find_mixpanel
from core.connections.project import project_for
from core.connections.query_budget import budget_for
from core.rules import due_times
from core.rules.matching import id_kind
from core.syncs.checks import queries_an_hour
from core.syncs.listing import SyncView
from data import cohort_reads, deliveries, groups, run_stats, runs
from data import workers as worker_rows
from data.attention import MOST_HELD
from data.models import (
    FAILED,
    MIXPANEL_SIDE,
    Connection,
    DoubtCause,
    Group,
    Run,
    RunFilter,
    RunStatus,
    Schedule,
    SyncKind,
    SyncState,
    WorkerHeartbeat,
)
from data.query_budget import BudgetStatus
from data.run_order import when_ended
from data.run_stats import ConnectedRun, Size

DAY = timedelta(days=1)
_TREND_OVER = timedelta(days=14)
# What Excel takes; a longer history is filtered first.
_ROWS_OF_A_SHEET = 1_000_000
_ROWS_AT_ONCE = 1000
FAILING = (*FAILED, RunStatus.HELD)


@dataclass(frozen=True)
class Freshness:
    """How old the members of a recurring sync's group are."""

    view: SyncView
    at: datetime | None
    is_late: bool


@dataclass(frozen=True)
class DoubtfulGroup:
    """A group that may hold what this database does not know of, and whether a sync is going to write it by itself."""

    group: Group
    destination: str
    is_synced: bool


@dataclass(frozen=True)
class RestoredDatabase:
    """That the database is older than what was delivered: when and by what it was noticed, and what is in doubt."""

    noticed_at: datetime
    reason: str
    groups: list[DoubtfulGroup]


@dataclass(frozen=True)
class AttentionItems:
    """What needs a person: syncs that are paused with what stopped them, what is held, and what failed last of a group.

    A run whose sync is paused is with its sync. `restored` lasts until all groups were written again. `not_recovered`
    is the number of groups whose newest run, of the last day, did not succeed or is held.
    """

    paused: list[SyncView]
    runs: list[Run]
    restored: RestoredDatabase | None = None
    not_recovered: int = 0


@dataclass(frozen=True)
class QuotaStatus:
    """The query budget: what is used of it, when spent queries return, and what recurring syncs need in
    their busiest hour."""

    budget: BudgetStatus
    frees_at: list[datetime]
    planned: float
    has_schedules: bool = False

    @property
    def per(self) -> str:
        """What `planned` is counted over: intervals spread their runs, set times meet."""
        return "in their busiest hour" if self.has_schedules else "an hour"


@dataclass(frozen=True)
class Health:
    """How a connection did when it was last used."""

    connection: Connection
    last_run: Run | None
    is_well: bool


@action(Role.VIEWER)
def freshness(bridge: Bridge, actor: Actor, views: Sequence[SyncView]) -> list[Freshness]:
    """Return how fresh the groups of these recurring syncs are, the stalest first."""
    now = bridge.clock.now()
    ages = [
        Freshness(
            view, view.group.verified_at or view.group.delivered_at, due_times.is_late(view.sync, view.group, now)
        )
        for view in views
    ]
    return sorted(ages, key=lambda group: group.at or group.view.sync.created_at)


@action(Role.VIEWER)
def get_health_and_attention(
    bridge: Bridge, actor: Actor, connections: Sequence[Connection], views: Sequence[SyncView]
) -> tuple[list[Health], AttentionItems]:
    """Return how each connection did when a run last used it, and what stopped, or was held, and waits for a person."""
    newest = run_stats.newest_of_each_group(bridge.engine)
    health = _list_health(connections, newest)
    # What is held waits for a person until it is superseded, whatever was queued, or has failed, since.
    held = runs.list_runs(bridge.engine, RunFilter(statuses=(RunStatus.HELD,), with_dry_runs=False), limit=MOST_HELD)
    items = _attention([row.run for row in newest], held, views, since=bridge.clock.now() - DAY)
    return health, replace(items, restored=find_restored(bridge))


@action(Role.VIEWER)
def list_health(bridge: Bridge, actor: Actor, connections: Sequence[Connection]) -> list[Health]:
    """Return how each connection did when a run last used it."""
    return _list_health(connections, run_stats.newest_of_each_group(bridge.engine))


def _list_health(connections: Sequence[Connection], newest: Sequence[ConnectedRun]) -> list[Health]:
    ended = sorted((row for row in newest if row.run.finished_at), key=lambda row: when_ended(row.run))
    return [_health(connection, ended[::-1]) for connection in connections]


def find_restored(bridge: Bridge) -> RestoredDatabase | None:
    """Return that the database is older than what was delivered, until all groups were written again."""
    noticed = deliveries.last_noticed(bridge.engine)
    if noticed is None:
        return None
    doubtful = [DoubtfulGroup(*row) for row in groups.list_in_doubt(bridge.engine, DoubtCause.RESTORED)]
    at, why = noticed
    return RestoredDatabase(at, deliveries.REASONS.get(why, ""), doubtful) if doubtful else None


def _attention(newest: Sequence[Run], held: list[Run], views: Sequence[SyncView], *, since: datetime) -> AttentionItems:
    # data/attention.py counts the same for the menu.
    paused = [view for view in views if view.sync.kind == SyncKind.RECURRING and view.sync.state == SyncState.PAUSED]
    with_sync = {view.group.id for view in paused}
    failed = [run for run in newest if run.status in FAILED]
    not_recovered = {run.group_id for run in held + failed if run.queued_at >= since}
    shown = held + [run for run in failed if run.group_id not in with_sync]
    return AttentionItems(paused, shown, not_recovered=len(not_recovered))


@action(Role.VIEWER)
def count_recent_runs(bridge: Bridge, actor: Actor, length: timedelta) -> dict[str, int]:
    """Count the latest runs that were meant to write, by status."""
    return run_stats.runs_by_status(bridge.engine, since=bridge.clock.now() - length)


@action(Role.VIEWER)
def get_quota_status(bridge: Bridge, actor: Actor, *, mixpanel: str | None = None) -> QuotaStatus:
    """Return how much of the connected project's query budget is used. Raises NotConnected."""
    connection = find_mixpanel(bridge, mixpanel)
    budget = budget_for(bridge, project_for(bridge, connection).key)
    every = [every for project, every in run_stats.intervals(bridge.engine) if project == connection.project_id]
    planned = queries_an_hour(every, now=bridge.clock.now())
    has_schedules = any(isinstance(timing, Schedule) for timing in every)
    return QuotaStatus(budget.status(), budget.list_returns(), planned, has_schedules)


def _health(connection: Connection, newest: Sequence[ConnectedRun]) -> Health:
    """Return how a connection did by the runs that used it, the newest first."""
    if connection.side == MIXPANEL_SIDE:
        read = [row.run for row in newest if row.mixpanel_id == connection.id]
        own = next((run for run in read if run.profiles or _blames(run, MIXPANEL_PREFIXES)), None)
        return Health(connection, own, own is None or not _blames(own, MIXPANEL_PREFIXES))
    own = next((row.run for row in newest if row.destination_id == connection.id), None)
    return Health(connection, own, own is None or not _blames(own, DESTINATION_PREFIXES))


def _blames(run: Run, prefixes: tuple[str, ...]) -> bool:
    return run.status == RunStatus.FAILED and (run.error_code or "").startswith(prefixes)


@action(Role.VIEWER)
def workers(bridge: Bridge, actor: Actor) -> list[WorkerHeartbeat]:
    """List the workers that are up, the latest heartbeat first; without one, the last that was."""
    if up := worker_rows.list_up(bridge.engine, now=bridge.clock.now()):
        return up
    last = worker_rows.find_last(bridge.engine)
    return [last] if last else []


@action(Role.VIEWER)
def match_rates(bridge: Bridge, actor: Actor, project_id: int) -> dict[int, Run]:
    """Return, by cohort of a project, the last run that read it whole and matched it by Apptimize ids."""
    reads = sorted(cohort_reads.newest_reads(bridge.engine, project_id), key=when_ended)
    return {run.cohort_id: run for run in reads if not id_kind(run.matched_by)}


@action(Role.VIEWER)
def sizes(bridge: Bridge, actor: Actor, group_id: int, *, over: timedelta) -> list[Size]:
    """Return a group's size over the last while, in at most some 200 steps."""
    now = bridge.clock.now()
    first = run_stats.first_success(bridge.engine, group_id, since=now - over)
    if first is None:
        return []
    bucket_s = max(1, int((now - first).total_seconds() / 200))
    return run_stats.sizes(bridge.engine, group_id, since=first, bucket_s=bucket_s)


@action(Role.VIEWER)
def trends(bridge: Bridge, actor: Actor) -> dict[int, list[int]]:
    """Return each group's size on each of the last 14 days on which a run succeeded."""
    now = bridge.clock.now()
    return run_stats.trends(bridge.engine, since=now - _TREND_OVER, until=now)


@action(Role.VIEWER)
def get_run_log(bridge: Bridge, actor: Actor, run_id: int) -> dict[str, object] | None:
    """Return a run's steps, calls and their totals as core/run_log.py keeps them, None if it has none."""
    return runs.get_run_log(bridge.engine, run_id)


@action(Role.VIEWER)
def list_run_actors(bridge: Bridge, actor: Actor) -> list[str]:
    """List who started a run that is kept."""
    return run_stats.actors(bridge.engine)


@action(Role.VIEWER)
def sync_names(bridge: Bridge, actor: Actor) -> dict[int, str]:
    """Name every sync, removed ones too, by its group and destination."""
    return {
        sync_id: f"{group}, to {place}" + ("" if kind == SyncKind.RECURRING else ", one-time")
        for sync_id, group, place, kind in run_stats.sync_names(bridge.engine)
    }


@action(Role.VIEWER)
def runs_csv(bridge: Bridge, actor: Actor, which: RunFilter) -> Iterator[str]:
    """Yield the runs that `list_runs` would page through, newest first, for a spreadsheet."""
    return spreadsheet.lines(list(_COLUMNS), _run_rows(bridge, which))


_COLUMNS = (
    "id", "status", "trigger", "actor", "dry_run", "cohort_id", "cohort_name", "group_name", "destination", "write",
    "queued_at", "started_at", "finished_at", "profiles", "members", "duplicates", "unmatched", "invalid",
    "unprefixed", "added", "removed", "unchanged", "queries", "requests", "messages", "error_code", "error_message",
    "error_advice", "step", "decided_by", "worker", "decision_note",
)  # fmt: skip


def _run_rows(bridge: Bridge, which: RunFilter) -> Iterator[list[object]]:
    for offset in range(0, _ROWS_OF_A_SHEET, _ROWS_AT_ONCE):
        page = runs.list_runs(bridge.engine, which, limit=_ROWS_AT_ONCE, offset=offset)
        yield from ([getattr(run, name) for name in _COLUMNS] for run in page)
        if len(page) < _ROWS_AT_ONCE:
            return
