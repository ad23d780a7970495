"""The stage of these tests: a sandbox over real HTTP, and homes of Cohort Bridge that are connected to it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from core.access.roles import LOCAL
from core.bridge import Bridge, open_bridge
from core.clock import LEASE_TIMES, SYSTEM_CLOCK, Clock, LeaseTimes
from core.connections.connect import MixpanelForm, connect_endpoint, connect_mixpanel
from core.leases import lease
from core.sandbox import people
from core.settings import Settings
from core.syncs import groups, one_time, runs
from core.worker import inline_run
from data.models import Group, Run
from data.runs import RunFilter
from tests.emulator import oracle
from tests.emulator.forks import Forks

ROOT = Path(__file__).parents[2]
# The sandbox's clock stands still unless a test moves it: membership then is the same for oracle and export.
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()
LATER_S = 6 * 3600.0  # by then many members came and went
PROJECT = str(people.PROJECT_ID)
EVERYONE, POWER, NEWSLETTER, REFUND, TESTERS, COMPANIES, SPENDERS, WEB, TRIAL, IMPORTED = range(5167401, 5167411)
USER_COHORTS = (EVERYONE, POWER, NEWSLETTER, REFUND, TESTERS, SPENDERS, WEB, TRIAL, IMPORTED)
RETRY_OVER_S = 0.05

# The one process of a test session that forks commands; `conftest.py` starts and ends it.
FORKS: list[Forks] = []

PRACTICE = MixpanelForm(
    username=people.ADMIN_USERNAME, secret=SecretStr(people.ADMIN_SECRET), project_id=people.PROJECT_ID
)


class Sandbox(httpx.Client):
    """The sandbox, seen from behind: what it holds, what it was asked, and what is to go wrong."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=20)
        self.url = url
        self.token = self.new_token()
        self.endpoint = f"{url}/apptimize/cohort-sync"
        self._shift_s = 0.0
        self._answers: dict[tuple[int, float], oracle.Answer] = {}

    def new_token(self) -> str:
        return self.post("/sandbox/api/tokens", json={"name": "Tests"}).raise_for_status().json()["token"]

    def delete_newest_token(self) -> None:
        """Delete a token as a person does, on the Tokens page."""
        numbers = [int(number) for number in re.findall(r"/tokens/(\d+)/delete", self.get("/apptimize/tokens").text)]
        assert self.post(f"/apptimize/tokens/{max(numbers)}/delete").status_code == 303

    def reset(self) -> None:
        """Set the stage anew: no faults, no groups, limits in force, all queries left, the clock at noon."""
        self.delete("/sandbox/api/faults").raise_for_status()
        self.put("/sandbox/api/project", json={"hourly_limit": 60, "concurrent_limit": 5}).raise_for_status()
        self.at(0)
        self.forget_requests()
        self.remove_groups()

    def remove_groups(self) -> None:
        """Remove the groups that the Groups page lists."""
        for group in re.findall(r'href="/apptimize/groups/([^"]+)"', self.get("/apptimize/groups").text):
            self.delete(f"/sandbox/api/groups/{group}").raise_for_status()

    def at(self, shift_s: float) -> None:
        self.put("/sandbox/api/clock", json={"shift_seconds": shift_s}).raise_for_status()
        self._shift_s = shift_s

    def fault(self, name: str, **options: Any) -> None:
        self.put("/sandbox/api/faults", json={name: options}).raise_for_status()

    def mend(self) -> None:
        self.delete("/sandbox/api/faults").raise_for_status()

    def struck(self, name: str) -> int:
        return self.get("/sandbox/api/faults").json()["faults"][name]["struck"]

    def limit(self, **settings: int) -> None:
        self.put("/sandbox/api/project", json=settings).raise_for_status()

    def raw(self, cohort: int) -> list[dict[str, Any]]:
        return self.get(f"/sandbox/api/cohorts/{cohort}/profiles").raise_for_status().json()

    def answer(self, cohort: int) -> oracle.Answer:
        """What the cohort's group must hold now: the same whenever the clock says the same."""
        key = cohort, self._shift_s
        if key not in self._answers:
            self._answers[key] = oracle.answer(self.raw(cohort))
        return self._answers[key]

    def group(self, cohort: int) -> dict[str, str] | None:
        """The members that the group holds, Apptimize id -> distinct id; None while there is no group."""
        found = self.get(f"/sandbox/api/groups/{PROJECT}/{cohort}")
        return None if found.status_code == 404 else found.raise_for_status().json()["members"]

    def group_name(self, cohort: int) -> str:
        return self.get(f"/sandbox/api/groups/{PROJECT}/{cohort}").json()["name"]

    def fill(self, cohort: int, members: dict[str, str]) -> None:
        """Put a group there as if it had been delivered."""
        rows = [{"mixpanel_distinct_id": distinct, "$apptimize_user_id": id} for id, distinct in members.items()]
        total, session = max(1, -(-len(rows) // 1000)), str(uuid.uuid4())
        for page in range(total):
            body = {
                "mixpanel_project_id": PROJECT,
                "mixpanel_cohort_id": str(cohort),
                "mixpanel_cohort_name": "As before",
                "mixpanel_session_id": session,
                "page_info": {"total_pages": total, "page_count": page + 1},
                "members": rows[page * 1000 : (page + 1) * 1000],
            }
            message = {"action": "members", "parameters": body}
            self.post(self.endpoint, headers={"ApptimizeApiToken": self.token}, json=message).raise_for_status()

    def log(self) -> dict[str, Any]:
        return self.get("/sandbox/api/requests").json()

    def asked(self, kind: str) -> list[dict[str, Any]]:
        """The requests of a kind (`cohorts`, `engage`, `app`, `cohort-sync`) since the log was emptied."""
        return [one for one in self.log()["requests"] if one["kind"] == kind]

    def messages(self) -> list[dict[str, Any]]:
        """The cohort-sync messages that arrived since the log was emptied."""
        return [one for one in self.asked("cohort-sync") if one["method"] == "POST"]

    def forget_requests(self) -> None:
        self.delete("/sandbox/api/requests", params={"queries": 1}).raise_for_status()

    def wait_for(self, kind: str, *, page: int | None = None) -> None:
        """Return once such a request has arrived."""
        wait_until(lambda: any(page in (None, one.get("page")) for one in self.asked(kind)))


def wait_until(holds: Callable[[], Any], *, within_s: float = 20.0) -> None:
    """Return as soon as something holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"this did not come true within {within_s:.0f} s"
        time.sleep(0.02)


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
            FORKS[0].start(arguments, env=self._environment(env), folder=self.path.parent, out=out, err=err)
            for arguments, (out, err) in zip(commands, files, strict=True)
        ]
        codes = [FORKS[0].wait(pid, within_s=within_s) for pid in forked]
        return [
            self._done(code, out.read_text(), err.read_text()) for code, (out, err) in zip(codes, files, strict=True)
        ]

    def start(self, *arguments: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start `python -m core`, away from the repository, so that no `.env` of a developer is read."""
        return subprocess.Popen(
            [sys.executable, "-m", "core", *arguments],
            env=self._environment(env),
            cwd=self.path.parent,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], *, within_s: float = 40.0) -> Done:
        """Wait for the end of what was started."""
        try:
            out, err = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{process.args} did not end within {within_s:.0f} s: {err}") from None
        return self._done(process.returncode, out, err)

    def _environment(self, env: dict[str, str] | None) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("COHORT_BRIDGE_")}
        own |= {"PYTHONPATH": str(ROOT), "COHORT_BRIDGE_HOME": str(self.path), "COLUMNS": "200"}
        own |= {"COHORT_BRIDGE_RETRY_OVER_S": str(RETRY_OVER_S), **self.env, **(env or {})}
        return {name: value for name, value in own.items() if value}

    def _done(self, code: int, out: str, err: str) -> Done:
        self.said += [out, err]
        assert "Traceback" not in out + err, err
        return Done(code, out, err)

    @contextmanager
    def bridge(
        self, *, clock: Clock = SYSTEM_CLOCK, lease_times: LeaseTimes = LEASE_TIMES, **settings: Any
    ) -> Generator[Bridge]:
        """Open the home in this process."""
        values = {"home": self.path, "retry_over_s": RETRY_OVER_S, **settings}
        opened = Settings(**values, _env_file=None)  # type: ignore[call-arg]
        bridge = open_bridge(opened, clock=clock, lease_times=lease_times)
        try:
            yield bridge
        finally:
            bridge.engine.dispose()


def connect(bridge: Bridge, sandbox: Sandbox, form: MixpanelForm = PRACTICE) -> None:
    """Connect both sides, as an admin does."""
    connect_mixpanel(bridge, LOCAL, form)
    connect_endpoint(bridge, LOCAL, url=sandbox.endpoint, token=SecretStr(sandbox.token))


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


def copy_of(template: Path, target: Path) -> Home:
    """Make a home like another that nobody works in at this moment."""
    shutil.copytree(template, target)
    return Home(target)


def counts_of(run: Run) -> dict[str, int]:
    names = ("profiles", "members", "duplicates", "unmatched", "invalid", "unprefixed")
    return {name: getattr(run, name) for name in names}


@dataclass(frozen=True)
class Revival:
    """An export that was killed half way, and when the worker came up that is to make it good."""

    sandbox: Sandbox
    home: Home
    worker_up_at: datetime


def kill_half_way(sandbox: Sandbox, home: Home) -> None:
    """Start an export, and kill its process while it reads."""
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)
    process = home.start("export", str(POWER))
    sandbox.wait_for("engage", page=1)
    process.kill()
    process.communicate()
    sandbox.mend()
