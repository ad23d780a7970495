"""Runs: look at them, and cancel one."""

from __future__ import annotations

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound, SettingsError
from core.export.retention import SNAPSHOTS_KEPT
from data import run_decisions, run_queue, run_stats, runs
from data.models import UNFINISHED, Run, RunFilter


@action(Role.ANALYST)
def cancel_run(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Stop a run: at once when it waits, at its next heartbeat when it works. Raises NotFound, SettingsError."""
    before = get_run(bridge, actor, run_id)
    if before.status not in UNFINISHED:
        raise SettingsError(f"Run {run_id} has ended already: {before.status}.", advice="There is nothing to cancel.")
    run = run_queue.ask_to_cancel(bridge.engine, run_id, now=bridge.clock.now())
    assert run is not None
    return run


@action(Role.VIEWER)
def get_run(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Return a run. Raises NotFound."""
    run = runs.get(bridge.engine, run_id)
    if run is None:
        raise unknown_run(run_id)
    run_decisions.name_other_of_pair(bridge.engine, run)
    return run


@action(Role.VIEWER)
def list_runs(
    bridge: Bridge, actor: Actor, which: RunFilter | None = None, *, limit: int = 50, offset: int = 0
) -> list[Run]:
    """List runs, newest first."""
    return runs.list_runs(bridge.engine, which or RunFilter(), limit=limit, offset=offset)


@action(Role.VIEWER)
def newest_of_cohort(bridge: Bridge, actor: Actor, cohort_id: int) -> list[Run]:
    """List the run of each group of a cohort that ended last, the last one of those that were meant to write, and the
    one that is held, the last one first.
    """
    return run_stats.newest_ended_of_cohort(bridge.engine, cohort_id)


@action(Role.VIEWER)
def count_runs(bridge: Bridge, actor: Actor, which: RunFilter | None = None) -> int:
    """Count the runs that `list_runs` pages through."""
    return runs.count_runs(bridge.engine, which or RunFilter())


@action(Role.VIEWER)
def active_runs(bridge: Bridge, actor: Actor, cohort_id: int | None = None) -> list[Run]:
    """List the runs that are queued, waiting or running, newest first."""
    return runs.list_runs(bridge.engine, RunFilter(statuses=UNFINISHED, cohort_id=cohort_id), limit=100)


def unknown_run(run_id: int) -> NotFound:
    """Build the error for a run that is not there."""
    return NotFound(f"There is no run {run_id}.", advice="See the list of runs: `python -m core runs`, or History.")


def members_not_kept(run_id: int) -> NotFound:
    """Build the error for a run whose members are no longer kept whole."""
    return NotFound(
        f"The members as of run {run_id} are not kept (any more).",
        advice=f"Choose a later run that succeeded: the last {SNAPSHOTS_KEPT} that changed something are kept.",
    )
