"""Running associations: claimed by a worker, or here and now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

from core.associate.job import DEAD, AssociationJob, ending_after
from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, LeaseLost, RunAlreadyActive
from core.leases.ending import nothing_left
from core.leases.forgetting import is_forgetting, watch_forgetting
from core.leases.watch import LeaseWatch, has_moved
from core.vendors.http import HttpClient, connect_http
from data import associations, leases
from data.associations import Ending
from data.engine import StorageError
from data.failure import Failure
from data.models import Association, ImportStage, Lease, LeaseKind

log = logging.getLogger(__name__)


def watch_associations(bridge: Bridge) -> LeaseWatch:
    """Watch the associations that are held by any process, to requeue those whose process died."""

    def recover(lease: Lease) -> bool:
        interrupted = associations.interrupt(bridge.engine, lease, failure=DEAD, now=bridge.clock.now())
        if interrupted:
            log.warning("association interrupted association_id=%s", lease.key)
        return interrupted

    return LeaseWatch(bridge, LeaseKind.ASSOCIATION, recover)


class JobRunner:
    """A worker's associations: one at a time, beside its runs."""

    def __init__(self, bridge: Bridge, lease_owner: str) -> None:
        self._bridge = bridge
        self._lease_owner = lease_owner
        self.watch = watch_associations(bridge)
        self._claimed: int | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What is running at this moment."""
        return [self._task] if self._task and not self._task.done() else []

    def dispatch(self) -> None:
        """Claim what waits, as long as none is running here."""
        if self._claimed is not None or (self._task and not self._task.done()):
            return
        for number in associations.claimable(self._bridge.engine):
            if self._claim(number):
                self._claimed = number
                return

    def _claim(self, number: int) -> bool:
        now = self._bridge.clock.now()
        return associations.claim(self._bridge.engine, number, lease_owner=self._lease_owner, now=now)

    def start_claimed(self, http: HttpClient) -> None:
        """Start what was claimed."""
        if self._claimed is not None:
            number, self._claimed = self._claimed, None
            self._task = asyncio.create_task(_carry_out(self._bridge, number, self._lease_owner, http))

    async def stop(self) -> None:
        """Hand back what is running or claimed."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._claimed is not None:
            await asyncio.to_thread(_hand_back, self._bridge, self._claimed, self._lease_owner)
            self._claimed = None


def wait_until_free(bridge: Bridge, number: int) -> None:
    """Return once an association is free: at once, or a lease's time after the process that had it died.

    Raises: RunAlreadyActive when another process is running it.
    """
    watch, first = watch_associations(bridge), None
    while held_leases := leases.list_held(bridge.engine, LeaseKind.ASSOCIATION, keys=[str(number)]):
        first = first or held_leases[0]
        if has_moved(first, held_leases[0]):
            raise RunAlreadyActive(f"Association {number} is running in another process at this moment.")
        watch.look()
        time.sleep(bridge.lease_times.heartbeat_s)


@contextmanager
def no_association_left(bridge: Bridge, lease_owner: str) -> Generator[None]:
    """Record the end of what this owner takes inside, and does not end by itself."""

    def record(number: int, why: CohortBridgeError) -> None:
        ending = ending_after(why, now=bridge.clock.now())
        associations.record_end(bridge.engine, number, lease_owner=lease_owner, ending=ending)

    with nothing_left(bridge, LeaseKind.ASSOCIATION, lease_owner, record):
        yield


async def carry_out_here(
    bridge: Bridge, number: int, *, lease_owner: str, watch: Callable[[Association], None] | None = None
) -> Association:
    """Do what an association of this process's own waits for, in this process. Cancelling the call cancels it.

    Raises: LeaseLost, StorageFailed.
    """
    async with connect_http() as http:
        try:
            with storage_errors():
                await _claim(bridge, number, lease_owner)
            return await AssociationJob(bridge, number, lease_owner=lease_owner, http=http, watch=watch).run()
        except asyncio.CancelledError:
            ending = Ending(ImportStage.CANCELLED, bridge.clock.now())
            recording = asyncio.to_thread(
                associations.record_end, bridge.engine, number, lease_owner=lease_owner, ending=ending
            )
            await asyncio.shield(recording)
            raise


async def _claim(bridge: Bridge, number: int, lease_owner: str) -> None:
    """Claim an association; while somebody is being forgotten, wait for that. Raises LeaseLost."""
    forgetting = watch_forgetting(bridge)
    claim = partial(associations.claim, bridge.engine, number, lease_owner=lease_owner)
    while not await asyncio.to_thread(claim, now=bridge.clock.now()):
        await asyncio.to_thread(forgetting.look)
        is_ours = await asyncio.to_thread(associations.heartbeat, bridge.engine, number, lease_owner=lease_owner)
        if not is_ours.ours or not await asyncio.to_thread(is_forgetting, bridge):
            if await asyncio.to_thread(claim, now=bridge.clock.now()):
                return  # that had ended just now
            raise LeaseLost(f"Association {number} was taken by another process.")
        await asyncio.sleep(bridge.lease_times.heartbeat_s)


async def _carry_out(bridge: Bridge, number: int, lease_owner: str, http: HttpClient) -> None:
    log.info("association starts association_id=%s", number)
    try:
        await AssociationJob(bridge, number, lease_owner=lease_owner, http=http).run()
    except LeaseLost as exc:
        log.warning("association lost association_id=%s reason=%s", number, exc)
    except CohortBridgeError as exc:
        log.error("association not recorded association_id=%s code=%s", number, exc.code)  # noqa: TRY400
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.to_thread(_hand_back, bridge, number, lease_owner))
        raise
    except BaseException:  # SystemExit too: whatever it raises ends this work, and not the worker
        log.exception("association failed unexpectedly association_id=%s", number)
        await asyncio.to_thread(_fail_unexpectedly, bridge, number, lease_owner)


def _hand_back(bridge: Bridge, number: int, lease_owner: str) -> None:
    try:
        associations.hand_back(bridge.engine, number, lease_owner=lease_owner, now=bridge.clock.now())
    except StorageError as exc:
        log.warning("association not handed back association_id=%s reason=%s", number, exc)


def _fail_unexpectedly(bridge: Bridge, number: int, lease_owner: str) -> None:
    failure = Failure(
        "unexpected",
        "This stopped on an error that Cohort Bridge did not foresee.",
        "The worker's log has the details. What was written until then is in the outcomes.",
    )
    ending = Ending(ImportStage.FAILED, bridge.clock.now(), failure=failure)
    try:
        associations.record_end(bridge.engine, number, lease_owner=lease_owner, ending=ending)
    except StorageError as exc:
        log.warning("association not recorded association_id=%s reason=%s", number, exc)
