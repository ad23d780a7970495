"""The audit log: written with every change, and no line of it can be changed or removed without being found."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlmodel import Session, col, select, update

from core.access import audit_log, people, roles
from core.access.roles import LOCAL, Actor, Role, action
from core.bridge import Bridge
from core.connections import lookup, removal
from core.errors import NotAllowed, NotFound, SettingsError
from core.syncs import listing, recurring
from data.audit import chain, reader, recorder
from data.audit.anchor import read_anchor
from data.engine import read_session, write_session
from data.models import AuditEntry, Connection, ConnectionKind, Group, Person, Run, RunStatus, Sync, SyncKind
from tests.stage.processes import ROOT


def list_lines(bridge: Bridge) -> list[AuditEntry]:
    with read_session(bridge.engine) as session:
        return list(session.exec(select(AuditEntry).order_by(col(AuditEntry.number))).all())


@pytest.fixture
def five_lines(bridge: Bridge) -> Bridge:
    for number in range(5):
        people.add_person(bridge, LOCAL, f"p{number}@example.com")
    return bridge


@pytest.fixture
def sync_id(bridge: Bridge, group_with_runs: list[Run]) -> int:
    """A recurring sync of the group."""
    with write_session(bridge.engine) as session:
        mixpanel = session.exec(select(Connection).where(Connection.side == "mixpanel")).one()
        group = session.exec(select(Group)).one()
        sync = Sync(
            created_at=bridge.clock.now(),
            kind=SyncKind.RECURRING,
            mixpanel_id=mixpanel.id,
            group_id=group.id,
            project_id=1,
            cohort_id=7,
            every_minutes=15,
        )
        session.add(sync)
    assert sync.id
    return sync.id


@pytest.fixture
def spare_action() -> Iterator[None]:
    """What a test declares as an action is none afterwards."""
    before = dict(roles.ACTIONS)
    yield
    roles.ACTIONS.clear()
    roles.ACTIONS.update(before)


def test_a_change_is_recorded_with_who_what_before_and_after(bridge: Bridge, sync_id: int):
    recurring.pause_sync(bridge, LOCAL, sync_id)

    line = list_lines(bridge)[-1]
    assert (line.who, line.action, line.outcome, line.subject) == ("local", "pause_sync", "done", f"sync {sync_id}")
    assert line.before[line.subject]["state"] == "active"
    assert line.after[line.subject] == {"state": "paused", "paused_reason": "Paused by local."}


def test_what_a_statement_changes_in_many_rows_is_recorded_too(bridge: Bridge, sync_id: int):
    destination = next(
        connection for connection in lookup.list_connections(bridge, LOCAL) if connection.kind == ConnectionKind.CSV
    )
    assert destination.id

    removal.remove_connection(bridge, LOCAL, destination.id)

    line = list_lines(bridge)[-1]
    assert line.action == "remove_connection"
    assert line.after["destination connection csv"] == {"removed": True}
    assert line.after[f"sync {sync_id}"]["paused_reason"] == "The connection csv was removed."
    assert line.before[f"sync {sync_id}"]["state"] == "active"


def test_what_the_data_layer_changes_for_an_action_is_recorded(bridge: Bridge, group_with_runs: list[Run]):
    from core.syncs import runs

    runs.cancel_run(bridge, LOCAL, group_with_runs[0].id or 0)

    line = list_lines(bridge)[-1]
    assert (line.action, line.subject) == ("cancel_run", f"run {group_with_runs[0].id}")
    assert line.after[line.subject]["status"] == RunStatus.CANCELLED


@pytest.mark.usefixtures("spare_action")
def test_a_new_action_cannot_forget_it(bridge: Bridge):
    @action(Role.VIEWER)
    def rename_everyone(bridge: Bridge, actor: Actor) -> None:
        with write_session(bridge.engine) as session:
            session.exec(update(Person).values(name="Someone Else"))

    people.add_person(bridge, LOCAL, "ann@example.com")
    rename_everyone(bridge, LOCAL)

    line = list_lines(bridge)[-1]
    assert (line.action, line.before) == ("rename_everyone", {"ann@example.com": {"name": ""}})
    assert line.after == {"ann@example.com": {"name": "Someone Else"}}


def test_a_change_that_fails_leaves_no_line_and_a_line_that_fails_leaves_no_change(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
):
    people.add_person(bridge, LOCAL, "ann@example.com")
    with pytest.raises(SettingsError):
        people.add_person(bridge, LOCAL, "ann@example.com")
    with bridge.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_entry RENAME TO gone")
    with pytest.raises(Exception, match="could not be used"):
        people.add_person(bridge, LOCAL, "eve@example.com")
    with bridge.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO audit_entry")

    assert [view.person.email for view in people.list_people(bridge, LOCAL)] == ["ann@example.com"]
    assert len(list_lines(bridge)) == 1


def test_what_changes_nothing_writes_nothing(bridge: Bridge, sync_id: int):
    recurring.pause_sync(bridge, LOCAL, sync_id)
    before = len(list_lines(bridge))

    recurring.pause_sync(bridge, LOCAL, sync_id)
    listing.list_syncs(bridge, LOCAL)
    with pytest.raises(NotFound):
        recurring.pause_sync(bridge, LOCAL, 99)

    assert len(list_lines(bridge)) == before


def test_a_secret_is_not_in_the_log_sealed_or_open(bridge: Bridge):
    sealed = bridge.vault.encrypt("s3cret-token")
    with write_session(bridge.engine) as session:
        session.add(
            Connection(
                created_at=bridge.clock.now(),
                side="destination",
                kind=ConnectionKind.ENDPOINT,
                name="x",
                secret=sealed,
                secret_end="oken",
            )
        )
    connection = lookup.list_connections(bridge, LOCAL)[0]
    assert connection.id

    removal.remove_connection(bridge, LOCAL, connection.id)

    line = list_lines(bridge)[-1]
    assert line.before[line.subject]["secret"].startswith("(not shown)")
    assert sealed not in str(line)
    assert "s3cret-token" not in str(line)


def test_a_refusal_is_recorded_once_in_a_while(bridge: Bridge):
    viewer = Actor("vera@example.com", Role.VIEWER)
    for _ in range(3):
        with pytest.raises(NotAllowed):
            recurring.pause_sync(bridge, viewer, 1)

    lines = list_lines(bridge)
    assert [(line.who, line.action, line.outcome) for line in lines] == [(viewer.name, "pause_sync", "refused")]


def test_a_whole_log_is_found_whole(five_lines: Bridge):
    result = audit_log.verify_audit(five_lines, LOCAL)

    assert (result.ok, result.entries, result.problems) == (True, 5, [])
    assert read_anchor(five_lines.settings.audit_head) == (5, list_lines(five_lines)[-1].hash)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE audit_entry SET who = 'someone else' WHERE number = 2", "Line 2 was changed."),
        ("UPDATE audit_entry SET after = '{}' WHERE number = 5", "Line 5 was changed."),
        ("UPDATE audit_entry SET at = '2020-01-01 00:00:00.000000' WHERE number = 1", "Line 1 was changed."),
        ("DELETE FROM audit_entry WHERE number = 1", "Line 1 was removed."),
        ("DELETE FROM audit_entry WHERE number IN (2, 3)", "Lines 2 to 3 were removed."),
        ("DELETE FROM audit_entry WHERE number = 5", "The newest lines were removed: the log ends at line 4"),
        ("DELETE FROM audit_entry", "The newest lines were removed: the log ends at line 0"),
        (
            "UPDATE audit_entry SET number = 9 WHERE number = 2; "
            "UPDATE audit_entry SET number = 2 WHERE number = 3; UPDATE audit_entry SET number = 3 WHERE number = 9",
            "Line 2 does not follow",
        ),
    ],
)
def test_a_line_that_was_changed_or_removed_is_found(five_lines: Bridge, statement: str, sentence: str):
    with five_lines.engine.begin() as connection:
        for sql in statement.split("; "):
            connection.exec_driver_sql(sql)

    result = audit_log.verify_audit(five_lines, LOCAL)

    assert not result.ok
    assert sentence in " ".join(result.problems)


def rewrite_from(bridge: Bridge, first: int) -> None:
    """Change a line and make the chain right again, like a person who knows how it is made."""

    with Session(bridge.engine.execution_options(writer=True)) as session:
        previous = ""
        for line in session.exec(select(AuditEntry).order_by(col(AuditEntry.number))).all():
            if line.number >= first:
                line.who, line.previous = "someone else", previous
                line.hash = chain.digest(line)
                session.add(line)
            previous = line.hash
        session.commit()


def test_a_chain_that_was_rewritten_is_found_by_its_anchor_and_by_a_noted_head(five_lines: Bridge):
    head = audit_log.verify_audit(five_lines, LOCAL).head
    rewrite_from(five_lines, 3)

    assert "not the one that audit.head knows" in " ".join(audit_log.verify_audit(five_lines, LOCAL).problems)

    # Who may write the home folder as well makes the anchor fit: only what was noted elsewhere finds that.
    five_lines.settings.audit_head.write_text(f"5 {list_lines(five_lines)[-1].hash}\n")
    assert audit_log.verify_audit(five_lines, LOCAL).ok
    assert "the head that was noted" in audit_log.verify_audit(five_lines, LOCAL, noted_head=head).problems[0]


def test_later_changes_do_not_hide_that_the_newest_lines_were_removed(five_lines: Bridge):
    with five_lines.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit_entry WHERE number > 2")

    for number in range(6):
        people.add_person(five_lines, LOCAL, f"later{number}@example.com")

    assert "not the one that audit.head knows" in " ".join(audit_log.verify_audit(five_lines, LOCAL).problems)


def test_a_line_that_something_else_added_is_told_of_now_and_for_ever(five_lines: Bridge):
    last = list_lines(five_lines)[-1]
    forged = AuditEntry(
        number=6, at=last.at, who="boss@example.com", action="change_role", outcome="done", previous=last.hash
    )
    forged.hash = chain.digest(forged)
    with write_session(five_lines.engine) as session:
        session.add(forged)

    before = audit_log.verify_audit(five_lines, LOCAL)
    people.add_person(five_lines, LOCAL, "later@example.com")

    assert "Lines 6 to 6 are newer than what audit.head notes" in before.problems[0]
    told, newest = list_lines(five_lines)[-2:]
    assert (told.number, told.action, newest.action) == (7, "audit_gap", "add_person")
    after = audit_log.verify_audit(five_lines, LOCAL)
    assert after.ok
    assert "Lines 6 to 6 were not noted" in after.notes[0]


def test_an_endpoint_is_told_of_without_its_query_and_without_the_end_of_its_token(bridge: Bridge):
    with recorder.acting(roles.scope(bridge, "local", "try")), write_session(bridge.engine) as session:
        session.add(
            Connection(created_at=bridge.clock.now(), side="destination", kind=ConnectionKind.ENDPOINT, name="n", url="https://e.example/x?key=PLANTED",
                       secret="sealed", secret_end="9876")
        )  # fmt: skip

    written = str(list_lines(bridge)[-1].after)
    assert "https://e.example/x?" in written
    assert "PLANTED" not in written
    assert "9876" not in written


def test_values_that_differ_only_far_behind_are_told_apart(bridge: Bridge, sync_id: int):
    for end in ("one", "two"):
        with recorder.acting(roles.scope(bridge, "local", "try")), write_session(bridge.engine) as session:
            session.get_one(Sync, sync_id).paused_reason = "x" * 600 + end

    line = list_lines(bridge)[-1]
    assert line.before[f"sync {sync_id}"] != line.after[f"sync {sync_id}"]


def test_every_row_of_a_change_of_many_is_named(bridge: Bridge, group_with_runs: list[Run]):
    with write_session(bridge.engine) as session:
        mixpanel = session.exec(select(Connection).where(Connection.side == "mixpanel")).one()
        group = session.exec(select(Group)).one()
        common = {"kind": SyncKind.RECURRING, "mixpanel_id": mixpanel.id, "group_id": group.id, "project_id": 1}
        made = [Sync(created_at=bridge.clock.now(), **common, cohort_id=7, every_minutes=15) for _ in range(120)]
        session.add_all(made)
    assert mixpanel.id

    removal.remove_connection(bridge, LOCAL, mixpanel.id)

    named = {name for line in list_lines(bridge) for name in line.after if name.startswith("sync ")}
    assert named >= {f"sync {sync.id}" for sync in made}
    assert audit_log.verify_audit(bridge, LOCAL).ok


def test_a_missing_or_unreadable_anchor_is_told(five_lines: Bridge):
    five_lines.settings.audit_head.write_text("what?")
    assert "cannot be read" in audit_log.verify_audit(five_lines, LOCAL).problems[0]
    five_lines.settings.audit_head.unlink()
    assert "is missing" in audit_log.verify_audit(five_lines, LOCAL).problems[0]


def test_processes_that_write_at_once_make_one_chain(bridge: Bridge):
    settings = {"home": str(bridge.settings.home), "database_url": bridge.settings.database_url}
    code = (
        "import sys; from core.access import people; from core.access.roles import LOCAL\n"
        "from core.bridge import open_bridge\n"
        "from core.settings import Settings\n"
        f"bridge = open_bridge(Settings(**{settings!r}, _env_file=None))\n"
        "for n in range(15): people.add_person(bridge, LOCAL, f'{sys.argv[1]}{n}@example.com')"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, name], stderr=subprocess.PIPE, cwd=ROOT) for name in "abc"]

    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [(b"", 0)] * 3
    result = audit_log.verify_audit(bridge, LOCAL)
    assert (result.ok, result.entries) == (True, 45)
    assert read_anchor(bridge.settings.audit_head) == (45, list_lines(bridge)[-1].hash)


def test_the_log_can_be_filtered_and_paged_through_in_the_database(five_lines: Bridge):
    query = reader.AuditFilter(text="p3@")
    assert [line.subject for line in audit_log.list_audit(five_lines, LOCAL, query)] == ["p3@example.com"]
    assert audit_log.count_audit(five_lines, LOCAL, reader.AuditFilter(who="LOC")) == 5
    assert audit_log.count_audit(five_lines, LOCAL, reader.AuditFilter(who="%")) == 0
    roles.note_refusal(five_lines, "Jürgen", "sign_in", "großer Ärger")
    assert audit_log.count_audit(five_lines, LOCAL, reader.AuditFilter(text="GROSSER ÄRGER", who="jÜRG")) == 1
    second = audit_log.list_audit(five_lines, LOCAL, limit=2, offset=3)
    assert [line.number for line in second] == [3, 2]


def test_no_cell_of_the_download_is_a_formula(bridge: Bridge):
    for who in ("=1+1", "+7", "-7", "@SUM(A1)", "  =2", "plain"):
        roles.note_refusal(bridge, who, "sign_in", f"{who} why")

    rows = list(csv.reader("".join(audit_log.audit_csv(bridge, LOCAL)).split("\n")[:-1]))

    assert [row[2] for row in rows[1:]] == ["'=1+1", "'+7", "'-7", "'@SUM(A1)", "'  =2", "plain"]
