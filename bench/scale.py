"""Measure how fast runs are handed out: `python -m bench.scale [--runs N] [--workers N ...] [--slots N] [--within S]`.

Workers are processes, with all of theirs but the work of a run (bench/scale_worker.py). PostgreSQL is a server of its
own, with its durability on. First so many runs are queued at once, each of a group of its own; then slots of recurring
syncs come due, spread evenly: as the sizes are, what 300 syncs of 15 minutes ask in an hour, in a minute.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlmodel import col, select

from bench.measure import ROOT, Failed, plain_environment
from core.bridge import Bridge, open_bridge
from core.settings import Settings
from data import run_jobs
from data.engine import read_session, write_session
from data.models import Connection, ConnectionKind, Group, Run, RunStatus, Sync, SyncKind, WorkerHeartbeat
from data.run_queue import RunRequest, new_run
from tests.postgres.cluster import find_programs, running

_DURABLE = ("fsync=on", "full_page_writes=on", "synchronous_commit=on", "autovacuum=on")
_WAYS = (("SQLite", "embedded"), ("PostgreSQL", "embedded"), ("PostgreSQL", "procrastinate"))
_DAY_MINUTES = 1440


def main() -> None:
    """Measure every way with every number of workers, and print the rows of the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--slots", type=int, default=1200)
    parser.add_argument("--within", type=float, default=60.0)
    sizes = parser.parse_args()
    with running(find_programs(), _DURABLE) as server:
        for number, (database, engine) in enumerate(_WAYS):
            for workers in sizes.workers:
                url = _make_database(server, f"scale_{number}_{workers}") if database == "PostgreSQL" else ""
                print(_measure(f"{database}, {engine}", engine, url, workers, sizes), flush=True)


def _measure(name: str, engine: str, url: str, workers: int, sizes: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as folder:
        made = Settings(home=Path(folder) / "home", database_url=url, _env_file=None)  # type: ignore[call-arg]
        bridge = open_bridge(made)
        try:
            sync_ids = _add_syncs(bridge, max(sizes.runs, sizes.slots))
            with _workers(bridge, engine, workers) as pids:
                _queue(bridge, sync_ids[: sizes.runs])
                used_s = _cpu_s(bridge, pids)
                rate, at_once = _handed_out(bridge, sizes.runs)
                used_s = [after - before for before, after in zip(used_s, _cpu_s(bridge, pids), strict=True)]
                delays = _slots(bridge, sync_ids[: sizes.slots], sizes.within)
        finally:
            bridge.engine.dispose()
    each_ms = [f"{1000 * each / sizes.runs:.1f} ms" for each in used_s]
    cells = [name, str(workers), f"{rate:,.0f}", *each_ms, *map(_seconds, at_once), *map(_seconds, delays)]
    cells.append(f"{os.getloadavg()[0]:.0f}")
    return f"| {' | '.join(cells)} |"


def _make_database(server: str, name: str) -> str:
    import psycopg
    from psycopg.sql import SQL, Identifier

    with psycopg.connect(server.format("postgres").replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    return server.format(name)


def _add_syncs(bridge: Bridge, number: int) -> list[int]:
    """Add a recurring sync, of a cohort and a group of its own each, that is not due today."""
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        sides = [
            Connection(created_at=now, side="mixpanel", kind=ConnectionKind.MIXPANEL, name="default", project_id=1),
            Connection(created_at=now, side="destination", kind=ConnectionKind.CSV, name="csv", folder="unused"),
        ]
        session.add_all(sides)
        session.flush()
        names = [{"cohort_id": each, "cohort_name": f"Cohort {each}"} for each in range(1, number + 1)]
        groups = [
            Group(
                created_at=now, destination_id=sides[1].id or 0, project_id=1, name=f"Group {each['cohort_id']}", **each
            )
            for each in names
        ]
        session.add_all(groups)
        session.flush()
        syncs = [
            Sync(
                created_at=now,
                kind=SyncKind.RECURRING,
                every_minutes=_DAY_MINUTES,
                next_run_at=now + timedelta(hours=20),
                mixpanel_id=sides[0].id or 0,
                group_id=group.id or 0,
                project_id=1,
                cohort_id=group.cohort_id,
            )
            for group in groups
        ]
        session.add_all(syncs)
    return [sync.id or 0 for sync in syncs]


def _queue(bridge: Bridge, sync_ids: Sequence[int]) -> None:
    """Queue a run of each at once, as a slot does."""
    with write_session(bridge.engine) as session:
        rows = session.exec(select(Sync, Group).where(Sync.group_id == Group.id, col(Sync.id).in_(sync_ids))).all()
        request = RunRequest("manual", "local")
        runs = [new_run(sync, group, request, destination="csv", now=bridge.clock.now()) for sync, group in rows]
        session.add_all(runs)
        session.flush()
        run_jobs.ring(session, [run.id for run in runs])


@contextmanager
def _workers(bridge: Bridge, engine: str, number: int) -> Generator[list[int]]:
    values = {"HOME": str(bridge.settings.home), "DATABASE_URL": bridge.settings.database_url, "DISPATCH": engine}
    environment = {**plain_environment(), **{f"COHORT_BRIDGE_{name}": value for name, value in values.items()}}
    environment |= {"COHORT_BRIDGE_METRICS_ADDRESS": "off", "COHORT_BRIDGE_LOG_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "bench.scale_worker"]
    started = [subprocess.Popen(command, env=environment, cwd=ROOT) for _ in range(number)]
    try:
        _until(lambda: _count(bridge, select(func.count()).select_from(WorkerHeartbeat)) >= number, 60)
        time.sleep(3)  # by then each listens, and has nothing to do
        yield [each.pid for each in started]
    finally:
        for each in started:
            each.send_signal(signal.SIGTERM)
        for each in started:
            each.wait(30)


def _cpu_s(bridge: Bridge, workers: Sequence[int]) -> tuple[float, float]:
    """Return the CPU time that the workers have used, and the server."""
    used = {int(stat.parent.name): _read_stat(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
    of_server = 0.0
    if bridge.engine.dialect.name == "postgresql":
        with read_session(bridge.engine) as session:
            server = used[session.exec(select(func.pg_backend_pid())).one()].parent
        of_server = sum(each.own_s for each in used.values() if each.parent == server) + used[server].with_ended_s
    return sum(used[pid].own_s for pid in workers), of_server


class _Stat(NamedTuple):
    parent: int
    own_s: float
    with_ended_s: float  # what its children used that have ended is in it


def _read_stat(stat: Path) -> _Stat:
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return _Stat(0, 0.0, 0.0)  # it has ended since
    user, system, childrens_user, childrens_system = (int(each) / os.sysconf("SC_CLK_TCK") for each in fields[11:15])
    return _Stat(int(fields[1]), user + system, user + system + childrens_user + childrens_system)


def _handed_out(bridge: Bridge, number: int) -> tuple[float, list[float]]:
    """Return how many runs a second were handed out, and how long they had waited, once all have ended."""
    _until(lambda: _ended(bridge, "manual") >= number, 1800)
    with read_session(bridge.engine) as session:
        rows = session.exec(select(Run.queued_at, Run.started_at).where(Run.trigger == "manual")).all()
    begins = sorted(started for _, started in rows if started is not None)
    rate = (len(begins) - 1) / max(0.001, (begins[-1] - begins[0]).total_seconds())
    return rate, _percentiles([(started - queued).total_seconds() for queued, started in rows if started])


def _slots(bridge: Bridge, sync_ids: Sequence[int], within_s: float) -> list[float]:
    """Return by how much runs of slots began after their time, of slots that come one after the other."""
    first = bridge.clock.now() + timedelta(seconds=5)
    due = {number: first + timedelta(seconds=within_s * at / len(sync_ids)) for at, number in enumerate(sync_ids)}
    with write_session(bridge.engine) as session:
        for sync in session.exec(select(Sync).where(col(Sync.id).in_(sync_ids))).all():
            sync.next_run_at = due[sync.id or 0]
    _until(lambda: _ended(bridge, "schedule") >= len(sync_ids), within_s + 600)
    with read_session(bridge.engine) as session:
        rows = session.exec(select(Run.sync_id, Run.started_at).where(Run.trigger == "schedule")).all()
    return _percentiles([(started - due[number]).total_seconds() for number, started in rows if started])


def _ended(bridge: Bridge, trigger: str) -> int:
    ended = (Run.trigger == trigger, Run.status == RunStatus.SUCCEEDED)
    return _count(bridge, select(func.count()).select_from(Run).where(*ended))


def _count(bridge: Bridge, query: Any) -> int:
    with read_session(bridge.engine) as session:
        return session.exec(query).one()


def _until(holds: Any, within_s: float) -> None:
    until_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until_s:
            raise Failed("The workers took too long.")
        time.sleep(0.5)


def _percentiles(seconds: list[float]) -> list[float]:
    ordered = sorted(seconds)
    return [ordered[int(len(ordered) * share)] for share in (0.5, 0.99)]


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


if __name__ == "__main__":
    os.environ.setdefault("COHORT_BRIDGE_LOG_LEVEL", "WARNING")
    main()
