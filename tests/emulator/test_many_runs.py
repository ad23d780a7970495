"""Many runs of one worker: none takes more of the project's requests than it can use, and none waits for nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import event, update
from sqlmodel import col

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.clock import LeaseTimes
from core.connections.project import project_for
from core.leases.slots import RequestSlots
from core.syncs import one_time, recurring, runs
from core.worker import service
from data import connections, query_slots
from data.engine import write_session
from data.models import Run, Sync
from tests.stage.home import Home
from tests.stage.sandbox import EVERYONE, POWER, SPENDERS, TESTERS, TRIAL, Sandbox, wait_until

# Nothing that has to wait for the next heartbeat is done while a test lasts.
NO_HEARTBEAT = LeaseTimes(heartbeat_s=60.0)


def key_of_project(bridge: Bridge) -> str:
    return project_for(bridge, connections.list_side(bridge.engine, "mixpanel")[0]).key


@asynccontextmanager
async def a_worker(bridge: Bridge) -> AsyncGenerator[None]:
    """Have a worker work while inside."""
    stop = asyncio.Event()
    working = asyncio.create_task(service.Worker(bridge).serve(stop))
    try:
        yield
    finally:
        stop.set()
        await working


async def until_ended(bridge: Bridge, cohort: int) -> Run:
    """Return the run of a cohort once it has ended."""

    def get() -> Run:
        return next(run for run in runs.list_runs(bridge, LOCAL) if run.cohort_id == cohort)

    await asyncio.to_thread(wait_until, lambda: get().finished_at)
    return get()


@pytest.mark.parametrize(("page", "held"), [(0, 1), (1, 5)])
def test_a_run_has_one_slot_until_page_0_tells_that_more_follow(sandbox: Sandbox, home: Home, page: int, held: int):
    async def main(bridge: Bridge) -> int:
        async with a_worker(bridge):
            await asyncio.to_thread(sandbox.wait_for, "engage", page=page)
            return len(query_slots.list_held(bridge.engine, key_of_project(bridge)))

    sandbox.fault("slow", target="mixpanel", page=page, seconds=60)
    with home.bridge(page_size=100, lease_times=NO_HEARTBEAT) as bridge:
        one_time.start_export(bridge, LOCAL, POWER)
        assert asyncio.run(main(bridge)) == held


def test_a_run_that_waits_is_woken_as_soon_as_a_slot_is_handed_back_in_its_process(sandbox: Sandbox, home: Home):
    async def main(bridge: Bridge, taken: RequestSlots) -> Run:
        async with a_worker(bridge):
            await asyncio.to_thread(wait_until, lambda: taken.renew(grow=False) < query_slots.SLOTS)
            await asyncio.to_thread(taken.release)
            return await until_ended(bridge, POWER)

    with home.bridge(lease_times=NO_HEARTBEAT) as bridge:
        taken = RequestSlots(bridge, key_of_project(bridge))
        taken.take()
        one_time.start_export(bridge, LOCAL, POWER)
        run = asyncio.run(main(bridge, taken))

    assert run.status == "succeeded"


def test_a_small_cohort_is_read_beside_a_large_one_that_is_stuck_with_all_slots(sandbox: Sandbox, home: Home):
    async def main(bridge: Bridge) -> tuple[Run, Run]:
        one_time.start_export(bridge, LOCAL, EVERYONE)
        async with a_worker(bridge):
            await asyncio.to_thread(sandbox.wait_for, "engage", page=3)
            one_time.start_export(bridge, LOCAL, TESTERS)
            small = await until_ended(bridge, TESTERS)
            (large,) = [run for run in runs.list_runs(bridge, LOCAL) if run.cohort_id == EVERYONE]
            return small, large

    sandbox.fault("slow", target="mixpanel", page=3, seconds=60)
    with home.bridge(page_size=100) as bridge:
        small, large = asyncio.run(main(bridge))

    assert (small.status, large.status) == ("succeeded", "running")


def test_the_next_run_starts_as_soon_as_one_has_ended(sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service, "_TICK_S", 60.0)  # nothing that has to wait for the next look is done either

    async def main(bridge: Bridge) -> list[Run]:
        async with a_worker(bridge):
            return [await until_ended(bridge, cohort) for cohort in (TESTERS, SPENDERS, TRIAL)]

    with home.bridge(runs_in_flight=1) as bridge:
        for cohort in (TESTERS, SPENDERS, TRIAL):
            one_time.start_export(bridge, LOCAL, cohort)
        ended = asyncio.run(main(bridge))

    assert [run.status for run in ended] == ["succeeded"] * 3


# How a writer takes its place: in SQLite, and on PostgreSQL.
_OF_A_WRITER = ("BEGIN IMMEDIATE", "BEGIN ISOLATION LEVEL READ COMMITTED")


def count_statements(bridge: Bridge, cohorts: list[int]) -> Counter[str]:
    """Have a worker do the syncs of these cohorts, which are due, and count what the database is asked."""
    counted = Counter[str]()

    def count_statement(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        counted["statements"] += not statement.startswith(("BEGIN", *_OF_A_WRITER))
        counted["commits"] += statement.startswith(_OF_A_WRITER)

    with write_session(bridge.engine) as session:
        session.exec(update(Sync).where(col(Sync.cohort_id).in_(cohorts)).values(next_run_at=bridge.clock.now()))
    event.listen(bridge.engine, "before_cursor_execute", count_statement)
    try:
        assert asyncio.run(service.Worker(bridge).once()) == len(cohorts)
    finally:
        event.remove(bridge.engine, "before_cursor_execute", count_statement)
    return counted


def test_a_run_that_changes_nothing_asks_the_database_little(sandbox: Sandbox, home: Home):
    cohorts = [TESTERS, SPENDERS, TRIAL]
    with home.bridge(lease_times=NO_HEARTBEAT, runs_in_flight=2) as bridge:
        for cohort in cohorts:
            recurring.add_sync(bridge, LOCAL, cohort)
        count_statements(bridge, cohorts)

        # What is asked for two further runs, not what is asked by a worker that looks around. A run that has to wait,
        # as one may at any time, asks for more, but not each time.
        further = [count_statements(bridge, cohorts) - count_statements(bridge, cohorts[:1]) for _ in range(2)]

        assert {run.write for run in runs.list_runs(bridge, LOCAL)[:8]} == {"none"}
    assert min(each["statements"] for each in further) / 2 <= 38
    assert min(each["commits"] for each in further) / 2 <= 7
