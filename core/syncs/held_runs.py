"""What a person decides about a held run: let it through once, or drop it."""

from __future__ import annotations

from sqlmodel import Session

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import SettingsError
from core.rules.holding import approval_key
from core.syncs.queueing import new_run
from core.syncs.undo import no_run
from data.engine import write_session
from data.models import Run, RunStatus, Sync


@action(Role.ANALYST)
def apply_held(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Let a held run through once: queue a run that reads again and writes what it finds.

    What would be held for another reason, or after users were matched in another way, is held again.

    Raises: NotFound, SettingsError.
    """
    with write_session(bridge.engine) as session:
        held = _held(session, run_id)
        sync = session.get_one(Sync, held.sync_id)
        held.status, held.step, held.difference = RunStatus.CANCELLED, "applied", None
        run = new_run(session, sync, trigger="manual", actor=actor.name, approved=True)
        run.approval_key = approval_key(held.error_code or "", held.matched_by or "")
        session.add_all([held, run])
    return run


@action(Role.ANALYST)
def discard_held(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Drop a held run; the group stays as it is. Raises NotFound, SettingsError."""
    with write_session(bridge.engine) as session:
        held = _held(session, run_id)
        held.status, held.step, held.difference = RunStatus.CANCELLED, "discarded", None
        session.add(held)
    return held


def _held(session: Session, run_id: int) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise no_run(run_id)
    if run.status != RunStatus.HELD or run.dry_run:
        raise SettingsError(
            f"Run {run_id} is not held: {run.status}.", advice="Only a held run can be applied or discarded."
        )
    return run
