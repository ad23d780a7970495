"""The schema on PostgreSQL: made from nothing, by one of many, of the models' form; what was kept comes through."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, DateTime, Engine, MetaData, Table, create_engine, select

from data.engine import StorageError, one_at_a_time, open_database, sqlite_url
from data.tables import list_tables
from tests.stage import databases
from tests.stage.processes import ROOT, clean_environment
from tests.unit.test_home_of_an_earlier_version import HOME

EARLIER = "0005"  # of the schema of that home


def test_many_processes_that_start_at_once_bring_the_schema_up_to_date_once(tmp_path: Path):
    url = databases.environment(tmp_path)["COHORT_BRIDGE_DATABASE_URL"]
    code = (
        "from pathlib import Path; from data.engine import open_database; "
        f"open_database({url!r}, Path({str(tmp_path)!r})).dispose()"
    )
    command = [sys.executable, "-c", code]
    starting = [subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT, env=clean_environment()) for _ in range(3)]

    assert [(process.communicate()[1], process.returncode) for process in starting] == [(b"", 0)] * 3


def test_rows_of_an_earlier_version_become_the_same_as_on_sqlite(tmp_path: Path):
    shutil.copytree(HOME, tmp_path / "home")
    file = sqlite_url(tmp_path / "home" / "cohort_bridge.db")
    databases.environment(tmp_path)
    url = databases.url_of(tmp_path)
    with engine_of(file) as before, engine_of(url) as server:
        databases.upgrade(server, EARLIER)
        carry_over(before, server)

    for each in (file, url):
        open_database(each, tmp_path / "home").dispose()

    with engine_of(file) as there, engine_of(url) as here:
        rows = rows_of(here)
        assert rows == rows_of(there)
        assert sum(map(len, rows.values())) > 50


@contextmanager
def engine_of(url: str) -> Generator[Engine]:
    engine = create_engine(url)  # as SQLAlchemy makes it, with nothing of ours
    yield engine
    engine.dispose()


def tables_of(engine: Engine) -> list[Table]:
    known = MetaData()
    known.reflect(engine)
    return [table for table in known.sorted_tables if table.name != "alembic_version"]


def carry_over(before: Engine, server: Engine) -> None:
    """Put the rows of a SQLite database into the same tables of the server."""
    with before.connect() as source, server.begin() as target:
        for table in tables_of(server):
            names = ", ".join(f'"{column.name}"' for column in table.columns)
            for row in source.exec_driver_sql(f'SELECT {names} FROM "{table.name}"'):
                values = {
                    column.name: as_kept(column.type, value) for column, value in zip(table.columns, row, strict=True)
                }
                target.execute(table.insert().values(values))


def as_kept(kind: Any, value: Any) -> Any:
    """Return a value of SQLite's as the server takes it."""
    if value is None:
        return None
    if isinstance(kind, Boolean):
        return bool(value)
    if isinstance(kind, DateTime):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return json.loads(value) if isinstance(kind, JSON) else value


def rows_of(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows, their columns in the order of their names, with what both kinds of database make of them."""
    found = dict[str, list[tuple[Any, ...]]]()
    with engine.connect() as connection:
        for table in tables_of(engine):
            columns = sorted(table.columns, key=lambda column: column.name)
            rows = connection.execute(select(*columns)).all()
            found[table.name] = sorted((tuple(map(plain, row)) for row in rows), key=repr)
    return found


def plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


def test_rows_are_counted_up_beyond_32_bits(tmp_path: Path):
    databases.environment(tmp_path)
    engine = open_database(databases.url_of(tmp_path), tmp_path)
    counted = [table for table in list_tables() if table.autoincrement_column is not None]
    with engine.connect() as connection:
        for table in counted:
            sequence = f"pg_get_serial_sequence('{table.name}', '{table.autoincrement_column.name}')"
            assert connection.exec_driver_sql(f"SELECT setval({sequence}, 2147483647)").scalar() == 2**31 - 1
            assert connection.exec_driver_sql(f"SELECT nextval({sequence})").scalar() == 2**31
    engine.dispose()
    assert {"run", "query_spend", "sync"} <= {table.name for table in counted}


def test_who_waits_for_a_process_that_hangs_as_it_changes_tables_is_told_so(tmp_path: Path):
    url = databases.environment(tmp_path)["COHORT_BRIDGE_DATABASE_URL"]
    with engine_of(url) as hangs, engine_of(url) as waits, one_at_a_time(hangs, tmp_path):
        with pytest.raises(StorageError, match="changing the tables") as caught:
            with one_at_a_time(waits, tmp_path, within_s=0.2):
                pytest.fail("it is alone")
    assert caught.value.advice

    with engine_of(url) as later, one_at_a_time(later, tmp_path):
        pass  # nothing of it is left
