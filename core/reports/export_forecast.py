"""When several exports would be done, if they were started now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.cohort_list import SHARED_FOR
from core.connections.lookup import find_mixpanel
from core.reports import overview
from core.rules.query_forecast import Budget, Forecast, forecast
from core.syncs import cohorts
from core.vendors.mixpanel_answers import Cohort
from data import run_queue
from data.models import Run

# What a run takes whatever it reads, and how many profiles a second it reads and writes where no run tells; one that
# took longer than slow ones waited for a query meanwhile.
_LEAST = timedelta(seconds=3)
_PROFILES_A_S, _FEWEST_A_S = 2000, 100
_MOST_AHEAD = 200


@action(Role.ANALYST)
def forecast_exports(
    bridge: Bridge, actor: Actor, chosen: Sequence[Cohort], *, mixpanel: str | None = None
) -> Forecast:
    """Return when exports of these cohorts, or the first runs of syncs of them, would be done. Raises NotConnected."""
    now, quota = bridge.clock.now(), overview.get_quota_status(bridge, actor, mixpanel=mixpanel)
    project_id = find_mixpanel(bridge, mixpanel).project_id
    reads = overview.match_rates(bridge, actor, project_id)
    read_at = cohorts.cohorts_read_at(bridge, actor, mixpanel=mixpanel)
    works = [_work(cohort, reads.get(cohort.id)) for cohort in chosen]
    waiting = min(run_queue.count_waiting_reads(bridge.engine, project_id), _MOST_AHEAD)
    budget = Budget(
        limit=quota.budget.limit,
        window=timedelta(seconds=quota.budget.window_s),
        returns=quota.frees_at,
        blocked_until=quota.budget.next_at if quota.budget.used < quota.budget.limit else None,
        ahead=waiting + (1 if _is_list_read_due(read_at, works, now=now) else 0),
        planned=quota.planned,
    )
    # A destination that shares a worker with others has half of its places.
    return forecast(works, budget, at_once=max(1, bridge.settings.runs_in_flight // 2), now=now)


def _work(cohort: Cohort, read: Run | None) -> timedelta:
    if read and read.started_at and read.finished_at:
        slowest = _LEAST + timedelta(seconds=read.profiles / _FEWEST_A_S)
        return min(max(_LEAST, read.finished_at - read.started_at), slowest)
    return _LEAST + timedelta(seconds=(cohort.count or 0) / _PROFILES_A_S)


def _is_list_read_due(read_at: datetime | None, works: Sequence[timedelta], *, now: datetime) -> bool:
    """Return whether the shared list of cohorts is to be read again before all of these runs could begin."""
    return read_at is None or now + _LEAST * len(works) >= read_at + SHARED_FOR
