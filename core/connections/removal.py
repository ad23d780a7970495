"""Removing a connection, of either side."""

from __future__ import annotations

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.entering import ALREADY_REMOVED
from core.errors import NotFound
from data import connections

_REASON = "The connection {name} was removed."


@action(Role.ADMIN)
def remove_connection(bridge: Bridge, actor: Actor, connection_id: int) -> None:
    """Forget a connection's secrets; its groups stay as they are, and its recurring syncs are paused."""
    if not connections.remove(bridge.engine, connection_id, reason=_REASON, now=bridge.clock.now()):
        raise NotFound(ALREADY_REMOVED)
