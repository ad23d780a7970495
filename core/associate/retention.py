"""How long associations are kept."""

from __future__ import annotations

from datetime import timedelta

from core.associate import bundles
from core.bridge import Bridge
from data import association_retention, associations

_KEPT_FOR = timedelta(days=30)


def forget_old(bridge: Bridge) -> int:
    """Remove associations that ended, or were never confirmed, too long ago; returns how many."""
    old = associations.list_older(bridge.engine, bridge.clock.now() - _KEPT_FOR, limit=20)
    for association_id in old:
        association = associations.get(bridge.engine, association_id)
        association_retention.forget(bridge.engine, association_id)
        bundles.forget(bridge, association_id, association.bundle if association else "")
    return len(old)
