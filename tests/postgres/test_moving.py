"""A home moves from a SQLite file to a server and back: every row and every file of it, or nothing at all."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, BigInteger, Boolean, Engine, Float, Integer, String, Table, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import AutoString, SQLModel, col

from core.access import audit_log
from core.access.roles import LOCAL
from core.backup.archive import Archive
from core.backup.backing_up import back_up
from core.backup.restoring import HomeNotEmpty, Restored, restore
from core.bridge import Bridge, open_bridge
from core.clock import Clock
from core.errors import StorageFailed
from core.settings import Settings
from data import installation, placing, placing_on_server, row_copy
from data.engine import make_engine, open_database, read_session, sqlite_url, write_session
from data.models import Group, Person, Sync
from data.proof_models import Installation
from data.row_ids import RowId
from tests.faults import process
from tests.faults.process import Kill
from tests.stage import databases
from tests.stage.home import Home
from tests.stage.processes import ROOT

OLD_HOME = ROOT / "tests" / "fixtures" / "home-0005"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
# One that stands still, whatever the database's says: two restores write the same then.
CLOCK = Clock(now=lambda: NOON)
ODD_TEXTS = (
    "",
    "a",
    "'\"\\",
    "\\N",
    "a\tb\nc\r\n",
    "é\u0301ß",
    "\u202e\u200b",
    "\U0001f9d1\u200d\U0001f680",
    "{}",
    " x ",
    "%s:x",
    "NULL",
)


def embedded(home: Path) -> Settings:
    return Settings(home=home, database_url=sqlite_url(home / "cohort_bridge.db"), _env_file=None)  # type: ignore[call-arg]


def on_server(home: Path) -> Settings:
    return Settings(home=home, database_url=databases.url_of(home), _env_file=None)  # type: ignore[call-arg]


@contextmanager
def opened(settings: Settings) -> Generator[Bridge]:
    bridge = open_bridge(settings, clock=CLOCK)
    try:
        yield bridge
    finally:
        bridge.engine.dispose()


def backed_up(settings: Settings, file: Path) -> None:
    with opened(settings) as bridge:
        back_up(bridge, LOCAL, file)


def restored(settings: Settings, file: Path) -> Restored:
    settings.home.mkdir(exist_ok=True)
    shutil.copy(OLD_HOME / "secret.key", settings.home)
    (settings.home / "secret.key").chmod(0o600)
    return restore(settings, file, CLOCK)


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of an embedded home that holds something of everything."""
    folder = tmp_path_factory.mktemp("moving")
    shutil.copytree(OLD_HOME, folder / "home")
    (folder / "home" / "secret.key").chmod(0o600)
    backed_up(embedded(folder / "home"), folder / "backup.tar")
    return folder / "backup.tar"


def all_rows(engine: Engine, *, besides: tuple[str, ...] = (Installation.__tablename__,)) -> dict[str, list[str]]:
    """Return what all tables hold, but for what a process binds to itself that opens them."""
    with read_session(engine) as session:
        return {
            table.name: sorted(
                repr(tuple(map(row_copy._plain, row))) for row in session.connection().execute(select(table))
            )
            for table in row_copy.list_tables()
            if table.name not in besides
        }


def rows_at(url: str, home: Path) -> dict[str, list[str]]:
    engine = open_database(url, home)
    try:
        return all_rows(engine)
    finally:
        engine.dispose()


def rows_in(file: Path) -> dict[str, list[str]]:
    """Return the rows of the database in a backup."""
    unpacked = file.with_suffix(".db")
    with file.open("rb") as source, unpacked.open("wb") as target:
        Archive(source).unpack(placing.DATABASE, target)
    return rows_at(sqlite_url(unpacked), file.parent)


def files_of(home: Path) -> dict[str, bytes]:
    names = {path.relative_to(home).as_posix(): path for path in home.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if "/" in name and placing.is_name(name)}


# --- there and back ------------------------------------------------------------------------------------------------


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


def random_value(column: Any, rng: random.Random) -> Any:
    kind = column.type
    if column.nullable and rng.random() < 0.3:
        return None
    if isinstance(kind, JSON):
        return random_json(rng, 3)
    if isinstance(kind, Boolean):
        return rng.random() < 0.5
    if isinstance(kind, BigInteger) or isinstance(getattr(kind, "impl", None), BigInteger):
        return rng.choice((2**63 - 1, -(2**63), 2**53 + 1, rng.getrandbits(62), 0))
    if isinstance(kind, Integer | RowId):
        return rng.choice((2**31 - 1, -(2**31), rng.getrandbits(30), rng.getrandbits(30), 0))
    if isinstance(kind, Float):
        return rng.choice((0.1, -1e-300, 1.7976931348623157e308, rng.random(), math.pi))
    if isinstance(kind, String | AutoString):
        longest = kind.length or 5000
        return (rng.choice(ODD_TEXTS) + f"{rng.getrandbits(40):x}" + "ü" * rng.randrange(3))[-longest:]
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=rng.getrandbits(52))


def random_json(rng: random.Random, depth: int) -> Any:
    scalars = (None, True, 0, -1.5e-9, 2**80, rng.choice(ODD_TEXTS), "\x00\ud800", "é", rng.random())
    if not depth or rng.random() < 0.3:
        return rng.choice(scalars) if depth < 3 else {}
    if rng.random() < 0.5:
        return [random_json(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(ODD_TEXTS) + str(number): random_json(rng, depth - 1) for number in range(rng.randrange(4))}


def fill(engine: Engine, rng: random.Random, *, rows: int) -> None:
    """Put rows of all that can be kept into every table there is."""
    with write_session(engine) as session:
        connection = session.connection()
        for table in row_copy.list_tables():
            connection.execute(table.delete())
            for _ in range(rows):
                insert(connection, table, rng)


def insert(connection: Any, table: Table, rng: random.Random) -> None:
    """Put one row, unless another is unique in something of it already."""
    values = dict[str, Any]()
    for column in table.columns:
        values[column.name] = random_value(column, rng)
        for key in column.foreign_keys:
            known = connection.execute(select(key.column)).scalars().all()
            values[column.name] = rng.choice(known) if known else None
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(table.insert(), values)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_rows_hold_is_the_same_there_and_back(tmp_path: Path, seed: int):
    file, back = sqlite_url(tmp_path / "file.db"), tmp_path / "back.db"
    source = open_database(file, tmp_path)
    server = open_database(databases.url_of(tmp_path), tmp_path)
    fill(source, random.Random(seed), rows=15)
    rows = all_rows(source, besides=())
    assert all(rows.values()), [name for name, there in rows.items() if not there]

    with read_session(source) as read, write_session(server) as written:
        tallies = row_copy.copy_rows(read.connection(), written.connection())
        row_copy.require_same(written.connection(), tallies)
    row_copy.copy_to_file(server, back)

    assert all_rows(server, besides=()) == rows
    restored_engine = open_database(sqlite_url(back), tmp_path)
    assert all_rows(restored_engine, besides=()) == rows
    restored_engine.dispose()
    source.dispose()
    server.dispose()


def test_every_table_that_a_migration_makes_is_copied(tmp_path: Path):
    for url in (sqlite_url(tmp_path / "file.db"), databases.url_of(tmp_path)):
        engine = open_database(url, tmp_path)
        there = {name for name in inspect(engine).get_table_names() if not name.startswith("procrastinate_")}
        engine.dispose()
        assert there - {"alembic_version"} == {table.name for table in row_copy.list_tables()}
    assert len(SQLModel.metadata.tables) > 20


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


# --- where it is refused, or ends early ----------------------------------------------------------------------------


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


def assert_nothing_is_there(server: Settings) -> None:
    engine = open_database(server.database_url, server.home)
    placing_on_server.require_empty(engine)
    engine.dispose()
    assert placing.list_occupied(server.home, None) == []
    assert not list(server.home.glob("restore.*art"))


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
