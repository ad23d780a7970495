"""How fast the pages are with a lot to show: `python -m bench.pages [--rounds N] [--write]`.

A home is filled with 100,000 runs, 300 recurring syncs and groups, one of them of 1,000,000 members. Each page is then
run as Streamlit runs it for a visitor, again and again, in one process: its whole script from `app.py` on.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import Engine, func, insert
from sqlmodel import col, select

from bench import presses
from core.bridge import Bridge, open_bridge
from core.settings import Settings
from core.vendors.mixpanel_answers import Cohort
from data.engine import write_session
from data.models import (
    Connection,
    Group,
    Run,
    RunLogRow,
    RunStatus,
    Sync,
    SyncKind,
    SyncState,
    WorkerHeartbeat,
)
from data.query_models import CohortList, QueryBudget, QuerySpend

ROOT = Path(__file__).resolve().parent.parent
RUNS, SYNCS, MEMBERS = 100_000, 300, 1_000_000
DAYS = 14
LIMIT_MS = 300
PRESS_ROUNDS = 3
BEGIN, END = "<!-- pages -->", "<!-- /pages -->"
BIG = 1  # the group of a million
PROJECT = 3713224
KEY = f"mixpanel.invalid/{PROJECT}"
# So many of its runs have files: as many as a membership history looks through.
WITH_FILES = 500


def main() -> None:
    """Fill a home, measure every page, print the table; ends with 1 when a page is slower than it may be."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        os.environ["COHORT_BRIDGE_HOME"] = str(home)
        bridge, newest = fill_home(home)
        measured = {name: measure(prepare, asked.rounds) for name, prepare in cases(newest).items()}
        bridge.engine.dispose()
        text = f"{table(measured, asked.rounds)}\n\n{presses.measured(home, PRESS_ROUNDS)}"
    print(text)
    if asked.write:
        write(ROOT / "docs" / "benchmarks.md", text)
    sys.exit(max(visits.p95_ms for visits in measured.values()) > LIMIT_MS)


# --- a home with a lot in it ---------------------------------------------------------------------------------------


def fill_home(home: Path) -> tuple[Bridge, int]:
    """Make a home with all that is to be shown, and open it; returns the newest run of the group of a million too."""
    bridge = open_bridge(Settings(home=home, _env_file=None))
    print(f"Filling {RUNS:,} runs, {SYNCS} syncs, a group of {MEMBERS:,}", file=sys.stderr)
    return bridge, fill(bridge)


def fill(bridge: Bridge) -> int:
    """Put everything in place; returns the newest run of the group of a million."""
    chance = random.Random(6)  # noqa: S311
    _connections(bridge)
    _groups(bridge.engine)
    newest = _runs(bridge.engine, chance)
    _files(bridge)
    return newest


def _connections(bridge: Bridge) -> None:
    secret = bridge.vault.encrypt("made up")
    now = _now()
    cohorts = [
        asdict(Cohort(i, cohort_name(i), "Made up for a measurement", i * 7, "", True, False)) for i in range(1, 301)
    ]
    with write_session(bridge.engine) as session:
        session.add(Connection(side="mixpanel", kind="mixpanel", name="default", username="made.up", secret=secret,
                               project_id=PROJECT, base_url="https://mixpanel.invalid", created_at=now))  # fmt: skip
        session.add(Connection(side="destination", kind="endpoint", name="default", secret=secret,
                               url="https://x.invalid", created_at=now))  # fmt: skip
        session.add(CohortList(project=KEY, read_at=now, cohorts=cohorts))
        session.add(QueryBudget(project=KEY, queries=600))
        session.add_all(QuerySpend(project=KEY, at=now - timedelta(seconds=5 * i)) for i in range(550))
        session.add(WorkerHeartbeat(name="a worker", started_at=now, seen_at=now + timedelta(hours=1)))


def _now() -> datetime:
    return datetime.now(UTC)


def cohort_name(number: int) -> str:
    """Return what a cohort is called, and its group."""
    return f'Cohort {number} <b>of users</b> & "more" 東京'


def _groups(engine: Engine) -> None:
    now = _now()
    with write_session(engine) as session:
        for i in range(1, SYNCS + 1):
            members = MEMBERS if i == BIG else 1000
            name = cohort_name(i)
            session.add(Group(id=i, destination_id=2, project_id=PROJECT, cohort_id=i, cohort_name=name, name=name,
                              delivered_name=name, delivered_at=now, verified_at=now, full_at=now,
                              base_snapshot=f"base-{i}", members=members, created_at=now))  # fmt: skip
        session.flush()
        for i in range(1, SYNCS + 1):
            paused = i % 20 == 0
            session.add(Sync(id=i, kind=SyncKind.RECURRING, mixpanel_id=1, group_id=i, project_id=PROJECT, cohort_id=i,
                             every_minutes=(15, 30, 60, 1440)[i % 4], tags=["launch"] if i % 3 else [],
                             state=SyncState.PAUSED if paused else SyncState.ACTIVE,
                             paused_reason="The Apptimize endpoint does not accept the token." if paused else None,
                             created_at=now - timedelta(days=60)))  # fmt: skip


def _runs(engine: Engine, chance: random.Random) -> int:
    """Insert the runs, oldest first; the group of a million has every tenth of them, and most of its change it."""
    began, step = _now() - timedelta(days=DAYS), timedelta(days=DAYS) / RUNS
    rows, newest = list[dict[str, Any]](), 0
    for number in range(1, RUNS + 1):
        group = BIG if number % 10 == 0 else chance.randrange(2, SYNCS + 1)
        status = chance.choices(["succeeded", "failed", "held", "cancelled"], [95, 3, 1, 1])[0]
        newest = number if group == BIG and status == "succeeded" else newest
        rows.append(_run(number, group, status, began + number * step, chance))
    _supersede_held(rows)
    with engine.execution_options(writer=True).begin() as connection:
        for start in range(0, RUNS, 5000):
            connection.execute(insert(Run), rows[start : start + 5000])
    with write_session(engine) as session:
        calls = [{"what": "page of profiles", "status": 200, "at": began.isoformat(), "took_ms": 80}] * 60
        totals = [{"what": "page of profiles", "status": 200, "count": 1000, "took_ms": 80_000, "slowest_ms": 900}]
        steps = [{"name": "reading", "at": began.isoformat()}]
        session.add(RunLogRow(run_id=newest, log={"steps": steps, "calls": calls, "totals": totals}))
    return newest


def _supersede_held(rows: list[dict[str, Any]]) -> None:
    """Let no more than the last run of a group be held: a newer one takes the place of what was."""
    ended = set[int]()
    for row in reversed(rows):
        if row["status"] == RunStatus.HELD and row["group_id"] in ended:
            row["status"] = RunStatus.SUPERSEDED
        elif row["status"] in (RunStatus.SUCCEEDED, RunStatus.HELD):
            ended.add(row["group_id"])


def _run(number: int, group: int, status: str, at: Any, chance: random.Random) -> dict[str, Any]:
    changed = status == RunStatus.SUCCEEDED and chance.random() < 0.4
    members = MEMBERS if group == BIG else 1000
    failed = status == RunStatus.FAILED
    return {
        "id": number,
        "sync_id": group,
        "group_id": group,
        "cohort_id": group,
        "cohort_name": cohort_name(group),
        "group_name": cohort_name(group),
        "destination": "default",
        "trigger": "schedule" if number % 9 else "manual",
        "actor": "schedule" if number % 9 else f"person{number % 40}@example.com",
        "status": status,
        "step": "done",
        "write": "delta" if changed else "none",
        "queued_at": at,
        "started_at": at,
        "finished_at": at + timedelta(seconds=3),
        "profiles": members + 20,
        "members": members,
        "unmatched": 20,
        "added": 50 if changed else 0,
        "removed": 50 if changed else 0,
        "unchanged": members - 50 if changed else members,
        "requests": 20,
        "snapshot": f"run-{number:08d}" if changed and number > RUNS - 300 else None,
        "difference": f"difference-{number:08d}" if changed else None,
        "error_code": "apptimize_unavailable" if failed else None,
        "error_message": "The Apptimize endpoint answered with an error of its own (500)." if failed else None,
        "error_advice": "The next slot tries again." if failed else None,
        "reasons": {},
    }


def _files(bridge: Bridge) -> None:
    """Write the members of every group, those of two runs of the large one, and what the newest changes changed."""
    folder = bridge.snapshots.folder
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "base-1.parquet", f"SELECT {_IDS}, {_DISTINCT} FROM range({MEMBERS}) t(i) ORDER BY 1")
    small = folder / "small.part"
    _write(small, f"SELECT {_IDS}, {_DISTINCT} FROM range(1000) t(i) ORDER BY 1")
    for i in range(2, SYNCS + 1):
        os.link(small, folder / f"base-{i}.parquet")
    _excluded(bridge, folder)
    change = folder / "change.part"
    _write(change, f"SELECT CASE WHEN i < 50 THEN 'added' ELSE 'removed' END AS change, {_IDS}, {_DISTINCT} "
                   "FROM range(100) t(i) ORDER BY 1, 2")  # fmt: skip
    with bridge.engine.connect() as connection:
        for which in (Run.group_id == BIG, Run.group_id != BIG):
            query = Run.__table__.select().where(which, Run.difference.is_not(None))  # type: ignore[attr-defined]
            for run in connection.execute(query.order_by(Run.id.desc()).limit(WITH_FILES)).mappings():  # type: ignore[union-attr]
                os.link(change, folder / f"{run['difference']}.parquet")
                if run["snapshot"] and run["group_id"] == BIG:
                    os.link(folder / "base-1.parquet", folder / f"{run['snapshot']}.parquet")


def _excluded(bridge: Bridge, folder: Path) -> None:
    """Keep which profiles make no member, of each group's newest read."""
    other = folder / "excluded.part"
    _write(other, "SELECT 'unmatched' AS reason, 'lost-' || i AS distinct_id, NULL::VARCHAR AS apptimize_id "
                  "FROM range(1000) t(i) ORDER BY 1, 2")  # fmt: skip
    with write_session(bridge.engine) as session:
        newest = select(func.max(Run.id)).where(Run.status == RunStatus.SUCCEEDED).group_by(col(Run.group_id))
        for run in session.exec(select(Run).where(col(Run.id).in_(newest))).all():
            run.excluded = f"excluded-{run.group_id}"
            os.link(other, folder / f"{run.excluded}.parquet")
            session.add(run)


_IDS = "'i_' || md5(i::VARCHAR) AS apptimize_id"
_DISTINCT = "'user-' || i AS distinct_id"


def _write(path: Path, query: str) -> None:
    with duckdb.connect() as db:
        db.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 20000)")


# --- what is measured ----------------------------------------------------------------------------------------------

Prepare = Callable[[], Callable[[], Any]]


def cases(newest: int) -> dict[str, Prepare]:
    """Name what is measured; each prepares a visitor, and returns what a visit is."""
    member = "i_c4ca4238a0b923820dcc509a6f75849b"  # of number 1, whom the changes concern
    overview, cohorts, syncs = "pages/export/overview.py", "pages/export/cohorts.py", "pages/export/syncs.py"
    groups, history = "pages/observe/groups.py", "pages/observe/history.py"
    users = "pages/observe/users.py"
    searches = {
        "part of an id": "c4ca42",
        "a whole id": member,
        "digits": "777777",
        "an id of no one": "zzzzzz",
    }
    return {
        "Overview": page(overview),
        "Cohorts": page(cohorts),
        "Cohorts: one": page(cohorts, cohort=BIG),
        "Syncs": page(syncs),
        "Syncs: one": page(syncs, sync=BIG),
        "Groups": page(groups),
        "Groups: a million members": page(groups, group=BIG),
        "Groups: its size over time": page(groups, group=BIG, view="Size over time"),
        "Groups: who joined and left": page(groups, group=BIG, view="Joined and left"),
        "Groups: two runs compared": page(groups, group=BIG, view="Compare two runs"),
        "Overlap: the largest groups": page("pages/observe/overlap.py"),
        "Look up a user: a member of one group": page(users, group=BIG, id=member),
        "Look up a user: a member, in all groups": page(users, id=member),
        "Look up a user: an excluded profile": page(users, id="lost-77"),
        "History": page(history),
        "History: one sync": page(history, sync=7),
        "History: searched by name": page(history, entered=("text_input", "history_text", "Cohort 29")),
        "History: failed ones": page(history, entered=("multiselect", "history_status", ["failed"])),
        "History: page 3,000": page(history, entered=("pagination", "history_page", 3000)),
        "History: one run": page(history, run=newest),
        "Matching": page("pages/observe/matching.py"),
        "Matching: one cohort": page("pages/observe/matching.py", cohort=BIG),
        "Connections": page("pages/admin/connections.py"),
        "People": page("pages/admin/people.py"),
        "Audit log": page("pages/admin/audit.py"),
        **{
            f"Member search: {what}": page(groups, entered=("text_input", "groups_members_search", text), group=BIG)
            for what, text in searches.items()
        },
    }


def page(path: str, *, entered: tuple[str, str, Any] | None = None, **params: object) -> Prepare:
    """Visit a page; where something is `entered`, that is what is measured, else drawing the page again."""

    def prepare() -> Callable[[], Any]:
        from streamlit.testing.v1 import AppTest

        at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        if not path.endswith("overview.py"):
            at.switch_page(path)
        for name, value in params.items():
            at.query_params[name] = str(value)
        at.run()
        if entered:
            kind, key, value = entered
            getattr(at, kind)(key=key).set_value(value)
        assert not at.exception, [element.value for element in at.exception]

        def visit() -> None:
            at.run()
            assert not at.exception, [element.value for element in at.exception]

        return visit

    return prepare


@dataclass(frozen=True)
class Visits:
    """How long each visit took, and how much of the processor it used, in milliseconds."""

    wall_ms: list[float]
    cpu_ms: list[float]

    @property
    def p95_ms(self) -> float:
        """The time that 95 of 100 visits keep to."""
        return sorted(self.wall_ms)[max(0, round(len(self.wall_ms) * 0.95) - 1)]


def measure(prepare: Prepare, rounds: int) -> Visits:
    """Return how long visits took; the first, which loads code, is not counted."""
    visit = prepare()
    visit()
    print(".", end="", file=sys.stderr, flush=True)
    wall_ms, cpu_ms = list[float](), list[float]()
    for _ in range(rounds):
        began_s, used_s = time.perf_counter(), time.process_time()
        visit()
        wall_ms.append((time.perf_counter() - began_s) * 1000)
        cpu_ms.append((time.process_time() - used_s) * 1000)
    return Visits(wall_ms, cpu_ms)


# --- the table -----------------------------------------------------------------------------------------------------


def table(measured: dict[str, Visits], rounds: int) -> str:
    """Format the table."""
    lines = [
        f"{_now():%Y-%m-%d}, {os.cpu_count()} cores, {rounds} visits each; load average at the end: "
        f"{os.getloadavg()[0]:.1f}.",
        "",
        "| page | median | 95th percentile | at most 300 ms | processor, median |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    for name, visits in measured.items():
        verdict = "met" if visits.p95_ms <= LIMIT_MS else "**not met**"
        median, cpu = statistics.median(visits.wall_ms), statistics.median(visits.cpu_ms)
        lines.append(f"| {name} | {median:.0f} ms | {visits.p95_ms:.0f} ms | {verdict} | {cpu:.0f} ms |")
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Put the table between its marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
