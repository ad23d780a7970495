"""DuckDB: opened with bounded memory and few threads, its errors turned into ours."""

from __future__ import annotations

import atexit
import os
import shutil
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.engine import StorageError
from data.members.files import is_older

if TYPE_CHECKING:
    import duckdb  # below it is imported where it is used: most commands end sooner than that takes

# Small enough that a sorted file is searched by reading one or two groups, large enough to compress.
ROW_GROUP = 20_000
# Where all members have to be in order, two threads share the memory, and lose more by spilling than they win.
ONE_THREAD = "SET threads = 1"
_THREADS = "SET threads = 2"
# A run collects in one while it compares in another, and a worker does four runs at a time. More than have worked at
# once there never are.
_MOST_IDLE = 8
_EXPORT_AGAIN = "Export the cohort again: that keeps them."


class MembersGone(StorageError):
    """A file of members is not there (any more)."""


class MembersDamaged(StorageError):
    """A file of members is there and cannot be read: its content is damaged, or it may not be opened."""


class MemoryTooSmall(StorageError):
    """What was asked for does not fit into the memory that DuckDB may use."""


class Stopped(StorageError):
    """The work was asked to stop, and its query was interrupted: that says nothing about any file."""


class Stopper:
    """Stops what one thread asks of DuckDB: the query that runs is interrupted, and no other one begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: list[duckdb.DuckDBPyConnection] = []
        self._is_asked = False

    def stop(self) -> bool:
        """Interrupt what runs; returns whether anything does, which is to be stopped again a little later.

        A piece of work is more than one query, and an interruption that comes between two of them is lost.
        """
        with self._lock:
            self._is_asked = True
            for db in self._at_work:
                db.interrupt()
            return bool(self._at_work)

    @contextmanager
    def at_work(self, db: duckdb.DuckDBPyConnection) -> Generator[None]:
        """Let a DuckDB be interrupted while inside. Raises Stopped."""
        with self._lock:
            if self._is_asked:
                raise _stopped()
            self._at_work.append(db)
        try:
            yield
        finally:
            with self._lock:
                self._at_work.remove(db)


_of_thread = threading.local()


def stop_by(stopper: Stopper) -> None:
    """Let this thread's work in DuckDB be stopped by a stopper, from now on."""
    _of_thread.stopper = stopper


@contextmanager
def stoppable(db: duckdb.DuckDBPyConnection) -> Generator[None]:
    """Let a DuckDB be interrupted while inside, where this thread's work can be stopped. Raises Stopped."""
    stopper: Stopper | None = getattr(_of_thread, "stopper", None)
    with stopper.at_work(db) if stopper else nullcontext():
        yield


def _stopped() -> Stopped:
    return Stopped("The work was stopped before its end.", advice="Start it again.")


def clear_scratch(scratch: Path, *, older_than_s: float, now_s: float) -> None:
    """Remove what processes left behind that died while they read; younger folders may still be in use."""
    for folder in scratch.glob("read-*"):
        if is_older(folder, now_s - older_than_s):
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
            with stoppable(db):
                yield db
        finally:
            db.close()


@dataclass(frozen=True)
class _Idle:
    pid: int
    memory_mb: int
    db: duckdb.DuckDBPyConnection


# Those of another process, which this one was forked from, lie here unused: they lack their threads, and could not end.
_idle: list[_Idle] = []
_idle_lock = threading.Lock()


@contextmanager
def reused(scratch: Path, *, memory_mb: int) -> Generator[duckdb.DuckDBPyConnection]:
    """Give a DuckDB to a large piece of work: one that is open already, if there is one. Raises StorageError.

    The work has it to itself, with the whole of its memory, and leaves no table or view in it. One in which anything
    was raised is not used again; that a reader wants no more rows is nothing of the kind.
    """
    with duckdb_errors():
        db, is_done = take(scratch, memory_mb=memory_mb), False
        try:
            with stoppable(db):
                yield db
            is_done = True
        except GeneratorExit:
            is_done = True
            raise
        finally:
            if is_done:
                give_back(db, memory_mb=memory_mb)
            else:
                db.close()


def take(folder: Path, *, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Take a DuckDB that spills to the folder: an idle one, since to open one takes longer than many pieces of work."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    while (db := _take_idle(memory_mb)) is not None:
        try:
            db.execute(f"SET temp_directory = {quoted(folder)}")
            return db
        except duckdb.NotImplementedException:
            db.close()  # it has spilled to another folder, and stays there
    return connect(folder, memory_mb=memory_mb)


def _take_idle(memory_mb: int) -> duckdb.DuckDBPyConnection | None:
    with _idle_lock:
        for idle in reversed(_idle):  # the one that was used last: its memory is at hand
            if (idle.pid, idle.memory_mb) == (os.getpid(), memory_mb):
                _idle.remove(idle)
                return idle.db
    return None


@atexit.register
def _close_idle() -> None:
    """End those of this process before Python does: extensions complain of what is left of them then."""
    with _idle_lock:
        for idle in [idle for idle in _idle if idle.pid == os.getpid()]:
            _idle.remove(idle)
            idle.db.close()


def give_back(db: duckdb.DuckDBPyConnection, *, memory_mb: int) -> None:
    """Keep a DuckDB for the next piece of work; where too many are kept, the oldest is closed."""
    db.execute(_THREADS)  # a piece of work may have asked for fewer
    with _idle_lock:
        _idle.append(_Idle(os.getpid(), memory_mb, db))
        kept = [idle for idle in _idle if idle.pid == os.getpid()]
        for idle in kept[:-_MOST_IDLE]:
            _idle.remove(idle)
            idle.db.close()


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

    if isinstance(exc, duckdb.InterruptException):
        return _stopped()
    damaged = MembersDamaged("A file of members is damaged on disk.", advice=_EXPORT_AGAIN)
    if isinstance(exc, IsADirectoryError):
        return damaged  # something else lies in the file's place
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
    return damaged  # bytes that are not what was written fail in many ways, as a text, a type or a missing column
