"""The connections that there are, by side and name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotConnected, SettingsError
from core.text import shown, whole_of
from data import connections
from data.models import DESTINATION_SIDE, MIXPANEL_SIDE, Connection

_USUAL = "default"


@action(Role.VIEWER)
def list_connections(bridge: Bridge, actor: Actor) -> list[Connection]:
    """List what is connected, Mixpanel first, then by name. Secrets in them are sealed."""
    return connections.list_connections(bridge.engine)


def choose_mixpanel(present: Sequence[Connection]) -> Connection | None:
    """Choose of these connections the one that `find_mixpanel` finds, None where there is none."""
    projects = [connection for connection in present if connection.side == MIXPANEL_SIDE]
    return next((each for each in projects if each.name == _USUAL), projects[0] if projects else None)


def choose_project(present: Sequence[Connection], project_id: int | None) -> Connection | None:
    """Choose of these connections one that leads to a project, None where none does."""
    usual = choose_mixpanel(present)
    leading = [each for each in present if each.side == MIXPANEL_SIDE and each.project_id == project_id]
    return usual if usual in leading else next(iter(leading), None)


def find_mixpanel(bridge: Bridge, name: str | None = None) -> Connection:
    """Find the Mixpanel connection; without a name the only one, or the one called default.

    Raises: NotConnected, SettingsError.
    """
    return _find(bridge, MIXPANEL_SIDE, name)


def find_project(bridge: Bridge, name: str) -> int:
    """Find a Mixpanel project by its connection's name, or by its own number where no connection leads to it any more.

    Raises: NotConnected.
    """
    present = connections.list_side(bridge.engine, MIXPANEL_SIDE)
    named = [connection.project_id for connection in present if connection.name == name]
    number = named[0] if named else whole_of(name)
    if number is None:
        raise _not_there(name)
    return number


def require_one_project(bridge: Bridge, project_ids: Collection[int], cohort_id: int) -> None:
    """Refuse a cohort's id that several projects have. Raises SettingsError."""
    if len(project_ids) < 2:
        return
    present = connections.list_side(bridge.engine, MIXPANEL_SIDE)
    names = {connection.project_id: connection.name for connection in present}
    called = ", ".join(shown(names.get(number) or str(number), most=100) for number in sorted(project_ids))
    raise SettingsError(
        f"Cohort: several projects have a cohort {cohort_id}: {called}.",
        advice="Choose one of these with --mixpanel NAME.",
    )


def find_destination(bridge: Bridge, name: str | None = None) -> Connection:
    """Find a destination; the name may be omitted while there is one. Raises NotConnected, SettingsError."""
    return _find(bridge, DESTINATION_SIDE, name)


def _find(bridge: Bridge, side: str, name: str | None) -> Connection:
    present, is_mixpanel = connections.list_side(bridge.engine, side), side == MIXPANEL_SIDE
    if not present:
        raise NotConnected("Mixpanel is not connected." if is_mixpanel else "No destination is connected.")
    named = [connection for connection in present if connection.name == (name or _USUAL)]
    if name is not None and not named:
        raise _not_there(name)
    if named and (name is not None or is_mixpanel):
        return named[0]
    if len(present) > 1:
        what, option = ("Mixpanel connection", "--mixpanel") if is_mixpanel else ("Destination", "--to")
        names = ", ".join(connection.name for connection in present)
        raise SettingsError(f"{what}: choose one of {names}.", advice=f"On the command line: {option} NAME.")
    return present[0]


def _not_there(name: str) -> NotConnected:
    return NotConnected(f"There is no connection called {shown(name, most=100)}.")
