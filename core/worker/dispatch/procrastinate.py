"""Work handed out by Procrastinate, on the same PostgreSQL: a job for each run that waits, and workers that listen.

A job lasts as long as its run, so that its lock, the group, keeps the other runs of the group from being handed out.
Nothing rests on that: what a job may start is decided where the run is claimed. Every few seconds the table is looked
through for runs that waited and that no job led to, and every second while the engine cannot be reached.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from procrastinate import App, PsycopgConnector, __version__, exceptions
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager

from core.bridge import Bridge, storage_errors
from core.worker.jobs import guarded
from core.worker.run_tasks import RunTasks
from data import run_jobs

log = logging.getLogger(__name__)

# What no job led to is found by a look at the table: so often, once it waited for so long.
SWEEP_S = 10.0
_POLL_S = 1.0  # for jobs whose time has come, or whose lock has become free
_LOOK_AGAIN_S, _LOOKS = 0.25, 20  # while some places are taken, and no job that waits is for one that is free
_HEARTBEAT_S, _STALLED_S, _RESCUE = 10.0, 30.0, "*/10 * * * * *"
_JOBS_END_WITHIN_S = 2.0  # their runs go on
_ANSWERS_WITHIN_S = 5.0
_CONNECT_AGAIN_S, _OTHER_VERSION_S = 2.0, 60.0
_RESCUE_QUEUE = "rescue"
# The library's tables, with what looks a job up by the run it points to, or another one of its group: without that a
# fetch goes through all jobs that wait. The last part of the version is that of what we add.
TABLES = f"""{SchemaManager.get_schema()}
CREATE INDEX cohort_bridge_lock ON procrastinate_jobs (lock);
CREATE INDEX cohort_bridge_queueing_lock ON procrastinate_jobs (queueing_lock);
"""
VERSION = f"{__version__}.1"
# A fetch is to walk along the order of an index to the first job that it can have. A planner that has not counted the
# jobs yet, as in the first minute of many, would sort all that wait instead, for each of them.
_NOT_PLANNED_WITH = ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort")


class ProcrastinateDispatch:
    """Takes the jobs that there are places for, and looks through the table now and then."""

    def __init__(self, bridge: Bridge, runs: RunTasks) -> None:
        self._bridge = bridge
        self._runs = runs
        self._is_listening = False
        self._swept_at_s: float | None = None

    def take_next(self) -> None:
        now_s = self._bridge.clock.steady_s()
        if not self._is_listening:
            self._runs.fill()
        elif self._swept_at_s is None or now_s - self._swept_at_s >= SWEEP_S:
            self._swept_at_s = now_s
            self._runs.fill(waited_s=SWEEP_S)

    async def serve(self) -> None:
        while True:
            pause_s = _CONNECT_AGAIN_S
            try:
                if await asyncio.to_thread(self._install):
                    await self._listen()
                else:
                    pause_s = _OTHER_VERSION_S
            except Exception as exc:  # of the library, its pool, the driver: whatever it is, the table is looked at
                log.warning("engine lost reason=%s", exc)
            finally:
                self._is_listening = False
            await asyncio.sleep(pause_s)

    def _install(self) -> bool:
        with storage_errors():
            is_ours = run_jobs.install(self._bridge.engine, self._bridge.settings.home, tables=TABLES, version=VERSION)
        if not is_ours:
            log.warning("engine not used: its tables were made by a later version than %s", VERSION)
        return is_ours

    async def _listen(self) -> None:
        """Take jobs until the engine stops, or cannot go on."""
        places = self._bridge.settings.runs_in_flight
        connector = PsycopgConnector(
            kwargs=run_jobs.connect_arguments(self._bridge.engine),
            configure=use_its_schema,
            min_size=1,
            max_size=places + 2,
            timeout=10.0,
        )
        app = self._build_app(connector)
        async with app.open_async():
            self._is_listening = True
            await app.run_worker_async(
                concurrency=places + 1,  # one for the rescue
                delete_jobs="always",
                fetch_job_polling_interval=_POLL_S,
                shutdown_graceful_timeout=_JOBS_END_WITHIN_S,
                update_heartbeat_interval=_HEARTBEAT_S,
                stalled_worker_timeout=_STALLED_S,
                install_signal_handlers=False,
            )

    def _build_app(self, connector: PsycopgConnector) -> App:
        app = App(connector=connector)
        manager = app.job_manager = _JobsForPlaces(connector, self._runs)

        @app.task(name=run_jobs.TASK)
        async def do(run_id: object) -> None:
            if isinstance(run_id, int):
                await self._runs.do(run_id)

        @app.periodic(cron=_RESCUE)
        @app.task(name="cohort_bridge.rescue", queue=_RESCUE_QUEUE, queueing_lock=_RESCUE_QUEUE)
        async def rescue(timestamp: int) -> None:
            try:
                for job in await manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED_S):
                    await manager.retry_job(job)
            except exceptions.ConnectorException as exc:  # the next time is soon
                log.warning("stalled jobs not looked for reason=%s", exc)
                return
            await asyncio.to_thread(guarded, self.forget_ended_jobs)

        return app

    def forget_ended_jobs(self) -> None:
        """Remove the jobs that have ended and are still there."""
        run_jobs.forget_ended(self._bridge.engine)


async def use_its_schema(connection: Any) -> None:
    """Let a connection of the engine find its tables, and its jobs in their order."""
    await connection.execute(f"SET search_path TO {run_jobs.SCHEMA}")
    for way in _NOT_PLANNED_WITH:
        await connection.execute(f"SET enable_{way} TO off")
    if not connection.autocommit:
        await connection.commit()


class _JobsForPlaces(JobManager):
    """Fetches only what this worker has a place for, and gives it that place."""

    def __init__(self, connector: PsycopgConnector, runs: RunTasks) -> None:
        super().__init__(connector)
        self._runs = runs

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        for _ in range(_LOOKS):
            self._runs.has_place_for_jobs.clear()
            job, is_all_open = await self._fetch(worker_id)
            if job is not None or is_all_open or self._runs.is_ending:
                return job
            # A place may become free before the engine looks again by itself.
            try:
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self._runs.has_place_for_jobs.wait()
            except TimeoutError:
                continue
        return None

    async def _fetch(self, worker_id: int) -> tuple[Job | None, bool]:
        async with self._runs.choosing:
            if self._runs.is_ending:
                return None, False
            open_ones = self._runs.find_open()
            names = None if open_ones is None else [_RESCUE_QUEUE, *map(run_jobs.queue_name, open_ones)]
            async with asyncio.timeout(_ANSWERS_WITHIN_S):  # who looks through the table waits for this
                job = await super().fetch_job(names, worker_id)
            # One that is not as we make them leads to no run: it ends at once.
            if job is not None and job.task_name == run_jobs.TASK:
                run_id = job.task_kwargs.get("run_id")
                if isinstance(run_id, int):
                    self._runs.give_place(run_id, run_jobs.find_destination(job.queue))
            return job, open_ones is None

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        try:
            await super().finish_job(job, status, delete_job)
        except exceptions.ConnectorException as exc:
            # Dropped meanwhile, since its run has ended or was taken over; or it is found stalled, and rescued.
            log.info("job not ended job_id=%s reason=%s", job.id, exc)
