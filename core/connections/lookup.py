"""The connections that there are, by side and name."""

from __future__ import annotations

from collections.abc import Sequence

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotConnected, SettingsError
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


def find_mixpanel(bridge: Bridge, name: str | None = None) -> Connection:
    """Find the Mixpanel connection; without a name the only one, or the one called default. Raises NotConnected."""
    return _find(bridge, MIXPANEL_SIDE, name, "Mixpanel is not connected.")


def find_destination(bridge: Bridge, name: str | None = None) -> Connection:
    """Find a destination; the name may be omitted while there is one. Raises NotConnected, SettingsError."""
    return _find(bridge, DESTINATION_SIDE, name, "No destination is connected.")


def _find(bridge: Bridge, side: str, name: str | None, none_at_all: str) -> Connection:
    present = connections.list_side(bridge.engine, side)
    if not present:
        raise NotConnected(none_at_all)
    named = [connection for connection in present if connection.name == (name or _USUAL)]
    if name is not None and not named:
        raise NotConnected(f"There is no connection called {name}.")
    if named and (name is not None or side == MIXPANEL_SIDE):
        return named[0]
    if len(present) > 1:
        names = ", ".join(connection.name for connection in present)
        raise SettingsError(f"Destination: choose one of {names}.", advice="On the command line: --to NAME.")
    return present[0]
