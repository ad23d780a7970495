"""A piece of work that this process holds: its lease is renewed beside it, and without the lease it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from core.bridge import Bridge, storage_errors
from core.errors import LeaseLost, RunCancelled, StorageFailed
from data.leases import Renewal
from data.worker_names import shorten_host

log = logging.getLogger(__name__)


def new_lease_owner() -> str:
    """Name one process's claims: unique, and telling where it runs."""
    return f"{shorten_host(socket.gethostname())}:{os.getpid()}:{secrets.token_hex(6)}"


class HeldLease:
    """The lease on a run or an association, once it is claimed.

    `renew` writes a heartbeat. `after` is called after each one that was written beside the work and found the lease
    to be ours. Whatever it raises, but StorageFailed, ends the work.
    """

    def __init__(
        self,
        bridge: Bridge,
        work: str,
        number: int,
        renew: Callable[[], Awaitable[Renewal]],
        *,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._times, self._clock = bridge.lease_times, bridge.clock
        self._work = work
        self._number = number
        self._renew = renew
        self._after = after
        # One heartbeat at a time: of two, the one that began with the older progress could be the last to be written.
        self._turn = asyncio.Lock()
        self._renewed_at_s = self._clock.elapsed_s()
        self._ended_by: Exception | None = None
        self._is_ending = False

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Renew the lease while inside; the task that is inside is cancelled when the lease is lost or the work is."""
        task = asyncio.current_task()
        assert task is not None
        heartbeats = asyncio.create_task(self._keep(task))
        try:
            yield
        finally:
            heartbeats.cancel()
            with suppress(asyncio.CancelledError):
                await heartbeats

    @contextmanager
    def reasons(self) -> Generator[None]:
        """Raise what a heartbeat ended the task inside for, LeaseLost above all; other cancelling passes."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._ended_by is None or task is None:
                raise
            task.uncancel()
            raise self._ended_by from None

    async def _keep(self, task: asyncio.Task[Any]) -> None:
        while True:
            await asyncio.sleep(self._times.heartbeat_s)
            try:
                with storage_errors():
                    async with self._turn:
                        renewal = await self._renew()
                    self.accept(renewal)
                    if self._after:
                        await self._after()
            except StorageFailed as exc:
                # The lease outlasts a database that is locked for a while.
                log.warning("heartbeat missed %s_id=%s reason=%s", self._work, self._number, exc)
            except Exception as exc:
                # The lease is lost, the work cancelled or out of time; or what no one foresaw, which must not end the
                # heartbeats in silence: the work would go on without a lease. A heartbeat that comes after the end was
                # recorded finds no lease: that is not losing it. Until then the lease is needed to record the end.
                if self._ended_by is None and not self._is_ending:
                    self._ended_by = exc
                    task.cancel()

    async def renew(self) -> None:
        """Renew the lease now. Raises: LeaseLost, RunCancelled, StorageFailed."""
        with storage_errors():
            async with self._turn:
                renewal = await self._renew()
        self.accept(renewal)

    async def check(self) -> None:
        """Check the lease before a message: a process that slept must not write over, or beside, its successor.

        Raises: LeaseLost, RunCancelled, StorageFailed.
        """
        if self._clock.elapsed_s() - self._renewed_at_s >= self._times.fresh_s:
            await self.renew()

    def accept(self, renewal: Renewal) -> None:
        """Take note of a heartbeat that was written. Raises: LeaseLost, RunCancelled."""
        if not renewal.ours:
            raise LeaseLost(f"The {self._work} was taken over by another process.")
        if renewal.cancel_asked:
            raise RunCancelled(f"The {self._work} was cancelled.")
        self._renewed_at_s = self._clock.elapsed_s()

    def end(self) -> None:
        """Note that the end is about to be recorded, which gives the lease up."""
        self._is_ending = True
