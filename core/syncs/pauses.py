"""Pauses that nobody presses a button for: the end of one that has an end, and schedules that cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from core.access import roles
from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, NotFound, SettingsError, StorageFailed
from core.moments import moment_text
from core.rules.due_times import is_plannable, next_slot
from core.syncs.checks import get_limit_for, require_room_for
from core.syncs.listing import sync_errors
from core.syncs.placing import placing_errors
from data import due_syncs, sync_pauses
from data.audit import recorder
from data.models import Sync, Timing
from data.sync_pauses import EndedPause

log = logging.getLogger(__name__)

_WORKER = "worker"


def end_pauses(bridge: Bridge) -> None:
    """Resume the syncs whose pause has ended, as a person would; one that cannot stays paused, and says why."""
    with storage_errors():
        for ended in sync_pauses.list_ended(bridge.engine, now=bridge.clock.now()):
            try:
                _end(bridge, ended)
            except NotFound:
                pass  # removed since
            except StorageFailed:
                raise
            except CohortBridgeError as exc:
                _prolong(bridge, ended, exc)


def _end(bridge: Bridge, ended: EndedPause) -> None:
    now, scope = bridge.clock.now(), roles.scope(bridge, _WORKER, "resume_sync")
    with sync_errors(), placing_errors():
        check_room = partial(_check_room, limit=get_limit_for(bridge, ended.sync_id), now=now)
        if sync_pauses.end(bridge.engine, ended, check_room=check_room, scope=scope, now=now):
            log.info("sync resumed sync_id=%s reason=pause ended", ended.sync_id)


def _check_room(sync: Sync, present: Sequence[Timing], *, limit: int, now: datetime) -> None:
    require_room_for(sync, limit, present, now=now)


def _prolong(bridge: Bridge, ended: EndedPause, exc: CohortBridgeError) -> None:
    reason = f"Its pause ended at {moment_text(ended.until)}. {exc.message} {exc.advice}"
    scope = roles.scope(bridge, _WORKER, "pause_sync")
    if sync_pauses.prolong(bridge.engine, ended, reason=reason, scope=scope, now=bridge.clock.now()):
        log.warning("sync stays paused sync_id=%s reason=%s", ended.sync_id, exc)


def pause_unplannable(bridge: Bridge) -> None:
    """Pause the syncs whose schedule cannot be read any more, with the cause: this machine may lack its time zone."""
    now, scope = bridge.clock.now(), roles.scope(bridge, _WORKER, "pause_sync")
    with storage_errors():
        for each in due_syncs.list_next_runs(bridge.engine):
            if is_plannable(each.timing, now):
                continue
            try:
                next_slot(each.sync_id, each.timing, after=now)
            except SettingsError as exc:
                with recorder.acting(scope):
                    reason = f"{exc.message} {exc.advice}"
                    sync_pauses.pause(bridge.engine, [each.sync_id], reason=reason, now=now, by_person=False)
                log.warning("sync paused sync_id=%s reason=%s", each.sync_id, exc)
