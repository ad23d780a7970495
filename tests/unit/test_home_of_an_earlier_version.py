"""A home that an earlier version left is opened, brought up to date, and used further: nothing of it is lost.

`tests/fixtures/README.md` says what lies in it. It is never opened where it lies: each test has a copy.
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.sandbox.server import running
from tests.stage.home import Home, copy_home
from tests.stage.processes import ROOT
from tests.stage.sandbox import EVERYONE, IMPORTED, NEWSLETTER, POWER, SPENDERS, TESTERS, TRIAL, WEB, Sandbox
from tests.stage.seeds import few, some

pytestmark = [some(6), pytest.mark.usefixtures("fork_server"), pytest.mark.sqlite_file]

HOME = ROOT / "tests" / "fixtures" / "home-0005"
SANDBOX_THEN = "http://127.0.0.1:8600"
DATABASE, CONTENTS = "cohort_bridge.db", "contents.json"
EARLY_BIRDS, SPRING_OFFER = 5167411, 5167412
HALF_WAY, HELD_FOR_SHRINKING = 3, 17

# Where a column went since: (table, column) of the home to (table, column) of today. With "*" as the column, the
# table's other columns as well.
RENAMED: dict[tuple[str, str], tuple[str, str]] = {
    ("run", "full"): ("run", "force_full"),
    ("run", "permitted"): ("run", "approved"),
    ("run", "restores"): ("run", "restore_snapshot"),
    ("run", "left_out"): ("run", "excluded"),
}

# The columns that held a lease of their own then, its owner first: each is a row of the one table of leases today.
LEASES = {
    "run": ("owner", "beat"),
    "association": ("owner", "beat"),
    "cohort_list": ("reader", "reader_since"),
    "query_slot": ("holder", "beat"),
}

# What an approval was for then, as one text: today it is what was looked at.
APPROVED_FOR = "permits"

Row = dict[str, Any]


def dump(database: Path) -> dict[str, list[Row]]:
    """Read every table of a database, apart from the schema's own version."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        opened.row_factory = sqlite3.Row
        names = [row["name"] for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [dict(row) for row in opened.execute(f'SELECT * FROM "{name}"')]
            for name in sorted(names)
            if name != "alembic_version" and not name.startswith("sqlite_")
        }


def kept() -> dict[str, list[Row]]:
    """Read what was in the home when it was made."""
    return json.loads((HOME / CONTENTS).read_text(encoding="utf-8"))


def place(table: str, column: str) -> tuple[str, str]:
    """Return where a column of the home is today."""
    other, _ = RENAMED.get((table, "*"), (table, "*"))
    return RENAMED.get((table, column), (other, column))


def without_leases(tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Drop what is in the one table of leases today."""
    return {
        table: [{name: value for name, value in row.items() if name not in LEASES.get(table, ())} for row in rows]
        for table, rows in tables.items()
        if table != "query_slot"
    }


def without_approvals(tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Drop what an approval was for, and call a hold that was replaced what it is called today."""
    return tables | {"run": [_with_todays_status(row) for row in tables["run"]]}


def _with_todays_status(run: Row) -> Row:
    is_replaced = (run["status"], run["step"]) == ("cancelled", "replaced")
    today = {"status": "superseded"} if is_replaced else {}
    return {name: value for name, value in (run | today).items() if name != APPROVED_FOR}


def as_today(tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Rename the tables and columns of the home as they are called today."""
    return {
        place(table, "*")[0]: [{place(table, name)[1]: value for name, value in row.items()} for row in rows]
        for table, rows in tables.items()
    }


def differences(then: dict[str, list[Row]], now: dict[str, list[Row]]) -> list[str]:
    """List every table whose rows are not those of the home, with the rows that are missing or new."""
    told: list[str] = []
    for table, rows in then.items():
        columns = sorted({column for row in rows for column in row})
        tables = {place(table, column)[0] for column in columns} or {place(table, "*")[0]}
        if len(tables) > 1 or not tables <= now.keys():
            told.append(f"{table}: its rows are expected in {', '.join(sorted(tables))}")
            continue
        present = now[tables.pop()]
        before = sorted(json.dumps([row[name] for name in columns]) for row in rows)
        after = sorted(
            json.dumps([row.get(place(table, name)[1], "no such column") for name in columns]) for row in present
        )
        if before != after:
            missing, new = [row for row in before if row not in after], [row for row in after if row not in before]
            told.append(f"{table} {columns}: {len(before)} rows, now {len(after)}; missing {missing}, new {new}")
    return told


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A copy of the home, with the rights that its files had."""
    copied = copy_home(HOME, tmp_path / "home")
    (copied.path / CONTENTS).unlink()
    (copied.path / "secret.key").chmod(0o600)
    return copied


@pytest.fixture
def sandbox(home: Home) -> Iterator[Sandbox]:
    """The sandbox as the home left it, at another port; the connections lead there."""
    with running(home.path) as server, closing(Sandbox(server.url)) as opened:
        _lead_to(home, server.url)
        yield opened


def _lead_to(home: Home, url: str) -> None:
    """Make the home one of today and of this machine, before it is opened: by the names of its own schema.

    Nothing else tells a port that is free. Of the groups it says that they were overwritten just now: otherwise the
    age of the home alone has every one of them overwritten.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    with closing(sqlite3.connect(home.path / DATABASE)) as database, database:
        for column in ("base_url", "url"):
            database.execute(f"UPDATE connection SET {column} = replace({column}, ?, ?)", (SANDBOX_THEN, url))
        database.execute("UPDATE connection SET folder = ? WHERE kind = 'csv'", (str(home.path / "groups"),))
        database.execute("UPDATE group_at_destination SET full_at = ? WHERE full_at IS NOT NULL", (now,))


def _interrupt_running_runs(home: Home) -> None:
    """Let the run whose process died have been found dead: a worker takes its time to be sure."""
    with closing(sqlite3.connect(home.path / DATABASE)) as database, database:
        database.execute("UPDATE run SET status = 'interrupted', owner = NULL WHERE status = 'running'")


def list_members(home: Home, cohort: int, destination: str) -> set[str]:
    done = home.run("groups", "members", str(cohort), "--to", destination)
    assert done.code == 0, done.err
    return ids_in(done.out)


def ids_in(text: str) -> set[str]:
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["user_id"]
    return {row[0] for row in rows}


# --- all of it is there --------------------------------------------------------------------------------------------


def test_the_home_holds_something_of_everything():
    then = kept()

    assert then == dump(HOME / DATABASE)
    assert [table for table, rows in then.items() if not rows] == []
    statuses = {"queued", "running", "waiting", "succeeded", "failed", "held", "interrupted", "cancelled"}
    assert {run["status"] for run in then["run"]} == statuses
    assert {run["write"] for run in then["run"]} == {"full", "delta", "none", None}
    assert {run["trigger"] for run in then["run"]} == {"cli", "manual", "schedule", "undo"}
    assert {sync["state"] for sync in then["sync"]} == {"active", "paused", "removed"}
    assert {row["stage"] for row in then["association"]} == {"done", "checked", "failed"}
    assert {row["kind"] for row in then["connection"]} == {"mixpanel", "endpoint", "csv"}
    assert sum(path.stat().st_size for path in HOME.rglob("*")) < 1_500_000


def test_every_row_is_kept_with_its_values(home: Home):
    with home.bridge():
        now = dump(home.path / DATABASE)

    assert differences(without_approvals(without_leases(kept())), now) == []


def test_what_was_looked_at_of_a_held_run_and_what_was_approved_is_known(home: Home):
    with home.bridge():
        now = {row["id"]: row for row in dump(home.path / DATABASE)["run"]}

    holds = {number: json.loads(row["hold"]) for number, row in now.items() if row["hold"]}
    approvals = {number: json.loads(row["approvals"]) for number, row in now.items() if row["approvals"]}
    nothing = {"base": None, "removed": 0, "added": 0, "total": None, "profiles": None}
    of_total = {"cause": "held_total", "matched_by": "original:$apptimize_user_id", **nothing}
    assert holds == {
        HELD_FOR_SHRINKING: of_total | {"cause": "held_shrink", "base": "run-00000016", "removed": 74},
        30: of_total | {"total": 43, "profiles": 40},
        31: of_total | {"base": "run-00000007", "total": 129, "profiles": 126},
    }
    assert approvals == {26: [of_total]}


def test_who_applied_or_discarded_a_held_run_is_known_from_the_audit_log(home: Home):
    with home.bridge():
        now = dump(home.path / DATABASE)["run"]

    decided = {row["id"]: (row["step"], row["decided_by"]) for row in now if row["decided_by"]}
    assert decided == {24: ("discarded", "local"), 25: ("applied", "local")}


def test_what_was_held_is_held_still(home: Home):
    with home.bridge():
        now = dump(home.path / DATABASE)["lease"]

    then = [
        (table, str(row["id"]), row[owner], row[heartbeat])
        for table, (owner, heartbeat) in LEASES.items()
        for row in kept()[table]
        if row[owner] is not None
    ]
    assert [table for table, *_ in then] == ["run"]
    assert [(row["kind"], row["key"], row["lease_owner"], row["heartbeat"]) for row in now] == then


def test_a_value_that_is_lost_and_a_row_that_is_lost_are_told():
    then = without_approvals(without_leases(kept()))
    now = as_today(then)
    now["sync"][0]["cohort_id"] += 1
    del now["person"][0]

    assert [line.split()[0] for line in differences(then, now)] == ["person", "sync"]


# --- all of it can be used further ----------------------------------------------------------------------------------


def test_the_members_of_every_group_are_those_that_were_delivered(home: Home, sandbox: Sandbox):
    groups = [group for group in home.run("groups", "--json").json if group["members"]]

    assert len(groups) == sum(bool(group["members"]) for group in kept()["group_at_destination"])
    for group in groups:
        members = list_members(home, group["cohort_id"], group["destination"])
        assert len(members) == group["members"]
        if group["destination"] == "csv":
            (file,) = (home.path / "groups").glob(f"*-{group['cohort_id']}.csv")
            assert ids_in(file.read_text(encoding="utf-8")) == members
        elif not group["in_doubt"]:
            assert (sandbox.group(group["cohort_id"]) or {}).keys() == members


@few(2)
@pytest.mark.parametrize(
    ("cohort", "destination", "write"),
    [
        (POWER, "default", "delta"),
        (TESTERS, "default", "delta"),
        (SPRING_OFFER, "default", "none"),
        (EARLY_BIRDS, "default", "none"),
        (EARLY_BIRDS, "csv", "none"),
        (IMPORTED, "csv", "none"),
        (TRIAL, "default", "full"),  # in doubt: its last delivery failed
    ],
)
def test_an_export_continues_from_what_the_group_is_known_to_hold(
    home: Home, sandbox: Sandbox, cohort: int, destination: str, write: str
):
    before = {(group["cohort_id"], group["destination"]): group for group in home.run("groups", "--json").json}
    done = home.run("export", str(cohort), "--to", destination, "--json")

    assert (done.code, done.json["status"], done.json["write"]) == (0, "succeeded", write), done.err
    assert before[cohort, destination]["in_doubt"] == (write == "full")
    assert list_members(home, cohort, destination) == set(sandbox.answer(cohort).group)
    if destination == "default":
        assert sandbox.group(cohort) == sandbox.answer(cohort).group


def test_the_secrets_can_be_sealed_with_a_new_key(home: Home, sandbox: Sandbox):
    before = (home.path / "secret.key").read_text()

    rotated = home.run("rotate-key")
    done = home.run("export", str(POWER), "--to", "default", "--json")

    assert (rotated.code, (home.path / "secret.key").read_text() == before) == (0, False)
    assert (done.code, done.json["write"]) == (0, "delta"), done.err


def test_no_line_of_the_audit_log_was_changed_or_removed(home: Home):
    head = ":".join((home.path / "audit.head").read_text().split())

    done = home.run("audit", "verify", "--head", head, "--json")

    lines = kept()["audit_entry"]
    assert (done.code, done.json["ok"], done.json["entries"], done.json["problems"]) == (0, True, len(lines), [])
    assert done.json["head"] == head


def test_a_held_run_can_be_discarded(home: Home, sandbox: Sandbox):
    done = home.run("run", "discard", str(HELD_FOR_SHRINKING), "--json")

    assert (done.code, done.json["status"]) == (0, "cancelled")
    assert (done.json["decision"], done.json["decided_by"]) == ("discarded", "local")


def test_a_worker_does_what_was_queued_or_waited_or_was_let_through_or_undone(home: Home, sandbox: Sandbox):
    _interrupt_running_runs(home)
    queued = [run["id"] for run in kept()["run"] if run["status"] in ("queued", "waiting")]
    applied = home.run("run", "apply", str(HELD_FOR_SHRINKING), "--json").json
    undone = home.run("run", "undo", "2", "--json").json

    worked = home.run("worker", "--once")

    assert worked.code == 0
    runs = {run["id"]: run for run in home.run("runs", "--limit", "100", "--json").json}
    assert (runs[applied["id"]]["status"], runs[undone["id"]]["status"]) == ("succeeded", "succeeded")
    assert {runs[run_id]["status"] for run_id in queued} <= {"succeeded", "held", "superseded", "cancelled"}
    assert sandbox.group(NEWSLETTER) == sandbox.answer(NEWSLETTER).group
    then = next(run for run in kept()["run"] if run["id"] == 2)
    assert len(sandbox.group(TESTERS) or {}) == then["members"]
    assert list_members(home, EVERYONE, "csv") == set(sandbox.answer(EVERYONE).group)


def test_an_association_that_ended_half_way_continues_from_there(home: Home, sandbox: Sandbox):
    then = next(association for association in kept()["association"] if association["id"] == HALF_WAY)
    assert 0 < then["written"] < then["writable"]

    done = home.run("associate", "--resume", str(HALF_WAY), "--out", "outcomes.csv", "--json")

    assert (done.code, done.json["stage"], done.json["written"]) == (0, "done", then["writable"]), done.err
    sent = [request for request in sandbox.asked("ingestion") if request["path"] == "/engage"]
    assert len(sent) == 1, "what was recorded as written is not sent again"
    outcomes = (home.path.parent / "outcomes.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(outcomes) == then["rows"]


def test_what_was_read_and_associated_of_a_user_is_still_known(home: Home, sandbox: Sandbox):
    without_id = next(str(profile["$distinct_id"]) for profile in reversed(sandbox.raw(WEB)))
    member = min(list_members(home, SPENDERS, "csv"))

    excluded, by_hand, inside = (home.run("who", user_id, "--json") for user_id in (without_id, "i_hand-1", member))

    assert [group["reason"] for group in excluded.json["groups"] if group["cohort_id"] == WEB] != [None]
    assert [row["association_id"] for row in by_hand.json["associated"]] == [1]
    assert [group["is_member"] for group in inside.json["groups"] if group["cohort_id"] == SPENDERS] == [True]
    matched = home.run("match", str(IMPORTED), "--last", "--json")
    assert (matched.code, matched.json["cohort_id"]) == (0, IMPORTED)
