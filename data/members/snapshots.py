"""Members as of a run: collected, sorted, compared, paged and searched outside Python's memory (DuckDB, Parquet).

A snapshot is a Parquet file with the columns `apptimize_id` and `distinct_id`, sorted by Apptimize id in byte order,
each Apptimize id once. It appears under its name only when it is whole and on disk.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import duckdb  # below it is imported where it is used: most commands end sooner than that takes
from data.engine import StorageError
from data.members.changes import ChangeKind
from data.members.collector import Collector, Difference, compare
from data.members.duck import ONE_THREAD, ROW_GROUP, connect, plain_errors, quoted
from data.members.excluded import ExcludedProfile
from data.members.files import replacing
from data.members.search import SearchPage
from data.models import Member

T = TypeVar("T")

# Of so many files it is remembered whether capitals matter in them.
_FILES_KNOWN = 1000
# So many files are asked with one question: each more makes it longer, and every question costs.
_FILES_AT_ONCE = 1000


class Snapshots:
    """The folder of snapshots, opened for reading. Cheap to make; DuckDB is opened for each large piece of work.

    What a screen asks for is answered by one that stays open: opening it takes longer than most answers.
    """

    def __init__(self, folder: Path, *, scratch: Path, memory_mb: int) -> None:
        self.folder = folder
        self.scratch = scratch
        self.memory_mb = memory_mb
        self._reader: duckdb.DuckDBPyConnection | None = None
        self._reader_of = 0  # a process that is forked must not use its parent's: the threads are not there
        self._lock = threading.Lock()
        self._capitals: dict[str, bool] = {}

    def path(self, name: str) -> Path:
        """Where the snapshot of this name lies, or would lie."""
        return Path(self._file(name))

    def _file(self, name: str) -> str:
        # A text: to build hundreds of paths takes as long as to search some of the files.
        return f"{self.folder}/{name}.parquet"

    def exists(self, name: str | None) -> bool:
        """Tell whether the snapshot is there."""
        return name is not None and os.path.isfile(self._file(name))

    def is_whole(self, name: str | None) -> bool:
        """Tell whether the snapshot is there and can be read; one that was damaged counts as gone."""
        import duckdb

        if name is None or not self.exists(name):
            return False
        try:
            self.count(name)
        except (duckdb.Error, StorageError):
            return False
        return True

    def collector(self) -> Collector:
        """Open a collector that works within the same memory limit."""
        return Collector(self.scratch, memory_mb=self.memory_mb)

    def remove(self, name: str) -> None:
        """Remove a snapshot, if it is there."""
        self.path(name).unlink(missing_ok=True)

    def count(self, name: str) -> int:
        """Count members."""
        with self._open() as db:
            row = db.execute(f"SELECT count(*) FROM {self._table(name)}").fetchone()
        return row[0] if row else 0

    def iterate(self, name: str, *, chunk: int = 1000) -> Iterator[list[Member]]:
        """Yield all members in order of Apptimize id, `chunk` at a time; one chunk is in memory."""
        return self._members(f"SELECT apptimize_id, distinct_id FROM {self._table(name)}", chunk=chunk)

    def compare(self, name: str, base: str | None) -> Difference:
        """Compare a snapshot with a base; without one everything is added."""
        if base is None:
            return Difference(added=self.count(name), removed=0, unchanged=0)
        with self._open() as db:
            return compare(db, self._table(name), self._table(base))

    def keep_difference(self, difference: str, name: str, base: str | None) -> Difference:
        """Write the ids that a snapshot adds to a base and removes from it to a file of its own, and count them.

        The file has the columns `change` (`added` or `removed`), `apptimize_id`, `distinct_id`, sorted by the first
        two. It appears under its name only when it is whole and on disk.
        """
        new = self._table(name)
        old = self._table(base) if base else f"(SELECT * FROM {new} LIMIT 0)"
        with self._open() as db, plain_errors(), replacing(self.path(difference)) as part:
            db.execute(
                "COPY (SELECT change, apptimize_id, distinct_id FROM ("
                f"SELECT 'added' AS change, * FROM {new} AS new ANTI JOIN {old} AS old USING (apptimize_id) UNION ALL "
                f"SELECT 'removed', * FROM {old} AS old ANTI JOIN {new} AS new USING (apptimize_id)"
                f") ORDER BY change, apptimize_id) TO {quoted(part)} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})"
            )
        return self.compare(name, base)

    def iterate_changes(self, difference: str, change: ChangeKind, *, chunk: int = 1000) -> Iterator[list[Member]]:
        """Yield the members that were added, or removed, in order of Apptimize id, `chunk` at a time."""
        query = f"SELECT apptimize_id, distinct_id FROM {self._table(difference)} WHERE change = ?"
        return self._members(query, [change], chunk=chunk)

    def find(self, name: str, *, search: str = "", offset: int = 0, limit: int = 50, most: int = 1000) -> SearchPage:
        """Return a page of members in order of Apptimize id, and their number; a search ends after `most` of them."""
        with self._asked() as db:
            where = self._matching(db, name, search)
            return _find(db, f"(FROM {self._table(name)})", [], where, offset, limit, most)

    def find_changes(
        self,
        difference: str,
        change: ChangeKind,
        *,
        search: str = "",
        offset: int = 0,
        limit: int = 50,
        most: int = 1000,
    ) -> SearchPage:
        """Return a page of who was added, or removed, as `find` does."""
        with self._asked() as db:
            where = self._matching(db, difference, search)
            table = f"(FROM {self._table(difference)} WHERE change = ?)"
            return _find(db, table, [change], where, offset, limit, most)

    def find_others(
        self,
        name: str,
        difference: str | None,
        change: ChangeKind,
        *,
        total: int,
        search: str = "",
        offset: int = 0,
        limit: int = 50,
        most: int = 1000,
    ) -> SearchPage:
        """Return a page of a snapshot's `total` members who are not among those that were added, or removed."""
        with self._asked() as db:
            where = self._matching(db, name, search)
            table = f"(FROM {self._others(name, difference, change)})"
            return _find(db, table, [], where, offset, limit, most, total=total, order="ORDER BY apptimize_id")

    def iterate_others(
        self, name: str, difference: str | None, change: ChangeKind, *, chunk: int = 1000
    ) -> Iterator[list[Member]]:
        """Yield a snapshot's members who are not among those that were added, or removed, `chunk` at a time, sorted."""
        others = self._others(name, difference, change)
        query = f"SELECT apptimize_id, distinct_id FROM {others} ORDER BY apptimize_id"
        return self._members(query, chunk=chunk, setting=ONE_THREAD)

    def _others(self, name: str, difference: str | None, change: ChangeKind) -> str:
        if difference is None:
            return self._table(name)
        changed = f"(FROM {self._table(difference)} WHERE change = {quoted(change)})"
        return f"{self._table(name)} AS held ANTI JOIN {changed} AS changed USING (apptimize_id)"

    def _matching(self, db: duckdb.DuckDBPyConnection, name: str, search: str) -> tuple[str, list[str]]:
        """Say in SQL which members a search finds, whatever the case."""
        if not search:
            return "", []
        # To lower a million ids takes as long as to search them: where it makes no difference it is left out.
        if search.lower() == search.upper() or not self._has_capitals(db, name):
            return "WHERE contains(apptimize_id, lower(?)) OR contains(distinct_id, lower(?))", [search, search]
        found = "contains(lower(apptimize_id), lower(?)) OR contains(lower(distinct_id), lower(?))"
        return f"WHERE {found}", [search, search]

    def _has_capitals(self, db: duckdb.DuckDBPyConnection, name: str) -> bool:
        """Tell whether any id changes when it is lowered; asked of each file once, since files never change."""
        if name not in self._capitals:
            if len(self._capitals) >= _FILES_KNOWN:
                self._capitals.clear()
            changes = "apptimize_id <> lower(apptimize_id) OR distinct_id <> lower(distinct_id)"
            row = db.execute(f"SELECT EXISTS (FROM {self._table(name)} WHERE {changes})").fetchone()
            self._capitals[name] = bool(row and row[0])
        return self._capitals[name]

    def count_changes(self, difference: str) -> tuple[int, int]:
        """Count who was added, and who was removed."""
        with self._asked() as db:
            rows = db.execute(f"SELECT change, count(*) FROM {self._table(difference)} GROUP BY change").fetchall()
        counts = dict(rows)
        return counts.get("added", 0), counts.get("removed", 0)

    def holding(self, names: Iterable[str], apptimize_id: str) -> set[str]:
        """Tell which of these snapshots hold the member; those that are not kept hold nobody."""
        rows = self._over(names, "DISTINCT filename FROM {0} WHERE apptimize_id = ?", [apptimize_id])
        return {Path(path).stem for (path,) in rows}

    def changes_of(self, differences: Iterable[str], *apptimize_ids: str) -> dict[str, dict[str, ChangeKind]]:
        """Tell for each of these members in which of the differences they came or went; those gone are passed over."""
        query = f"apptimize_id, filename, change FROM {{0}} WHERE apptimize_id IN ({_marks(apptimize_ids)})"
        found: dict[str, dict[str, ChangeKind]] = {one: {} for one in apptimize_ids}
        for apptimize_id, path, change in self._over(differences, query, apptimize_ids):
            found[apptimize_id][Path(path).stem] = change
        return found

    def known_as(self, names: Iterable[str], text: str) -> list[tuple[Member, str]]:
        """Find in these files the members whose Apptimize id, or else whose distinct id, is this text.

        Returns each with the file's name, once for each file that holds them.
        """
        names = list(names)
        for column in ("apptimize_id", "distinct_id"):
            query = (
                f"DISTINCT apptimize_id, distinct_id, filename FROM {{0}} WHERE {column} = ? ORDER BY ALL LIMIT 2000"
            )
            if found := self._over(names, query, [text]):
                return [(Member(one, other), Path(path).stem) for one, other, path in found]
        return []

    def members_in(self, names: Iterable[str], wanted: Sequence[str]) -> dict[str, list[Member]]:
        """Return, by snapshot, the members with exactly one of these ids as Apptimize id or distinct id.

        What is not kept, or was damaged, says nothing.
        """
        # Two questions in one: files are sorted by Apptimize id, so that the first of them reads next to nothing.
        one_of = f"IN ({_marks(wanted)})"
        query = (
            f"filename, apptimize_id, distinct_id FROM {{0}} WHERE apptimize_id {one_of} UNION "
            f"SELECT filename, apptimize_id, distinct_id FROM {{0}} WHERE distinct_id {one_of}"
        )
        return self._by_file(names, query, [*wanted, *wanted], Member)

    def excluded_in(
        self, names: Iterable[str], wanted: Sequence[str], *, most: int = 100
    ) -> dict[str, list[ExcludedProfile]]:
        """Return, by file, the profiles that made no member with exactly one of these ids, at most so many of a file.

        What is not kept, or was damaged, says nothing. Profiles whose own distinct id is wanted come first.
        """
        marks = _marks(wanted)
        query = (
            f"filename, reason, distinct_id, apptimize_id FROM {{0}} "
            f"WHERE distinct_id IN ({marks}) OR apptimize_id IN ({marks}) QUALIFY row_number() OVER "
            f"(PARTITION BY filename ORDER BY distinct_id IN ({marks}) DESC, distinct_id) <= {most:d} "
            f"ORDER BY filename, distinct_id IN ({marks}) DESC, distinct_id"
        )
        return self._by_file(names, query, [*wanted] * 4, ExcludedProfile)

    def _by_file(
        self, names: Iterable[str], query: str, values: Sequence[str], kind: Callable[..., T]
    ) -> dict[str, list[T]]:
        kept = list(names)
        try:
            rows = self._over(kept, query, values)
        except StorageError:
            # One that is damaged is left out; which one it is takes long to tell, and hardly ever needs to be told.
            rows = self._over([one for one in kept if self.is_whole(one)], query, values)
        found: dict[str, list[T]] = {}
        for path, *row in rows:
            found.setdefault(Path(path).stem, []).append(kind(*row))
        return found

    def _over(self, names: Iterable[str], query: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        """Ask many files, some hundreds at once; where one goes away meanwhile the others are asked again."""
        wanted = list(dict.fromkeys(names))
        found = list[tuple[Any, ...]]()
        for start in range(0, len(wanted), _FILES_AT_ONCE):
            found += self._over_some(wanted[start : start + _FILES_AT_ONCE], query, values)
        return found

    def _over_some(self, names: Sequence[str], query: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        for _ in range(3):
            paths = [path for path in map(self._file, names) if os.path.isfile(path)]
            if not paths:
                return []
            files = f"read_parquet([{', '.join(map(quoted, paths))}], filename = true)"
            try:
                with self._asked() as db:
                    return db.execute(f"SELECT {query.format(files)}", values).fetchall()
            except StorageError:
                if all(map(os.path.isfile, paths)):
                    raise
        return []

    def excluded(
        self, name: str, *, reasons: Sequence[str] = (), search: str = "", offset: int = 0, limit: int = 50
    ) -> list[ExcludedProfile]:
        """Return profiles that made no member, a page at a time in order of reason and distinct id."""
        return [
            row for rows in self._excluded(name, reasons, search, f"LIMIT {limit:d} OFFSET {offset:d}") for row in rows
        ]

    def iterate_excluded(
        self, name: str, *, reasons: Sequence[str] = (), search: str = ""
    ) -> Iterator[list[ExcludedProfile]]:
        """Yield all profiles that made no member; one chunk is in memory."""
        yield from self._excluded(name, reasons, search, "")

    def _excluded(self, name: str, reasons: Sequence[str], search: str, window: str) -> Iterator[list[ExcludedProfile]]:
        where, values = _excluded_where(reasons, search)
        query = f"SELECT reason, distinct_id, apptimize_id FROM {self._table(name)} {where} {window}"
        for rows in self._chunks(query, values):
            yield [ExcludedProfile(*row) for row in rows]

    def count_excluded(self, name: str, *, reasons: Sequence[str] = (), search: str = "") -> int:
        """Count the profiles that `excluded` pages through."""
        where, values = _excluded_where(reasons, search)
        with self._open() as db:
            row = db.execute(f"SELECT count(*) FROM {self._table(name)} {where}", values).fetchone()
        return row[0] if row else 0

    def _members(
        self, query: str, values: Sequence[str] = (), *, chunk: int, setting: str = ""
    ) -> Iterator[list[Member]]:
        """Yield members from a query of `apptimize_id, distinct_id`, in this order."""
        for rows in self._chunks(query, values, chunk=chunk, setting=setting):
            yield _as_members(rows)

    def _chunks(
        self, query: str, values: Sequence[str] = (), *, chunk: int = 1000, setting: str = ""
    ) -> Iterator[list[Any]]:
        """Yield what a query finds, some rows at a time, from a DuckDB that is opened with the first of them."""
        with self._open() as db:
            if setting:
                db.execute(setting)
            cursor = db.execute(query, values)
            while rows := cursor.fetchmany(chunk):
                yield rows

    def _table(self, name: str) -> str:
        return f"read_parquet({quoted(self.path(name))})"

    @contextmanager
    def _asked(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Give a way into the DuckDB that stays open, for an answer that is short and wanted at once."""
        with plain_errors():
            with self._lock:
                if self._reader is None or self._reader_of != os.getpid():
                    self.scratch.mkdir(parents=True, exist_ok=True)
                    self._reader, self._reader_of = connect(self.scratch, memory_mb=self.memory_mb), os.getpid()
                cursor = self._reader.cursor()
            try:
                yield cursor
            finally:
                cursor.close()

    @contextmanager
    def _open(self) -> Generator[duckdb.DuckDBPyConnection]:
        with plain_errors():
            self.scratch.mkdir(parents=True, exist_ok=True)
            db = connect(self.scratch, memory_mb=self.memory_mb)
            try:
                yield db
            finally:
                db.close()


def _find(
    db: duckdb.DuckDBPyConnection,
    table: str,
    values: list[str],
    matching: tuple[str, list[str]],
    offset: int,
    limit: int,
    most: int,
    *,
    total: int | None = None,
    order: str = "",
) -> SearchPage:
    columns = f"SELECT apptimize_id, distinct_id FROM {table}"
    where, searched = matching
    if not where:
        if total is None:
            row = db.execute(f"SELECT count(*) FROM {table}", values).fetchone()
            total = int(row[0]) if row else 0
        rows = db.execute(f"{columns} {order} LIMIT ? OFFSET ?", [*values, limit, offset]).fetchall()
        return SearchPage(rows=_as_members(rows), total=total)
    found = db.execute(f"{columns} {where} {order} LIMIT ?", [*values, *searched, most + 1]).fetchall()
    return SearchPage(
        rows=_as_members(found[:most][offset : offset + limit]),
        total=min(len(found), most),
        is_more=len(found) > most,
    )


def _as_members(rows: Iterable[tuple[str, str]]) -> list[Member]:
    return [Member(*row) for row in rows]


def _excluded_where(reasons: Sequence[str], search: str) -> tuple[str, list[str]]:
    conditions, values = list[str](), list[str]()
    if reasons:
        conditions.append(f"reason IN ({_marks(reasons)})")
        values += reasons
    if search:
        conditions.append("(contains(lower(distinct_id), lower(?)) OR contains(lower(apptimize_id), lower(?)))")
        values += [search, search]
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _marks(values: Sequence[str]) -> str:
    """Write as many marks as there are values, for SQL to ask for any of them."""
    return ", ".join("?" * len(values))
