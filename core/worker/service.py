"""The sidecar: does what is due or queued, beside the loop of short jobs that finds it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress

from core import installation
from core.alerts.ping import DeadMansPing
from core.alerts.retention import forget_old as forget_old_alerts
from core.alerts.sending import AlertSender, watch_senders
from core.alerts.watching import Watching
from core.associate import running
from core.associate.retention import forget_old as forget_old_associations
from core.backup.leftovers import remove_leftovers
from core.bridge import Bridge, storage_errors
from core.connections import service_accounts
from core.errors import CohortBridgeError, NewerVersion, OfAnotherInstallation
from core.leases import slots
from core.leases.forgetting import watch_forgetting
from core.leases.lease import new_lease_owner
from core.leases.watch import look_together
from core.signals import end_signals
from core.syncs import pauses, queueing, shared_receivers
from core.threads import bound_threads, leave_within, to_its_end
from core.vendors.certificates import load_trusted
from core.vendors.http import HttpClient, connect_http
from core.worker import retention
from core.worker.dispatch.choice import choose_dispatch
from core.worker.dispatch.port import Dispatch
from core.worker.jobs import Jobs, guarded
from core.worker.run_execution import watch_runs
from core.worker.run_tasks import RunTasks
from core.worker.upkeep import Upkeep
from data import workers
from data.members.duck import clear_scratch
from data.storage.port import hurried
from data.worker_names import called

log = logging.getLogger(__name__)

_TICK_S = 0.5
_SCRATCH_KEPT_S = 24 * 3600
_SIGNED_ON_FOR_S = 60.0
_ENGINE_ENDS_WITHIN_S = 5.0
# Less than services are given before they are killed: 30 s in the unit of systemd and in compose.yaml.
_ENDS_WITHIN_S = 20.0


class Worker:
    """Does what is queued or due, several runs side by side, until asked to stop."""

    def __init__(self, bridge: Bridge, name: str | None = None) -> None:
        bridge.storage.be_patient()  # nobody waits for what a worker does, but where it is `hurried`
        self._bridge = bridge
        self._name = name
        self._clock = bridge.clock
        self._lease_owner = new_lease_owner()
        self._started_at = self._clock.now()
        self._runs = RunTasks(bridge, self._lease_owner)
        self._associations = running.JobRunner(bridge, self._lease_owner)
        self._watching = Watching(bridge)
        self._upkeep = Upkeep(bridge)
        self._alerts, self._ping = AlertSender(bridge, self._lease_owner), DeadMansPing(bridge)
        self._watches = (
            watch_forgetting(bridge),
            watch_runs(bridge),
            self._associations.watch,
            watch_senders(bridge),
        )
        self._is_look_due = False
        self._signed_on_at_s: float | None = None
        self._ended_by: CohortBridgeError | None = None

    async def serve(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what is running then is handed back to the queue within seconds.

        Raises: OfAnotherInstallation, NewerVersion, when this process may not go on.
        """
        from core.api.server import ApiServer  # takes a while to import, and work that is done once needs none

        api, dispatch = ApiServer(self._bridge), choose_dispatch(self._bridge, self._runs)
        # In a thread from the first time on: what asks the process to end is heard meanwhile.
        jobs = await asyncio.to_thread(self._list_jobs, api.open, stop)
        async with self._connect() as http:
            # Beside the loop, like runs: an answer of Mixpanel's can take minutes.
            beside = [
                asyncio.create_task(service_accounts.watch(self._bridge, http)),
                asyncio.create_task(self._alerts.serve()),
            ]
            self._runs.http = http
            handing_out = asyncio.create_task(dispatch.serve())
            self._upkeep.start()
            try:
                while not stop.is_set() and self._ended_by is None:
                    await asyncio.to_thread(jobs.run_pending)
                    if self._is_signed_on():
                        self._ping.note_tick()
                    await self._take_next(dispatch)
                    self._runs.start_claimed()
                    self._associations.start_claimed(http)
                    await _wait_for_any(stop, self._runs.has_place, within_s=_TICK_S)
            finally:
                await asyncio.to_thread(api.close)
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, self._ping.stop(), return_exceptions=True)
                await asyncio.gather(self._stop_all(), asyncio.to_thread(self._upkeep.stop))
                await _end(handing_out)
                with suppress(CohortBridgeError), storage_errors():
                    await asyncio.to_thread(workers.sign_off, self._bridge.engine, self._lease_owner)
        self._require_place()

    def _list_jobs(self, open_api: Callable[[], object], stop: asyncio.Event) -> Jobs:
        """List what is done every so many seconds, and do all of it once."""
        return Jobs(
            [
                (2, self.look_whether_ours),
                (60, self.look_whether_storage_ours),
                (600, self.pause_shared),
                (600, self.pause_unplannable),
                (2, self.look_for_dead),
                (1, self.end_pauses),
                (1, self.queue_due),
                (10, self.sign_on),
                (30, self.look_for_alerts),
                (30, open_api),  # where another worker of this machine serves, take its place when it is gone
                (600, self.tidy),
            ],
            self._bridge.clock,
            is_ending=stop.is_set,
        )

    async def once(self) -> int:
        """Try all that is queued or due, and return how many runs that were. Waiting runs stay waiting.

        Runs that others hold are watched until they move, or are dead and recovered.
        """
        done = 0
        with storage_errors():
            await asyncio.to_thread(workers.note_visit, self._bridge.engine, now=self._clock.now())
        await asyncio.to_thread(self.pause_shared)
        await asyncio.to_thread(self.pause_unplannable)
        await asyncio.to_thread(self.end_pauses)
        async with self._connect() as http:
            self._runs.http = http
            try:
                while True:
                    with storage_errors():
                        await asyncio.to_thread(self.look_whether_ours)
                        self._require_place()
                        await asyncio.to_thread(self.look_for_dead)
                        await to_its_end(self.dispatch)
                    done += self._runs.claimed
                    self._runs.start_claimed()
                    self._associations.start_claimed(http)
                    working = [*self._runs.tasks, *self._associations.tasks]
                    if working:
                        await asyncio.wait(
                            working, timeout=self._bridge.lease_times.heartbeat_s, return_when=asyncio.FIRST_COMPLETED
                        )
                    elif any(watch.undecided for watch in self._watches):
                        await asyncio.sleep(self._bridge.lease_times.heartbeat_s)
                    else:
                        break
                await asyncio.to_thread(guarded, self.look_for_alerts)
                await self._alerts.send_all()
                self._ping.note_tick()
                await self._ping.wait()
                return done
            finally:
                await self._stop_all()

    def _connect(self) -> AbstractAsyncContextManager[HttpClient]:
        """Open the client of all runs; what is wrong with the certificates ends the worker, and not each run."""
        load_trusted()
        return connect_http(connections=slots.IN_FLIGHT * self._bridge.settings.runs_in_flight)

    def look_whether_ours(self) -> None:
        """Look whether this process may go on: with its key, and as the version that it is."""
        try:
            installation.require_still_own(self._bridge)
        except (OfAnotherInstallation, NewerVersion) as exc:
            self._ended_by = exc

    def look_whether_storage_ours(self) -> None:
        """Look whether the storage is that of the database: it may have answered nothing as this process started."""
        try:
            with hurried():  # what else is done at intervals waits for it
                installation.require_still_own_storage(self._bridge)
        except OfAnotherInstallation as exc:
            self._ended_by = exc

    def _require_place(self) -> None:
        if self._ended_by is not None:
            raise self._ended_by

    def dispatch(self) -> None:
        """Queue what is due, and claim what may run now, as far as there is room."""
        self.queue_due()
        self._runs.fill()

    def queue_due(self) -> None:
        """Queue what is due. Of all workers the one that looks first does it, once."""
        if self._ended_by is not None:
            return
        queueing.queue_due(self._bridge.engine, now=self._clock.now())
        self._runs.look_at_destinations()
        self._associations.dispatch()
        self._is_look_due = True

    async def _take_next(self, dispatch: Dispatch) -> None:
        """Take the next runs: every second, and when a run has ended."""
        if self._ended_by is not None or not (self._is_look_due or self._runs.has_place.is_set()):
            return
        self._is_look_due = False
        self._runs.has_place.clear()
        async with self._runs.choosing:
            await to_its_end(lambda: guarded(dispatch.take_next))

    def pause_shared(self) -> None:
        """Pause syncs that would overwrite each other's groups, before any of them is queued."""
        shared_receivers.pause_shared(self._bridge)

    def end_pauses(self) -> None:
        """Resume syncs that were paused until now, before what is due is queued."""
        pauses.end_pauses(self._bridge)

    def pause_unplannable(self) -> None:
        """Pause syncs of which it cannot be said any more when they are due."""
        pauses.pause_unplannable(self._bridge)

    def sign_on(self) -> None:
        """Show the dashboard that a worker is there, and forget those that left long ago."""
        self._bridge.find_storage_trouble()  # so that it is known, and logged once, whoever asks or not
        workers.sign_on(
            self._bridge.engine,
            self._lease_owner,
            started_at=self._started_at,
            now=self._clock.now(),
            clock_ahead_s=self._clock.find_ahead_s(),
            label=self._name,
        )
        if self._signed_on_at_s is None:
            log.info("worker works worker=%s", called(self._name, self._lease_owner))
        self._signed_on_at_s = self._clock.steady_s()

    def _is_signed_on(self) -> bool:
        """Whether a heartbeat was written lately: a worker that cannot is not shown as one that works."""
        at_s = self._signed_on_at_s
        return at_s is not None and self._clock.steady_s() - at_s < _SIGNED_ON_FOR_S

    def look_for_alerts(self) -> None:
        """Tell of what is late, low or about to end."""
        self._watching.look()

    def look_for_dead(self) -> None:
        """Recover the runs and associations whose process died, and what waits for one that forgot somebody."""
        look_together(self._bridge, self._watches)

    def tidy(self) -> None:
        """Remove what dead processes left behind, and a small step of the history that is no longer kept."""
        now_s = self._clock.host_now().timestamp()  # files are as old as this machine says
        clear_scratch(self._bridge.settings.scratch, older_than_s=_SCRATCH_KEPT_S, now_s=now_s)
        with hurried():  # what is due waits for it
            retention.forget_old_runs(self._bridge)
            retention.remove_set_aside(self._bridge)
            forget_old_associations(self._bridge)
        forget_old_alerts(self._bridge)
        remove_leftovers(self._bridge)

    async def _stop_all(self) -> None:
        self._bridge.storage.be_patient(False)  # who asks a worker to end waits for it
        # Beside each other: none waits for what another cannot record.
        await asyncio.gather(self._associations.stop(), self._alerts.stop(), self._runs.stop())
        for watch in self._watches:
            await asyncio.to_thread(guarded, watch.note)


async def _end(handing_out: asyncio.Task[None]) -> None:
    """End what hands out work. What it leaves behind is found by others, so that it may take no longer than that."""
    handing_out.cancel()
    await asyncio.wait([handing_out], timeout=_ENGINE_ENDS_WITHIN_S)


async def _wait_for_any(*events: asyncio.Event, within_s: float) -> None:
    """Return once one of the events is set, or after so long."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` on what ends a process while inside, within the running loop; under nohup SIGHUP does not.

    From then on the process has a bounded time to end.
    """
    loop = asyncio.get_running_loop()
    numbers = end_signals()

    def end() -> None:
        leave_within(_ENDS_WITHIN_S)
        stop()

    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def serve(bridge: Bridge, name: str | None = None) -> None:
    """Run a worker until SIGTERM, SIGINT or SIGHUP. The name is shown where workers are; others may have it too."""

    async def main() -> None:
        bound_threads()
        stop = asyncio.Event()
        with _stopped_by_signals(stop.set):
            await Worker(bridge, name).serve(stop)

    asyncio.run(main())


def once(bridge: Bridge) -> int:
    """Do all that is queued or due, and return how many runs that were."""

    async def main() -> int:
        bound_threads()
        task = asyncio.current_task()
        assert task is not None
        with _stopped_by_signals(task.cancel):  # type: ignore[arg-type]
            return await Worker(bridge).once()

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        return 0  # asked to end: what was running is back in the queue
