"""How long associations are kept."""

from __future__ import annotations

from datetime import timedelta

from core.associate.files import import_rows
from core.bridge import Bridge
from data import associations

_KEPT_FOR = timedelta(days=30)


def forget_old(bridge: Bridge) -> int:
    """Remove associations that ended, or were never confirmed, too long ago; returns how many."""
    old = associations.list_older(bridge.engine, bridge.clock.now() - _KEPT_FOR, limit=20)
    for association_id in old:
        associations.forget(bridge.engine, association_id)
        import_rows(bridge, association_id).remove()
    return len(old)
