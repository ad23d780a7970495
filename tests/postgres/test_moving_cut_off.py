"""A move that is killed, or loses its server, leaves nothing, or what the next try finishes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, select, text

from core.access import audit_log
from core.access.roles import LOCAL
from core.backup.backing_up import back_up
from core.errors import StorageFailed
from core.settings import Settings
from data import placing, row_copy
from data.engine import make_engine, read_session
from data.models import Group
from tests.faults import process
from tests.faults.process import Kill
from tests.postgres.moving import (
    assert_nothing_is_there,
    back_up_old_home,
    embedded,
    files_of,
    on_server,
    opened,
    restored,
    rows_at,
    rows_in,
)
from tests.stage.home import Home


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return back_up_old_home(tmp_path_factory.mktemp("moving"))


def home_of(settings: Settings) -> Home:
    settings.home.mkdir(exist_ok=True)
    return Home(settings.home)


KILLS = [Kill(step, when) for step in ("copy_rows", "decide", "place_beside", "clear") for when in ("before", "after")]


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_a_restore_that_is_killed_leaves_an_empty_database_or_the_next_one_finishes_it(
    backup: Path, tmp_path: Path, kill: Kill
):
    server, file = on_server(tmp_path / "server"), embedded(tmp_path / "file")
    is_free = kill.step == "copy_rows" or str(kill).startswith("before-decide")

    assert process.run(home_of(server), "restore", str(backup), kill=kill) == -9

    assert placing.is_decided(server.home) is not (is_free or kill.step == "clear" and kill.when == "after")
    if is_free:
        shutil.rmtree(server.home / placing.UNPACKED)
        assert_nothing_is_there(server)
    if str(kill) == "after-clear-1":
        assert process.run(home_of(server), "restore", str(backup)) == 1
    else:
        assert process.run(home_of(server), "restore", str(backup)) == 0
    restored(file, backup)
    with opened(server) as bridge, read_session(bridge.engine) as session:
        assert len(session.exec(select(Group)).all()) == len(all_groups(file))
        assert audit_log.verify_audit(bridge, LOCAL).problems == []
    assert files_of(server.home) == files_of(file.home)
    assert not (server.home / placing.WHOLE).exists()


def all_groups(settings: Settings) -> list[str]:
    return rows_at(settings.database_url, settings.home)[Group.__tablename__]


@pytest.mark.parametrize(
    "kill", [Kill("copy_rows", "after"), Kill("compare_rows", "after"), Kill("archive", "after")], ids=str
)
def test_a_backup_of_a_server_that_is_killed_leaves_no_file(backup: Path, tmp_path: Path, kill: Kill):
    server = on_server(tmp_path / "server")
    restored(server, backup)
    home = Home(server.home)

    assert process.run(home, "backup", str(tmp_path / "second.tar"), kill=kill) == -9

    assert not (tmp_path / "second.tar").exists()
    assert process.run(home, "backup", str(tmp_path / "second.tar")) == 0
    assert not (server.home / "backup.part").exists()
    assert rows_in(tmp_path / "second.tar")[Group.__tablename__] == all_groups(server)


def lose_connections(server: Settings) -> None:
    engine = make_engine(server.database_url)
    with engine.connect() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
        connection.execute(text(others + "pg_backend_pid()"))
    engine.dispose()


def test_a_server_that_is_lost_in_the_middle_leaves_nothing_and_takes_it_the_next_time(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server = on_server(tmp_path / "server")
    require_same = row_copy.require_same

    def lose(target: Any, tallies: Any) -> None:
        lose_connections(server)
        require_same(target, tallies)

    monkeypatch.setattr(row_copy, "require_same", lose)
    with pytest.raises(StorageFailed, match="lost"):
        restored(server, backup)
    monkeypatch.undo()

    assert_nothing_is_there(server)
    restored(server, backup)
    with opened(server) as bridge:
        assert audit_log.verify_audit(bridge, LOCAL).ok


@pytest.mark.parametrize("finish", ["opened", "same backup"])
def test_a_restore_that_had_decided_when_its_server_was_lost_is_finished(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finish: str
):
    server, file = on_server(tmp_path / "server"), embedded(tmp_path / "file")
    place_beside = placing.place_beside

    def lose(home: Path) -> None:
        place_beside(home)
        lose_connections(server)

    monkeypatch.setattr(placing, "place_beside", lose)
    with pytest.raises(StorageFailed):
        restored(server, backup)
    monkeypatch.undo()
    assert placing.is_decided(server.home)

    if finish == "opened":
        with opened(server):
            pass
    else:
        restored(server, backup)
    restored(file, backup)

    assert rows_at(server.database_url, server.home) == rows_at(file.database_url, file.home)
    assert files_of(server.home) == files_of(file.home)
    assert not (server.home / placing.WHOLE).exists()


def test_a_backup_that_loses_its_server_leaves_no_file(backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server = on_server(tmp_path / "server")
    restored(server, backup)
    copy_table: Callable[..., Any] = row_copy._copy_table

    def lose(table: Table, source: Any, target: Any) -> Any:
        if table.name == "run":
            lose_connections(server)
        return copy_table(table, source, target)

    monkeypatch.setattr(row_copy, "_copy_table", lose)
    with opened(server) as bridge, pytest.raises(StorageFailed, match="lost"):
        back_up(bridge, LOCAL, tmp_path / "second.tar")
    assert not (tmp_path / "second.tar").exists()
    assert not (server.home / "backup.part").exists()
