"""Work handed out by Procrastinate: within a second, and whatever becomes of a job, the run's own row decides."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from sqlalchemy import text

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.syncs import one_time, runs
from core.worker.dispatch.procrastinate import TABLES, VERSION, use_its_schema
from data import run_jobs
from data.engine import as_one, read_session, write_session
from data.models import Run, RunStatus
from tests.faults import process
from tests.stage.home import Home, copy_home
from tests.stage.sandbox import POWER, SPENDERS, TRIAL, Sandbox, wait_until

JOBS = f"{run_jobs.SCHEMA}.procrastinate_jobs"
LISTENERS = f"SELECT id FROM {run_jobs.SCHEMA}.procrastinate_workers"


@pytest.fixture
def home(connected_template: Path, tmp_path: Path) -> Home:
    return copy_home(connected_template, tmp_path / "home")


@pytest.fixture
def bridge(home: Home) -> Generator[Bridge]:
    with home.bridge() as opened:
        yield opened


def ask(bridge: Bridge, query: str, **values: Any) -> list[Any]:
    with read_session(bridge.engine) as session:
        return list(session.connection().execute(text(query), values).all())


def change(bridge: Bridge, statement: str, **values: Any) -> None:
    with write_session(bridge.engine) as session:
        session.connection().exec_driver_sql(run_jobs.WITH_ITS_SCHEMA)
        session.connection().execute(text(statement), values)


def listening(bridge: Bridge) -> int:
    there = ask(bridge, "SELECT to_regclass(:name)", name=f"{run_jobs.SCHEMA}.procrastinate_workers")[0][0]
    return len(ask(bridge, LISTENERS)) if there else 0


@contextmanager
def ended() -> Generator[list[Any]]:
    """End the workers that were put into a list, also those that are frozen by then."""
    started = list[Any]()
    try:
        yield started
    finally:
        for each in started:
            if each.exitcode is None:
                os.kill(each.pid, signal.SIGCONT)
                process.stop(each)


@contextmanager
def workers(home: Home, bridge: Bridge, number: int = 1) -> Generator[list[Any]]:
    """Have so many workers listen while inside, in processes."""
    with ended() as started:
        started += [process.start(home, "worker", lease_s=None) for _ in range(number)]
        wait_until(lambda: listening(bridge) == number)
        yield started


def start_export(bridge: Bridge, cohort: int) -> int:
    run = one_time.start_export(bridge, LOCAL, cohort)
    assert run.id is not None
    return run.id


def until_ended(bridge: Bridge, run_id: int, *, within_s: float = 20.0) -> Run:
    wait_until(lambda: runs.get_run(bridge, LOCAL, run_id).finished_at, within_s=within_s)
    return runs.get_run(bridge, LOCAL, run_id)


def waited_s(run: Run) -> float:
    assert run.started_at is not None
    return (run.started_at - run.queued_at).total_seconds()


def test_runs_that_another_process_queues_start_within_a_second_and_leave_no_job(
    sandbox: Sandbox, home: Home, bridge: Bridge
):
    with workers(home, bridge):
        ended = [until_ended(bridge, start_export(bridge, cohort)) for cohort in (POWER, TRIAL, SPENDERS)]

        wait_until(lambda: ask(bridge, f"SELECT * FROM {JOBS}") == [])

    assert [run.status for run in ended] == [RunStatus.SUCCEEDED] * 3
    assert max(map(waited_s, ended)) < 1


def test_what_was_queued_before_there_was_an_engine_is_handed_out(sandbox: Sandbox, home: Home, bridge: Bridge):
    queued = [start_export(bridge, cohort) for cohort in (POWER, TRIAL)]

    with workers(home, bridge):
        assert {until_ended(bridge, run_id).status for run_id in queued} == {RunStatus.SUCCEEDED}


def test_a_run_is_rung_for_in_the_transaction_that_queues_it(sandbox: Sandbox, home: Home, bridge: Bridge):
    with workers(home, bridge) as (worker,):
        os.kill(worker.pid, signal.SIGSTOP)
        with suppress(TimeoutError), as_one(bridge.engine):
            start_export(bridge, POWER)
            raise TimeoutError
        assert ask(bridge, f"SELECT * FROM {JOBS} WHERE task_name = '{run_jobs.TASK}'") == []

        run_id = start_export(bridge, POWER)
        group_id = runs.get_run(bridge, LOCAL, run_id).group_id

        rows = ask(bridge, f"SELECT lock, queueing_lock, args, status FROM {JOBS} WHERE task_name = '{run_jobs.TASK}'")
        assert [tuple(row) for row in rows] == [(f"group-{group_id}", f"run-{run_id}", {"run_id": run_id}, "todo")]


def test_a_run_whose_job_was_lost_is_found_in_the_table(sandbox: Sandbox, home: Home, bridge: Bridge):
    with workers(home, bridge):
        with as_one(bridge.engine):
            run_id = start_export(bridge, POWER)
            with write_session(bridge.engine) as session:
                run_jobs.drop(session, run_id)

        run = until_ended(bridge, run_id, within_s=30)

    assert run.status == RunStatus.SUCCEEDED
    assert 9 < waited_s(run) < 25


def defer(bridge: Bridge, run_id: int, name: str) -> None:
    """Have the engine hand out a run once more, under no lock."""
    change(
        bridge,
        f"INSERT INTO {JOBS} (queue_name, task_name, queueing_lock, args) "
        f"VALUES ('previews', '{run_jobs.TASK}', :name, jsonb_build_object('run_id', CAST(:run_id AS bigint)))",
        name=name,
        run_id=run_id,
    )


def test_a_run_that_is_handed_out_again_and_again_is_done_once(sandbox: Sandbox, home: Home, bridge: Bridge):
    sandbox.fault("slow", target="apptimize", page=1, seconds=2)
    with workers(home, bridge, 2):
        run_id = start_export(bridge, POWER)
        sandbox.wait_for("cohort-sync", page=1)
        for number in range(5):
            defer(bridge, run_id, f"again-{number}")
        run = until_ended(bridge, run_id)
        defer(bridge, run_id, "late")
        defer(bridge, run_id + 1000, "of no run")
        wait_until(lambda: ask(bridge, f"SELECT * FROM {JOBS}") == [])

    assert run.status == RunStatus.SUCCEEDED
    assert len(runs.list_runs(bridge, LOCAL)) == 1
    assert [message["page"] for message in sandbox.messages()].count(1) == 1


def test_runs_of_one_group_that_wait_are_done_one_after_the_other(sandbox: Sandbox, home: Home, bridge: Bridge):
    queued = [start_export(bridge, POWER)]
    with write_session(bridge.engine) as session:
        first = session.get_one(Run, queued[0])
        again = [Run(**first.model_dump(exclude={"id"})) for _ in range(3)]
        session.add_all(again)
        session.flush()
        queued += [run.id or 0 for run in again]
        run_jobs.ring(session, queued)

    with workers(home, bridge, 2):
        ended = [until_ended(bridge, run_id) for run_id in queued]

    assert {run.status for run in ended} == {RunStatus.SUCCEEDED}
    times = sorted((run.started_at, run.finished_at) for run in ended)  # type: ignore[type-var]
    assert all(before[1] <= after[0] for before, after in zip(times, times[1:], strict=False))  # type: ignore[operator]


def test_a_worker_whose_connections_are_cut_continues(sandbox: Sandbox, home: Home, bridge: Bridge):
    with workers(home, bridge):
        change(
            bridge,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        runs_after = [until_ended(bridge, start_export(bridge, POWER)) for _ in range(2)]
        # The same one, or, if it was asking for work just then, one that began to listen again.
        assert listening(bridge) == 1

    assert [run.status for run in runs_after] == [RunStatus.SUCCEEDED] * 2
    assert waited_s(runs_after[1]) < 1  # it is told of runs as before


def test_a_worker_that_is_told_to_end_hands_its_run_to_another(sandbox: Sandbox, home: Home, bridge: Bridge):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)
    with workers(home, bridge) as (first,):
        run_id = start_export(bridge, POWER)
        sandbox.wait_for("engage", page=1)
        sandbox.clear_faults()
        assert process.stop(first) < 10
        assert runs.get_run(bridge, LOCAL, run_id).status == RunStatus.QUEUED
        with workers(home, bridge):
            run = until_ended(bridge, run_id)

    assert run.status == RunStatus.SUCCEEDED


@pytest.mark.parametrize(("engine", "waits_s"), [("procrastinate", 1.5), ("embedded", 2.5)])
def test_the_run_of_a_worker_that_was_killed_on_another_machine_is_at_work_again_within_40_seconds(
    sandbox: Sandbox, home: Home, bridge: Bridge, engine: str, waits_s: float
):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=60)
    with two_machines(home, bridge, engine) as (start, first):
        run_id = start_export(bridge, POWER)
        sandbox.wait_for("engage", page=1)
        sandbox.clear_faults()
        start("two")
        killed_at = bridge.clock.now()
        first.kill()
        first.join()
        killed = until_ended(bridge, run_id, within_s=60)
        again = until_ended(bridge, runs.list_runs(bridge, LOCAL)[0].id or 0)

    assert killed.status == RunStatus.INTERRUPTED
    assert again.status == RunStatus.SUCCEEDED
    assert again.started_at is not None
    assert 25 < (again.started_at - killed_at).total_seconds() < 40
    assert waited_s(again) < waits_s  # its job is not kept waiting by that of the run that died


@contextmanager
def two_machines(
    home: Home, bridge: Bridge, engine: str, *, lease_s: float | None = None
) -> Generator[tuple[Callable[[str], None], Any]]:
    """Have a worker of one machine while inside, and what starts that of another, by its name."""
    is_there = listening if engine == "procrastinate" else signed_on
    with ended() as started:

        def start(machine: str) -> None:
            env = {"COHORT_BRIDGE_DISPATCH": engine}
            started.append(process.start(home, "worker", machine=machine, env=env, lease_s=lease_s))
            wait_until(lambda: is_there(bridge) == len(started))

        start("one")
        yield start, started[0]


def signed_on(bridge: Bridge) -> int:
    return ask(bridge, "SELECT count(*) FROM worker_beat")[0][0]


@pytest.mark.parametrize(("engine", "frozen_in"), [("procrastinate", "cohort-sync"), ("embedded", "engage")])
def test_a_worker_that_was_frozen_and_wakes_beside_its_successor_writes_nothing(
    sandbox: Sandbox, home: Home, bridge: Bridge, engine: str, frozen_in: str
):
    target = {"cohort-sync": "apptimize", "engage": "mixpanel"}[frozen_in]
    sandbox.fault("slow", target=target, page=1, seconds=3)
    with two_machines(home, bridge, engine, lease_s=6) as (start, first):
        run_id = start_export(bridge, POWER)
        sandbox.wait_for(frozen_in, page=1)
        os.kill(first.pid, signal.SIGSTOP)
        sandbox.clear_faults()
        start("two")
        until_ended(bridge, run_id)
        wait_until(lambda: not any(run.finished_at is None for run in runs.list_runs(bridge, LOCAL)), within_s=30)
        before, messages = kept(bridge), len(sandbox.messages())

        os.kill(first.pid, signal.SIGCONT)
        log = Path(f"{home.path}.log")
        wait_until(lambda: f"run lost run_id={run_id}" in log.read_text(), within_s=20)

        assert (kept(bridge), len(sandbox.messages())) == (before, messages)
    assert [run.status for run in runs.list_runs(bridge, LOCAL)] == [RunStatus.SUCCEEDED, RunStatus.INTERRUPTED]


def kept(bridge: Bridge) -> list[Any]:
    """Return what a run may write."""
    tables = ("run", "run_log", "group_at_destination", "sync")
    return [sorted(map(str, ask(bridge, f"SELECT * FROM {table}"))) for table in tables]


def put_job(bridge: Bridge, queue: str, arguments: dict[str, Any]) -> None:
    """Put a job of ours there as we never make one."""
    values = f"(:queue, '{run_jobs.TASK}', CAST(:args AS jsonb))"
    statement = f"INSERT INTO {JOBS} (queue_name, task_name, args) VALUES {values}"
    change(bridge, statement, queue=queue, args=json.dumps(arguments))


STRANGE = (
    ("destination-x", {}),
    ("of nobody", {"run_id": "x"}),
    ("previews", {"run_id": 10**30}),
    ("", {"run_id": None}),
)


def test_jobs_that_a_stranger_put_there_keep_no_run_waiting_and_are_removed(
    sandbox: Sandbox, home: Home, bridge: Bridge
):
    with workers(home, bridge):
        (listener,) = ask(bridge, LISTENERS)
        for queue, arguments in STRANGE:
            put_job(bridge, queue, arguments)

        run = until_ended(bridge, start_export(bridge, POWER))

        wait_until(lambda: ask(bridge, f"SELECT * FROM {JOBS}") == [])
        assert ask(bridge, LISTENERS) == [listener]
    assert run.status == RunStatus.SUCCEEDED
    assert waited_s(run) < 2


def test_what_is_told_by_a_stranger_costs_seconds(sandbox: Sandbox, home: Home, bridge: Bridge):
    with workers(home, bridge):
        for told in ("no JSON", "{}", '{"type": "abort_job_requested", "job_id": 1}', "[]"):
            change(bridge, "SELECT pg_notify('procrastinate_any_queue_v1', :told)", told=told)

        run = until_ended(bridge, start_export(bridge, POWER))

    assert run.status == RunStatus.SUCCEEDED
    assert waited_s(run) < 5


def test_jobs_of_ended_runs_are_removed_beside_those_of_nothing(sandbox: Sandbox, home: Home, bridge: Bridge):
    with workers(home, bridge) as (worker,):
        os.kill(worker.pid, signal.SIGSTOP)
        start_export(bridge, POWER)
        for arguments in ({"run_id": 1000}, {"run_id": "x"}, {}):
            put_job(bridge, "q", arguments)

        with write_session(bridge.engine) as session:  # as a process that was frozen: it is not waited for
            session.connection()
            assert run_jobs.forget_ended(bridge.engine) == 3


def set_version(bridge: Bridge, version: str) -> None:
    """Have the engine's tables be of another version, with one that this version does not have."""
    change(bridge, f"COMMENT ON SCHEMA {run_jobs.SCHEMA} IS '{version}'")
    change(bridge, f"CREATE TABLE {OF_ANOTHER_VERSION} ()")


def find_version(bridge: Bridge) -> tuple[str, bool]:
    query = "SELECT obj_description(to_regnamespace(:name), 'pg_namespace'), to_regclass(:other) IS NOT NULL"
    return tuple(ask(bridge, query, name=run_jobs.SCHEMA, other=OF_ANOTHER_VERSION)[0])


OF_ANOTHER_VERSION = f"{run_jobs.SCHEMA}.of_another_version"


def install(home: Home, bridge: Bridge) -> bool:
    return run_jobs.install(bridge.engine, home.path, tables=TABLES, version=VERSION)


def test_tables_of_an_earlier_version_are_made_again_with_a_job_for_each_run_that_waits(
    sandbox: Sandbox, home: Home, bridge: Bridge
):
    assert install(home, bridge)
    set_version(bridge, "3.9.12")
    queued = [start_export(bridge, cohort) for cohort in (POWER, TRIAL)]
    change(bridge, f"DELETE FROM {JOBS}")

    assert install(home, bridge)

    assert find_version(bridge) == (VERSION, False)
    assert [row[0] for row in ask(bridge, f"SELECT args FROM {JOBS} ORDER BY id")] == [
        {"run_id": each} for each in queued
    ]


def test_tables_of_a_later_version_stay_as_they_are_and_runs_are_found_in_the_table(
    sandbox: Sandbox, home: Home, bridge: Bridge
):
    assert install(home, bridge)
    set_version(bridge, "3.100.0")

    assert not install(home, bridge)
    worker = process.start(home, "worker", lease_s=None)
    try:
        run = until_ended(bridge, start_export(bridge, POWER))
    finally:
        process.stop(worker)

    assert run.status == RunStatus.SUCCEEDED
    assert find_version(bridge) == ("3.100.0", True)
    assert "engine not used" in Path(f"{home.path}.log").read_text()


def test_a_job_is_found_without_a_look_at_all_that_wait(sandbox: Sandbox, home: Home, bridge: Bridge):
    assert install(home, bridge)
    many = "SELECT 'destination-1', 'any', 'group-' || number FROM generate_series(1, 300) AS number"
    change(bridge, f"INSERT INTO {JOBS} (queue_name, task_name, lock) {many}")

    looked_at = asyncio.run(fetch_and_count(bridge))

    assert looked_at < 20


async def fetch_and_count(bridge: Bridge) -> int:
    """Fetch a job as a worker does, and return how many rows of jobs were read for it."""
    arguments = run_jobs.connect_arguments(bridge.engine)
    async with await AsyncConnection.connect(**arguments, autocommit=True) as connection:
        await use_its_schema(connection)
        async with connection.transaction():
            await connection.execute("SELECT id FROM procrastinate_fetch_job_v2(ARRAY['destination-1'], NULL)")
            counted = await connection.execute(
                "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'procrastinate_jobs'"
            )
            row = await counted.fetchone()
    assert row
    return int(row[0])
