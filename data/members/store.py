"""The folder of files of members, and the two connections to DuckDB that they are read through."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.members.duck import MembersDamaged, MembersGone, SharedConnection, quoted, reused
from data.members.files import flush_to_disk
from data.models import Member
from data.storage.folder import FolderStorage
from data.storage.port import Storage

if TYPE_CHECKING:
    import duckdb

# So many files are asked with one question: each more makes it longer, and every question costs.
_FILES_AT_ONCE = 1000
# Many files in place of one table, each row with the file that it is from.
_AS_TABLE = "read_parquet([{0}], filename = true)"
# What a damaged file is called once it was set aside, beside the others: nothing reads it any more.
SET_ASIDE = ".damaged"

# What the snapshots of runs begin with. One is read as a difference too: of a group that began with all of its members.
SNAPSHOT = "run-"

# What tells a file from another one of its name: inode, size, and when it was last written.
Stamp = tuple[int, int, int]


class MemberFiles:
    """The files of members by name: snapshots, differences, and profiles that were excluded. Cheap to make.

    A file never changes once it is there; it may go away at any time, or be found damaged: it counts as gone then.
    """

    def __init__(self, folder: Path, *, scratch: Path, memory_mb: int, storage: Storage | None = None) -> None:
        self.folder = folder
        self.storage = storage or FolderStorage(folder)
        self.scratch = scratch
        self.memory_mb = memory_mb
        self._shared = SharedConnection(scratch, memory_mb=memory_mb)
        # Whether ids of a file have capital letters, as far as searches found out.
        self.has_capitals: dict[tuple[str, Stamp | None], bool] = {}
        # The files that were found damaged, and those that proved to be what they say, as they were then.
        self._damaged: dict[str, Stamp | None] = {}
        self.proven: dict[str, Stamp | None] = {}
        # Those that have as many rows as they should: what began a group is counted as a difference, and that proves no
        # snapshot.
        self.counted: dict[str, Stamp | None] = {}

    def path(self, name: str) -> Path:
        """Return where the file of this name lies, or would lie."""
        return Path(self._file(name))

    def _file(self, name: str) -> str:
        # A text: to build hundreds of paths takes as long as to search some of the files.
        return f"{self.folder}/{name}.parquet"

    def table(self, name: str) -> str:
        """Return the file as a table of SQL."""
        return f"read_parquet({quoted(self.path(name))})"

    def changes(self, name: str) -> str:
        """Return a difference as a table of SQL; of a snapshot everyone in it was added."""
        is_snapshot = name.startswith(SNAPSHOT)
        return f"(SELECT 'added' AS change, * FROM {self.table(name)})" if is_snapshot else self.table(name)

    def stamp(self, name: str) -> Stamp | None:
        """Return what tells the present file of this name from another one, None when there is none."""
        try:
            status = os.stat(self._file(name))
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def exists(self, name: str | None) -> bool:
        """Return whether the file is there, and was not found damaged so far."""
        if name is None or not os.path.isfile(self._file(name)):
            return False
        return name not in self._damaged or self._damaged[name] != self.stamp(name)

    def note_damage(self, name: str) -> None:
        """Remember that the file cannot be used as it is now: it counts as gone until another takes its place."""
        self._damaged[name] = self.stamp(name)

    def is_readable(self, name: str | None) -> bool:
        """Return whether the file is there and every id in it can be read, which takes as long as reading it."""
        if name is None or not self.exists(name):
            return False
        ids = "sum(length(distinct_id)), sum(length(apptimize_id))"
        try:
            with self.open() as db:
                db.execute(f"SELECT {ids} FROM {self.table(name)}").fetchone()
        except MembersGone:
            return False
        except MembersDamaged:
            self.note_damage(name)
            return False
        return True

    def set_aside(self, name: str, *, now_s: float) -> Path | None:
        """Rename a damaged file, to be looked at later; returns its new place, None when it cannot be renamed."""
        path = self.path(name)
        target = path.with_suffix(SET_ASIDE)
        try:
            os.utime(path, (now_s, now_s))  # from now on it is kept for a while
            path.replace(target)
            flush_to_disk(self.folder)
        except OSError:
            return None
        return target

    def was_set_aside(self, name: str) -> bool:
        """Return whether a file of this name was found damaged and is there to be looked at."""
        return self.path(name).with_suffix(SET_ASIDE).exists()

    def count(self, name: str) -> int:
        """Count the rows of a file."""
        with self.open() as db:
            row = db.execute(f"SELECT count(*) FROM {self.table(name)}").fetchone()
        return row[0] if row else 0

    def count_each(self, names: Sequence[str]) -> dict[str, int]:
        """Count the rows of many files as each says of itself, those left out that cannot be read."""
        counts = self.ask_all(names, "file_name, num_rows FROM parquet_file_metadata({0})", (), source="[{0}]")
        return {Path(path).stem: rows for path, rows in counts}

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self.path(name).unlink(missing_ok=True)

    def open(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Give a large piece of work a DuckDB of its own. Raises StorageError."""
        return reused(self.scratch, memory_mb=self.memory_mb)

    def cursor(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Give a cursor of the DuckDB that stays open, for what a screen asks. Raises StorageError."""
        return self._shared.cursor()

    def chunks(
        self, query: str, values: Sequence[str] = (), *, chunk: int = 1000, setting: str = ""
    ) -> Iterator[list[Any]]:
        """Yield the rows of a query, some at a time, from a DuckDB that is opened with the first of them."""
        with self.open() as db:
            if setting:
                db.execute(setting)
            cursor = db.execute(query, values)
            while rows := cursor.fetchmany(chunk):
                yield rows

    def member_chunks(
        self, query: str, values: Sequence[str] = (), *, chunk: int, setting: str = ""
    ) -> Iterator[list[Member]]:
        """Yield the members of a query of `apptimize_id, distinct_id`, in this order."""
        for rows in self.chunks(query, values, chunk=chunk, setting=setting):
            yield as_members(rows)

    def ask_all(
        self, names: Iterable[str], query: str, values: Sequence[str], *, source: str = _AS_TABLE
    ) -> list[tuple[Any, ...]]:
        """Ask many files, some hundreds at once, by a query with {0} in place of its table.

        What is not there, or is damaged, holds nothing; a file that turns out to be damaged does not `exist` afterward.
        """
        names = list(dict.fromkeys(names))
        rows = list[tuple[Any, ...]]()
        for start in range(0, len(names), _FILES_AT_ONCE):
            rows += self._ask_some(names[start : start + _FILES_AT_ONCE], query, values, source)
        return rows

    def _ask_some(self, names: Sequence[str], query: str, values: Sequence[str], source: str) -> list[tuple[Any, ...]]:
        names = [name for name in names if self.exists(name)]
        if not names:
            return []
        files = source.format(", ".join(quoted(self._file(name)) for name in names))
        try:
            with self.cursor() as db:
                return db.execute(f"SELECT {query.format(files)}", values).fetchall()
        except (MembersGone, MembersDamaged) as exc:
            if len(names) == 1:
                if isinstance(exc, MembersDamaged):
                    self.note_damage(names[0])
                return []
        # Halves of halves lead to the file that went away or is damaged, and the others answer.
        half = len(names) // 2
        return [row for part in (names[:half], names[half:]) for row in self._ask_some(part, query, values, source)]

    def ask_each(self, names: Iterable[str], query: str, values: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
        """Ask many files as `ask_all` does, and sort the rows by file; the query's first column is the file's name."""
        by_file: dict[str, list[tuple[Any, ...]]] = {}
        for path, *row in self.ask_all(names, query, values):
            by_file.setdefault(Path(path).stem, []).append(tuple(row))
        return by_file


def as_members(rows: Iterable[tuple[str, str]]) -> list[Member]:
    """Turn rows of `apptimize_id, distinct_id`, in this order, into members."""
    return [Member(*row) for row in rows]
