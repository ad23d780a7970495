"""The dead-man's ping: an outside monitor is told every minute that a worker works, and notices when it is not."""

from __future__ import annotations

import asyncio
import logging

from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.vendors.addresses import allowed_reach
from core.vendors.ping import ping

log = logging.getLogger(__name__)

_EVERY_S = 60.0


class DeadMansPing:
    """Asks the address of COHORT_BRIDGE_PING_URL after ticks, once a minute at most; without it nothing is done."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        url = bridge.settings.ping_url
        self._url = url.get_secret_value() if url else None
        self._pinged_at_s: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble: str | None = None  # what was logged last

    def note_tick(self) -> None:
        """Ask, unless that was done within the last minute; a tick waits for no answer."""
        now_s = self._bridge.clock.steady_s()
        is_due = self._pinged_at_s is None or now_s - self._pinged_at_s >= _EVERY_S
        if self._url is None or not is_due or (self._task and not self._task.done()):
            return
        self._pinged_at_s = now_s
        self._task = asyncio.create_task(self._ping(self._url))

    async def stop(self) -> None:
        """Give up what is on its way."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self) -> None:
        """Wait for what is on its way, a bounded time."""
        if self._task:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ping(self, url: str) -> None:
        reach = allowed_reach(allow_private=self._bridge.settings.allow_private_hosts, practice=False)
        try:
            await ping(url, reach)
            trouble = None
        except CohortBridgeError as exc:
            trouble = exc.message
        except Exception:
            log.exception("ping failed unexpectedly")
            return
        if trouble != self._trouble:
            if trouble:
                log.warning("ping not accepted reason=%s", trouble)
            else:
                log.info("ping accepted again")
        self._trouble = trouble
