"""Do a run here and now, in the process that queued it for itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, LeaseLost, NoQuerySlot, RunAlreadyActive, RunCancelled
from core.export.outcome import run_error
from core.export.progress import Progress
from core.export.run import Export
from core.leases.lease import HEARTBEAT_S
from core.leases.watch import LeaseWatch
from core.vendors.http import connect_http
from core.worker.run_execution import wait
from data import run_queue, run_records, runs
from data.models import Run, RunStatus, utc_now
from data.run_outcome import RunOutcome


async def carry_out_here(
    bridge: Bridge,
    run_id: int,
    *,
    owner: str,
    patience_s: float | None,
    watch: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Run:
    """Do a run that this process queued for itself, waiting at most `patience_s` for a query slot (None: any time).

    `tell` is given a sentence when it has to wait. Raises RunAlreadyActive while another run writes the group,
    LeaseLost, StorageFailed; every other failure is recorded in the run that is returned. Cancelling the call
    cancels the run.
    """
    mine = _InlineRun(bridge, run_id, owner, None if patience_s is None else time.monotonic() + patience_s)
    async with connect_http() as http:
        try:
            while True:
                await _claim_here(mine)
                try:
                    return await Export(bridge, run_id, owner=owner, http=http, watch=watch).run()
                except NoQuerySlot as exc:
                    tell(f"{exc.message}")
                    await asyncio.to_thread(wait, bridge, run_id, owner, exc, keep=True)
                    if not await _sit_out(mine, exc):
                        return await asyncio.to_thread(mine.fail, exc)
        except RunCancelled as exc:
            return await asyncio.to_thread(mine.fail, exc)
        except RunAlreadyActive as exc:
            await asyncio.to_thread(mine.fail, exc)
            raise
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.to_thread(mine.fail, RunCancelled("The run was stopped.")))
            raise


@dataclass(frozen=True)
class _InlineRun:
    """A run that its process queued for itself."""

    bridge: Bridge
    run_id: int
    owner: str
    deadline_s: float | None

    def fail(self, exc: CohortBridgeError) -> Run:
        status = RunStatus.CANCELLED if isinstance(exc, RunCancelled) else RunStatus.FAILED
        outcome = RunOutcome(status, finished_at=self.bridge.clock.now(), error=run_error(exc))
        with storage_errors():
            run_records.record(self.bridge.engine, self.run_id, outcome, owner=self.owner)
            run = runs.get(self.bridge.engine, self.run_id)
        assert run is not None
        return run

    def beat(self) -> None:
        with storage_errors():
            ours, cancel = run_queue.heartbeat(self.bridge.engine, self.run_id, owner=self.owner)
        if not ours:
            raise LeaseLost("The run was taken over by another process.")
        if cancel:
            raise RunCancelled("The run was cancelled.")


async def _claim_here(mine: _InlineRun) -> None:
    """Claim the run. One that is in the way and moves is alive; one that does not is dead after a lease's time."""
    watch, first_beat = LeaseWatch(mine.bridge), None
    while not await asyncio.to_thread(run_queue.claim, mine.bridge.engine, mine.run_id, owner=mine.owner):
        run = await asyncio.to_thread(runs.get, mine.bridge.engine, mine.run_id)
        assert run is not None
        other = await asyncio.to_thread(runs.running, mine.bridge.engine, run.group_id)
        if other:
            first_beat = other.beat if first_beat is None else first_beat
            if other.beat != first_beat:
                raise RunAlreadyActive(f"Run {other.id} is writing the group {other.group_name} at this moment.")
        await asyncio.to_thread(mine.beat)
        await asyncio.to_thread(watch.look)
        await asyncio.sleep(HEARTBEAT_S)


async def _sit_out(mine: _InlineRun, exc: NoQuerySlot) -> bool:
    """Wait until the slot opens; False when that is later than the patience lasts."""
    while utc_now() < exc.next_at:
        if mine.deadline_s is not None and time.monotonic() > mine.deadline_s:
            return False
        await asyncio.sleep(HEARTBEAT_S)
        await asyncio.to_thread(mine.beat)
    return True
