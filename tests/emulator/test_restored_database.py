"""A database that was put back: what was delivered since is in doubt, and no group stays wrong for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from core.access import audit_log, people, tokens
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.syncs import groups, recurring
from core.worker import service
from data import deliveries
from data.engine import write_session
from data.models import AuditEntry, RunStatus, Sync
from tests.stage import databases
from tests.stage.home import Home, export, group_row, newest_run
from tests.stage.sandbox import LATER_S, POWER, TRIAL, Sandbox
from tests.stage.seeds import LONG, few, some

pytestmark = some(5)

MARK = "deliveries.mark"


@pytest.fixture
def opened(home: Home, sandbox: Sandbox) -> Bridge:
    """A home as it was after its first export, and a backup of its database."""
    with home.bridge() as bridge:
        export(bridge, TRIAL)
        back_up(home)
    return bridge


def back_up(home: Home) -> None:
    databases.back_up(home.path, home.path.parent / "backup")


def restore(home: Home) -> None:
    """Put the database back, while nothing uses it."""
    databases.put_back(home.path, home.path.parent / "backup")


def put_back_in_place(home: Home) -> None:
    """Put the database back while processes use it, as SQLite's own tools do."""
    database = home.path / "cohort_bridge.db"
    with closing(sqlite3.connect(home.path.parent / "backup")) as kept, closing(sqlite3.connect(database)) as present:
        kept.backup(present)


@contextmanager
def restored(home: Home) -> Generator[Bridge]:
    restore(home)
    with home.bridge() as bridge:
        yield bridge


def noticed(bridge: Bridge) -> list[AuditEntry]:
    return [line for line in audit_log.list_audit(bridge, LOCAL) if line.action == "database_restored"]


@pytest.mark.usefixtures("opened")
def test_a_group_that_was_written_since_the_backup_is_written_in_full_and_no_one_is_left_behind(
    home: Home, sandbox: Sandbox
):
    with home.bridge() as bridge:
        sandbox.at(LATER_S)
        export(bridge, TRIAL)
    sandbox.at(0)

    with restored(home) as bridge:
        run = export(bridge, TRIAL)
        assert (run.status, run.write) == (RunStatus.SUCCEEDED, "full")
        assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group
        sandbox.at(LATER_S / 2)
        assert export(bridge, TRIAL).write == "delta"
        assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


def test_every_group_is_in_doubt_whichever_was_written_until_it_is_written_again(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        export(bridge, TRIAL)
        export(bridge, POWER)
        back_up(home)
        sandbox.at(LATER_S)
        export(bridge, TRIAL)

    with restored(home) as bridge:
        assert [group.in_doubt for group in groups.list_groups(bridge, LOCAL)] == [True, True]
        (line,) = noticed(bridge)
        assert line.who == "Cohort Bridge"
        assert line.subject.startswith("The database knows of fewer deliveries than were begun")
        assert export(bridge, POWER).write == "full"
        assert [group.in_doubt for group in groups.list_groups(bridge, LOCAL)] == [True, False]
    with home.bridge() as bridge:  # once is enough
        assert len(noticed(bridge)) == 1
        assert group_row(bridge, POWER).in_doubt is False
        assert export(bridge, TRIAL).write == "full"


@pytest.mark.usefixtures("opened")
def test_each_later_restore_is_noticed_too(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        export(bridge, TRIAL, full=True)
    for _ in range(3):
        with restored(home) as bridge:
            assert len(noticed(bridge)) == 1
            assert group_row(bridge, TRIAL).in_doubt is True
            assert export(bridge, TRIAL).write == "full"
    with restored(home) as bridge:
        pass
    with restored(home) as bridge:  # nothing was delivered in between, and nothing could tell that
        assert group_row(bridge, TRIAL).in_doubt is True


@pytest.mark.usefixtures("opened")
def test_a_delivery_that_failed_at_its_first_message_was_noted_before_it(home: Home, sandbox: Sandbox):
    sandbox.fault("reset_after", target="apptimize", after=0)
    with home.bridge() as bridge:
        sandbox.at(LATER_S)
        assert export(bridge, TRIAL).status == RunStatus.FAILED
    sandbox.clear_faults()
    sandbox.at(0)

    with restored(home) as bridge:
        assert export(bridge, TRIAL).write == "full"


@pytest.mark.usefixtures("opened")
def test_nothing_is_sent_when_it_cannot_be_noted_that_a_delivery_begins(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        (home.path / MARK).unlink()
        (home.path / MARK).mkdir()
        sandbox.forget_requests()

        run = export(bridge, TRIAL, full=True)

        assert (run.status, run.error_code) == (RunStatus.FAILED, "storage_failed")
        assert MARK in (run.error_message or "")
        assert sandbox.messages() == []


@pytest.mark.usefixtures("opened")
def test_a_base_that_can_still_be_read_continues_to_serve_the_limit_of_held_runs(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        recurring.add_sync(bridge, LOCAL, TRIAL, max_shrink=0)
        service.once(bridge)
        back_up(home)
        export(bridge, TRIAL, full=True)
    sandbox.at(LATER_S)

    with restored(home) as bridge:
        recurring.run_now(bridge, LOCAL, 2)
        service.once(bridge)

        run = newest_run(bridge)
        assert (run.status, run.error_code) == (RunStatus.HELD, "held_shrink")
        assert run.removed > 0


@few(1)
@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("content", [None, "not a number", "", "-3", "9" * 18])
def test_a_note_that_is_missing_or_damaged_puts_every_group_in_doubt_once(
    home: Home, sandbox: Sandbox, content: str | None
):
    if content is None:
        (home.path / MARK).unlink()
    else:
        (home.path / MARK).write_text(content)

    with home.bridge() as bridge:
        (line,) = noticed(bridge)
        assert "is missing or damaged" in line.subject
        assert export(bridge, TRIAL).write == "full"
    with home.bridge() as bridge:
        assert len(noticed(bridge)) == 1
        assert export(bridge, TRIAL).write == "none"


def test_a_home_that_never_delivered_begins_to_note_without_a_doubt(home: Home, sandbox: Sandbox):
    (home.path / MARK).unlink(missing_ok=True)

    with home.bridge() as bridge:
        assert (home.path / MARK).read_text() == "0\n"
        assert noticed(bridge) == []
        export(bridge, TRIAL)
    assert (home.path / MARK).read_text() == "1\n"


@pytest.mark.usefixtures("opened")
def test_an_audit_log_that_lacks_a_line_shows_it_where_nothing_was_delivered_since(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        people.add_person(bridge, LOCAL, "ann@example.com", "viewer")

    with restored(home) as bridge:
        (line,) = noticed(bridge)
        assert line.subject.startswith("The audit log lacks a line")
        assert export(bridge, TRIAL).write == "full"
    with home.bridge() as bridge:
        assert len(noticed(bridge)) == 1
        assert export(bridge, TRIAL).write == "none"


@pytest.mark.usefixtures("opened")
def test_a_command_after_a_restore_tells_that_its_groups_are_in_doubt(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        export(bridge, TRIAL, full=True)
    restore(home)

    listed = home.run("groups", "--json").json

    assert [(group["cohort_id"], group["in_doubt"]) for group in listed] == [(TRIAL, True)]


def test_several_that_note_at_once_leave_the_highest_number(tmp_path: Path):
    mark = tmp_path / MARK
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: deliveries.note(mark, number), [*range(1, 41), *range(40, 0, -1)]))

    assert mark.read_text() == "40\n"


@LONG
@pytest.mark.sqlite_file  # a server's is not put back while processes are connected
@pytest.mark.usefixtures("opened")
def test_a_restore_under_a_run_that_works_is_noticed_before_the_run_delivers(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        service.once(bridge)
        sandbox.at(LATER_S)
        sandbox.forget_requests()
        sandbox.fault("slow", target="mixpanel", path="engage", times=1, seconds=6)
        under_way = home.begin("export", str(TRIAL), "--json")
        sandbox.wait_for("engage")
        back_up(home)
        with write_session(bridge.engine) as session:
            session.get_one(Sync, 2).next_run_at = None  # the next slot of the recurring one
        service.once(bridge)
        assert sandbox.group(POWER) == sandbox.answer(POWER).group
        put_back_in_place(home)
    assert home.finish(under_way).json["status"] == "succeeded"

    with home.bridge() as bridge:
        assert len(noticed(bridge)) == 1
        sandbox.at(0)
        assert export(bridge, POWER).write == "full"
        assert sandbox.group(POWER) == sandbox.answer(POWER).group
        assert export(bridge, TRIAL).write == "full"
        assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


@pytest.mark.usefixtures("opened")
def test_a_held_run_does_not_show_what_a_run_of_its_number_changed_before_the_restore(home: Home, sandbox: Sandbox):
    sandbox.at(LATER_S)
    with home.bridge() as bridge:
        lost = export(bridge, TRIAL)

    with restored(home) as bridge:
        sandbox.fault("total_wrong")
        held = export(bridge, TRIAL)

        assert (held.id, held.status, held.error_code) == (lost.id, RunStatus.HELD, "held_total")
        assert held.difference is None


def test_a_token_that_was_revoked_since_the_backup_counts_no_more(home: Home, sandbox: Sandbox):
    with home.bridge() as bridge:
        made = tokens.make_token(bridge, LOCAL, "airflow", "analyst")
        export(bridge, TRIAL)
        back_up(home)
        tokens.revoke_token(bridge, LOCAL, made.token.id or 0)

    with restored(home) as bridge:
        asker = tokens.find_asker(bridge, made.text)
        assert (asker.actor, asker.is_open) == (None, False)
        assert noticed(bridge)[0].after["tokens"] == {"revoked": 1}
        assert tokens.list_tokens(bridge, LOCAL) == []
