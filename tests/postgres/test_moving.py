"""A home moves from a SQLite file to a server and back: every row and every file of it, or nothing at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, inspect, select, text
from sqlmodel import col

from core.access import audit_log
from core.access.roles import LOCAL
from core.backup.backing_up import back_up
from core.backup.restoring import HomeNotEmpty, restore
from core.errors import StorageFailed
from data import installation, placing, placing_on_server, row_copy
from data.engine import make_engine, read_session, write_session
from data.models import Group, Person, Sync
from tests.postgres.moving import (
    CLOCK,
    NOON,
    all_rows,
    assert_nothing_is_there,
    back_up_old_home,
    backed_up,
    embedded,
    files_of,
    on_server,
    opened,
    restored,
    rows_at,
    rows_in,
)


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return back_up_old_home(tmp_path_factory.mktemp("moving"))


def test_a_home_on_a_server_is_what_an_embedded_one_would_be_and_comes_back_as_it_was(backup: Path, tmp_path: Path):
    file, server, back = embedded(tmp_path / "file"), on_server(tmp_path / "server"), embedded(tmp_path / "back")

    done, same = restored(server, backup), restored(file, backup)

    assert done == same
    rows = rows_at(server.database_url, server.home)
    assert rows == rows_at(file.database_url, file.home)
    assert sum(map(len, rows.values())) > 50
    assert files_of(server.home) == files_of(file.home)
    assert not (server.home / placing.WHOLE).exists()
    with opened(server) as bridge:
        assert (audit_log.verify_audit(bridge, LOCAL).problems, len(files_of(server.home)) > 5) == ([], True)
        with read_session(bridge.engine) as session:
            assert all(group.in_doubt for group in session.exec(select(Group)).scalars())

    backed_up(server, tmp_path / "second.tar")

    assert rows_in(tmp_path / "second.tar") == rows
    restored(back, tmp_path / "second.tar")
    assert files_of(back.home) == files_of(file.home)
    with opened(back) as bridge:
        assert audit_log.verify_audit(bridge, LOCAL).problems == []


def test_what_is_made_after_a_restore_gets_numbers_of_its_own(backup: Path, tmp_path: Path):
    server = on_server(tmp_path / "server")
    restored(server, backup)

    with opened(server) as bridge, write_session(bridge.engine) as session:
        highest = session.exec(select(Sync).order_by(col(Sync.id).desc())).scalars().first()
        values = highest.model_dump(exclude={"id"})
        more = Sync(**values)
        session.add_all([more, Person(email="new@example.com", role="admin", created_at=NOON)])
        session.flush()
        assert more.id == highest.id + 1


# --- where it is refused ---------------------------------------------------------------------------------------------


def test_nothing_is_restored_into_a_database_that_holds_something(backup: Path, tmp_path: Path):
    ours, strange = on_server(tmp_path / "ours"), on_server(tmp_path / "strange")
    with opened(ours) as bridge, write_session(bridge.engine) as session:
        session.add(Person(email="a@example.com", role="admin", created_at=NOON))
    engine = make_engine(strange.database_url)
    with write_session(engine) as session:
        session.connection().execute(text("CREATE TABLE somebody_elses (a int)"))

    with pytest.raises(HomeNotEmpty, match="holds person"):
        restored(ours, backup)
    with pytest.raises(HomeNotEmpty, match="somebody_elses"):
        restored(strange, backup)

    assert inspect(engine).get_table_names() == ["somebody_elses"]
    engine.dispose()
    assert files_of(ours.home) == files_of(strange.home) == {}


def test_an_installation_that_was_only_started_takes_a_backup(backup: Path, tmp_path: Path):
    server = on_server(tmp_path / "server")
    with opened(server) as bridge:
        first = installation.find(bridge.engine)
    assert (server.home / "snapshots" / "installation.id").exists()

    done = restore(server, backup, CLOCK)  # with the key that the start made

    assert done.without_key == ["mixpanel default", "destination default"]
    with opened(server) as bridge:
        assert audit_log.verify_audit(bridge, LOCAL).ok
        own = installation.find(bridge.engine)
        assert first
        assert own
        assert own.keys == first.keys
        assert own.storage_id == installation.read_storage_id(bridge.storage)


def test_a_value_that_a_server_does_not_keep_is_told_of_and_nothing_is_restored(tmp_path: Path):
    home, server = embedded(tmp_path / "home"), on_server(tmp_path / "server")
    with opened(home) as bridge, write_session(bridge.engine) as session:
        session.add(Person(email="a@example.com", name="a\x00b", role="viewer", created_at=NOON))
    backed_up(home, tmp_path / "backup.tar")

    with pytest.raises(StorageFailed, match="The column name of the table person holds another character"):
        restore(server, tmp_path / "backup.tar", CLOCK)

    assert_nothing_is_there(server)


def test_a_database_that_was_used_before_a_restore_was_finished_is_left_alone(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server = on_server(tmp_path / "server")
    monkeypatch.setattr(placing_on_server, "clear", lambda home: None)
    restored(server, backup)
    monkeypatch.undo()
    restored_rows = rows_at(server.database_url, server.home)
    shutil.copytree(server.home / placing.WHOLE, tmp_path / "whole")

    with opened(server) as bridge:  # it finds all in place, and clears up
        assert all_rows(bridge.engine) == restored_rows
        assert not (server.home / placing.WHOLE).exists()
        with write_session(bridge.engine) as session:
            for table in reversed(row_copy.list_tables()):
                session.connection().execute(table.delete())
            session.add(Person(email="a@example.com", role="admin", created_at=NOON))
    shutil.copytree(tmp_path / "whole", server.home / placing.WHOLE)

    with pytest.raises(StorageFailed, match="used by something else before"), opened(server):
        pass
    with pytest.raises(StorageFailed, match="used by something else before"):
        restore(server, backup, CLOCK)


def test_rows_that_are_not_the_same_afterward_are_not_kept(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server = on_server(tmp_path / "server")
    copy_rows: Callable[..., Any] = row_copy.copy_rows

    def change(source: Any, target: Any) -> Any:
        tallies = copy_rows(source, target)
        target.execute(text("UPDATE run SET members = members + 1 WHERE id = (SELECT min(id) FROM run)"))
        return tallies

    monkeypatch.setattr(row_copy, "copy_rows", change)
    with pytest.raises(StorageFailed, match="table run are not the same"):
        restored(server, backup)
    monkeypatch.undo()

    assert_nothing_is_there(server)


def test_a_backup_is_of_one_moment_while_others_write(backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server = on_server(tmp_path / "server")
    restored(server, backup)
    copy_table: Callable[..., Any] = row_copy._copy_table
    with opened(server) as bridge:
        before = all_rows(bridge.engine)

        def write_between(table: Table, *connections: Any) -> Any:
            tally = copy_table(table, *connections)
            with write_session(bridge.engine) as session:
                email = f"{table.name}@example.com"
                session.add(Person(email=email, role="viewer", created_at=NOON))
            return tally

        monkeypatch.setattr(row_copy, "_copy_table", write_between)
        back_up(bridge, LOCAL, tmp_path / "second.tar")
    assert rows_in(tmp_path / "second.tar") == before
