"""A home that is backed up while it works is restored elsewhere: it tells the same, and no group stays wrong for it."""

from __future__ import annotations

import io
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.access import audit_log, people
from core.access.roles import LOCAL
from core.associate import actions
from core.reports import overview
from core.syncs import groups, listing, recurring
from core.worker import service
from data import associations
from data.models import DoubtCause, ImportStage, RunStatus
from tests.stage.home import Home, export, group_row, newest_run
from tests.stage.sandbox import LATER_S, POWER, TRIAL, Sandbox
from tests.stage.seeds import some

pytestmark = [some(2), pytest.mark.sqlite_file]

# What is the same in a restored home as it was.
TOLD_BY_ROWS = ("connection", "sync", "run", "run_log", "snapshot_proof", "association", "association_batch")


def back_up(home: Home, *options: str) -> Path:
    file = home.path.parent / "backup.tar"
    done = home.run("backup", str(file), *options)
    assert done.code == 0, done.err
    assert "Backed up" in done.out
    return file


def other_home(home: Home, *, with_key: bool = True) -> Home:
    """A home of another folder, and nothing in it but the key."""
    other = Home(home.path.parent / "other")
    other.path.mkdir(mode=0o700)
    if with_key:
        shutil.copy(home.path / "secret.key", other.path)
    return other


def restored(home: Home, file: Path, *, with_key: bool = True) -> Home:
    other = other_home(home, with_key=with_key)
    done = other.run("restore", str(file))
    assert done.code == 0, done.err
    return other


def kept(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home.path / "snapshots").glob("*.parquet")}


def rows(home: Home, table: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home.path / "cohort_bridge.db")) as database:
        return database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


def test_a_restored_home_tells_the_same_and_its_next_runs_write_in_full(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        export(bridge, TRIAL)
        recurring.add_sync(bridge, LOCAL, POWER, tags=["a"])
        service.once(bridge)
        people.add_person(bridge, LOCAL, "ann@example.com", "viewer")
        sandbox.at(LATER_S)
        export(bridge, TRIAL)
    told = [("runs", "--json"), ("syncs", "list", "--json"), ("people", "list", "--json")]
    file = back_up(home)
    as_told, files = [done.json for done in home.run_all(*told)], kept(home)
    tables = {table: rows(home, table) for table in TOLD_BY_ROWS}
    with home.bridge() as bridge:
        sandbox.at(LATER_S * 2)
        export(bridge, TRIAL)  # what the backup does not know of

    other = restored(home, file)

    assert file.stat().st_mode & 0o777 == 0o600
    assert [done.json for done in other.run_all(*told)] == as_told
    assert {table: rows(other, table) for table in TOLD_BY_ROWS} == tables
    assert kept(other) == files
    assert {name.partition("-")[0] for name in files} == {"run", "difference", "excluded"}
    sandbox.at(0)
    with other.bridge() as bridge:
        listed = groups.list_groups(bridge, LOCAL)
        assert [(group.in_doubt, group.doubt_cause) for group in listed] == [(True, DoubtCause.RESTORED)] * 2
        _, items = overview.get_health_and_attention(bridge, LOCAL, [], listing.list_syncs(bridge, LOCAL))
        assert items.restored
        assert "restored from a backup" in items.restored.reason
        for cohort in (TRIAL, POWER):
            run = export(bridge, cohort)
            assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full")
            assert sandbox.group(cohort) == sandbox.answer(cohort).group
        assert export(bridge, TRIAL).write == "none"


def test_the_audit_log_of_a_restored_home_is_whole_and_tells_of_it(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        export(bridge, TRIAL)
    file = back_up(home)
    with home.bridge() as bridge:
        assert audit_log.list_audit(bridge, LOCAL)[0].action == "back_up"
        people.add_person(bridge, LOCAL, "ann@example.com", "viewer")
        lost = audit_log.verify_audit(bridge, LOCAL).head

    other = restored(home, file)

    with other.bridge() as bridge:
        check = audit_log.verify_audit(bridge, LOCAL)
        assert check.ok, check.problems
        (note,) = check.notes
        assert "Restored from the backup of" in note
        line = audit_log.list_audit(bridge, LOCAL)[0]
        assert (line.action, line.who) == ("home_restored", "local")
        people.add_person(bridge, LOCAL, "bob@example.com", "viewer")
        check = audit_log.verify_audit(bridge, LOCAL, noted_head=lost)
        assert not check.ok
        assert "a backup was restored" in check.problems[-1]
    assert other.run("audit", "verify").code == 0


def test_a_backup_during_an_export_and_a_worker_is_one_moment_of_both(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        export(bridge, TRIAL)
        recurring.add_sync(bridge, LOCAL, TRIAL)
        recurring.run_now(bridge, LOCAL, 1)
    sandbox.at(LATER_S)
    sandbox.forget_requests()
    sandbox.fault("slow", target="mixpanel", path="engage", times=1, seconds=3)
    worker = home.begin("worker")
    sandbox.wait_for("engage")
    exporting = home.begin("export", str(POWER), "--wait", "--json")

    file = back_up(home)

    assert home.finish(exporting).json["status"] == "succeeded"
    worker.terminate()
    assert home.finish(worker).code == 0
    other = restored(home, file)
    assert rows(other, "lease") == rows(other, "worker_beat") == []
    with other.bridge() as bridge:
        interrupted = newest_run(bridge)
        assert (interrupted.status, interrupted.error_code) == (RunStatus.INTERRUPTED, "restored")
        service.once(bridge)
        run = newest_run(bridge)
        assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full")
        assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group
        assert group_row(bridge, TRIAL).in_doubt is False


def test_a_file_of_users_that_nobody_confirmed_is_checked_again_where_it_is_restored(home: Home, sandbox: Sandbox):
    rows_of_it = io.BytesIO(b"distinct_id,apptimize_id\nu-1,i_new-1\nu-2,\n")
    with home.bridge() as bridge:
        actions.start_association(bridge, LOCAL, rows_of_it, source="users.csv")
        service.once(bridge)
        (checked,) = associations.list_newest(bridge.engine)
        assert checked.stage == ImportStage.CHECKED

    other = restored(home, back_up(home))

    with other.bridge() as bridge:
        assert associations.list_newest(bridge.engine)[0].stage == ImportStage.TO_CHECK
        service.once(bridge)
        (again,) = associations.list_newest(bridge.engine)
        assert (again.stage, again.rows, again.writable, again.problems) == (
            ImportStage.CHECKED,
            checked.rows,
            checked.writable,
            checked.problems,
        )


def test_what_cannot_be_done_is_refused_in_a_sentence(home: Home):
    file = back_up(home)

    again, missing = home.run("backup", str(file)), home.run("restore", str(file.with_name("missing.tar")))
    occupied, other = home.run("restore", str(file)), home.run("restore", str(home.path / "secret.key"))
    keyless = other_home(home, with_key=False).run("restore", str(file))

    assert (again.code, "--force" in again.err) == (2, True)
    assert (missing.code, "no file" in missing.err) == (2, True)
    assert (occupied.code, "is not empty" in occupied.err) == (1, True)
    assert (other.code, "no whole backup" in other.err) == (1, True)
    assert keyless.code == 0
    assert "There is no key here: mixpanel default, destination default." in keyless.out
