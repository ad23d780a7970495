"""Previews: whether an export of now would do what one showed."""

from __future__ import annotations

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.lookup import find_mixpanel
from core.connections.project import match_rule
from core.errors import SettingsError
from core.syncs.runs import unknown_run
from core.text import shown
from data import runs
from data.models import Connection, Group, Run, RunStatus
from data.runs import RunRows

_AGAIN = "Nothing was exported. Preview again, and look at the new result."


@action(Role.ANALYST)
def require_current(bridge: Bridge, actor: Actor, run_id: int, *, mixpanel: str | None = None) -> Run:
    """Return a preview whose group, destination and matching are those that an export would have now.

    Raises: NotFound, NotConnected, and SettingsError naming what is another by now.
    """
    rows = runs.get_with_its_rows(bridge.engine, run_id)
    if rows is None:
        raise unknown_run(run_id)
    if not rows.run.dry_run or rows.run.status != RunStatus.SUCCEEDED:
        raise SettingsError(f"Run {run_id} is not a preview that succeeded.", advice=_AGAIN)
    if what := _what_is_another(bridge, rows, find_mixpanel(bridge, mixpanel)):
        raise SettingsError(f"Preview {run_id}: {what}", advice=_AGAIN)
    return rows.run


def _what_is_another(bridge: Bridge, rows: RunRows, mixpanel: Connection) -> str:
    """Return in a sentence what is not any more as the preview had it; empty if all of it is."""
    run, destination = rows.run, rows.destination
    if destination is None or destination.removed or destination.name != run.destination:
        return f"its destination {shown(run.destination, most=100)} was removed or renamed since."
    if destination.checked_at and destination.checked_at > run.queued_at:
        return f"the connection {shown(run.destination, most=100)} was entered again since."
    if (mixpanel.id, mixpanel.project_id) != (rows.sync.mixpanel_id, rows.group.project_id):
        return "cohorts are read through another Mixpanel connection, or from another project, by now."
    if run.matched_by != str(match_rule(mixpanel, rows.sync, destination)):
        return "users are matched in another way by now."
    if (name := _kept_name(rows.group, run)) != run.group_name:
        return f"the group is called {shown(name, most=100)} by now."
    if later := runs.find_later_write(bridge.engine, run):
        return f"run {later} has come after it."
    return ""


def _kept_name(group: Group, run: Run) -> str:
    """Return what the group is called whatever an export asks for: one that was not delivered takes any name."""
    return (group.own_name or run.cohort_name) if group.may_exist else run.group_name
