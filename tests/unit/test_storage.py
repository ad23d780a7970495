"""The database: its settings, its schema, and what it says when it cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Integer, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, col, select, update

import data.partial_indexes  # noqa: F401  (what the tables are compared with, too)
from core.access import tokens
from core.access.roles import LOCAL
from core.bridge import Bridge
from data import engine as data_engine
from data.engine import StorageError, make_engine, open_database, read_session, write_session
from data.models import Group, Person, Run, RunLogRow, RunStatus, Sync
from data.proof_models import DeliveryCount
from data.query_models import QuerySpend
from data.row_ids import RowId


def database_url(home: Path) -> str:
    return f"sqlite:///{home / 'cohort_bridge.db'}"


@pytest.mark.sqlite_file
def test_sqlite_is_opened_so_that_a_commit_survives_a_power_cut(bridge: Bridge):
    with bridge.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }

    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_the_migrations_make_the_tables_that_the_models_describe(bridge: Bridge):
    with bridge.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, SQLModel.metadata)

    assert differences == []


def test_opening_a_second_time_changes_nothing(bridge: Bridge):
    with write_session(bridge.engine) as session:
        session.add(Person(email="a@example.com", role="admin", created_at=bridge.clock.now()))

    again = open_database(bridge.settings.database_url, bridge.settings.home)

    with read_session(again) as session:
        assert session.exec(select(Person.email)).all() == ["a@example.com"]
    again.dispose()


@pytest.mark.sqlite_file
def test_foreign_keys_are_off_while_a_migration_may_rebuild_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = list[int]()

    def look(config: Config, _to: str) -> None:
        seen.append(config.attributes["connection"].exec_driver_sql("PRAGMA foreign_keys").scalar())

    monkeypatch.setattr("alembic.command.upgrade", look)
    engine = make_engine(database_url(tmp_path))

    data_engine._upgrade(engine)

    with engine.connect() as connection:
        assert (seen, connection.exec_driver_sql("PRAGMA foreign_keys").scalar()) == ([0], 1)
    engine.dispose()


@pytest.mark.sqlite_file
def test_many_processes_that_start_at_once_bring_the_schema_up_to_date_once(tmp_path: Path):
    code = (
        "from pathlib import Path; from data.engine import open_database; "
        f"open_database({database_url(tmp_path)!r}, Path({str(tmp_path)!r}))"
    )
    starting = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]

    outcomes = [(process.communicate()[1], process.returncode) for process in starting]

    assert outcomes == [(b"", 0)] * 4


def test_a_database_of_a_newer_version_is_refused(bridge: Bridge):
    with bridge.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StorageError, match="newer version"):
        open_database(bridge.settings.database_url, bridge.settings.home)


@pytest.mark.sqlite_file
def test_a_file_that_is_no_database_is_said_in_a_sentence(tmp_path: Path):
    (tmp_path / "cohort_bridge.db").write_bytes(b"this is not a database, not at all " * 100)

    with pytest.raises(StorageError, match="damaged, or is not a database"):
        open_database(database_url(tmp_path), tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder whose rights nobody may change")
def test_a_home_of_another_user_is_said_to_be_one(tmp_path: Path):
    home = Path("/proc/self")  # not even root may change what others can do there

    with pytest.raises(StorageError, match="belongs to another user") as caught:
        open_database(database_url(tmp_path), home)

    assert f"chown -R {os.geteuid()}" in str(caught.value.advice)


@pytest.mark.sqlite_file
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE person SET created_at = 'yesterday'",
        "UPDATE person SET created_at = x'00ff'",
        "UPDATE person SET email = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_row_that_cannot_be_read_is_said_in_a_sentence(bridge: Bridge, damage: str):
    with write_session(bridge.engine) as session:
        session.add(Person(email="a@example.com", role="admin", created_at=bridge.clock.now()))
    with bridge.engine.begin() as connection:
        connection.exec_driver_sql(damage)

    with pytest.raises(StorageError, match="damaged") as caught, read_session(bridge.engine) as session:
        session.exec(select(Person)).all()

    assert "backup" in (caught.value.advice or "")


def test_a_row_that_is_gone_is_said_in_a_sentence(bridge: Bridge):
    with pytest.raises(StorageError, match="damaged"), read_session(bridge.engine) as session:
        session.get_one(Person, 99)


def test_what_goes_wrong_in_between_is_not_laid_to_the_database(bridge: Bridge):
    with pytest.raises(ValueError, match="of our own"), read_session(bridge.engine):
        raise ValueError("of our own")


@pytest.mark.sqlite_file
def test_a_damaged_page_that_answers_all_the_same_is_found(bridge: Bridge):
    with write_session(bridge.engine) as session:
        session.add(Person(email="a@example.com", role="admin", created_at=bridge.clock.now()))
    data_engine.require_sound(bridge.engine)
    with bridge.engine.begin() as connection:  # an index that knows of no row
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
        connection.exec_driver_sql(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'run') "
            "WHERE name = 'sqlite_autoindex_person_1'"
        )
    bridge.engine.dispose()

    with pytest.raises(StorageError, match="damaged"):
        data_engine.require_sound(bridge.engine)


@pytest.mark.sqlite_file
def test_a_read_only_database_is_said_in_a_sentence(bridge: Bridge):
    path = bridge.settings.home / "cohort_bridge.db"
    locked = make_engine(f"sqlite:///file:{path}?mode=ro&uri=true")

    with pytest.raises(StorageError, match="read-only"), write_session(locked) as session:
        session.add(Person(email="a@example.com", role="admin", created_at=bridge.clock.now()))
    locked.dispose()


def test_what_fails_half_way_leaves_nothing(bridge: Bridge):
    def add_one_and_fail() -> None:
        with write_session(bridge.engine) as session:
            session.add(Person(email="a@example.com", role="admin", created_at=bridge.clock.now()))
            session.flush()
            raise InterruptedError

    with pytest.raises(InterruptedError):
        add_one_and_fail()

    with read_session(bridge.engine) as session:
        assert session.exec(select(Person)).all() == []


def test_a_row_that_refers_to_nothing_is_refused(bridge: Bridge):
    with pytest.raises(IntegrityError), write_session(bridge.engine) as session:
        session.add(
            Group(
                created_at=bridge.clock.now(), destination_id=99, project_id=1, cohort_id=1, cohort_name="x", name="x"
            )
        )


@pytest.mark.sqlite_file
def test_no_error_of_the_database_repeats_what_was_to_be_written(bridge: Bridge):
    with write_session(bridge.engine) as session:
        session.execute(text("CREATE TRIGGER refuse BEFORE INSERT ON api_token BEGIN SELECT RAISE(ABORT, 'no'); END"))

    with pytest.raises(IntegrityError) as refused:
        tokens.make_token(bridge, LOCAL, "airflow", "analyst")

    said = "".join(traceback.format_exception(refused.value))
    assert "INSERT INTO api_token" in said
    assert "'airflow'" not in said


def test_who_only_reads_writes_nothing(bridge: Bridge, group_with_runs: list[Run]):
    with read_session(bridge.engine) as session:
        session.get_one(Run, group_with_runs[0].id).status = RunStatus.RUNNING
        session.add(Person(email="a@example.com", role="admin", created_at=bridge.clock.now()))
        session.exec(select(Run)).all()

    with read_session(bridge.engine) as session:
        assert set(session.exec(select(Run.status)).all()) == {RunStatus.QUEUED}
        assert session.exec(select(Person)).all() == []


def test_a_group_has_at_most_one_running_run(bridge: Bridge, group_with_runs: list[Run]):
    first, second = group_with_runs[:2]
    with write_session(bridge.engine) as session:
        session.get_one(Run, first.id).status = RunStatus.RUNNING

    with pytest.raises(IntegrityError), write_session(bridge.engine) as session:
        session.get_one(Run, second.id).status = RunStatus.RUNNING


@pytest.mark.parametrize("number", [99_999_999_999, 2**63, -(10**30), 10**30])
def test_a_number_that_no_row_could_have_finds_none(bridge: Bridge, group_with_runs: list[Run], number: int):
    with write_session(bridge.engine) as session:
        assert session.get(Run, number) is None
        assert session.exec(update(Run).where(col(Run.id) == number).values(error_code="x")).rowcount == 0
        assert session.exec(select(Run).where(col(Run.id).in_([number, number + 1]))).all() == []
        assert session.exec(select(Run).where(Run.group_id == number, Run.sync_id == number)).all() == []
        below = session.exec(select(Run.id).where(col(Run.id) < number)).all()

    assert len(below) == (len(group_with_runs) if number > 0 else 0)


def test_every_number_of_a_row_may_be_asked_for_however_large():
    numbers = {
        f"{table.name}.{column.name}": column.type
        for table in SQLModel.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Integer | RowId) and (column.primary_key or column.foreign_keys)
    }

    assert {"run.id", "run.sync_id", "audit_entry.number", "api_token.created_by_id"} <= set(numbers)
    assert [name for name, kind in numbers.items() if not isinstance(kind, RowId)] == []


def test_rows_have_numbers_of_64_bits(bridge: Bridge, group_with_runs: list[Run]):
    beyond = 2**40
    run = group_with_runs[0].model_dump(exclude={"id"})
    with write_session(bridge.engine) as session:
        session.add(Run(id=beyond, **run))
        session.add(QuerySpend(id=beyond, project="1", at=bridge.clock.now()))
        session.flush()
        session.add(RunLogRow(run_id=beyond, log={}))
        session.exec(update(Group).values(base_run_id=beyond))
        session.exec(update(DeliveryCount).values(number=beyond))

    with read_session(bridge.engine) as session:
        assert session.exec(select(RunLogRow.run_id).join(Run)).all() == [beyond]
        assert session.exec(select(Run.id).where(col(Run.id) >= beyond)).all() == [beyond]
        assert session.exec(select(Group.base_run_id)).all() == [beyond]


def test_the_largest_id_that_a_cohort_can_have_is_kept(bridge: Bridge, group_with_runs: list[Run]):
    largest = 2**63 - 1
    with write_session(bridge.engine) as session:
        session.exec(update(Group).values(cohort_id=largest))
        session.exec(update(Sync).values(cohort_id=largest))
        session.exec(update(Run).values(cohort_id=largest))

    with read_session(bridge.engine) as session:
        kept = [set(session.exec(select(table.cohort_id)).all()) for table in (Group, Sync, Run)]
    assert kept == [{largest}] * 3
