"""A worker as a process of its own, steady, and what a run in it takes: time, memory, processor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.homes import Home, read_time
from bench.measure import ROOT, Failed, plain_environment

_POLL_S = 0.1
_LONGEST_S, _LONGEST_END_S = 1800.0, 120.0
AT_ONCE = timedelta(0)
# Nothing that is not made due may come due while something is measured.
PARKED = timedelta(hours=12)


@dataclass(frozen=True)
class Worker:
    """A worker that is there and does nothing yet."""

    home: Home
    process: subprocess.Popen[bytes]

    @property
    def cpu_s(self) -> float:
        """The processor time that it has taken so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_mib(self) -> float:
        """The most memory that it has had so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def do(self, sync_ids: Sequence[int]) -> list[dict[str, Any]]:
        """Make recurring syncs due at once, and return their runs when all have ended. Raises Failed."""
        newest = self.home.newest_run()
        due_at = self.home.set_due(AT_ONCE, sync_ids)
        query = "SELECT * FROM run WHERE id > ? AND finished_at IS NOT NULL ORDER BY finished_at"
        runs = self.until(lambda: _all(self.home.ask(query, newest), len(sync_ids)), "the runs to end")
        for run in runs:
            if run["status"] != "succeeded":
                raise Failed(f"Run {run['id']} ended as {run['status']}: {run['error_message']}")
            run["wall_s"] = (read_time(run["finished_at"]) - read_time(run["started_at"])).total_seconds()
            run["since_due_s"] = (read_time(run["finished_at"]) - due_at).total_seconds()
        return runs

    def until(self, look: Any, what: str) -> Any:
        """Look again and again until there is something, and return it. Raises Failed."""
        waited_from_s = time.monotonic()
        while not (seen := look()):
            if self.process.poll() is not None or time.monotonic() - waited_from_s > _LONGEST_S:
                raise Failed(f"The worker has ended, or it took too long for {what}: {self._said()}")
            time.sleep(_POLL_S)
        return seen

    def end(self) -> tuple[float, int]:
        """Ask it to end; returns how many seconds it took, and with which status it ended."""
        asked_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            return_code = self.process.wait(timeout=_LONGEST_END_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"The worker was still there after {_LONGEST_END_S:.0f} s.") from None
        return time.monotonic() - asked_s, return_code

    def _said(self) -> str:
        return (self.home.path / "worker.log").read_text()[-2000:]


def _all(rows: list[dict[str, Any]], expected: int) -> list[dict[str, Any]]:
    return rows if len(rows) >= expected else []


@contextmanager
def worker(home: Home) -> Generator[Worker]:
    """Run a worker while inside; nothing is due yet."""
    home.set_due(PARKED)
    # A home that was copied may name a worker that was there before.
    home.ask("DELETE FROM worker_beat")
    command, environment = [sys.executable, "-m", "core", "worker"], {**plain_environment(), **home.environment}
    with (home.path / "worker.log").open("wb") as said:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=said, stderr=said)
    try:
        started = Worker(home, process)
        started.until(lambda: home.ask("SELECT name FROM worker_beat"), "the worker to start")
        yield started
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
