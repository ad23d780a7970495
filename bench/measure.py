"""Run a command as a whole process and measure it; the server's process and its controls."""

from __future__ import annotations

import json
import os
import shutil
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

from bench.server import PROJECT_ID, RECEIVER, SECRET, TOKEN, USERNAME

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
            env={**_plain_environment(), **environment},
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


def _plain_environment() -> dict[str, str]:
    own = ("COHORT_BRIDGE_", "MP_", "PYTHON", "HTTP", "http", "ALL_PROXY", "all_proxy")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


@dataclass(frozen=True)
class Server:
    """The bench's server, running."""

    url: str

    def ask(self, path: str) -> dict[str, Any]:
        """Ask one of the server's controls."""
        with urllib.request.urlopen(f"{self.url}/bench/{path}", timeout=60) as answer:
            return json.load(answer)


@contextmanager
def server(sizes: Sequence[int]) -> Generator[Server]:
    """Run the server while inside."""
    command = [sys.executable, "-m", "bench.server", *map(str, sizes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        try:
            assert process.stdout
            port = process.stdout.readline().strip()
            if not port:
                raise Failed("The bench's server did not start.")
            yield Server(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


@contextmanager
def homes(url: str) -> Generator[Home]:
    """Connect a home once, and give what makes fresh copies of it, all gone at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home = Home(Path(folder), url)
        project = ["--username", USERNAME, "--project-id", str(PROJECT_ID)]
        for connect in (["mixpanel", *project], ["apptimize", "--endpoint", url + RECEIVER]):
            run(["-m", "core", "connect", *connect], home.settings(home.template))
        yield home


@dataclass
class Home:
    """A connected home to copy: each run starts with what a new installation has, and with its whole query budget."""

    folder: Path
    url: str
    _made: int = 0

    @property
    def template(self) -> Path:
        """The home that was connected."""
        return self.folder / "connected"

    def settings(self, home: Path) -> dict[str, str]:
        """The environment that leads a process to a home."""
        return {
            "COHORT_BRIDGE_HOME": str(home),
            "COHORT_BRIDGE_MIXPANEL_URL": self.url,
            "COHORT_BRIDGE_MIXPANEL_SECRET": SECRET,
            "COHORT_BRIDGE_APPTIMIZE_TOKEN": TOKEN,
            "COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS": "1",
        }

    @contextmanager
    def fresh(self) -> Generator[dict[str, str]]:
        """Give the environment of a fresh copy, and remove the copy afterwards."""
        self._made += 1
        copy = self.folder / f"run-{self._made}"
        shutil.copytree(self.template, copy)
        try:
            yield self.settings(copy)
        finally:
            shutil.rmtree(copy)

    @contextmanager
    def empty(self) -> Generator[dict[str, str]]:
        """Give the environment in which mixpanel-headless finds the server, and nothing from before."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield {
                "MP_API_BASE_URL": self.url,
                "MP_USERNAME": USERNAME,
                "MP_SECRET": SECRET,
                "MP_PROJECT_ID": str(PROJECT_ID),
                "MP_REGION": "us",
                "MP_CONFIG_PATH": f"{folder}/config.toml",
                "MP_STORAGE_DIR": folder,
                "HOME": folder,
            }
