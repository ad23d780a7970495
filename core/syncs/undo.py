"""Roll a group back to its members as of an earlier run."""

from __future__ import annotations

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.project import match_rule
from core.export.base import prove_restored, require_ids_of
from core.syncs.runs import members_not_kept, unknown_run
from data import run_decisions, runs
from data.models import Run
from data.run_decisions import MembersNotKept, RunUnknown


@action(Role.ANALYST)
def undo_to(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Queue a run that rolls a group back to its members as of an earlier run, and pause what would undo that.

    Raises: NotFound when the run, or what it left, is no longer kept; SettingsError when the destination knows people
    by another id since.
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
    """Have what a run left prove itself before a group's syncs are paused for it. Raises NotFound, SettingsError."""
    rows = runs.get_with_its_rows(bridge.engine, run_id)
    if rows is None or not bridge.snapshots.exists(rows.run.snapshot):
        return
    assert rows.run.snapshot is not None
    if rows.mixpanel and rows.destination:
        require_ids_of(bridge, match_rule(rows.mixpanel, rows.sync, rows.destination), rows.run.snapshot)
    prove_restored(bridge, rows.run.snapshot)
