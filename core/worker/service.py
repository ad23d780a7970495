"""The sidecar: the `schedule` loop that dispatches what is due, and what carries a run out in any process."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import httpx
from sqlmodel import col, delete

from core.associate import actions, running
from core.bridge import Bridge, storage_errors
from core.connections import service_accounts
from core.errors import CohortBridgeError
from core.leases import slots
from core.leases.lease import HEARTBEAT_S, new_lease_owner
from core.leases.watch import LeaseWatch
from core.syncs import queueing
from core.vendors.http import connect_http
from core.worker import retention
from core.worker.run_execution import carry_out, hand_back
from data import run_queue
from data.engine import write_session
from data.members.duck import clear_scratch
from data.models import Run, WorkerHeartbeat, utc_now

log = logging.getLogger(__name__)

_TICK_S = 0.5


class Worker:
    """Does what is queued or due, several runs side by side, until told to stop."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._owner = new_lease_owner()
        self._started_at = utc_now()
        self._watch = LeaseWatch(bridge)
        self._claimed: list[int] = []
        self._tasks: dict[int, asyncio.Task[Run | None]] = {}
        self._desk = running.JobRunner(bridge, self._owner)

    async def serve(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what is at work then is handed back to the queue within seconds."""
        jobs = _Jobs(self)
        async with connect_http(connections=slots.IN_FLIGHT * self._bridge.settings.runs_in_flight) as http:
            # Beside the loop, like runs: an answer of Mixpanel's can take minutes.
            accounts = asyncio.create_task(service_accounts.watch(self._bridge, http))
            try:
                while not stop.is_set():
                    await asyncio.to_thread(jobs.run_pending)
                    self._start_claimed(http)
                    self._desk.start_claimed(http)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), _TICK_S)
            finally:
                accounts.cancel()
                await asyncio.gather(accounts, return_exceptions=True)
                await self._stop_all()
                with suppress(CohortBridgeError), storage_errors():
                    await asyncio.to_thread(self._sign_off)

    async def once(self) -> int:
        """Try all that is queued or due, and return how many runs that were. Waiting runs stay waiting.

        Runs that others hold are watched until they move, or are dead and made good.
        """
        done = 0
        async with connect_http(connections=slots.IN_FLIGHT * self._bridge.settings.runs_in_flight) as http:
            try:
                while True:
                    with storage_errors():
                        await asyncio.to_thread(self.look_for_dead)
                        await asyncio.to_thread(self.dispatch)
                    done += len(self._claimed)
                    self._start_claimed(http)
                    self._desk.start_claimed(http)
                    working = [*self._tasks.values(), *self._desk.tasks]
                    if working:
                        await asyncio.wait(working, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                    elif self._watch.undecided or self._desk.undecided:
                        await asyncio.sleep(HEARTBEAT_S)
                    else:
                        return done
            finally:
                await self._stop_all()

    def dispatch(self) -> None:
        """Queue what is due, and claim what may run now, as far as there is room."""
        queueing.queue_due(self._bridge.engine, now=self._bridge.clock.now())
        self._tasks = {run_id: task for run_id, task in self._tasks.items() if not task.done()}
        room = self._bridge.settings.runs_in_flight - len(self._tasks) - len(self._claimed)
        for run_id in run_queue.claimable(self._bridge.engine) if room > 0 else []:
            if room > 0 and run_queue.claim(self._bridge.engine, run_id, owner=self._owner):
                self._claimed.append(run_id)
                room -= 1
        self._desk.dispatch()

    def sign_on(self) -> None:
        """Tell the dashboard that a worker is there, and forget those that left long ago."""
        with write_session(self._bridge.engine) as session:
            session.merge(WorkerHeartbeat(name=self._owner, started_at=self._started_at, seen_at=utc_now()))
            session.exec(delete(WorkerHeartbeat).where(col(WorkerHeartbeat.seen_at) < utc_now() - timedelta(days=1)))

    def _sign_off(self) -> None:
        with write_session(self._bridge.engine) as session:
            session.exec(delete(WorkerHeartbeat).where(col(WorkerHeartbeat.name) == self._owner))

    def look_for_dead(self) -> None:
        """Make good the runs and associations whose process died."""
        self._watch.look()
        self._desk.look_for_dead()

    def tidy(self) -> None:
        """Remove what dead processes left behind, and a small step of the history that is no longer kept."""
        clear_scratch(self._bridge.settings.scratch, older_than_s=24 * 3600, now_s=time.time())
        retention.forget_old_runs(self._bridge)
        retention.remove_unnamed_files(self._bridge)
        actions.forget_old(self._bridge)

    def _start_claimed(self, http: httpx.AsyncClient) -> None:
        while self._claimed:
            run_id = self._claimed.pop()
            log.info("run starts run_id=%s", run_id)
            work = carry_out(self._bridge, run_id, owner=self._owner, http=http)
            self._tasks[run_id] = asyncio.create_task(work)

    async def _stop_all(self) -> None:
        await self._desk.stop()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        # A task that is cancelled before its first step cannot hand its run back by itself.
        for run_id in [*self._claimed, *self._tasks]:
            await asyncio.to_thread(hand_back, self._bridge, run_id, self._owner)
        self._claimed.clear()


class _Jobs:
    """The `schedule` loop: short jobs that never export by themselves. Each failure is logged, and the loop goes on."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._plan()

    def _plan(self) -> None:
        from schedule import Scheduler

        self._scheduler = Scheduler()
        every: Any = self._scheduler.every  # the library types it only in part
        every(1).seconds.do(self._guarded, self._worker.dispatch)
        every(2).seconds.do(self._guarded, self._worker.look_for_dead)
        every(10).seconds.do(self._guarded, self._worker.sign_on)
        every(10).minutes.do(self._guarded, self._worker.tidy)
        self._clocks = _clocks()
        self._scheduler.run_all()

    def run_pending(self) -> None:
        """Do the jobs that are due."""
        wall, steady = _clocks()
        if abs((wall - self._clocks[0]).total_seconds() - (steady - self._clocks[1])) > 2:
            self._plan()  # the clock was set: what was planned by the old one could be an hour away
            return
        self._clocks = (wall, steady)
        self._scheduler.run_pending()

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            with storage_errors():
                job()
        except CohortBridgeError as exc:
            log.warning("job failed job=%s reason=%s", job.__name__, exc)
        except Exception:
            log.exception("job failed job=%s", job.__name__)


def _clocks() -> tuple[datetime, float]:
    """The clock that the scheduler goes by, which daylight saving sets as people do, and one that nobody sets."""
    return datetime.now(), time.monotonic()  # noqa: DTZ005


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` on SIGTERM and SIGINT while inside, within the running loop."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def serve(bridge: Bridge) -> None:
    """Run a worker until SIGTERM or SIGINT."""

    async def main() -> None:
        stop = asyncio.Event()
        with stopped_by_signals(stop.set):
            await Worker(bridge).serve(stop)

    asyncio.run(main())


def once(bridge: Bridge) -> int:
    """Do all that is queued or due, and return how many runs that were."""

    async def main() -> int:
        task = asyncio.current_task()
        assert task is not None
        with stopped_by_signals(task.cancel):  # type: ignore[arg-type]
            return await Worker(bridge).once()

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        return 0  # asked to end: what was at work is back in the queue
