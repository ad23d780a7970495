"""Roll a group back to its members as of an earlier run."""

from __future__ import annotations

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.export.base import prove_restored
from core.syncs.runs import members_not_kept, unknown_run
from data import run_decisions, runs
from data.models import Run
from data.run_decisions import MembersNotKept, RunUnknown


@action(Role.ANALYST)
def undo_to(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Queue a run that rolls a group back to its members as of an earlier run, and pause what would undo that.

    Raises: NotFound when the run, or what it left, is no longer kept.
    """
    require_whole(bridge, run_id)
    try:
        return run_decisions.roll_back(
            bridge.engine,
            run_id,
            actor=actor.name,
            reason=f"{actor.name} put the group back to run {run_id}. Resume to follow the cohort again.",
            is_kept=bridge.snapshots.exists,
            now=bridge.clock.now(),
        )
    except RunUnknown:
        raise unknown_run(run_id) from None
    except MembersNotKept:
        raise members_not_kept(run_id) from None


def require_whole(bridge: Bridge, run_id: int) -> None:
    """Have what a run left prove itself before a group's syncs are paused for it. Raises NotFound."""
    run = runs.get(bridge.engine, run_id)
    if run and bridge.snapshots.exists(run.snapshot):
        assert run.snapshot is not None
        prove_restored(bridge, run.snapshot)
