"""Whether members can be kept and read at all, as this process sees it."""

from __future__ import annotations

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.storage_watch import StorageTrouble


@action(Role.VIEWER)
def find_storage_trouble(bridge: Bridge, actor: Actor) -> StorageTrouble | None:
    """Return why the storage cannot be used, by an answer that is seconds old; None where it can be."""
    return bridge.find_storage_trouble()
