"""A run that a worker was told of as it ended is handed back, and not begun."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from core.bridge import Bridge
from core.worker.run_tasks import RunTasks
from data import leases, runs
from data.engine import write_session
from data.models import LeaseKind, Run, RunStatus


def test_a_run_that_is_claimed_while_the_worker_ends_waits_for_another(bridge: Bridge, group_with_runs: list[Run]):
    run_id = group_with_runs[0].id or 0
    tasks = RunTasks(bridge, "one")

    async def end_meanwhile() -> None:
        tasks.http = cast("Any", object())
        with write_session(bridge.engine) as session:  # the claim waits for this
            session.connection()
            doing = asyncio.create_task(tasks.do(run_id))
            await asyncio.sleep(0)  # it has begun
            await tasks.stop()
        await doing

    asyncio.run(end_meanwhile())

    run = runs.get(bridge.engine, run_id)
    assert run is not None
    assert run.status == RunStatus.QUEUED
    assert leases.list_held(bridge.engine, LeaseKind.RUN) == []
