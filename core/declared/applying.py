"""Making what is there what a file says: everything is checked first, and then changed in one transaction.

What changes goes through the actions that pages and commands use, with the same checks and a line of the audit log
each, and one more line says which file was applied. A process that dies before the end has changed nothing: applying
the file again does it.
"""

from __future__ import annotations

from contextvars import Context
from dataclasses import dataclass
from pathlib import Path

from core.access import roles
from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors
from core.declared.checking import check_cohorts, check_connections
from core.declared.doing import Doing
from core.declared.entries import Document, FileRefused
from core.declared.environment import Environment
from core.declared.plan import Plan
from core.declared.planning import make_plan
from core.declared.reading import read_file
from core.errors import SettingsError
from data import engine
from data.audit import events

# How often a plan is made again, when somebody changes meanwhile what it was made of.
_TRIES = 3


@dataclass(frozen=True)
class Outcome:
    """A file's plan, and whether it is carried out."""

    plan: Plan
    document: Document


@action(Role.ADMIN)
def plan_config(bridge: Bridge, actor: Actor, path: Path, *, prune: bool = False) -> Outcome:
    """Return what a file would change; `prune`: also what would be removed. Nothing is changed.

    Raises: FileRefused with every mistake, SettingsError, NotFound, and as looking up cohorts does.
    """
    document = read_file(path)
    plan = make_plan(bridge, document, Environment(), prune=prune)
    if not plan.mistakes:
        check_cohorts(bridge, document, plan, None)
    _refuse(plan)
    return Outcome(plan, document)


@action(Role.ADMIN)
def apply_config(bridge: Bridge, actor: Actor, path: Path, *, prune: bool = False) -> Outcome:
    """Change what a file says, all or nothing; `prune`: remove what it does not name.

    Raises: FileRefused with every mistake, SettingsError, NotFound, and as looking up cohorts does.
    """
    # Each change has its own line of the audit log, named after its own action.
    return Context().run(_apply, bridge, actor, path, prune=prune)


def _apply(bridge: Bridge, actor: Actor, path: Path, *, prune: bool) -> Outcome:
    try:
        with storage_errors():
            return _try_to_apply(bridge, actor, path, prune=prune)
    except FileRefused as exc:
        first = exc.mistakes[0]
        what = f"{path.name}: {exc.message} Line {first.line}, {first.field}: {first.message}"
        roles.note_refusal(bridge, actor.name, "apply_config", what)
        raise


def _try_to_apply(bridge: Bridge, actor: Actor, path: Path, *, prune: bool) -> Outcome:
    document, environment = read_file(path), Environment()
    for _ in range(_TRIES):
        plan = make_plan(bridge, document, environment, prune=prune)
        _refuse(plan)
        if not plan.changes:
            return Outcome(plan, document)
        checked = check_connections(bridge, actor, document, plan)
        _refuse(plan)
        check_cohorts(bridge, document, plan, checked)
        _refuse(plan)
        if _is_stored(Doing(bridge, actor, document, plan, checked, environment), path.name, prune=prune):
            return Outcome(plan, document)
    raise SettingsError(
        "What the file is about was changed by somebody else again and again. Nothing was applied.",
        advice="Look at `config plan`, then apply it once more.",
        code="config_changed",
    )


def _is_stored(doing: Doing, name: str, *, prune: bool) -> bool:
    """Carry a plan out in one transaction; False, and nothing is changed, where it is not the plan any more."""
    bridge = doing.bridge
    with engine.as_one(bridge.engine):
        if make_plan(bridge, doing.document, doing.environment, prune=prune).summary != doing.plan.summary:
            return False
        doing.do_all()
        _refuse(doing.plan)
        scope = roles.scope(bridge, doing.actor.name, "apply_config")
        events.note(bridge.engine, scope, f"{name}, SHA-256 {doing.document.digest}: {count_changes(doing.plan)}")
    return True


def count_changes(plan: Plan) -> str:
    """Return how many things a plan adds, changes and removes, as a phrase."""
    numbers = {what: sum(change.action == what for change in plan.changes) for what in ("add", "change", "remove")}
    return f"{numbers['add']:,} added, {numbers['change']:,} changed, {numbers['remove']:,} removed"


def _refuse(plan: Plan) -> None:
    if plan.mistakes:
        raise FileRefused(plan.mistakes)
