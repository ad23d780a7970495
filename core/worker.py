"""The sidecar: the `schedule` loop that dispatches what is due, and what carries a run out in any process."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from sqlmodel import col, delete

from core import associating, association, history, quota, recurring, service_accounts
from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, LeaseLost, NoQuerySlot, RunAlreadyActive, RunCancelled
from core.export import BEAT_S, Export, error_values
from core.http import connect_http
from core.lease import LeaseWatch
from core.reading import Progress
from data import runs
from data.engine import StorageError, writing
from data.models import Run, Status, WorkerBeat, utc_now
from data.snapshots import clear_scratch

log = logging.getLogger(__name__)

_TICK_S = 0.5


def new_owner() -> str:
    """Name one process's claims: unique, and telling where it runs."""
    return f"{socket.gethostname()[:24]}:{os.getpid()}:{secrets.token_hex(6)}"


async def carry_out(
    bridge: Bridge,
    run_id: int,
    *,
    owner: str,
    http: httpx.AsyncClient,
    watch: Callable[[Progress], None] | None = None,
) -> Run | None:
    """Do a claimed run for a worker. Returns it as recorded, None when it went back into the queue or was lost.

    A run without a query slot waits in the database; one whose process is asked to stop is handed back.
    """
    try:
        return await Export(bridge, run_id, owner=owner, http=http, watch=watch).run()
    except NoQuerySlot as exc:
        log.info("run waits run_id=%s until=%s", run_id, exc.next_at.isoformat())
        await asyncio.to_thread(_wait, bridge, run_id, owner, exc, keep=False)
    except LeaseLost as exc:
        log.warning("run lost run_id=%s reason=%s", run_id, exc)
    except CohortBridgeError as exc:
        # The end could not be recorded: the lease runs out, and the run is made good then.
        log.error("run not recorded run_id=%s code=%s reason=%s", run_id, exc.name, exc)  # noqa: TRY400
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.to_thread(_hand_back, bridge, run_id, owner))
        raise
    except Exception:
        log.exception("run failed unexpectedly run_id=%s", run_id)
        await asyncio.to_thread(_record_unexpected, bridge, run_id, owner)
    return None


def _hand_back(bridge: Bridge, run_id: int, owner: str) -> None:
    try:
        runs.hand_back(bridge.engine, run_id, owner=owner)
    except StorageError as exc:
        # Its lease runs out, and it is made good then.
        log.warning("run not handed back run_id=%s reason=%s", run_id, exc)


def _wait(bridge: Bridge, run_id: int, owner: str, exc: NoQuerySlot, *, keep: bool) -> None:
    with storage_errors():
        runs.wait(bridge.engine, run_id, owner=owner, until=exc.next_at, keep=keep)


def _record_unexpected(bridge: Bridge, run_id: int, owner: str) -> None:
    values = {
        "status": Status.FAILED,
        "finished_at": utc_now(),
        "error_code": "unexpected",
        "error_message": "The run stopped on an error that Cohort Bridge did not foresee.",
        "error_advice": "The worker's log has the details. The group may need a new export.",
    }
    try:
        runs.record(bridge.engine, run_id, owner=owner, values=values)
    except StorageError as exc:
        log.warning("run not recorded run_id=%s reason=%s", run_id, exc)


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
    mine = _Own(bridge, run_id, owner, None if patience_s is None else time.monotonic() + patience_s)
    async with connect_http() as http:
        try:
            while True:
                await _claim_here(mine)
                try:
                    return await Export(bridge, run_id, owner=owner, http=http, watch=watch).run()
                except NoQuerySlot as exc:
                    tell(f"{exc.message}")
                    await asyncio.to_thread(_wait, bridge, run_id, owner, exc, keep=True)
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
class _Own:
    """A run that its process queued for itself."""

    bridge: Bridge
    run_id: int
    owner: str
    deadline_s: float | None

    def fail(self, exc: CohortBridgeError) -> Run:
        status = Status.CANCELLED if isinstance(exc, RunCancelled) else Status.FAILED
        values = error_values(exc) | {"status": status, "finished_at": utc_now(), "waiting_until": None}
        with storage_errors():
            runs.record(self.bridge.engine, self.run_id, owner=self.owner, values=values)
            run = runs.get(self.bridge.engine, self.run_id)
        assert run is not None
        return run

    def beat(self) -> None:
        with storage_errors():
            ours, cancel = runs.beat(self.bridge.engine, self.run_id, owner=self.owner)
        if not ours:
            raise LeaseLost("The run was taken over by another process.")
        if cancel:
            raise RunCancelled("The run was cancelled.")


async def _claim_here(mine: _Own) -> None:
    """Claim the run. One that is in the way and moves is alive; one that does not is dead after a lease's time."""
    watch, first_beat = LeaseWatch(mine.bridge), None
    while not await asyncio.to_thread(runs.claim, mine.bridge.engine, mine.run_id, owner=mine.owner):
        run = await asyncio.to_thread(runs.get, mine.bridge.engine, mine.run_id)
        assert run is not None
        other = await asyncio.to_thread(runs.running, mine.bridge.engine, run.group_id)
        if other:
            first_beat = other.beat if first_beat is None else first_beat
            if other.beat != first_beat:
                raise RunAlreadyActive(f"Run {other.id} is writing the group {other.group_name} at this moment.")
        await asyncio.to_thread(mine.beat)
        await asyncio.to_thread(watch.look)
        await asyncio.sleep(BEAT_S)


async def _sit_out(mine: _Own, exc: NoQuerySlot) -> bool:
    """Wait until the slot opens; False when that is later than the patience lasts."""
    while utc_now() < exc.next_at:
        if mine.deadline_s is not None and time.monotonic() > mine.deadline_s:
            return False
        await asyncio.sleep(BEAT_S)
        await asyncio.to_thread(mine.beat)
    return True


class Worker:
    """Does what is queued or due, several runs side by side, until told to stop."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._owner = new_owner()
        self._started_at = utc_now()
        self._watch = LeaseWatch(bridge)
        self._claimed: list[int] = []
        self._tasks: dict[int, asyncio.Task[Run | None]] = {}
        self._desk = associating.Desk(bridge, self._owner)

    async def serve(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what is at work then is handed back to the queue within seconds."""
        jobs = _Jobs(self)
        async with connect_http(connections=quota.IN_FLIGHT * self._bridge.settings.runs_in_flight) as http:
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
        async with connect_http(connections=quota.IN_FLIGHT * self._bridge.settings.runs_in_flight) as http:
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
                        await asyncio.wait(working, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                    elif self._watch.undecided or self._desk.undecided:
                        await asyncio.sleep(BEAT_S)
                    else:
                        return done
            finally:
                await self._stop_all()

    def dispatch(self) -> None:
        """Queue what is due, and claim what may run now, as far as there is room."""
        recurring.queue_due(self._bridge.engine)
        self._tasks = {run_id: task for run_id, task in self._tasks.items() if not task.done()}
        room = self._bridge.settings.runs_in_flight - len(self._tasks) - len(self._claimed)
        for run_id in runs.claimable(self._bridge.engine) if room > 0 else []:
            if room > 0 and runs.claim(self._bridge.engine, run_id, owner=self._owner):
                self._claimed.append(run_id)
                room -= 1
        self._desk.dispatch()

    def sign_on(self) -> None:
        """Tell the dashboard that a worker is there, and forget those that left long ago."""
        with writing(self._bridge.engine) as session:
            session.merge(WorkerBeat(name=self._owner, started_at=self._started_at, seen_at=utc_now()))
            session.exec(delete(WorkerBeat).where(col(WorkerBeat.seen_at) < utc_now() - timedelta(days=1)))

    def _sign_off(self) -> None:
        with writing(self._bridge.engine) as session:
            session.exec(delete(WorkerBeat).where(col(WorkerBeat.name) == self._owner))

    def look_for_dead(self) -> None:
        """Make good the runs and associations whose process died."""
        self._watch.look()
        self._desk.look_for_dead()

    def tidy(self) -> None:
        """Remove what dead processes left behind, and a small step of the history that is no longer kept."""
        clear_scratch(self._bridge.settings.scratch, older_than_s=24 * 3600, now_s=time.time())
        history.forget_old_runs(self._bridge)
        history.remove_unnamed_files(self._bridge)
        association.forget_old(self._bridge)

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
            await asyncio.to_thread(_hand_back, self._bridge, run_id, self._owner)
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
