"""Do a run here and now, in the process that queued it for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, NoQuerySlot, OfAnotherInstallation, RunAlreadyActive, RunCancelled
from core.export.outcome import failure_from
from core.export.progress import Progress
from core.export.run import Export
from core.leases.ending import nothing_left
from core.leases.forgetting import watch_forgetting
from core.leases.lease import HeldLease
from core.leases.watch import has_moved, look_together
from core.text import shown
from core.threads import for_heartbeat
from core.vendors.http import connect_http
from core.worker.run_execution import wait, watch_runs
from data import run_queue, run_records, runs
from data.leases import Renewal
from data.models import Lease, LeaseKind, Run, RunStatus
from data.run_outcome import RunOutcome


@contextmanager
def no_run_left(bridge: Bridge, lease_owner: str, *, ended: list[int] | None = None) -> Generator[None]:
    """Record the end of what is queued and claimed inside, by this owner, and does not end by itself.

    The runs that are ended so are added to `ended`.
    """

    def record(run_id: int, why: CohortBridgeError) -> None:
        InlineRun(bridge, run_id, lease_owner, patience_s=0.0).fail(why)
        if ended is not None:
            ended.append(run_id)

    with nothing_left(bridge, LeaseKind.RUN, lease_owner, record):
        yield


async def carry_out_here(
    bridge: Bridge,
    run_id: int,
    *,
    lease_owner: str,
    patience_s: float | None,
    watch: Callable[[Progress], None] | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Run:
    """Do a run that this process queued for itself, waiting at most `patience_s` for a query slot (None: any time).

    `notify` is given a sentence when it has to wait. Raises RunAlreadyActive while another run writes the group,
    LeaseLost, StorageFailed; every other failure that was foreseen is recorded in the run that is returned. Cancelling
    the call cancels the run.
    """
    mine = InlineRun(bridge, run_id, lease_owner, patience_s)
    async with connect_http() as http:
        try:
            while True:
                await mine.claim()
                try:
                    await Export(bridge, run_id, lease_owner=lease_owner, http=http, watch=watch).run()
                    return await asyncio.to_thread(mine.get)
                except NoQuerySlot as exc:
                    notify(f"{exc.message}")
                    await asyncio.to_thread(wait, bridge, run_id, lease_owner, exc, keep=True)
                    if not await mine.sit_out(exc):
                        return await asyncio.to_thread(mine.fail, exc)
        except (RunCancelled, OfAnotherInstallation) as exc:
            return await asyncio.to_thread(mine.fail, exc)
        except RunAlreadyActive as exc:
            await asyncio.to_thread(mine.fail, exc)
            raise
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.to_thread(mine.fail, RunCancelled("The run was stopped.")))
            raise


class InlineRun:
    """A run that its process queued for itself. It waits at most `patience_s` for a query slot; None: any time."""

    def __init__(self, bridge: Bridge, run_id: int, lease_owner: str, patience_s: float | None) -> None:
        self._bridge = bridge
        self._run_id = run_id
        self._lease_owner = lease_owner
        self._lease = HeldLease(bridge, "run", run_id, self._renew)
        self._steady_s = bridge.clock.steady_s
        self._deadline_s = None if patience_s is None else self._steady_s() + patience_s

    def fail(self, exc: CohortBridgeError) -> Run:
        """Record why it was not done."""
        status = RunStatus.CANCELLED if isinstance(exc, RunCancelled) else RunStatus.FAILED
        outcome = RunOutcome(status, finished_at=self._bridge.clock.now(), failure=failure_from(exc))
        with storage_errors():
            run_records.record(self._bridge.engine, self._run_id, outcome, lease_owner=self._lease_owner)
            return self.get()

    async def claim(self) -> None:
        """Claim it. An active one whose heartbeat moves is alive; one that does not is dead after a lease's time.

        Raises: RunAlreadyActive, RunCancelled, LeaseLost.
        """
        watches, first = (watch_runs(self._bridge), watch_forgetting(self._bridge)), None
        await asyncio.to_thread(
            watches[0].look
        )  # a command that was killed left a run behind, and no worker may be there
        while not await asyncio.to_thread(self._try_to_claim):
            if in_the_way := await asyncio.to_thread(self._find_run_in_the_way):
                active, lease = in_the_way
                first = first or lease
                if has_moved(first, lease):
                    raise RunAlreadyActive(
                        f"Run {active.id} is writing the group {shown(active.group_name, most=100)} at this moment."
                    )
            await self._lease.renew()
            await asyncio.to_thread(look_together, self._bridge, watches)
            await asyncio.sleep(self._bridge.lease_times.heartbeat_s)

    async def sit_out(self, exc: NoQuerySlot) -> bool:
        """Wait until the slot opens; False when that is later than the patience lasts."""
        while self._bridge.clock.now() < exc.next_at:
            if self._deadline_s is not None and self._steady_s() > self._deadline_s:
                return False
            await asyncio.sleep(self._bridge.lease_times.heartbeat_s)
            await self._lease.renew()
        return True

    def _try_to_claim(self) -> bool:
        now = self._bridge.clock.now()
        return run_queue.claim(self._bridge.engine, self._run_id, lease_owner=self._lease_owner, now=now)

    def _find_run_in_the_way(self) -> tuple[Run, Lease] | None:
        return runs.find_running(self._bridge.engine, self.get().group_id)

    def get(self) -> Run:
        """Return it as it is recorded."""
        with storage_errors():
            run = runs.get(self._bridge.engine, self._run_id)
        assert run is not None
        return run

    async def _renew(self) -> Renewal:
        return await for_heartbeat(
            run_queue.heartbeat, self._bridge.engine, self._run_id, lease_owner=self._lease_owner
        )
