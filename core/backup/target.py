"""Where a home is restored to: a home whose database is a file, or one whose database is a server's."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from core.clock import Clock
from core.errors import CohortBridgeError, SettingsError
from core.settings import Settings
from data import engine, placing, placing_on_server, row_copy
from data.database_clock import find_clock
from data.engine import Engine, open_database


class HomeNotEmpty(CohortBridgeError):
    """The home, or its database, holds something of ours already, which a restore does not touch."""

    code = "home_not_empty"
    default_advice = "Stop what runs there, and move it away or set COHORT_BRIDGE_HOME to another folder."


class Target(Protocol):
    """What a restore asks of the place that it restores to. Methods raise StorageError, OSError."""

    home: Path

    def clock(self, hosts: Clock) -> Clock:
        """Return the clock whose times are written there."""
        ...

    def is_free(self) -> bool:
        """Return whether a restore that had decided may not have come to its end."""
        ...

    def require_empty(self) -> None:
        """Refuse what holds something of ours. Raises HomeNotEmpty."""
        ...

    def place(self) -> None:
        """Decide on what was unpacked, and put it in place. To be called alone in the home."""
        ...

    def finish(self) -> bool:
        """Put in place what was decided on earlier; False where there is nothing. To be called alone in the home."""
        ...


@contextmanager
def open_target(settings: Settings) -> Generator[Target]:
    """Open what the settings lead to. Raises SettingsError, HomeNotEmpty, StorageError."""
    try:
        file = engine.sqlite_file(settings.database_url)
        opened = _open_server(settings) if file is None else None
    except engine.UrlUnusable as exc:
        raise SettingsError(f"COHORT_BRIDGE_DATABASE_URL cannot be used: {exc}.", code="bad_setting") from exc
    if file is not None:
        yield _File(settings.home, file)
    elif opened is not None:
        try:
            yield _Server(settings.home, opened)
        finally:
            opened.dispose()


def _open_server(settings: Settings) -> Engine:
    """Open a server's database with the tables that it needs; in one that holds anything, none are made."""
    looked = engine.make_engine(settings.database_url)
    try:
        if not placing.is_decided(settings.home):
            _Server(settings.home, looked).require_empty()
    finally:
        looked.dispose()
    return open_database(settings.database_url, settings.home)


class _File:
    """A home whose database is a file."""

    def __init__(self, home: Path, database: Path) -> None:
        self.home = home
        self._database = database

    def clock(self, hosts: Clock) -> Clock:
        return hosts

    def is_free(self) -> bool:
        return not self._database.exists()

    def require_empty(self) -> None:
        database = None if row_copy.is_of_a_start(self._database) else self._database
        _require_nothing(self.home, placing.list_occupied(self.home, database))

    def place(self) -> None:
        self._database.unlink(missing_ok=True)  # what a start made: the next one makes it again, if this ends here
        placing.decide(self.home)
        placing.finish(self.home, self._database)

    def finish(self) -> bool:
        return placing.finish(self.home, self._database)


class _Server:
    """A home whose database is a server's."""

    def __init__(self, home: Path, opened: Engine) -> None:
        self.home = home
        self._engine = opened

    def clock(self, hosts: Clock) -> Clock:
        return hosts.by(find_clock(self._engine))

    def is_free(self) -> bool:
        return True  # what the database holds is looked at as it is finished

    def require_empty(self) -> None:
        _require_nothing(self.home, placing.list_occupied(self.home, None))
        try:
            placing_on_server.require_empty(self._engine)
        except placing_on_server.DatabaseNotEmpty as exc:
            raise HomeNotEmpty(str(exc), advice=_ANOTHER) from exc

    def place(self) -> None:
        try:
            placing_on_server.place(self.home, self._engine)
        except placing_on_server.DatabaseNotEmpty as exc:
            raise HomeNotEmpty(str(exc), advice=_ANOTHER) from exc

    def finish(self) -> bool:
        return placing_on_server.finish(self.home, self._engine)


_ANOTHER = "Stop what uses it, and create an empty database; or let COHORT_BRIDGE_DATABASE_URL lead to another."


def _require_nothing(home: Path, found: list[str]) -> None:
    if found:
        raise HomeNotEmpty(f"The folder {home} is not empty: it holds {', '.join(found)}. Nothing was restored.")
