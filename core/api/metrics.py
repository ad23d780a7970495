"""The numbers of an installation, as Prometheus counts and measures them.

No label holds an id of a person; names of groups are in them only where the setting asks for that.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from core import VERSION
from core.access.roles import LOCAL
from core.bridge import Bridge, storage_errors
from core.connections.lookup import list_connections
from core.connections.project import project_key
from core.connections.query_budget import budget_for
from core.errors import StorageFailed
from core.leases.workers import worker_seen_at, workers_up
from core.reports import overview
from core.reports.storage import find_storage_trouble
from core.rules import due_times
from core.syncs import held_runs
from core.syncs.listing import list_syncs
from data import outbox, run_metrics
from data.models import MIXPANEL_SIDE, Run, RunStatus, SyncKind

_PREFIX = "cohort_bridge"
_DURATIONS_S = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """What one process shows: runs that ended since it began, and how things stand whenever it is asked."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._counts = RunCounts(self._registry)
        self._ended = EndedRuns(bridge)
        # Where the database cannot be read now, counting begins with the first answer.
        with suppress(StorageFailed), storage_errors():
            self._ended.begin()
        self._registry.register(CurrentState(bridge))

    @contextmanager
    def read(self) -> Generator[CollectorRegistry]:
        """Give the registry with all that is known now; one reader at a time. Raises StorageFailed."""
        with self._lock, storage_errors():
            for run in self._ended.take():
                self._counts.add(run)
            yield self._registry


class EndedRuns:
    """Gives each run that ends once, whichever process did it."""

    def __init__(self, bridge: Bridge) -> None:
        self._engine = bridge.engine
        self._from: int | None = None
        self._known: set[int] = set()

    def begin(self) -> None:
        """Pass over the runs that have ended so far. Raises StorageError."""
        first = run_metrics.first_unfinished(self._engine)
        self._known = _numbers(run_metrics.list_ended(self._engine, from_id=first))
        self._from = first

    def take(self) -> list[Run]:
        """Return the runs that ended since the last time, or since it began. Raises StorageError."""
        if self._from is None:
            self.begin()
            return []
        # Read first: a run that ends meanwhile is listed now or the next time, and known by its number either way.
        first = run_metrics.first_unfinished(self._engine)
        ended = run_metrics.list_ended(self._engine, from_id=self._from, without=self._known)
        self._known = {number for number in self._known | _numbers(ended) if number >= first}
        self._from = first
        return ended


def _numbers(runs: list[Run]) -> set[int]:
    return {run.id for run in runs if run.id is not None}


class RunCounts:
    """The counters of runs that ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            f"{_PREFIX}_runs",
            "Runs that ended since this worker began, by how and why.",
            ("status", "cause", "dry_run"),
            registry=registry,
        )
        self._durations = Histogram(
            f"{_PREFIX}_run_duration_seconds",
            "How long runs took that ended since this worker began, from their start to their end.",
            ("status",),
            buckets=_DURATIONS_S,
            registry=registry,
        )
        self._members = Counter(
            f"{_PREFIX}_members_written",
            "Members sent to groups by runs that succeeded: all of a full write, else those added or removed.",
            ("write",),
            registry=registry,
        )

    def add(self, run: Run) -> None:
        """Count a run."""
        status = _ended_as(run)
        self._runs.labels(status, run.error_code or "none", str(run.dry_run).lower()).inc()
        if run.started_at and run.finished_at:
            took_s = (run.finished_at - run.started_at).total_seconds()
            self._durations.labels(status).observe(max(0.0, took_s))
        if run.status == "succeeded" and run.write in ("full", "delta") and not run.dry_run:
            self._members.labels(run.write).inc(run.members if run.write == "full" else run.added + run.removed)


def _ended_as(run: Run) -> str:
    """Return the status that a run ended with: one that was held, whatever became of that before it was counted."""
    is_past = run.status == RunStatus.SUPERSEDED or held_runs.decided_as(run)
    return RunStatus.HELD if is_past else run.status


class CurrentState:
    """How things stand, read from the database whenever it is asked for."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def describe(self) -> Iterator[Metric]:
        """Name nothing beforehand: what is registered must not read the database."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges. Raises StorageError."""
        yield InfoMetricFamily(f"{_PREFIX}_build", "The version that runs.", value={"version": VERSION})
        yield from self._queue()
        yield from self._freshness()
        yield from self._budgets()
        yield from self._workers()

    def _queue(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(f"{_PREFIX}_runs_unfinished", "Runs that have not ended.", labels=("status",))
        for status, count in run_metrics.count_unfinished(self._bridge.engine).items():
            waiting.add_metric((status,), count)
        yield waiting
        syncs = GaugeMetricFamily(f"{_PREFIX}_syncs", "Recurring syncs, by state.", labels=("state",))
        for state, count in run_metrics.count_syncs(self._bridge.engine).items():
            syncs.add_metric((state,), count)
        yield syncs
        yield GaugeMetricFamily(
            f"{_PREFIX}_alerts_waiting",
            "Messages of alerts that wait to be sent, or are being sent.",
            value=outbox.count_unsent(self._bridge.engine),
        )

    def _freshness(self) -> Iterator[Metric]:
        labels = ("sync", "group", "destination") if self._bridge.settings.metrics_names else ("sync",)
        age = GaugeMetricFamily(
            f"{_PREFIX}_group_age_seconds", "Since the group was last found or made equal to its cohort.", labels=labels
        )
        interval = GaugeMetricFamily(
            f"{_PREFIX}_group_interval_seconds",
            "How often its sync runs; with a schedule the shortest time between two runs, at most a day.",
            labels=labels,
        )
        late = GaugeMetricFamily(
            f"{_PREFIX}_group_late", "1 where an active sync's group missed two of its times.", labels=labels
        )
        doubt = GaugeMetricFamily(
            f"{_PREFIX}_group_in_doubt", "1 where it is not known what the group holds.", labels=labels
        )
        views = [view for view in list_syncs(self._bridge, LOCAL) if view.sync.kind == SyncKind.RECURRING]
        now = self._bridge.clock.now()
        for group in overview.freshness(self._bridge, LOCAL, views):
            sync = group.view.sync
            names = (str(sync.id), group.view.group.name, group.view.destination)[: len(labels)]
            if group.at:
                age.add_metric(names, max(0.0, (now - group.at).total_seconds()))
            interval.add_metric(names, due_times.interval_of(sync.timing or 0).total_seconds())
            late.add_metric(names, group.is_late)
            doubt.add_metric(names, group.view.group.in_doubt)
        yield from (age, interval, late, doubt)

    def _budgets(self) -> Iterator[Metric]:
        labels = ("project",)
        limit = GaugeMetricFamily(f"{_PREFIX}_queries_limit", "Queries an hour that Mixpanel allows.", labels=labels)
        used = GaugeMetricFamily(f"{_PREFIX}_queries_used", "Queries spent in the last hour.", labels=labels)
        left = GaugeMetricFamily(f"{_PREFIX}_queries_left", "Queries left of this hour.", labels=labels)
        seen = set[str]()
        for connection in list_connections(self._bridge, LOCAL):
            key = project_key(connection)
            if connection.side != MIXPANEL_SIDE or key in seen:
                continue
            seen.add(key)
            status = budget_for(self._bridge, key).status()
            names = (str(connection.project_id),)
            limit.add_metric(names, status.limit)
            used.add_metric(names, status.used)
            left.add_metric(names, max(0, status.limit - status.used))
        yield from (limit, used, left)

    def _workers(self) -> Iterator[Metric]:
        seen_at = worker_seen_at(self._bridge, LOCAL)
        if seen_at is not None:
            age_s = (self._bridge.clock.now() - seen_at).total_seconds()
            yield GaugeMetricFamily(
                f"{_PREFIX}_worker_heartbeat_age_seconds",
                "Since a worker's last heartbeat.",
                value=max(0.0, age_s),
            )
        up = GaugeMetricFamily(
            f"{_PREFIX}_workers",
            "Workers whose heartbeat was seen in the last minute, by their name.",
            labels=("name",),
        )
        for name, count in workers_up(self._bridge, LOCAL).items():
            up.add_metric((name,), count)
        yield up
        yield GaugeMetricFamily(
            f"{_PREFIX}_storage_usable",
            "1 where this worker can use the storage of members.",
            value=find_storage_trouble(self._bridge, LOCAL) is None,
        )
        ahead_s = self._bridge.clock.find_ahead_s()
        if ahead_s is not None:
            yield GaugeMetricFamily(
                f"{_PREFIX}_clock_ahead_seconds",
                "By how much the clock of this machine is ahead of the database server's.",
                value=ahead_s,
            )
