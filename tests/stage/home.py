"""Homes of Cohort Bridge that are connected to the sandbox: commands as processes, actions in this one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.access.roles import LOCAL
from core.bridge import Bridge, open_bridge
from core.clock import SYSTEM_CLOCK, Clock, LeaseTimes
from core.connections.destinations import connect_endpoint
from core.connections.mixpanel_connection import MixpanelForm, connect_mixpanel
from core.leases import lease
from core.sandbox import people
from core.settings import Settings
from core.syncs import groups, one_time, runs
from core.worker import inline_run
from data.models import Group, Run, RunFilter
from tests.stage import databases
from tests.stage.fork_server import QUICK_HEARTBEAT, ForkServer
from tests.stage.processes import ROOT, clean_environment
from tests.stage.sandbox import Sandbox
from tests.stage.seeds import PAGE_SIZE

RETRY_OVER_S = 0.05
PAGES = {"COHORT_BRIDGE_PAGE_SIZE": PAGE_SIZE}

# The one process that forks commands, while `forked_commands` lasts.
FORK_SERVERS: list[ForkServer] = []

PRACTICE = MixpanelForm(
    username=people.ADMIN_USERNAME, secret=SecretStr(people.ADMIN_SECRET), project_id=people.PROJECT_ID
)


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output; anything beside it is an error."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Running:
    """A command that goes on beside the test, in a process that was forked for it."""

    pid: int
    out: Path
    err: Path

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def interrupt(self) -> None:
        os.kill(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait(within_s=30) == -signal.SIGKILL

    def wait(self, *, within_s: float) -> int:
        """Return its exit status; it is killed when it takes too long."""
        return FORK_SERVERS[0].wait(self.pid, within_s=within_s)


@dataclass
class Home:
    """A home of Cohort Bridge: its commands as real processes, its actions in this one."""

    path: Path
    env: dict[str, str] = field(default_factory=dict[str, str])
    said: list[str] = field(default_factory=list[str])  # all that commands printed here

    def run(self, *arguments: str, env: dict[str, str] | None = None, within_s: float = 40.0) -> Done:
        """Run a command to its end, in a process that is forked for it."""
        return self.run_all(arguments, env=env, within_s=within_s)[0]

    def run_all(
        self, *commands: tuple[str, ...], env: dict[str, str] | None = None, within_s: float = 40.0
    ) -> list[Done]:
        """Run commands side by side."""
        folder = self.path.parent / "said" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        files = [(folder / f"{number}.out", folder / f"{number}.err") for number in range(len(commands))]
        forked = [
            FORK_SERVERS[0].start(arguments, env=self._environment(env), folder=self.path.parent, out=out, err=err)
            for arguments, (out, err) in zip(commands, files, strict=True)
        ]
        codes = [FORK_SERVERS[0].wait(pid, within_s=within_s) for pid in forked]
        return [
            self._done(code, out.read_text(), err.read_text()) for code, (out, err) in zip(codes, files, strict=True)
        ]

    def begin(self, *arguments: str, env: dict[str, str] | None = None, most_bytes: int | None = None) -> Running:
        """Start a command as with `start`, forked: for tests of what it does, and not of how it starts or ends.

        With `most_bytes` no file that it writes may grow beyond that. What it prints is kept beside the home.
        """
        folder = self.path.parent / "said" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        out, err = folder / "out", folder / "err"
        out.touch()
        err.touch()
        pid = FORK_SERVERS[0].start(
            arguments,
            env=self._environment(env),
            folder=self.path.parent,
            out=out,
            err=err,
            be="service",
            most_bytes=most_bytes,
        )
        return Running(pid, out, err)

    def start(self, *arguments: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start `python -m core`, away from the repository, so that no `.env` of a developer is read."""
        return subprocess.Popen(
            [sys.executable, "-m", "core", *arguments],
            env=self._environment(env),
            cwd=self.path.parent,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
            text=True,
        )

    def finish(self, process: subprocess.Popen[str] | Running, *, within_s: float = 40.0) -> Done:
        """Wait for the end of what was started."""
        if isinstance(process, Running):
            code = process.wait(within_s=within_s)
            return self._done(code, process.out.read_text(), process.err.read_text())
        try:
            out, err = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{process.args} did not end within {within_s:.0f} s: {err}") from None
        return self._done(process.returncode, out, err)

    def _environment(self, env: dict[str, str] | None) -> dict[str, str]:
        own = clean_environment()
        own |= {"PYTHONPATH": str(ROOT), "COHORT_BRIDGE_HOME": str(self.path), "COLUMNS": "200"}
        own |= databases.environment(self.path)
        own |= {"COHORT_BRIDGE_RETRY_OVER_S": str(RETRY_OVER_S), **PAGES, **self.env, **(env or {})}
        return {name: value for name, value in own.items() if value}

    def _done(self, code: int, out: str, err: str) -> Done:
        self.said += [out, err]
        assert "Traceback" not in out + err, err
        return Done(code, out, err)

    @contextmanager
    def bridge(
        self, *, clock: Clock = SYSTEM_CLOCK, lease_times: LeaseTimes = QUICK_HEARTBEAT, **settings: Any
    ) -> Generator[Bridge]:
        """Open the home in this process."""
        values = {"home": self.path, "retry_over_s": RETRY_OVER_S, "page_size": PAGE_SIZE, **settings}
        opened = Settings(**values, _env_file=None)  # type: ignore[call-arg]
        bridge = open_bridge(opened, clock=clock, lease_times=lease_times)
        try:
            yield bridge
        finally:
            bridge.engine.dispose()


@contextmanager
def forked_commands() -> Generator[None]:
    """Let commands be forked from a process that has imported the program once."""
    FORK_SERVERS.append(ForkServer())
    try:
        yield
    finally:
        FORK_SERVERS.pop().close()


def connect(bridge: Bridge, sandbox: Sandbox, form: MixpanelForm = PRACTICE) -> None:
    """Connect both sides, as an admin does."""
    connect_mixpanel(bridge, LOCAL, form)
    connect_endpoint(bridge, LOCAL, url=sandbox.endpoint, token=SecretStr(sandbox.token))


def copy_connected(template: Path, to: Path, sandbox: Sandbox) -> Home:
    """Copy a home, and connect it to the sandbox on both sides, with nothing exported yet."""
    sandbox.reset()
    home = copy_home(template, to)
    with home.bridge(mixpanel_url=sandbox.url) as bridge:
        connect(bridge, sandbox)
    return home


def export(bridge: Bridge, cohort: int, *, patience_s: float | None = 0.0, **options: Any) -> Run:
    """Export as the command line does, in this process: `core.cli.export` without the printing."""
    lease_owner = lease.new_lease_owner()
    run = one_time.start_export(bridge, LOCAL, cohort, trigger="cli", lease_owner=lease_owner, **options)
    assert run.id is not None
    return asyncio.run(inline_run.carry_out_here(bridge, run.id, lease_owner=lease_owner, patience_s=patience_s))


def newest_run(bridge: Bridge) -> Run:
    return runs.list_runs(bridge, LOCAL, RunFilter(), limit=1)[0]


def group_row(bridge: Bridge, cohort: int) -> Group:
    return groups.find_group(bridge, LOCAL, cohort)


def copy_home(template: Path, target: Path) -> Home:
    """Copy a home that no process uses at this moment."""
    shutil.copytree(template, target)
    databases.copy(template, target)
    return Home(target)


def get_counts(run: Run) -> dict[str, int]:
    names = ("profiles", "members", "duplicates", "unmatched", "invalid", "unprefixed")
    return {name: getattr(run, name) for name in names}
