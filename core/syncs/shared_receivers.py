"""Syncs of one cohort to two destinations that lead to one place: paused until somebody decides."""

from __future__ import annotations

import logging

from core.access import roles
from core.bridge import Bridge, storage_errors
from core.export.job import receiver_shared
from data import receivers
from data.receivers import SharedReceiver

log = logging.getLogger(__name__)


def pause_shared(bridge: Bridge) -> None:
    """Pause what would overwrite each other's groups, with the cause: of a home in which that was possible, both."""
    scope = roles.scope(bridge, "worker", "pause_sync")
    seals, now = bridge.vault, bridge.clock.now()
    with storage_errors():
        paused = receivers.pause_shared(bridge.engine, get_reason=_reason, scope=scope, seals=seals, now=now)
    for sync in paused:
        log.warning("sync paused sync_id=%s reason=receiver shared", sync.id)


def _reason(exc: SharedReceiver) -> str:
    error = receiver_shared(exc)
    return f"{error.message} {error.advice}"
