"""Whether somebody is being forgotten, while which no run and no association begins; and who died of it."""

from __future__ import annotations

from functools import partial

from core.bridge import Bridge
from core.leases.watch import LeaseWatch
from data import leases
from data.models import LeaseKind


def watch_forgetting(bridge: Bridge) -> LeaseWatch:
    """Watch the process that forgets somebody, so that nothing waits for one that died."""
    return LeaseWatch(bridge, LeaseKind.FORGETTING, partial(leases.end, bridge.engine))


def is_forgetting(bridge: Bridge) -> bool:
    """Return whether a process forgets somebody at this moment, as far as is known."""
    return bool(leases.list_held(bridge.engine, LeaseKind.FORGETTING))
