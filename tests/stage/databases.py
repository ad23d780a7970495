"""Where the homes of tests keep their state: a SQLite file in each, or a database each (`make test-postgres`)."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from sqlalchemy import Engine, event

from core.settings import Settings
from data import engine as data_engine

# The URL of a server's databases but for their name; empty where each home has a SQLite file.
SERVER = os.environ.get("TEST_POSTGRES_URL", "")
# Where a home has its own.
FILE = "cohort_bridge.db"
# The databases that this process knows to be there, and the homes that all it named belong to.
_MADE: set[str] = set()
_HOMES: dict[str, Path] = {}
# What is connected to each. The driver complains of a connection that is garbage before it was closed, and so of each
# engine that a test leaves open: in whichever test the garbage collector comes by.
_CONNECTED: dict[str, list[Any]] = {}
_NOTING = threading.Lock()


def url_of(home: Path) -> str:
    """Return the URL of a home's database on the server."""
    _HOMES[_name(home)] = home.resolve()
    return SERVER.format(_name(home))


def environment(home: Path) -> dict[str, str]:
    """Return what a process needs to find a home's database, which is there then."""
    if not SERVER:
        return {}
    url = url_of(home)
    _make(_name(home))
    return {"COHORT_BRIDGE_DATABASE_URL": url}


def copy(template: Path, target: Path) -> None:
    """Give a home that is copied the database that belongs to it; who has the template's open connects again."""
    if SERVER and _name(template) in _MADE:
        url_of(target)
        _copy(_name(template), _name(target))


def back_up(home: Path, file: Path) -> None:
    """Keep a home's database as it is at this moment: in a file, which only stands for that on a server."""
    if SERVER:
        url_of(file)
        _copy(_name(home), _name(file))
        file.touch()
        return
    with closing(sqlite3.connect(home / FILE)) as present, closing(sqlite3.connect(file)) as kept:
        present.backup(kept)


def put_back(home: Path, file: Path) -> None:
    """Put a home's database back as it was then, while nothing uses it."""
    if SERVER:
        _copy(_name(file), _name(home))
        return
    for path in home.glob(f"{FILE}*"):
        path.unlink()
    shutil.copy(file, home / FILE)


def upgrade(engine: Engine, revision: str) -> None:
    """Make a database be one of an earlier version, or of this one."""
    config = Config()
    config.set_main_option("script_location", str(data_engine._MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def drop_below(folder: Path) -> None:
    """Drop the databases of the homes in a folder, whoever still uses them."""
    names = [name for name in _MADE if _HOMES[name].is_relative_to(folder.resolve())]
    for name in names:
        close_all(name)
    if names:
        _do(*(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in names))
        _MADE.difference_update(names)


def use_server() -> None:
    """Let settings of this process lead to the server where they say nothing else; databases are made at first use."""
    if SERVER:
        Settings.settings_customise_sources = classmethod(_with_own_default)  # type: ignore[method-assign]
        event.listen(Engine, "do_connect", _make_where_missing)
        event.listen(Engine, "connect", _note_connection)


class _OnServer(PydanticBaseSettingsSource):
    """The setting that stands last, behind what a test says and the environment."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        known = self.current_state
        return {} if known.get("database_url") else {"database_url": url_of(Path(known.get("home", "var")))}


def _with_own_default(_: type[Settings], settings_cls: type[BaseSettings], **sources: Any) -> tuple[Any, ...]:
    return (*(source for name, source in sources.items() if name != "file_secret_settings"), _OnServer(settings_cls))


def _name(home: Path) -> str:
    return "home_" + hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:24]


def _make_where_missing(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
    name = parameters.get("dbname", "")
    if name in _HOMES:
        _make(name)


def _note_connection(connection: Any, _record: object) -> None:
    if info := getattr(connection, "info", None):  # SQLite's has none
        with _NOTING:  # of two threads that connect at once neither forgets the other's
            still = [each for each in _CONNECTED.get(info.dbname, []) if not each.closed]
            _CONNECTED[info.dbname] = [*still, connection]


def close_all(name: str) -> None:
    """Close what is still connected to a database; an engine that is used again connects again."""
    for connection in _CONNECTED.pop(name, []):
        connection.close()


def _make(name: str) -> None:
    if name not in _MADE and not _do(f"SELECT FROM pg_database WHERE datname = '{name}'"):
        _do(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY FILE_COPY")
    _MADE.add(name)


def _copy(name: str, target: str) -> None:
    """Make one database, or make it again, as another is: a moment at which no one is connected to that."""
    for each in (name, target):
        close_all(each)
    _do(
        f"DROP DATABASE IF EXISTS {target} WITH (FORCE)",
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'",
        f"CREATE DATABASE {target} TEMPLATE {name} STRATEGY FILE_COPY",
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS true",
    )
    _MADE.add(target)


def _do(*statements: str) -> list[Any]:
    import psycopg  # which is not installed where there is no server

    with closing(psycopg.connect(SERVER.format("postgres").replace("+psycopg", ""), autocommit=True)) as server:
        for statement in statements[:-1]:
            server.execute(statement)
        last = server.execute(statements[-1])
        return last.fetchall() if last.description is not None else []
