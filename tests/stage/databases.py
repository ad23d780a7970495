"""Where the homes of tests keep their state: a SQLite file in each, or a database each (`make test-postgres`)."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from sqlalchemy import Connection, Engine, event

from core.settings import Settings

# The URL of a server's databases but for their name; empty where each home has a SQLite file.
SERVER = os.environ.get("TEST_POSTGRES_URL", "")
# The databases that this process knows to be there, and the homes that all it named belong to.
_MADE: set[str] = set()
_HOMES: dict[str, Path] = {}
# The engines that connected: what a test leaves open would be said to be when the garbage collector comes by.
_USED: list[Engine] = []


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
        _do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{_name(template)}'")
        _make(_name(target), _name(template))


def drop_below(folder: Path) -> None:
    """Drop the databases of the homes in a folder, whoever still uses them."""
    names = [name for name in _MADE if _HOMES[name].is_relative_to(folder.resolve())]
    for engine in [engine for engine in _USED if engine.url.database in names]:
        engine.dispose()
        _USED.remove(engine)
    if names:
        _do(*(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in names))
        _MADE.difference_update(names)


def use_server() -> None:
    """Let settings of this process lead to the server where they say nothing else; databases are made at first use."""
    if SERVER:
        Settings.settings_customise_sources = classmethod(_with_own_default)  # type: ignore[method-assign]
        event.listen(Engine, "do_connect", _make_where_missing)
        event.listen(Engine, "engine_connect", _note_use)


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


def _note_use(connection: Connection) -> None:
    if connection.engine.dialect.name == "postgresql" and connection.engine not in _USED:
        _USED.append(connection.engine)


def _make(name: str, template: str = "template0") -> None:
    if name not in _MADE and not _do(f"SELECT FROM pg_database WHERE datname = '{name}'"):
        _do(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    _MADE.add(name)


def _do(*statements: str) -> list[Any]:
    import psycopg  # which is not installed where there is no server

    with closing(psycopg.connect(SERVER.format("postgres").replace("+psycopg", ""), autocommit=True)) as server:
        for statement in statements[:-1]:
            server.execute(statement)
        last = server.execute(statements[-1])
        return last.fetchall() if last.description is not None else []
