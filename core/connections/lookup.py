"""The connections that are there, by side and name."""

from __future__ import annotations

from sqlmodel import col, select

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.connect import DESTINATION_SIDE, MIXPANEL_SIDE
from core.errors import NotConnected, SettingsError
from data.engine import read_session
from data.models import Connection


@action(Role.VIEWER)
def list_connections(bridge: Bridge, actor: Actor) -> list[Connection]:
    """List what is connected, Mixpanel first, then by name. Secrets in them are sealed."""
    with read_session(bridge.engine) as session:
        query = select(Connection).where(col(Connection.removed).is_(False))
        found = session.exec(query.order_by(col(Connection.side).desc(), col(Connection.name))).all()
    return list(found)


def find_mixpanel(bridge: Bridge, name: str | None = None) -> Connection:
    """Find the Mixpanel connection; without a name the only one, or the one called default. Raises NotConnected."""
    return _find(bridge, MIXPANEL_SIDE, name, "Mixpanel is not connected.")


def find_destination(bridge: Bridge, name: str | None = None) -> Connection:
    """Find a destination; the name may be left out while there is one. Raises NotConnected, SettingsError."""
    return _find(bridge, DESTINATION_SIDE, name, "No destination is connected.")


def _find(bridge: Bridge, side: str, name: str | None, none_at_all: str) -> Connection:
    with read_session(bridge.engine) as session:
        query = select(Connection).where(Connection.side == side, col(Connection.removed).is_(False))
        found = session.exec(query.order_by(col(Connection.id))).all()
    if not found:
        raise NotConnected(none_at_all)
    named = [one for one in found if one.name == (name or "default")]
    if name is not None and not named:
        raise NotConnected(f"There is no connection called {name}.")
    if named and (name is not None or side == MIXPANEL_SIDE):
        return named[0]
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise SettingsError(f"Destination: choose one of {names}.", advice="On the command line: --to NAME.")
    return found[0]
