"""For how long it is kept what was told; what is not is removed in small steps."""

from __future__ import annotations

from datetime import timedelta

from core.bridge import Bridge
from data import outbox

_KEPT_FOR = timedelta(days=90)
_STEP = 200


def forget_old(bridge: Bridge, *, most: int = _STEP) -> int:
    """Remove a few of the alerts that were over too long ago, with their messages; returns how many alerts."""
    return outbox.forget_old(bridge.engine, before=bridge.clock.now() - _KEPT_FOR, limit=most)
