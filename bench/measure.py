"""Run a command as a whole process and measure it; the server's process and its controls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Taken:
    """What one process took: wall time from before its start to after its end, its peak memory, its processor time."""

    wall_s: float
    peak_mib: float
    cpu_s: float
    output: str


class Failed(Exception):
    """A measured process failed, or gave a wrong answer: its time means nothing."""


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> Taken:
    """Run Python with these arguments to its end.

    This process must stay small: until a child has started its own program the system counts our memory as its peak.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began_s = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=errors,
            env={**plain_environment(), **environment},
            cwd=ROOT,
        )
        _, status, used = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - began_s
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if child.returncode:
            raise Failed(f"{' '.join(arguments)} ended with {child.returncode}: {errors.read().decode()}")
        return Taken(wall_s, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime, output.read().decode())


def plain_environment() -> dict[str, str]:
    """Return the environment without what would change what is measured."""
    own = ("COHORT_BRIDGE_", "MP_", "PYTHON", "HTTP", "http", "ALL_PROXY", "all_proxy")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


@dataclass(frozen=True)
class Server:
    """The bench's server, running."""

    url: str

    def ask(self, control: str, **values: object) -> dict[str, Any]:
        """Ask one of the server's controls."""
        with urllib.request.urlopen(f"{self.url}/bench/{control}?{urlencode(values)}", timeout=300) as answer:
            return json.load(answer)


@contextmanager
def server(cohorts: Sequence[str]) -> Generator[Server]:
    """Run the server while inside, with cohorts as `bench.server.make_cohorts` takes them."""
    command = [sys.executable, "-m", "bench.server", *cohorts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        try:
            assert process.stdout
            port = process.stdout.readline().strip()
            if not port:
                raise Failed("The bench's server did not start.")
            yield Server(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
