"""DuckDB: opened with bounded memory and few threads, its errors turned into ours."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.engine import StorageError

if TYPE_CHECKING:
    import duckdb  # below it is imported where it is used: most commands end sooner than that takes

# Small enough that a sorted file is searched by reading one or two groups, large enough to compress.
ROW_GROUP = 20_000
# Where all members have to be in order, two threads share the memory, and lose more by spilling than they win.
ONE_THREAD = "SET threads = 1"
_THREADS = "SET threads = 2"
_EXPORT_AGAIN = "Export the cohort again: that keeps them."


class MembersGone(StorageError):
    """A file of members is not there (any more)."""


class MembersDamaged(StorageError):
    """A file of members is there and cannot be read: its content is damaged, or it may not be opened."""


class MemoryTooSmall(StorageError):
    """What was asked for does not fit into the memory that DuckDB may use."""


def clear_scratch(scratch: Path, *, older_than_s: float, now_s: float) -> None:
    """Remove what processes left behind that died while they read; younger folders may still be in use."""
    for folder in scratch.glob("read-*"):
        if now_s - folder.stat().st_mtime > older_than_s:
            shutil.rmtree(folder, ignore_errors=True)


def connect(folder: Path, *, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Open DuckDB within a memory limit; what does not fit goes to the folder, and nothing to the network."""
    import duckdb

    return duckdb.connect(
        config={
            "memory_limit": f"{memory_mb}MB",
            "threads": "2",
            "temp_directory": str(folder),
            # Nothing is to be fetched from the network at run time.
            "autoinstall_known_extensions": "false",
            # What is read is what is on disk now: a file can be damaged, or swapped, while a DuckDB stays open.
            "enable_external_file_cache": "false",
        }
    )


@contextmanager
def opened(scratch: Path, *, memory_mb: int) -> Generator[duckdb.DuckDBPyConnection]:
    """Open DuckDB for one large piece of work. Raises StorageError."""
    with duckdb_errors():
        scratch.mkdir(parents=True, exist_ok=True)
        db = connect(scratch, memory_mb=memory_mb)
        try:
            yield db
        finally:
            db.close()


class IdleConnections:
    """DuckDBs for large pieces of work, one of which stays open between them: to open one takes longer than many take.

    Each piece of work has one to itself, with the whole of its memory. One in which anything was raised is not used
    again, nor one that another process opened before this one was forked from it.
    """

    def __init__(self, scratch: Path, *, memory_mb: int) -> None:
        self._scratch = scratch
        self._memory_mb = memory_mb
        self._idle: tuple[int, duckdb.DuckDBPyConnection] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def opened(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Give one to a piece of work. Raises StorageError."""
        with duckdb_errors():
            db, is_done = self._take(), False
            try:
                yield db
                is_done = True
            finally:
                if not (is_done and self._keep(db)):
                    db.close()

    def _take(self) -> duckdb.DuckDBPyConnection:
        self._scratch.mkdir(parents=True, exist_ok=True)
        with self._lock:
            idle, self._idle = self._idle, None
        if idle is None or idle[0] != os.getpid():
            return connect(self._scratch, memory_mb=self._memory_mb)
        return idle[1]

    def _keep(self, db: duckdb.DuckDBPyConnection) -> bool:
        db.execute(_THREADS)  # a piece of work may have asked for fewer
        with self._lock:
            if self._idle is not None and self._idle[0] == os.getpid():
                return False
            self._idle = (os.getpid(), db)
        return True


class SharedConnection:
    """A DuckDB that stays open for short questions: to open one takes longer than most answers.

    Safe to share between threads, and by a process that is forked: it opens its own, as it lacks the other's threads.
    """

    def __init__(self, scratch: Path, *, memory_mb: int) -> None:
        self._scratch = scratch
        self._memory_mb = memory_mb
        self._db: duckdb.DuckDBPyConnection | None = None
        self._opened_by = 0
        self._lock = threading.Lock()

    @contextmanager
    def cursor(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Give a cursor of the open DuckDB. Raises StorageError."""
        import duckdb

        with duckdb_errors():
            with self._lock:
                if self._db is None or self._opened_by != os.getpid():
                    self._scratch.mkdir(parents=True, exist_ok=True)
                    self._db, self._opened_by = connect(self._scratch, memory_mb=self._memory_mb), os.getpid()
                cursor = self._db.cursor()
            try:
                yield cursor
            except (duckdb.FatalException, duckdb.InternalException):
                # It answers nothing any more after these, whatever it is asked: the next question opens another.
                self._db = None
                raise
            finally:
                cursor.close()


def quoted(text: str | Path) -> str:
    """Turn a text into a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def marks(values: Sequence[str]) -> str:
    """Return as many parameter marks as there are values, to ask for any of them."""
    return ", ".join("?" * len(values))


@contextmanager
def duckdb_errors() -> Generator[None]:
    """Turn errors of DuckDB and the disk into a StorageError with a sentence."""
    import duckdb

    try:
        yield
    except (duckdb.ParserException, duckdb.SyntaxException, duckdb.CatalogException):
        raise  # a question that is wrong whatever the files hold
    except (duckdb.Error, OSError, UnicodeDecodeError) as exc:
        raise _as_storage_error(exc) from exc


def _as_storage_error(exc: Exception) -> StorageError:
    import duckdb

    reason = str(exc).lower()
    if isinstance(exc, duckdb.OutOfMemoryException | duckdb.IOException | OSError):
        if "no space" in reason or "disk is full" in reason or "max_temp_directory_size" in reason:
            return StorageError("The disk is full: the members could not be kept.")
        if "no files found" in reason or "does not exist" in reason or "no such file" in reason:
            return MembersGone("The members are no longer kept.", advice=_EXPORT_AGAIN)
        if isinstance(exc, duckdb.OutOfMemoryException):
            return MemoryTooSmall("The members did not fit into COHORT_BRIDGE_SNAPSHOT_MEMORY_MB.")
        if ".parquet" not in reason or ".part" in reason or "too many open files" in reason:
            return StorageError("The snapshots folder could not be read or written.")
        if "permission" in reason or "denied" in reason:
            advice = "Let the user that runs Cohort Bridge read the snapshots folder, or export the cohort again."
            return MembersDamaged("A file of members may not be read.", advice=advice)
    # Bytes that are not what was written fail in many ways, as a text, a type or a column that cannot be.
    return MembersDamaged("A file of members is damaged on disk.", advice=_EXPORT_AGAIN)
