"""The folder of files of members, and the two connections to DuckDB that they are read through."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.engine import StorageError
from data.members.duck import SharedConnection, opened, quoted
from data.models import Member

if TYPE_CHECKING:
    import duckdb

# So many files are asked with one question: each more makes it longer, and every question costs.
_FILES_AT_ONCE = 1000


class MemberFiles:
    """The files of members by name: snapshots, differences, and profiles that were excluded. Cheap to make.

    A file never changes once it is there; it may go away at any time.
    """

    def __init__(self, folder: Path, *, scratch: Path, memory_mb: int) -> None:
        self.folder = folder
        self.scratch = scratch
        self.memory_mb = memory_mb
        self._shared = SharedConnection(scratch, memory_mb=memory_mb)
        # Whether ids of a file have capital letters, as far as searches found out.
        self.has_capitals: dict[str, bool] = {}

    def path(self, name: str) -> Path:
        """Return where the file of this name lies, or would lie."""
        return Path(self._file(name))

    def _file(self, name: str) -> str:
        # A text: to build hundreds of paths takes as long as to search some of the files.
        return f"{self.folder}/{name}.parquet"

    def table(self, name: str) -> str:
        """Return the file as a table of SQL."""
        return f"read_parquet({quoted(self.path(name))})"

    def exists(self, name: str | None) -> bool:
        """Return whether the file is there."""
        return name is not None and os.path.isfile(self._file(name))

    def is_whole(self, name: str | None) -> bool:
        """Return whether the file is there and can be read; one that was damaged counts as gone."""
        import duckdb

        if name is None or not self.exists(name):
            return False
        try:
            self.count(name)
        except (duckdb.Error, StorageError):
            return False
        return True

    def count(self, name: str) -> int:
        """Count the rows of a file."""
        with self.open() as db:
            row = db.execute(f"SELECT count(*) FROM {self.table(name)}").fetchone()
        return row[0] if row else 0

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self.path(name).unlink(missing_ok=True)

    def open(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Open DuckDB for a large piece of work. Raises StorageError."""
        return opened(self.scratch, memory_mb=self.memory_mb)

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

    def ask_all(self, names: Iterable[str], query: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        """Ask many files, some hundreds at once, by a query with {0} in place of its table.

        What is not there holds nothing; where a file goes away meanwhile, the others are asked again.
        """
        names = list(dict.fromkeys(names))
        rows = list[tuple[Any, ...]]()
        for start in range(0, len(names), _FILES_AT_ONCE):
            rows += self._ask_some(names[start : start + _FILES_AT_ONCE], query, values)
        return rows

    def _ask_some(self, names: Sequence[str], query: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        for _ in range(3):
            paths = [path for path in map(self._file, names) if os.path.isfile(path)]
            if not paths:
                return []
            files = f"read_parquet([{', '.join(map(quoted, paths))}], filename = true)"
            try:
                with self.cursor() as db:
                    return db.execute(f"SELECT {query.format(files)}", values).fetchall()
            except StorageError:
                if all(map(os.path.isfile, paths)):
                    raise
        return []

    def ask_each(self, names: Iterable[str], query: str, values: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
        """Ask many files as `ask_all` does, and sort the rows by file; the query's first column is the file's name.

        What is damaged holds nothing either.
        """
        names = list(names)
        try:
            rows = self.ask_all(names, query, values)
        except StorageError:
            # Which one is damaged takes long to find out, and hardly ever has to be.
            rows = self.ask_all([name for name in names if self.is_whole(name)], query, values)
        by_file: dict[str, list[tuple[Any, ...]]] = {}
        for path, *row in rows:
            by_file.setdefault(Path(path).stem, []).append(tuple(row))
        return by_file


def as_members(rows: Iterable[tuple[str, str]]) -> list[Member]:
    """Turn rows of `apptimize_id, distinct_id`, in this order, into members."""
    return [Member(*row) for row in rows]
