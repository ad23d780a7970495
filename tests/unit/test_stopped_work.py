"""Work in DuckDB whose run is asked to stop: it ends at once, leaves nothing, and takes no file for damaged."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.threads import WorkerThread, in_stoppable_thread
from data.engine import StorageError
from data.members.collector import Collector
from data.members.duck import Stopped, Stopper, reused, stop_by
from data.members.files import replacing
from data.members.proof import Proof, check_proof
from data.members.snapshots import Snapshots

# Hours of work.
ENDLESS = "SELECT hash(i) AS h FROM range(10000000000000) t(i) WHERE hash(i) % 1000003 = 0 ORDER BY h"
MEMORY_MB = 62  # a size of this file's own: what other tests left idle has another


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=MEMORY_MB)


def cancelled_soon(call: Callable[[], object], began: threading.Event) -> float:
    """Cancel the task that waits for a call once that has begun; returns how many seconds its end took."""

    async def main() -> float:
        task = asyncio.create_task(in_stoppable_thread(call))
        await asyncio.to_thread(began.wait, 30)
        asked_s = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - asked_s

    return asyncio.run(main())


def test_a_query_is_interrupted_when_the_run_that_waits_for_it_is_asked_to_stop(snapshots: Snapshots):
    began, raised = threading.Event(), list[Exception]()

    def sort() -> None:
        try:
            with reused(snapshots.scratch, memory_mb=MEMORY_MB) as db, replacing(snapshots.path("sorted")) as part:
                began.set()
                db.execute(f"COPY ({ENDLESS}) TO '{part}' (FORMAT parquet)")
        except StorageError as exc:
            raised.append(exc)
            raise

    assert cancelled_soon(sort, began) < 5
    assert [type(exc) for exc in raised] == [Stopped]
    assert list(snapshots.folder.iterdir()) == []
    assert list(snapshots.scratch.iterdir()) == []


def test_work_of_many_queries_ends_with_the_one_that_was_interrupted(snapshots: Snapshots):
    began, asked = threading.Event(), list[int]()

    def ask_on() -> None:
        with reused(snapshots.scratch, memory_mb=MEMORY_MB) as db:
            for number in range(10**9):
                db.execute("SELECT sum(hash(i)) FROM range(20000) t(i)")
                asked.append(number)
                began.set()

    assert cancelled_soon(ask_on, began) < 5


def test_a_read_that_is_asked_to_stop_while_it_is_collected_gives_its_disk_back(snapshots: Snapshots):
    collectors, began = list[Collector](), threading.Event()

    def collect() -> None:
        with snapshots.collector() as collector:
            collectors.append(collector)
            began.set()
            for number in range(10**9):
                ids = [f"{number}-{row}" for row in range(5000)]
                collector.add(distinct_ids=ids, apptimize_ids=ids)

    assert cancelled_soon(collect, began) < 5
    assert list(snapshots.scratch.glob("read-*")) == []


def test_a_file_whose_check_is_stopped_is_not_taken_for_damaged(snapshots: Snapshots):
    with snapshots.collector() as collector:
        collector.add(distinct_ids=["u1"], apptimize_ids=["i_1"])
        collector.write(snapshots.path("whole"))
    stopper, raised = Stopper(), list[Exception]()
    stopper.stop()

    def check() -> None:
        stop_by(stopper)
        try:
            check_proof(snapshots, "whole", Proof(1))
        except StorageError as exc:
            raised.append(exc)

    thread = threading.Thread(target=check)
    thread.start()
    thread.join()

    assert [type(exc) for exc in raised] == [Stopped]
    assert snapshots.exists("whole")


def test_a_process_that_is_asked_to_end_ends_in_time_whatever_it_waits_for():
    hangs = (
        "import threading; from core.threads import leave_within; leave_within(0.1); "
        "lock = threading.Lock(); lock.acquire(); lock.acquire()"
    )

    ended = subprocess.run([sys.executable, "-c", hangs], capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout) == (0, "")
    assert "ends with work left" in ended.stderr


def test_a_task_that_the_thread_does_not_stop_with_may_be_cancelled(snapshots: Snapshots):
    """Pages that are still on their way are cancelled when the read begins again in the same thread."""
    began, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go_on.wait(30)

    async def main() -> int:
        thread = WorkerThread("read", stops_with=asyncio.current_task())
        page = asyncio.create_task(thread.run(wait))
        await asyncio.to_thread(began.wait, 30)
        page.cancel()
        with pytest.raises(asyncio.CancelledError):
            await page
        go_on.set()
        count = await thread.run(count_one)
        thread.shutdown()
        return count

    def count_one() -> int:
        with reused(snapshots.scratch, memory_mb=MEMORY_MB) as db:
            return (db.execute("SELECT 1").fetchone() or (0,))[0]

    assert asyncio.run(main()) == 1
