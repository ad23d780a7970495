"""What a person decides about a held run: let it through once, or drop it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound, SettingsError
from core.rules.holding import approval_key
from data import run_decisions
from data.models import Run
from data.run_decisions import RunNotHeld, RunUnknown


@action(Role.ANALYST)
def apply_held(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Let a held run through once: queue a run that reads again and writes what it finds.

    What would be held for another reason, or after users were matched in another way, is held again.

    Raises: NotFound, SettingsError.
    """
    with _held_errors(run_id):
        return run_decisions.apply_held(
            bridge.engine, run_id, actor=actor.name, get_key=_approval_key, now=bridge.clock.now()
        )


@action(Role.ANALYST)
def discard_held(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Drop a held run; the group stays as it is. Raises NotFound, SettingsError."""
    with _held_errors(run_id):
        return run_decisions.discard_held(bridge.engine, run_id)


def _approval_key(run: Run) -> str:
    return approval_key(run.error_code or "", run.matched_by or "")


@contextmanager
def _held_errors(run_id: int) -> Generator[None]:
    try:
        yield
    except RunUnknown:
        raise NotFound(
            f"There is no run {run_id}.", advice="See the list: `python -m core runs`, or History."
        ) from None
    except RunNotHeld as exc:
        raise SettingsError(
            f"Run {run_id} is not held: {exc.status}.", advice="Only a held run can be applied or discarded."
        ) from None
