"""Machines that take turns over one storage: what vouches for the database lies there, and is any machine's."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from sqlmodel import col, delete

from core.access import audit_log, people
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.syncs import listing, recurring, runs, undo
from core.worker import service
from data.engine import write_session
from data.models import AuditEntry, RunFilter, RunStatus, SyncState
from tests.stage import databases
from tests.stage.home import export, group_row, newest_run
from tests.stage.machines import PREFIX, Machines
from tests.stage.object_storage import Asked, storage_at
from tests.stage.sandbox import LATER_S, POWER, TRIAL, Sandbox
from tests.stage.seeds import some

pytestmark = some(3)

MARK, HEAD = "deliveries.mark", "audit.head"


def stored(machines: Machines, name: str) -> str:
    return storage_at(machines.bucket, prefix=PREFIX).read(name).content.decode()


def noticed(bridge: Bridge) -> int:
    return sum(line.action == "database_restored" for line in audit_log.list_audit(bridge, LOCAL))


def test_machines_take_turns_and_nothing_is_paused_held_in_doubt_or_written_again(machines: Machines, sandbox: Sandbox):
    with machines.machine("a") as one:
        first = export(one, POWER)
        sync = recurring.add_sync(one, LOCAL, POWER, max_shrink=1)
    for name in ("b", "a", "c", "b"):
        with machines.machine(name) as each:
            assert group_row(each, POWER).in_doubt is False
            recurring.run_now(each, LOCAL, sync.id or 0)
            service.once(each)
            run = newest_run(each)
            assert (run.status, run.write, run.added, run.removed) == (RunStatus.SUCCEEDED, "none", 0, 0)
            assert listing.get_sync(each, LOCAL, sync.id or 0).sync.state == SyncState.ACTIVE
            assert noticed(each) == 0

    sandbox.at(LATER_S)
    with machines.machine("c") as one:
        assert export(one, POWER).write == "delta"
    for name in ("b", "c", "a"):
        with machines.machine(name) as each:
            people.add_person(each, LOCAL, f"{name}@example.com")
            checked = audit_log.verify_audit(each, LOCAL)
            assert (checked.problems, checked.notes) == ([], [])
    with machines.machine("b") as other:
        undo.undo_to(other, LOCAL, first.id or 0)
        service.once(other)
        back = newest_run(other)
        assert (back.status, back.trigger) == (RunStatus.SUCCEEDED, "undo")
        assert len(runs.list_runs(other, LOCAL, RunFilter(), limit=20)) == 7
    assert not [home for home in machines.homes.values() if (home.path / MARK).exists() or (home.path / HEAD).exists()]


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_database_that_was_put_back_is_noticed_by_a_machine_that_never_delivered(
    machines: Machines, sandbox: Sandbox, name: str
):
    kept = machines.first.path.parent / "backup"
    with machines.machine("a") as one:
        export(one, TRIAL)
        databases.back_up(machines.first.path, kept)
        sandbox.at(LATER_S)
        export(one, TRIAL)
    databases.put_back(machines.first.path, kept)

    with machines.machine(name) as each:
        assert (noticed(each), group_row(each, TRIAL).in_doubt) == (1, True)
        assert export(each, TRIAL).write == "full"
    with machines.machine("c") as third:
        assert (noticed(third), group_row(third, TRIAL).in_doubt) == (1, False)


def test_what_a_home_noted_itself_until_now_is_carried_over_once(machines: Machines, sandbox: Sandbox):
    with machines.machine("a") as one:
        export(one, TRIAL)
    number, home = stored(machines, MARK), machines.home("a").path
    (home / MARK).write_text("1000\n")

    with machines.machine("a") as one:
        assert (noticed(one), group_row(one, TRIAL).in_doubt) == (1, True)
    assert (number, int(stored(machines, MARK)), (home / MARK).exists()) == ("1\n", 1001, False)
    with machines.machine("b") as other:
        assert noticed(other) == 1


def test_lines_that_were_removed_are_missed_on_every_machine(machines: Machines):
    with machines.machine("a") as one:
        for number in range(3):
            people.add_person(one, LOCAL, f"p{number}@example.com")
        newest = max(line.number for line in audit_log.list_audit(one, LOCAL))
        with write_session(one.engine) as session:
            session.exec(delete(AuditEntry).where(col(AuditEntry.number) == newest))

        assert "The newest lines were removed" in audit_log.verify_audit(one, LOCAL).problems[0]
    with machines.machine("b") as other:
        assert not audit_log.verify_audit(other, LOCAL).ok
        people.add_person(other, LOCAL, "later@example.com")
        assert not audit_log.verify_audit(other, LOCAL).ok, "what comes later does not cover it up"


def test_a_head_that_stayed_behind_accuses_nobody_and_comes_up_with_the_next_line(machines: Machines):
    with machines.machine("a") as one:
        people.add_person(one, LOCAL, "first@example.com")
        machines.way.fault = lambda asked: "error" if HEAD in asked.path else None
        people.add_person(one, LOCAL, "second@example.com")
        people.add_person(one, LOCAL, "third@example.com")
        machines.way.fault = lambda asked: None
    with machines.machine("b") as other:
        behind = audit_log.verify_audit(other, LOCAL)
        people.add_person(other, LOCAL, "fourth@example.com")
        after = audit_log.verify_audit(other, LOCAL)

    assert (behind.problems, after.problems, after.notes) == ([], [], [])
    assert "are newer than what audit.head in the storage notes" in behind.notes[0]


def test_the_storage_is_never_asked_while_others_wait_to_write(machines: Machines, sandbox: Sandbox):
    if not machines.database_url.startswith("sqlite:///"):
        pytest.skip("one writer at a time is SQLite's")
    file, waited = machines.database_url.removeprefix("sqlite:///"), list[str]()

    def look(asked: Asked) -> None:
        with closing(sqlite3.connect(file, timeout=0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
            except sqlite3.OperationalError:
                waited.append(f"{asked.method} {asked.path}")

    with machines.machine("a") as one:
        machines.way.fault = look
        asked = len(machines.way.asked)
        people.add_person(one, LOCAL, "first@example.com")
        people.add_person(one, LOCAL, "second@example.com")

    assert len(machines.way.asked) > asked
    assert waited == []
