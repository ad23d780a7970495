"""What the process of the dashboard does while no worker is there: it tells of that, and sends what waits."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from core.access.roles import LOCAL
from core.alerts.sending import AlertSender, watch_senders
from core.bridge import Bridge, open_if_there, storage_errors
from core.errors import CohortBridgeError
from core.leases.lease import new_lease_owner
from core.leases.workers import worker_is_up, worker_seen_at
from core.settings import Settings
from data import alert_states, run_metrics, workers
from data.alert_states import Finding
from data.outbox_models import CRITICAL, WORKER, Condition

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 30.0
# Longer than an update of the program, or a restart of the machine, keeps a worker away.
_GONE_AFTER_S = 300.0
# Where none was ever seen, somebody may start one now and then for what is due (`worker --once`).
_NOBODY_CAME_FOR = timedelta(hours=1)


class Standby:
    """Looks, from beside the workers, whether one of them is there."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._sender = AlertSender(bridge, new_lease_owner())
        self._senders = watch_senders(bridge)
        self._gone_since_s: float | None = None
        self._has_seen_one = False  # since the last time that one was missed
        self._beats: dict[str, datetime] | None = None  # of each worker, at the last look

    async def look(self) -> None:
        """Look once, every half a minute. Raises CohortBridgeError."""
        if not await asyncio.to_thread(self._is_gone):
            return
        await asyncio.to_thread(self._senders.look)
        await self._sender.send_all()

    async def stop(self) -> None:
        """End what is being sent, within seconds."""
        await self._sender.stop()

    def _is_gone(self) -> bool:
        """Look whether workers are gone, and tell if they are."""
        bridge, now_s = self._bridge, self._bridge.clock.steady_s()
        with storage_errors():
            if self._has_beaten():
                self._gone_since_s, self._has_seen_one = None, True
                return False
            if self._gone_since_s is None:
                self._gone_since_s = now_s
            gone_s = now_s - self._gone_since_s
            if gone_s < _GONE_AFTER_S:
                return False
            if self._is_missed():
                finding = Finding(Condition.WORKER_GONE, CRITICAL, {"minutes": int(gone_s // 60)})
                alert_states.settle_found(bridge.engine, {WORKER: finding}, now=bridge.clock.now())
                self._has_seen_one = False
        return True

    def _has_beaten(self) -> bool:
        """Return whether a worker gave a heartbeat since the last look.

        What time it wrote says nothing but that: its clock, or this one, may have been set meanwhile.
        """
        before = self._beats
        self._beats = {worker.name: worker.seen_at for worker in workers.list_beats(self._bridge.engine)}
        if before is None:
            return worker_is_up(self._bridge, LOCAL)
        return any(before.get(name) != seen_at for name, seen_at in self._beats.items())

    def _is_missed(self) -> bool:
        """Return whether there is work for a worker, and one was there, or should have come for it by now."""
        due_at = run_metrics.find_oldest_due(self._bridge.engine)
        if due_at is None:
            return False
        was_there = self._has_seen_one or worker_seen_at(self._bridge, LOCAL) is not None
        return was_there or self._bridge.clock.now() - due_at >= _NOBODY_CAME_FOR


async def serve(settings: Settings) -> None:
    """Look until cancelled, once there is a database; what fails is logged when it begins to, and tried again."""
    standby: Standby | None = None
    trouble = ""
    try:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                if standby is None and (bridge := await asyncio.to_thread(open_if_there, settings)):
                    standby = Standby(bridge)
                if standby:
                    await standby.look()
                trouble = ""
            except CohortBridgeError as exc:
                if exc.message != trouble:
                    log.warning("workers not looked at reason=%s", exc)
                trouble = exc.message
            except Exception:
                log.exception("workers not looked at")
    finally:
        if standby:
            await standby.stop()
