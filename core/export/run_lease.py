"""The lease on a run: each heartbeat records the run's progress as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from core.bridge import Bridge, storage_errors
from core.export.progress import Progress
from core.leases.lease import HeldLease
from core.threads import for_heartbeat
from data import run_queue
from data.leases import Renewal


class RunLease(HeldLease):
    """The lease on a claimed run. `after` is called after each heartbeat that found the run to be ours."""

    def __init__(
        self,
        bridge: Bridge,
        run_id: int,
        owner: str,
        progress: Progress,
        *,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(bridge, "run", run_id, self._write_heartbeat, after=after)
        self.owner = owner
        self._bridge = bridge
        self._run_id = run_id
        self._progress = progress
        self._logged = _state_of(progress)

    @property
    def parts_owner(self) -> str:
        """Who holds what the run needs besides its row, so that it can be freed when the process dies."""
        return run_queue.parts_owner(self.owner, self._run_id)

    async def keep_progress(self) -> None:
        """Record what was asked so far, since another attempt will continue counting from it."""
        with storage_errors():
            async with self._turn:
                await self._write(self._progress.run_log.kept())

    async def _write_heartbeat(self) -> Renewal:
        # A process that dies leaves what it had begun, and a person sees what is tried again and why; what was answered
        # is worth a write only at the end.
        now = _state_of(self._progress)
        log_now, self._logged = self._progress.run_log.kept() if now != self._logged else None, now
        return await self._write(log_now)

    async def _write(self, log: dict[str, Any] | None) -> Renewal:
        progress = self._progress.report()
        return await for_heartbeat(
            run_queue.heartbeat,
            self._bridge.engine,
            self._run_id,
            lease_owner=self.owner,
            progress=progress,
            log=log,
        )


def _state_of(progress: Progress) -> tuple[object, ...]:
    """Return what of a run log is shown while its run works."""
    run_log = progress.run_log
    return len(run_log.steps), dict(run_log.refusals), run_log.retry
