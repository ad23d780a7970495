"""Where a run reads its cohort from: the project's client, and the share of its requests that the run may send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

from core.bridge import Bridge, storage_errors
from core.connections import cohort_list
from core.connections.project import project_for
from core.connections.query_budget import budget_for
from core.errors import CohortBridgeError, CohortRefused, NoQuerySlot, RunHeld
from core.export.cohort_reader import CohortReader, ResizableSemaphore
from core.export.hold import hold_for_total
from core.export.job import Job
from core.export.outcome import Findings, read_counts
from core.export.page_sizing import PageSizing
from core.export.progress import Progress
from core.leases import slots
from core.threads import WorkerThread
from core.vendors.http import HttpClient
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_answers import Cohort
from core.vendors.retry import RetryPlan
from data.members.collector import Collector, Tally


class CohortSource:
    """What one run reads its cohort with. Make it in the run's task; `close` it at the end, whatever happened."""

    def __init__(self, bridge: Bridge, job: Job, http: HttpClient, *, lease_owner: str, progress: Progress) -> None:
        project = project_for(bridge, job.mixpanel)
        retry = RetryPlan(over_s=bridge.settings.retry_over_s)
        self._bridge = bridge
        self._project = project.key
        self._cohort_id = job.sync.cohort_id
        self._lease_owner = lease_owner
        self._progress = progress
        self._budget = budget_for(bridge, project.key)
        self._client = progress.client = Mixpanel(
            http, project, self._budget, retry=retry, note=progress.run_log.called, tries=progress.run_log
        )
        self._slots = slots.RequestSlots(bridge, project.key, lease_owner=lease_owner)
        self._sizing = PageSizing(
            bridge.engine,
            bridge.clock,
            setting=bridge.settings.page_size,
            project=project.key,
            lease_owner=lease_owner,
        )
        self._in_flight = ResizableSemaphore(0)
        self._has_slots = False
        self.thread = WorkerThread(f"run-{job.run.id}", stops_with=asyncio.current_task())

    async def find_cohort(self) -> Cohort:
        """Wait until the run may send requests, then find the cohort.

        Raises: CohortUnknown, CohortNotExportable, VendorError, NoQuerySlot.
        """
        self._progress.begin("queueing")
        self._slots.want(1)  # until page 0 tells how many pages there are
        turn = self._slots.turn
        async with turn.taken():
            while not await asyncio.to_thread(self._slots.take):
                # Woken at once in this process; what another one hands back is found by looking.
                await turn.wait(within_s=self._bridge.lease_times.heartbeat_s)
        self._in_flight.resize(self._slots.width)
        self._has_slots = True
        self._progress.begin("finding")
        return await cohort_list.find(
            self._bridge, self._client, self._project, self._cohort_id, lease_owner=self._lease_owner
        )

    async def _widen(self, pages: int) -> None:
        """Take as many slots as so many further pages need, or as are left by those who wait for their first."""
        self._slots.want(pages)
        if not self._slots.turn.is_wanted:
            await asyncio.to_thread(self._slots.take)
            self._in_flight.resize(self._slots.width)

    async def _find_again(self) -> None:
        now = self._bridge.clock.now()
        await cohort_list.find_again(
            self._bridge, self._client, self._project, self._cohort_id, since=now, lease_owner=self._lease_owner
        )

    @asynccontextmanager
    async def read(self, job: Job, findings: Findings) -> AsyncGenerator[tuple[Tally, Collector]]:
        """Read the cohort whole, matched and collected. Raises as `CohortReader.whole` does."""
        assert job.group.id is not None
        await self._sizing.choose(listed=findings.in_cohort, group_id=job.group.id)
        reader = CohortReader(
            client=self._client,
            rule=job.rule,
            cohort_id=self._cohort_id,
            in_flight=self._in_flight,
            thread=self.thread,
            new_collector=partial(self._bridge.snapshots.collector, key=job.key, prefixes=job.rule.prefixes),
            progress=self._progress,
            check_total=partial(hold_for_total, job, findings),
            announce=self._widen,
            sizing=self._sizing,
        )
        try:
            async with reader.whole() as (tally, collector):
                await self._give_back_slots()
                yield tally, collector
        except CohortRefused:
            await self._find_again()  # a cohort that is gone is called that, before the connection is blamed
            raise
        except RunHeld:
            if reader.tally:  # the pages were whole: only the total speaks against them
                findings.counts = read_counts(reader.tally)
            raise
        except MemoryError as exc:
            await self._sizing.fail(exc)
            raise

    async def note_failure(self, exc: CohortBridgeError) -> None:
        """Take note of the error that ends the run, for those that read the project next."""
        await self._sizing.fail(exc)

    async def renew(self) -> None:
        """Renew the lease on the requests in flight, share them with runs that have none, or take some again."""
        if not self._has_slots:
            return
        may_grow = not self._slots.turn.is_wanted
        await asyncio.to_thread(partial(self._slots.renew, grow=may_grow))
        self._in_flight.resize(self._slots.width)
        if self._in_flight.settled:
            await asyncio.to_thread(self._slots.hand_back)

    async def _give_back_slots(self) -> None:
        """Let others ask Mixpanel as soon as all has arrived: a destination that hangs must not keep them waiting."""
        self._has_slots = False
        await asyncio.to_thread(self._slots.release)

    def block(self) -> NoQuerySlot:
        """Note that Mixpanel says the hour is spent; returns the error that says when the next slot opens."""
        return self._budget.block()

    def close(self) -> None:
        """Give back what is held."""
        self._sizing.close()
        with suppress(CohortBridgeError), storage_errors():
            self._slots.release()
        self.thread.shutdown()
