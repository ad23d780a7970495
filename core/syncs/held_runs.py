"""What a person decides about a held run: let it through once, or drop it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import BadNote, CohortBridgeError, HoldChanged, SettingsError
from core.invisible import is_unseen
from core.rules import holding
from core.syncs.runs import unknown_run
from core.text import shown
from core.validation import clean_line
from data import run_decisions, runs
from data.models import APPLIED, DECISIONS, NOT_DONE, NOTE_LENGTH, Run, RunStatus
from data.run_decisions import RunNotHeld, RunUnknown


@action(Role.ANALYST)
def apply_held(
    bridge: Bridge, actor: Actor, run_id: int, looked_at: dict[str, Any] | None = None, *, note: str = ""
) -> Run:
    """Let a held run through once: queue a run that reads again and writes what does not go beyond what was looked at.

    `looked_at` is the `hold` of the run as the person saw it; None: as it is kept. Where a newer held run has taken its
    place and keeps to it, the decision is for that one. What goes beyond it when it is read again is held again.
    `note` says why it is let through, in one line; it is kept with the decision, and in the audit log.

    Raises: NotFound, HoldChanged, BadNote, SettingsError.
    """
    why = _clean_note(note)
    with _held_errors(run_id):
        return run_decisions.apply_held(
            bridge.engine,
            run_id,
            looked_at,
            actor=actor.name,
            keeps_to=holding.keeps_to,
            now=bridge.clock.now(),
            note=why,
        )


@action(Role.ANALYST)
def discard_held(bridge: Bridge, actor: Actor, run_id: int, looked_at: dict[str, Any] | None = None) -> Run:
    """Drop a held run, or the newer one that keeps to it, and cancel what was approved of its group and still waits.

    Raises: NotFound, HoldChanged, SettingsError.
    """
    with _held_errors(run_id):
        return run_decisions.discard_held(
            bridge.engine,
            run_id,
            looked_at,
            actor=actor.name,
            keeps_to=holding.keeps_to,
            now=bridge.clock.now(),
        )


@action(Role.ANALYST)
def find_held(bridge: Bridge, actor: Actor, run_id: int) -> Run:
    """Return a held run, or the one that has taken its place. Raises NotFound, SettingsError."""
    with _held_errors(run_id):
        return run_decisions.find_held(bridge.engine, run_id)


@action(Role.VIEWER)
def find_applied(bridge: Bridge, actor: Actor, run: Run) -> Run | None:
    """Return the held run that a run was queued to let through; None if there is none, or it is no longer kept."""
    return None if run.held_run_id is None else runs.get(bridge.engine, run.held_run_id)


def decided_as(run: Run) -> str:
    """Return `applied` or `discarded` for a run that was held until a person decided; "" for any other."""
    return run.told_status if run.told_status in DECISIONS else ""


def may_run_again(run: Run) -> bool:
    """Return whether a run did not do what it was for, and no other does that in its place."""
    return run.status in NOT_DONE and not was_applied(run)


def was_applied(run: Run) -> bool:
    """Return whether a run was held until a person let it through: another one does what it was for."""
    return decided_as(run) == APPLIED


def decision(run: Run) -> str:
    """Return what a person decided about a run that was held, who and why; "" for one that waits, or never did."""
    if not decided_as(run):
        return ""
    decided = f"{run.step.capitalize()} by {run.decided_by}." if run.decided_by else f"It was {run.step}."
    return f"{decided} Note: “{shown(run.decision_note, most=NOTE_LENGTH)}”" if run.decision_note else decided


def follows(run: Run, held: Run | None) -> str:
    """Return which held run this one was queued to let through, and who decided so and why; "" for any other.

    `held` is that run, None where it is no longer kept.
    """
    if run.held_run_id is None:
        return ""
    if held is None:
        return f"Follows run {run.held_run_id}, which was held, and is no longer kept. Applied by {run.actor}."
    return f"Follows run {held.id}, which was held. {decision(held)}".rstrip()


def followed_by(run: Run) -> str:
    """Return which run was queued to let this one through, which was held, or took its place; "" for any other."""
    if run.applied_run_id:
        return f"Run {run.applied_run_id} followed."
    if run.status != RunStatus.SUPERSEDED:
        return ""
    newer = f"Run {run.superseded_by_run_id}" if run.superseded_by_run_id else "A newer run"
    return f"{newer} has taken its place."


def _clean_note(note: str) -> str | None:
    """Return a note as it is kept, None for an empty one. Raises BadNote."""
    if is_unseen(note.strip()):
        return None
    try:
        return clean_line(note, "Note", most=NOTE_LENGTH)
    except SettingsError as exc:
        raise BadNote(exc.message, advice=exc.advice) from None


@contextmanager
def _held_errors(run_id: int) -> Generator[None]:
    try:
        yield
    except RunUnknown:
        raise unknown_run(run_id) from None
    except RunNotHeld as exc:
        raise _not_held(exc.run) from None
    except run_decisions.HoldChanged as exc:
        raise _changed(run_id, exc.newer) from None


def _not_held(run: Run) -> CohortBridgeError:
    if run.status == RunStatus.SUPERSEDED:
        newer = f"run {run.superseded_by_run_id}" if run.superseded_by_run_id else ""
        return SettingsError(
            f"Run {run.id} is no longer held: {newer or 'a newer run'} has taken its place. Nothing was changed.",
            advice=f"Look at {newer or 'the latest run of the group'}.",
        )
    if decision(run):
        by = f" by {run.decided_by}" if run.decided_by else ""
        return SettingsError(
            f"Run {run.id} was {run.step} already{by}. Nothing was changed.",
            advice="Look at the latest run of the group.",
        )
    return SettingsError(
        f"Run {run.id} is not held: {run.status}.", advice="Only a held run can be applied or discarded."
    )


def _changed(run_id: int, newer: Run) -> HoldChanged:
    return HoldChanged(
        f"Run {newer.id} has taken the place of run {run_id}, and goes beyond what it showed. Nothing was changed.",
        advice=f"Look at its numbers, then apply run {newer.id} or discard it.",
    )
