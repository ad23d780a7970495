"""Members as of a run: collected, sorted, compared, paged and searched outside Python's memory (DuckDB, Parquet).

A snapshot is a Parquet file with the columns `apptimize_id` and `distinct_id`, sorted by Apptimize id in byte order,
each Apptimize id once. It appears under its name only when it is whole and on disk.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from data.engine import StorageError

if TYPE_CHECKING:
    import duckdb  # below it is imported where it is used: most commands end sooner than that takes

# Small enough that a sorted file is searched by reading one or two groups, large enough to compress.
_ROW_GROUP = 20_000
# Between the two ids of a profile, where they wait in a text file; ids that hold it wait elsewhere.
_SEPARATOR = "\x1f"
# What else a line cannot hold: what ends it, and what DuckDB's reader takes away or takes for an end.
_NOT_IN_LINES = ("\r", "\0", "\ufeff")
# No line comes near what DuckDB's reader sets aside for one, twice that for each of its threads.
_LONGEST_LINE = 100_000
_READER_BYTES = 2**21
_WRITTEN_AT_ONCE = 2**20
# Profiles are taken in by batches: each statement costs as much as a page does.
_BATCH = 25_000
# Of so many files it is remembered whether capitals matter in them.
_FILES_KNOWN = 1000
# So many files are asked with one question: each more makes it longer, and every question costs.
_FILES_AT_ONCE = 1000
# Where all members have to be in order, two threads share the memory, and lose more by spilling than they win.
_ONE_THREAD = "SET threads = 1"
_EXPORT_AGAIN = "Export the cohort again: then they are kept anew."

_HASHES = (
    "SELECT hash(distinct_id) AS distinct_hash, "
    "CASE WHEN apptimize_id IS NOT NULL THEN hash(apptimize_id) END AS apptimize_hash"
)

_IS_REPEATED = "hash(apptimize_id) IN (SELECT apptimize_hash FROM repeated)"
# The reason of a profile whose Apptimize id another one has too: that one is the member.
DUPLICATE = "duplicate"

Pair = tuple[str, str]
LeftOut = tuple[str, str, str | None]  # reason, distinct id, and the Apptimize id of a duplicate
Change = Literal["added", "removed"]


@dataclass(frozen=True)
class Tally:
    """What was collected. `seen` counts rows, `profiles` distinct ids among them: equal when none came twice."""

    seen: int
    profiles: int
    members: int
    duplicates: int
    unprefixed: int
    prefixed: dict[str, int] = field(default_factory=dict[str, int])  # members by what they start with
    reasons: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class Difference:
    """How many members a snapshot has that the base lacks, the other way round, and that both have.

    `renamed` counts those in both whose distinct id is another one now.
    """

    added: int
    removed: int
    unchanged: int
    renamed: int = 0


@dataclass(frozen=True)
class Found:
    """A page of what was searched for, and how many there are: `is_more` when the count stopped there."""

    rows: list[Pair]
    total: int
    is_more: bool = False


class Collector:
    """Takes in the profiles of one read, page by page, and turns them into a snapshot.

    They wait in text files in a folder of its own below `scratch`, which is gone after `close`: the quickest way from
    Python into DuckDB, which holds at most `memory_mb`. Whether ids repeat is told by hashes of them, 16 bytes a
    profile: where all hashes differ no two ids are the same, and where two are alike the ids themselves are compared.

    Usable as a context manager. Not for two threads at once. Every method raises StorageError when the disk is full.
    """

    def __init__(self, scratch: Path, *, memory_mb: int) -> None:
        self._folder = scratch / f"read-{secrets.token_hex(8)}"
        self._files: list[Path] = []
        self._file: IO[bytes] | None = None
        self._waiting = 0  # profiles in the file that is being written
        self._odd: list[tuple[str, str | None, str | None]] = []
        self._left_out = self._folder / "left-out"
        self._left_out_file: IO[bytes] | None = None
        self._seen = 0
        self._reasons: Counter[str] = Counter()
        self._members: int | None = None
        with plain_errors():
            self._folder.mkdir(parents=True)
            self._duckdb = connect(self._folder, memory_mb=memory_mb)
            # An Apptimize id that is null stands for a profile without a usable one.
            self._duckdb.execute("CREATE TABLE odd (distinct_id VARCHAR, apptimize_id VARCHAR, reason VARCHAR)")
            self._duckdb.execute("CREATE TABLE hashes (distinct_hash UBIGINT, apptimize_hash UBIGINT)")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(
        self,
        distinct_ids: Sequence[str],
        apptimize_ids: Sequence[str],
        *,
        unusable_ids: Sequence[str] = (),
        reasons: Sequence[str] = (),
    ) -> None:
        """Add a page: aligned ids of the usable profiles, and aligned ids and reasons of the others."""
        self._reasons.update(reasons)
        self._members = None
        with plain_errors():
            if not self._keep(distinct_ids, apptimize_ids):
                self._odd.extend((one, other, None) for one, other in zip(distinct_ids, apptimize_ids, strict=True))
            if self._keep(unusable_ids, None):
                self._leave_out(unusable_ids, reasons)
            else:
                self._odd.extend((one, None, why) for one, why in zip(unusable_ids, reasons, strict=True))
        self._seen += len(distinct_ids) + len(unusable_ids)
        if self._waiting + len(self._odd) >= _BATCH:
            self._take_in()

    def _keep(self, distinct_ids: Sequence[str], apptimize_ids: Sequence[str] | None) -> bool:
        """Write a line a profile to the text file; False, and nothing is written, if they could not be read back."""
        if apptimize_ids is None:
            lines = [f"{one}{_SEPARATOR}\n" for one in distinct_ids]
        else:
            lines = [f"{one}{_SEPARATOR}{other}\n" for one, other in zip(distinct_ids, apptimize_ids, strict=True)]
        text = "".join(lines)
        if (
            not all(distinct_ids)
            or (apptimize_ids and not all(apptimize_ids))
            or text.count("\n") != len(lines)
            or text.count(_SEPARATOR) != len(lines)
            or any(one in text for one in _NOT_IN_LINES)
            or (len(text) > _LONGEST_LINE and max(map(len, lines)) > _LONGEST_LINE)
        ):
            return False
        if self._file is None:
            self._files.append(self._folder / f"{len(self._files):06}.txt")
            self._file = self._files[-1].open("wb", buffering=_WRITTEN_AT_ONCE)
        self._file.write(text.encode())
        self._waiting += len(lines)
        return True

    def _leave_out(self, unusable_ids: Sequence[str], reasons: Sequence[str]) -> None:
        """Keep why ids that can stand in a line are unusable."""
        if not unusable_ids:
            return
        if self._left_out_file is None:
            self._left_out_file = self._left_out.open("wb", buffering=_WRITTEN_AT_ONCE)
        lines = [f"{one}{_SEPARATOR}{why}\n" for one, why in zip(unusable_ids, reasons, strict=True)]
        self._left_out_file.write("".join(lines).encode())

    def _take_in(self) -> None:
        """Hash what waits in the text file, and hand over what could not be put there."""
        with plain_errors():
            if self._file is not None:
                self._file.close()
                self._file, self._waiting = None, 0
                self._duckdb.execute(f"INSERT INTO hashes {_HASHES} FROM {_lines(self._files[-1:])}")
            if self._odd:
                odd, self._odd = self._odd, []
                self._duckdb.execute(
                    "INSERT INTO odd SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
                    [[row[column] for row in odd] for column in range(3)],
                )

    def tally(self, *, prefixes: Sequence[str] = ()) -> Tally:
        """Count what was collected; members that start with none of the `prefixes` are unprefixed, if any are given."""
        self._take_in()
        with plain_errors():
            seen, profiles = self._row(
                f"SELECT count(*), count(DISTINCT distinct_hash) FROM (FROM hashes UNION ALL {_HASHES} FROM odd)"
            )
            if seen != self._seen:
                raise StorageError("The profiles that were kept are not the profiles that were read.")
            if profiles != seen:
                (profiles,) = self._row(f"SELECT count(DISTINCT distinct_id) FROM {self._profiles}")
            usable = seen - self._reasons.total()
            self._members, prefixed = self._count_members(usable, prefixes)
        return Tally(
            seen=seen,
            profiles=profiles,
            members=self._members,
            duplicates=usable - self._members,
            unprefixed=self._members - sum(prefixed.values()) if prefixes else 0,
            prefixed=prefixed,
            reasons=dict(sorted(self._reasons.items())),
        )

    def _count_members(self, usable: int, prefixes: Sequence[str]) -> tuple[int, dict[str, int]]:
        """Count distinct Apptimize ids, and those with each prefix; ids are held only where hashes are alike."""
        self._duckdb.execute(
            "CREATE OR REPLACE TABLE repeated AS SELECT apptimize_hash "
            f"FROM (FROM hashes UNION ALL {_HASHES} FROM odd) "
            "WHERE apptimize_hash IS NOT NULL GROUP BY apptimize_hash HAVING count(*) > 1"
        )
        (repeats,) = self._row("SELECT count(*) FROM repeated")
        if not repeats and not prefixes:
            return usable, {}
        starts = " ".join(f"WHEN starts_with(apptimize_id, {quoted(one)}) THEN {quoted(one)}" for one in prefixes)
        # IN, not a join: of a join DuckDB would hold the profiles, whose number it cannot tell from the files.
        found = self._duckdb.execute(
            "SELECT prefix, sum(CASE WHEN repeated_id IS NULL THEN n ELSE 1 END)::BIGINT FROM ("
            f"SELECT CASE WHEN {_IS_REPEATED} THEN apptimize_id END AS repeated_id, "
            f"CASE {starts or 'WHEN false THEN NULL'} END AS prefix, count(*) AS n FROM {self._usable} GROUP BY ALL"
            ") GROUP BY prefix"
        ).fetchall()
        members = {prefix: number for prefix, number in found}
        return sum(members.values()), {one: members.get(one, 0) for one in prefixes}

    @property
    def _profiles(self) -> str:
        """What was collected, for SQL to read from."""
        if not self._files:
            return "odd"
        return f"(FROM {_lines(self._files)} UNION ALL SELECT distinct_id, apptimize_id FROM odd)"

    @property
    def _usable(self) -> str:
        return f"(FROM {self._profiles} WHERE apptimize_id IS NOT NULL)"

    @property
    def _distinct_members(self) -> str:
        return f"(SELECT apptimize_id, min(distinct_id) AS distinct_id FROM {self._usable} GROUP BY apptimize_id)"

    def compare(self, base: Path | None) -> Difference:
        """Compare what was collected with a base, without writing a snapshot."""
        self._take_in()
        if base is None:
            members = self.tally().members if self._members is None else self._members
            return Difference(added=members, removed=0, unchanged=0)
        self._duckdb.execute(_ONE_THREAD)
        return _compare(self._duckdb, self._distinct_members, f"read_parquet({quoted(base)})")

    def write(self, target: Path) -> None:
        """Write the snapshot, one row a member with its smallest distinct id: whole and on disk, or not at all."""
        self._take_in()
        with plain_errors(), replacing(target) as part:
            self._duckdb.execute(_ONE_THREAD)
            self._duckdb.execute(
                f"COPY (FROM {self._distinct_members} ORDER BY apptimize_id) TO {quoted(part)} "
                f"(FORMAT parquet, ROW_GROUP_SIZE {_ROW_GROUP})"
            )

    def write_left_out(self, target: Path) -> None:
        """Write the profiles that make no member, each with the reason: whole and on disk, or not at all.

        The columns are `reason`, `distinct_id`, `apptimize_id` (of duplicates only), sorted by the first two. To be
        called after `tally`.
        """
        with plain_errors(), replacing(target) as part:
            parts = ["SELECT reason, distinct_id, NULL::VARCHAR AS apptimize_id FROM odd WHERE reason IS NOT NULL"]
            if self._left_out_file is not None:
                self._left_out_file.flush()
                # The second column is called so by the reader of lines, and holds the reason here.
                parts.append(f"SELECT apptimize_id, distinct_id, NULL FROM {_lines([self._left_out])}")
            parts.append(
                f"SELECT '{DUPLICATE}', distinct_id, apptimize_id FROM (FROM {self._usable} WHERE {_IS_REPEATED}) "
                "QUALIFY row_number() OVER (PARTITION BY apptimize_id ORDER BY distinct_id) > 1"
            )
            self._duckdb.execute(_ONE_THREAD)
            self._duckdb.execute(
                f"COPY (FROM ({' UNION ALL '.join(parts)}) ORDER BY reason, distinct_id) TO {quoted(part)} "
                f"(FORMAT parquet, ROW_GROUP_SIZE {_ROW_GROUP})"
            )

    def close(self) -> None:
        """Give back memory and disk. What was not written is gone."""
        for file in (self._file, self._left_out_file):
            if file is not None:
                with suppress(OSError):  # what a full disk did not take is not needed any more
                    file.close()
        self._duckdb.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _row(self, query: str) -> tuple[Any, ...]:
        row = self._duckdb.execute(query).fetchone()
        assert row is not None
        return row


def _lines(files: Sequence[Path]) -> str:
    """Read text files: nothing in them is special but the separator, the end of a line, and an id that is not there."""
    return (
        f"read_csv([{', '.join(map(quoted, files))}], delim='{_SEPARATOR}', header=false, quote='', escape='', "
        "columns={'distinct_id': 'VARCHAR', 'apptimize_id': 'VARCHAR'}, auto_detect=false, nullstr='', "
        f"buffer_size={_READER_BYTES})"
    )


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

    def iterate(self, name: str, *, chunk: int = 1000) -> Iterator[list[Pair]]:
        """Yield all members in order of Apptimize id, `chunk` at a time; one chunk is in memory."""
        return self._chunks(f"SELECT apptimize_id, distinct_id FROM {self._table(name)}", chunk=chunk)

    def compare(self, name: str, base: str | None) -> Difference:
        """Compare a snapshot with a base; without one everything is added."""
        if base is None:
            return Difference(added=self.count(name), removed=0, unchanged=0)
        with self._open() as db:
            return _compare(db, self._table(name), self._table(base))

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
                f") ORDER BY change, apptimize_id) TO {quoted(part)} (FORMAT parquet, ROW_GROUP_SIZE {_ROW_GROUP})"
            )
        return self.compare(name, base)

    def iterate_changes(self, difference: str, change: Change, *, chunk: int = 1000) -> Iterator[list[Pair]]:
        """Yield the members that were added, or removed, in order of Apptimize id, `chunk` at a time."""
        query = f"SELECT apptimize_id, distinct_id FROM {self._table(difference)} WHERE change = ?"
        return self._chunks(query, [change], chunk=chunk)

    def find(self, name: str, *, search: str = "", offset: int = 0, limit: int = 50, most: int = 1000) -> Found:
        """Return a page of members in order of Apptimize id, and their number; a search ends after `most` of them."""
        with self._asked() as db:
            where = self._matching(db, name, search)
            return _find(db, f"(FROM {self._table(name)})", [], where, offset, limit, most)

    def find_changes(
        self, difference: str, change: Change, *, search: str = "", offset: int = 0, limit: int = 50, most: int = 1000
    ) -> Found:
        """Return a page of who was added, or removed, as `find` does."""
        with self._asked() as db:
            where = self._matching(db, difference, search)
            table = f"(FROM {self._table(difference)} WHERE change = ?)"
            return _find(db, table, [change], where, offset, limit, most)

    def find_others(
        self,
        name: str,
        difference: str | None,
        change: Change,
        *,
        total: int,
        search: str = "",
        offset: int = 0,
        limit: int = 50,
        most: int = 1000,
    ) -> Found:
        """Return a page of a snapshot's `total` members who are not among those that were added, or removed."""
        with self._asked() as db:
            where = self._matching(db, name, search)
            table = f"(FROM {self._others(name, difference, change)})"
            return _find(db, table, [], where, offset, limit, most, total=total, order="ORDER BY apptimize_id")

    def iterate_others(
        self, name: str, difference: str | None, change: Change, *, chunk: int = 1000
    ) -> Iterator[list[Pair]]:
        """Yield a snapshot's members who are not among those that were added, or removed, `chunk` at a time, sorted."""
        others = self._others(name, difference, change)
        query = f"SELECT apptimize_id, distinct_id FROM {others} ORDER BY apptimize_id"
        return self._chunks(query, chunk=chunk, setting=_ONE_THREAD)

    def _others(self, name: str, difference: str | None, change: Change) -> str:
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

    def changes_of(self, differences: Iterable[str], *apptimize_ids: str) -> dict[str, dict[str, Change]]:
        """Tell for each of these members in which of the differences they came or went; those gone are passed over."""
        query = f"apptimize_id, filename, change FROM {{0}} WHERE apptimize_id IN ({_marks(apptimize_ids)})"
        found: dict[str, dict[str, Change]] = {one: {} for one in apptimize_ids}
        for apptimize_id, path, change in self._over(differences, query, apptimize_ids):
            found[apptimize_id][Path(path).stem] = change
        return found

    def known_as(self, names: Iterable[str], text: str) -> list[tuple[str, str, str]]:
        """Find in these files the members whose Apptimize id, or else whose distinct id, is this text.

        Returns Apptimize id, distinct id and the file's name, one for each file that holds them.
        """
        names = list(names)
        for column in ("apptimize_id", "distinct_id"):
            query = (
                f"DISTINCT apptimize_id, distinct_id, filename FROM {{0}} WHERE {column} = ? ORDER BY ALL LIMIT 2000"
            )
            if found := self._over(names, query, [text]):
                return [(one, other, Path(path).stem) for one, other, path in found]
        return []

    def members_in(self, names: Iterable[str], wanted: Sequence[str]) -> dict[str, list[Pair]]:
        """Return, by snapshot, the members with exactly one of these ids as Apptimize id or distinct id.

        What is not kept, or was damaged, says nothing.
        """
        # Two questions in one: files are sorted by Apptimize id, so that the first of them reads next to nothing.
        one_of = f"IN ({_marks(wanted)})"
        query = (
            f"filename, apptimize_id, distinct_id FROM {{0}} WHERE apptimize_id {one_of} UNION "
            f"SELECT filename, apptimize_id, distinct_id FROM {{0}} WHERE distinct_id {one_of}"
        )
        return self._by_file(names, query, [*wanted, *wanted])

    def left_out_in(self, names: Iterable[str], wanted: Sequence[str], *, most: int = 100) -> dict[str, list[LeftOut]]:
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
        return self._by_file(names, query, [*wanted] * 4)

    def _by_file(self, names: Iterable[str], query: str, values: Sequence[str]) -> dict[str, list[Any]]:
        kept = list(names)
        try:
            rows = self._over(kept, query, values)
        except StorageError:
            # One that is damaged is left out; which one it is takes long to tell, and hardly ever needs to be told.
            rows = self._over([one for one in kept if self.is_whole(one)], query, values)
        found: dict[str, list[Any]] = {}
        for path, *row in rows:
            found.setdefault(Path(path).stem, []).append(tuple(row))
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

    def left_out(
        self, name: str, *, reasons: Sequence[str] = (), search: str = "", offset: int = 0, limit: int = 50
    ) -> list[LeftOut]:
        """Return profiles that made no member, a page at a time in order of reason and distinct id."""
        return [
            row for rows in self._left_out(name, reasons, search, f"LIMIT {limit:d} OFFSET {offset:d}") for row in rows
        ]

    def iterate_left_out(self, name: str, *, reasons: Sequence[str] = (), search: str = "") -> Iterator[list[LeftOut]]:
        """Yield all profiles that made no member; one chunk is in memory."""
        yield from self._left_out(name, reasons, search, "")

    def _left_out(self, name: str, reasons: Sequence[str], search: str, window: str) -> Iterator[list[LeftOut]]:
        where, values = _left_out_where(reasons, search)
        query = f"SELECT reason, distinct_id, apptimize_id FROM {self._table(name)} {where} {window}"
        return self._chunks(query, values)

    def count_left_out(self, name: str, *, reasons: Sequence[str] = (), search: str = "") -> int:
        """Count the profiles that `left_out` pages through."""
        where, values = _left_out_where(reasons, search)
        with self._open() as db:
            row = db.execute(f"SELECT count(*) FROM {self._table(name)} {where}", values).fetchone()
        return row[0] if row else 0

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


def _compare(db: duckdb.DuckDBPyConnection, new: str, old: str) -> Difference:
    with plain_errors():
        row = db.execute(
            "SELECT count(*) FILTER (old.apptimize_id IS NULL), count(*) FILTER (new.apptimize_id IS NULL), count(*), "
            "count(*) FILTER (new.distinct_id <> old.distinct_id) "
            f"FROM {new} AS new FULL JOIN {old} AS old ON new.apptimize_id = old.apptimize_id"
        ).fetchone()
    added, removed, either, renamed = row or (0, 0, 0, 0)
    return Difference(added=added, removed=removed, unchanged=either - added - removed, renamed=renamed)


def clear_scratch(scratch: Path, *, older_than_s: float, now_s: float) -> None:
    """Remove what reads left behind whose process died; younger folders may still be at work."""
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
        }
    )


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
) -> Found:
    columns = f"SELECT apptimize_id, distinct_id FROM {table}"
    where, searched = matching
    if not where:
        if total is None:
            row = db.execute(f"SELECT count(*) FROM {table}", values).fetchone()
            total = int(row[0]) if row else 0
        rows = db.execute(f"{columns} {order} LIMIT ? OFFSET ?", [*values, limit, offset]).fetchall()
        return Found(rows=rows, total=total)
    found = db.execute(f"{columns} {where} {order} LIMIT ?", [*values, *searched, most + 1]).fetchall()
    return Found(rows=found[:most][offset : offset + limit], total=min(len(found), most), is_more=len(found) > most)


def _left_out_where(reasons: Sequence[str], search: str) -> tuple[str, list[str]]:
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


def quoted(text: str | Path) -> str:
    """Write a text as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


@contextmanager
def replacing(target: Path, *, within: AbstractContextManager[object] | None = None) -> Generator[Path]:
    """Give a temporary name to write to, and put it in place of `target` once it is whole and on disk.

    That happens inside `within`, which may raise as it is entered: then `target` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        flush_to_disk(part)
        with within or nullcontext():
            part.replace(target)
            flush_to_disk(target.parent)
    finally:
        part.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Have a file, or the names in a folder, on disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def plain_errors() -> Generator[None]:
    """Turn what DuckDB and the disk say into a StorageError with a sentence."""
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, OSError) as exc:
        reason = str(exc).lower()
        if "no space" in reason or "disk is full" in reason or "max_temp_directory_size" in reason:
            raise StorageError("The disk is full: the members could not be kept.") from exc
        if "no files found" in reason or "does not exist" in reason or "no such file" in reason:
            raise StorageError("The members are no longer kept.", advice=_EXPORT_AGAIN) from exc
        if isinstance(exc, duckdb.OutOfMemoryException):
            raise StorageError("The members did not fit into COHORT_BRIDGE_SNAPSHOT_MEMORY_MB.") from exc
        raise StorageError("The snapshots folder could not be read or written.") from exc
    except duckdb.InvalidInputException as exc:
        if "parquet" not in str(exc).lower():
            raise
        raise StorageError("A file of members is damaged on disk.", advice=_EXPORT_AGAIN) from exc
