"""Homes that move between a SQLite file and a server, and what they hold: what the tests of moving share."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, select

from core.access.roles import LOCAL
from core.backup.archive import Archive
from core.backup.backing_up import back_up
from core.backup.restoring import Restored, restore
from core.bridge import Bridge, open_bridge
from core.clock import Clock
from core.settings import Settings
from data import placing, placing_on_server, row_copy
from data.engine import open_database, read_session, sqlite_url
from data.proof_models import Installation
from tests.stage import databases
from tests.stage.processes import ROOT

OLD_HOME = ROOT / "tests" / "fixtures" / "home-0005"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
# One that stands still, whatever the database's says: two restores write the same then.
CLOCK = Clock(now=lambda: NOON)


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


def back_up_old_home(folder: Path) -> Path:
    """Make a backup of an embedded home that holds something of everything."""
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


def assert_nothing_is_there(server: Settings) -> None:
    engine = open_database(server.database_url, server.home)
    placing_on_server.require_empty(engine)
    engine.dispose()
    assert placing.list_occupied(server.home, None) == []
    assert not list(server.home.glob("restore.*art"))
