"""The home that the tour walks through: that of `bench.pages`, over a sandbox that can be exported from and to.

Beside what is there it has cohorts that were never exported, one sync whose run is held, three that have missed their
times since yesterday, and paused ones whose token was refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, update
from sqlmodel import col, delete, select

from bench import measure, pages
from bench.browsing import dashboard, service, wait_for
from core.bridge import open_bridge
from core.rules import due_times
from core.sandbox import people
from core.settings import Settings
from data.engine import write_session
from data.models import Connection, Group, Run, RunStatus, Schedule, Sync, SyncState
from data.query_models import QueryBudget, QuerySpend

# Cohorts that have no group yet, at the top of Mixpanel's list, by the task that exports them.
FIRST, PREVIEWED, RECURRING = 301, 302, 306
TOGETHER = (303, 304, 305)
HELD = 307
NEW = {
    FIRST: "Active this week",
    PREVIEWED: "Added to cart",
    303: "Asked for a refund",
    304: "Asked the support",
    305: "At the end of a trial",
    RECURRING: "Back after a year",
    HELD: "Bought twice",
}
MISSED = (42, 77, 130)  # syncs that have had no success since yesterday
BOTH = (12, 13)  # two groups that share members
RUN = 2345
USER, EXCLUDED = "i_c4ca4238a0b923820dcc509a6f75849b", "lost-77"
_USERS, _LEFT_OF_HELD = 1000, 600
_SINCE = timedelta(hours=26)
_QUERIES = 1000
# So long ago every sync was due last: none is while the tour lasts, which is about what people do.
_DUE_AGO = timedelta(hours=16), timedelta(hours=4)


def name_start(cohort_id: int) -> str:
    """Return the beginning of a cohort's name that no other cohort's has."""
    return NEW.get(cohort_id) or f"Cohort {cohort_id} "


class TourHome:
    """A home, and the port of the sandbox that it is connected to."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.path = folder / "home"
        self.sandbox = f"http://127.0.0.1:{port}"
        self._port = port

    @property
    def settings(self) -> dict[str, str]:
        """What its processes need in their environment."""
        return {
            "COHORT_BRIDGE_HOME": str(self.path),
            "COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS": "1",
            "COHORT_BRIDGE_METRICS_ADDRESS": "off",
            "COHORT_BRIDGE_RETRY_OVER_S": "0.5",
        }

    def fill(self) -> None:
        """Put everything in place."""
        _write_people(self.folder)
        with self.running_sandbox():
            _ask(f"{self.sandbox}/sandbox/api/project", "PUT", {"hourly_limit": _QUERIES})
            token = _ask(f"{self.sandbox}/sandbox/api/tokens", "POST", {"name": "Tour"})["token"]
            bridge = open_bridge(Settings(home=self.path, _env_file=None))  # type: ignore[call-arg]
            pages.fill(bridge)
            _connect(
                bridge.engine, self.sandbox, bridge.vault.encrypt(people.ADMIN_SECRET), bridge.vault.encrypt(token)
            )
            _tidy(bridge.engine)
            _let_fail(bridge.engine)
            bridge.engine.dispose()
            self._core("cohorts", "--json")
            self._hold()

    def _hold(self) -> None:
        """Let a sync deliver its group, then find a cohort of which most have left."""
        schedule = _schedule()
        times = ["--cron", schedule.cron, "--zone", schedule.zone]
        self._core("syncs", "add", str(HELD), *times, "--max-shrink", "10", "--json")
        self._core("worker", "--once")
        url = f"{self.sandbox}/sandbox/api/cohorts/{HELD}"
        _ask(url, "PUT", {"distinct_ids": [f"user-{number}" for number in range(_LEFT_OF_HELD)]})
        sync_id = json.loads(self._core("syncs", "list", "--json"))[-1]["id"]
        self._core("syncs", "run", str(sync_id), "--json")
        self._core("worker", "--once")
        run = json.loads(self._core("runs", "--limit", "1", "--json"))[0]
        assert run["status"] == RunStatus.HELD, run

    def _core(self, *arguments: str) -> str:
        return measure.run(["-m", "core", *arguments], self.settings).output

    @contextmanager
    def running_sandbox(self) -> Generator[None]:
        """Run the sandbox while inside: it keeps its state in the home."""
        files = [f"--profiles={self.folder / 'people.jsonl'}", f"--cohorts={self.folder / 'cohorts.json'}"]
        with service(["-m", "core", "sandbox", f"--port={self._port}", *files], self.path, self.settings):
            wait_for(f"{self.sandbox}/sandbox/api/project")
            yield

    @contextmanager
    def running(self) -> Generator[str]:
        """Run sandbox, worker and dashboard while inside, and give the dashboard's address."""
        with ExitStack() as stack:
            stack.enter_context(self.running_sandbox())
            stack.enter_context(service(["-m", "core", "worker"], self.path, self.settings))
            yield stack.enter_context(dashboard(self.path, self.settings))

    @contextmanager
    def copy(self, folder: Path) -> Generator[TourHome]:
        """Give a copy of it, and remove that afterwards. Files of members, which never change, are linked."""
        copied = TourHome(folder, self._port)
        shutil.copytree(self.folder, folder, copy_function=_copy_or_link)
        try:
            yield copied
        finally:
            shutil.rmtree(folder)


def _copy_or_link(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _write_people(folder: Path) -> None:
    """Write the users whom the groups of `bench.pages` hold, and their cohorts, the new ones first."""
    ids = [f"user-{number}" for number in range(_USERS)]
    # As DuckDB makes the ids of `bench.pages`.
    members = [f"i_{hashlib.md5(str(number).encode()).hexdigest()}" for number in range(_USERS)]
    profiles = [
        {"$distinct_id": user, "$properties": {"$apptimize_user_id": member}}
        for user, member in zip(ids, members, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "people.jsonl").write_text("\n".join(map(json.dumps, profiles)), encoding="utf-8")
    named = NEW | {number: pages.cohort_name(number) for number in range(1, pages.SYNCS + 1)}
    cohorts = [{"id": number, "name": text, "description": "", "distinct_ids": ids} for number, text in named.items()]
    (folder / "cohorts.json").write_text(json.dumps(cohorts), encoding="utf-8")


def _connect(engine: Engine, sandbox: str, secret: Any, token: Any) -> None:
    """Lead both connections to the sandbox: to connect it again would put all groups in doubt."""
    with write_session(engine) as session:
        for connection in session.exec(select(Connection)).all():
            if connection.side == "mixpanel":
                connection.username, connection.secret, connection.base_url = people.ADMIN_USERNAME, secret, sandbox
            else:
                connection.url, connection.secret = f"{sandbox}/apptimize/cohort-sync", token
        session.exec(delete(QuerySpend))
        session.exec(delete(QueryBudget))


def _schedule() -> Schedule:
    """Return the times of day at which every sync is due."""
    now = datetime.now(UTC)
    hours = sorted((now - ago).hour for ago in _DUE_AGO)
    return Schedule(f"0 {hours[0]},{hours[1]} * * *", "UTC")


def _tidy(engine: Engine) -> None:
    """Let every sync be due twice a day, not while the tour lasts, and have succeeded last, but for a few of them."""
    schedule, now = _schedule(), datetime.now(UTC)
    newest = select(func.max(Run.id)).group_by(col(Run.group_id))
    with write_session(engine) as session:
        for sync in session.exec(select(Sync)).all():
            sync.set_timing(schedule)
            if sync.state == SyncState.ACTIVE:
                sync.next_run_at = due_times.next_slot(sync.id or 0, schedule, after=now)
        session.exec(update(Run).where(col(Run.status) == RunStatus.HELD).values(status=RunStatus.CANCELLED))
        good = {"status": RunStatus.SUCCEEDED, "error_code": None, "error_message": None, "error_advice": None}
        session.exec(update(Run).where(col(Run.id).in_(newest)).values(**good))


def _let_fail(engine: Engine) -> None:
    """Let three syncs fail since yesterday, and the paused ones be paused by a token that was refused."""
    since = datetime.now(UTC) - _SINCE
    down = _failure("apptimize_unavailable", "The Apptimize endpoint answered with an error of its own (500).")
    refused = _failure("apptimize_unauthorized", "The Apptimize endpoint does not accept the token.")
    with write_session(engine) as session:
        of_missed = col(Run.group_id).in_(MISSED), col(Run.queued_at) >= since
        session.exec(update(Run).where(*of_missed).values(**down))
        session.exec(update(Group).where(col(Group.id).in_(MISSED)).values(verified_at=since, delivered_at=since))
        paused = select(Sync.group_id).where(col(Sync.state) == SyncState.PAUSED)
        newest = select(func.max(Run.id)).where(col(Run.group_id).in_(paused)).group_by(col(Run.group_id))
        session.exec(update(Run).where(col(Run.id).in_(newest)).values(**refused))


def _failure(code: str, message: str) -> dict[str, Any]:
    advice = "The next slot tries again." if code.endswith("unavailable") else "Enter the token again on Connections."
    return {"status": RunStatus.FAILED, "error_code": code, "error_message": message, "error_advice": advice}


def _ask(url: str, method: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)
