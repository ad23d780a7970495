"""What the sandbox remembers over a restart: one SQLite file."""

import json
import sqlite3
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS query (number INTEGER PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS profile (id TEXT PRIMARY KEY, distinct_id TEXT NOT NULL, properties TEXT);
CREATE TABLE IF NOT EXISTS alias (id TEXT PRIMARY KEY, canonical TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event (number INTEGER PRIMARY KEY, owner TEXT NOT NULL, body TEXT NOT NULL, failure TEXT);
CREATE INDEX IF NOT EXISTS event_owner ON event (owner);
CREATE TABLE IF NOT EXISTS token (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, created_at REAL NOT NULL,
    workspace TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS audience (
    project TEXT NOT NULL, cohort TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, list INTEGER NOT NULL,
    messages INTEGER NOT NULL, updated_at REAL NOT NULL, workspace TEXT NOT NULL,
    PRIMARY KEY (workspace, project, cohort));
CREATE TABLE IF NOT EXISTS delivery (
    project TEXT NOT NULL, cohort TEXT NOT NULL, session TEXT NOT NULL, list INTEGER, total_pages INTEGER NOT NULL,
    touched_at REAL NOT NULL, workspace TEXT NOT NULL, PRIMARY KEY (workspace, project, cohort, session));
CREATE TABLE IF NOT EXISTS delivery_page (list INTEGER NOT NULL, page INTEGER NOT NULL, PRIMARY KEY (list, page));
"""


class SandboxError(Exception):
    """The sandbox cannot start; the message is one sentence for the person who started it."""


class Store:
    """One SQLite connection shared by the server's threads, one at a time."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
            self._db.execute("PRAGMA journal_mode=WAL")
            # Practice data: a power cut may cost the last second, never the file.
            self._db.execute("PRAGMA synchronous=NORMAL")
            # A group of a million members fits; with SQLite's 2 MiB every message would write all over the file.
            self._db.execute("PRAGMA cache_size=-262144")
            self._db.execute("PRAGMA wal_autocheckpoint=20000")
            self._db.executescript(SCHEMA)
            self._add_workspaces()
        except (OSError, sqlite3.Error) as error:
            raise SandboxError(f"The sandbox cannot keep its state in {path}: {error}.") from error
        self._lock = threading.RLock()

    def _add_workspaces(self) -> None:
        """Give what an earlier version kept its place in the one workspace that there was."""
        for table in ("token", "audience", "delivery"):
            columns = [name for _, name, *_ in self._db.execute(f"PRAGMA table_info({table})")]
            if "workspace" in columns:
                continue
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(f"ALTER TABLE {table} RENAME TO earlier_{table}")
            # One statement at a time: a script would end the transaction.
            for statement in filter(str.strip, SCHEMA.split(";")):
                self._db.execute(statement)
            self._db.execute(f"INSERT INTO {table} SELECT {', '.join(columns)}, '' FROM earlier_{table}")
            self._db.execute(f"DROP TABLE earlier_{table}")
            self._db.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Make the statements inside all happen or none; nests."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def run(self, sql: str, *values: Any) -> int:
        """Execute one statement and return the number of rows it changed."""
        with self._lock:
            return self._db.execute(sql, values).rowcount

    def insert(self, sql: str, *values: Any) -> int:
        """Execute one insert and return the number of the new row."""
        with self._lock:
            return self._db.execute(sql, values).lastrowid or 0

    def run_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with self.transaction():
            self._db.executemany(sql, rows)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """Return the first column of the first row, or None."""
        with self._lock:
            row = self._db.execute(sql, values).fetchone()
        return row[0] if row else None

    def get(self, name: str, default: Any) -> Any:
        text = self.value("SELECT value FROM setting WHERE name = ?", name)
        return default if text is None else json.loads(text)

    def put(self, name: str, value: Any) -> None:
        self.run("INSERT OR REPLACE INTO setting VALUES (?, ?)", name, json.dumps(value))
