"""The database server's clock as a process knows it: looked at with each connection that is taken, and counted on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

_LOOK = "SELECT clock_timestamp()"
# An answer that took no longer says what time it is; of so many that did, the quickest does.
_QUICK_S, _LOOKS = 1.0, 3
_FRESH = "cohort_bridge_fresh"


def elapsed_s() -> float:
    """Return a time that no one sets, and that goes on while the machine sleeps, where the system has such a one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@contextmanager
def outside_transactions(connection: Any) -> Generator[None]:
    """Have a connection of the driver, which is in no transaction, begin none meanwhile."""
    is_plain = connection.autocommit
    connection.autocommit = True
    try:
        yield
    finally:
        if not connection.closed:
            connection.autocommit = is_plain


class DatabaseClock:
    """What time it is at the server: that of the last look, and what has passed here since. For any thread."""

    def __init__(self, steady_s: Callable[[], float] = elapsed_s) -> None:
        self._steady_s = steady_s
        self._seen: tuple[datetime, float] | None = None

    def look(self, connection: Any) -> None:
        """Ask the server, on a connection of the driver that is in no transaction.

        A process that was frozen meanwhile does not know when the answer was given: it asks again.
        """
        looks: list[tuple[float, tuple[datetime, float]]] = []
        with outside_transactions(connection):
            while len(looks) < _LOOKS and not (looks and looks[-1][0] < _QUICK_S):
                asked_s = self._steady_s()
                at = connection.execute(_LOOK).fetchone()[0]
                answered_s = self._steady_s()
                # It was read somewhere between, and most of that time is the way there and back.
                looks.append((answered_s - asked_s, (at.astimezone(UTC), (asked_s + answered_s) / 2)))
        _, self._seen = min(looks)

    def now(self) -> datetime:
        """Return the server's time. Something was read from the database before."""
        assert self._seen is not None, "the database was opened before anyone asks what time it is there"
        at, at_s = self._seen
        return at + timedelta(seconds=self._steady_s() - at_s)


_clocks: WeakKeyDictionary[Engine, DatabaseClock] = WeakKeyDictionary()


def find_clock(engine: Engine) -> DatabaseClock | None:
    """Return the clock of a database's server; None where the database is a file, which has none of its own."""
    return _clocks.get(engine)


def follow(engine: Engine) -> None:
    """Look at the server's clock whenever a connection is taken, which is once for each transaction.

    That shows as well whether the connection is still there: one that was cut between two uses is made again, and all
    that are as old. SQLAlchemy's own look at that (`pool_pre_ping`) would be a second way there and back.
    """
    clock = _clocks[engine] = DatabaseClock()
    dbapi: Any = engine.dialect.loaded_dbapi

    def look_at_new(connection: Any, record: Any) -> None:
        try:
            clock.look(connection)
        except BaseException:
            connection.close()
            raise
        record.info[_FRESH] = True

    def look_again(connection: Any, record: Any, _proxy: object) -> None:
        if record.info.pop(_FRESH, False):
            return
        try:
            clock.look(connection)
        except dbapi.Error as exc:
            raise InvalidatePoolError from exc

    event.listen(engine, "connect", look_at_new)
    event.listen(engine, "checkout", look_again)
