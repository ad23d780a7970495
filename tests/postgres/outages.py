"""A PostgreSQL server that can be taken away, cut off and made read-only, and whose clock runs as fast as one likes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.postgres import cluster
from tests.stage.sandbox import wait_until

_WITHIN_S = 60.0
# What was committed outlives the server, which is killed here; only a power cut may take it.
_KEEPS = ("synchronous_commit=on",)
_FAST_CLOCK = """
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
  SELECT pg_catalog.to_timestamp(
    {began} + (extract(epoch FROM pg_catalog.clock_timestamp())::float8 - {began}) * {speed})
$$
"""


@dataclass(frozen=True)
class FastClock:
    """A clock that was right when it began, and has run `speed` times as fast since."""

    speed: float
    began_s: float = field(default_factory=time.time)

    def now_s(self) -> float:
        """Return what it says."""
        return self.began_s + (time.time() - self.began_s) * self.speed


@dataclass
class Server:
    """A server of our own, as who administers it and the machine that it is on."""

    programs: Path
    folder: Path
    _again: subprocess.Popen[bytes] | None = None

    def make_database(self, name: str, clock: FastClock) -> str:
        """Make a database whose clock is that one, and return its URL."""
        self.do(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self.do(sql.SQL("ALTER DATABASE {} SET search_path = public, pg_catalog").format(sql.Identifier(name)))
        began, speed = sql.Literal(clock.began_s), sql.Literal(clock.speed)
        self.do(sql.SQL(_FAST_CLOCK).format(began=began, speed=speed), database=name)
        return f"postgresql+psycopg://tests@/{name}?host={self.folder}"

    def do(self, statement: Any, *values: Any, database: str = "postgres") -> list[Any]:
        """Do one statement with its own connection, and return its rows."""
        with closing(psycopg.connect(f"postgresql://tests@/{database}?host={self.folder}", autocommit=True)) as server:
            done = server.execute(statement, values or None)
            return done.fetchall() if done.description is not None else []

    def cut_connections(self, name: str) -> int:
        """End every session of a database, and return how many that were."""
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        return len(self.do(ended, name))

    def make_read_only(self, name: str, yes: bool) -> None:
        """Let it take no changes, as a standby; or let it take them again. Sessions that there are end."""
        self.do(f"ALTER SYSTEM {'SET default_transaction_read_only = on' if yes else 'RESET ALL'}")
        self.do("SELECT pg_reload_conf()")
        self.cut_connections(name)

    def stop(self, *, at_once: bool) -> None:
        """Stop it: in order and without waiting for anybody, or as if it had crashed."""
        note = self.folder / "data" / "postmaster.pid"
        os.kill(int(note.read_text().split()[0]), signal.SIGQUIT if at_once else signal.SIGINT)
        wait_until(lambda: not note.exists(), within_s=_WITHIN_S)
        if self._again:
            self._again.wait()

    def start(self) -> None:
        """Start it again, and wait until it takes connections."""
        user = cluster.ordinary_user()
        options = [f"-c{option}" for option in (*cluster.OPTIONS, *_KEEPS)]
        command = [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder, *options]
        with (self.folder / "log").open("ab") as log:
            self._again = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, **cluster.run_as(user)
            )  # type: ignore[call-overload]
        cluster.wait_for(self.folder)

    def close(self) -> None:
        """Stop it for good, if it was started here."""
        if self._again and self._again.poll() is None:
            self.stop(at_once=True)


@contextmanager
def running() -> Generator[Server]:
    """Run a server of one's own while inside."""
    programs = cluster.find_programs()
    with cluster.running(programs, _KEEPS) as url, closing(Server(programs, Path(url.partition("host=")[2]))) as server:
        yield server
