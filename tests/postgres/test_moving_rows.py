"""Whatever rows hold is copied from one kind of database to the other, and back, as it is."""

from __future__ import annotations

import math
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, BigInteger, Boolean, Engine, Float, Integer, String, Table, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import AutoString, SQLModel

from data import row_copy
from data.engine import open_database, read_session, sqlite_url, write_session
from data.row_ids import RowId
from tests.postgres.moving import all_rows
from tests.stage import databases

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


def random_value(column: Any, rng: random.Random) -> Any:
    kind = column.type
    if column.nullable and rng.random() < 0.3:
        return None
    if isinstance(kind, JSON):
        return random_json(rng, 3)
    if isinstance(kind, Boolean):
        return rng.random() < 0.5
    if isinstance(kind, BigInteger | RowId) or isinstance(getattr(kind, "impl", None), BigInteger):
        return rng.choice((2**63 - 1, -(2**63), 2**53 + 1, rng.getrandbits(62), 0))
    if isinstance(kind, Integer):
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
