"""A lease that is waited for, so that of many processes one after the other does a thing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from core.bridge import Bridge
from core.leases.watch import HeartbeatWatch
from core.threads import for_heartbeat
from data import leases
from data.engine import StorageError
from data.models import LeaseKind

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.3


@asynccontextmanager
async def in_turn(bridge: Bridge, kind: LeaseKind, key: str, *, lease_owner: str) -> AsyncGenerator[None]:
    """Wait until the lease is free, or its process dead, and hold it while inside."""
    lock = _LeaseLock(bridge, kind, key, lease_owner)
    renewing = asyncio.create_task(lock.keep())
    try:
        while not await asyncio.to_thread(lock.take):
            await asyncio.sleep(_LOOK_AGAIN_S)
        yield
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        await asyncio.shield(asyncio.to_thread(lock.release))


class _LeaseLock:
    def __init__(self, bridge: Bridge, kind: LeaseKind, key: str, lease_owner: str) -> None:
        self._bridge = bridge
        self._kind = kind
        self._key = key
        self._lease_owner = lease_owner
        self._heartbeats = HeartbeatWatch(bridge)
        # A call in a thread outlives the task that was cancelled while it waited for it: none takes after the release.
        self._lock = threading.Lock()
        self._is_taken = False
        self._is_released = False

    def take(self) -> bool:
        with self._lock:
            self._is_taken = not self._is_released and self._take()
            return self._is_taken

    def _take(self) -> bool:
        with self._heartbeats.asking():
            present = leases.list_held(self._bridge.engine, self._kind, keys=[self._key])
        dead = self._heartbeats.look(present)
        if present and not dead:
            return False
        return leases.acquire(
            self._bridge.engine,
            self._kind,
            self._key,
            lease_owner=self._lease_owner,
            now=self._bridge.clock.now(),
            dead=dead[0] if dead else None,
        )

    async def keep(self) -> None:
        while True:
            await asyncio.sleep(self._bridge.lease_times.heartbeat_s)
            if not self._is_taken:
                continue
            try:
                await for_heartbeat(
                    leases.heartbeat, self._bridge.engine, self._kind, self._key, lease_owner=self._lease_owner
                )
            except StorageError as exc:
                log.warning("heartbeat missed %s=%s reason=%s", self._kind, self._key, exc)

    def release(self) -> None:
        with self._lock:
            self._is_released = True
            leases.release(self._bridge.engine, self._kind, self._key, lease_owner=self._lease_owner)
