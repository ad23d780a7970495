"""The files of members by name, wherever they lie, and the two connections to DuckDB that they are read through."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from data.members.bounded_cache import BoundedCache
from data.members.copies import CopiedPlace
from data.members.duck import MembersDamaged, MembersGone, SharedConnection, duckdb_errors, quoted, reused
from data.members.places import COMPARED, END, FolderPlace, Place
from data.members.places import SET_ASIDE as SET_ASIDE
from data.members.places import Stamp as Stamp
from data.members.steady import Steady, changed
from data.models import Member
from data.storage.folder import FolderStorage
from data.storage.port import Storage, digest_of

if TYPE_CHECKING:
    import duckdb

# So many files are asked with one question: each more makes it longer, and every question costs.
_FILES_AT_ONCE = 1000
# Of those that are copied to be read fewer, so that what copies take is bounded.
_COPIES_AT_ONCE = 100
# Of so many files it is remembered what they held as they were made, and of so many whether they are what they say:
# more than there are groups, each of which a screen asks about.
_CONTENTS_KNOWN, _FILES_KNOWN = 1000, 20_000
# So many counts of two files are remembered: those of the largest choice, some times over.
_PAIRS_KNOWN = 20_000
# Many files in place of one table, each row with the file that it is from.
_AS_TABLE = "read_parquet([{0}], filename = true)"
T = TypeVar("T")
# What the snapshots of runs begin with. One is read as a difference too: of a group that began with all of its members.
SNAPSHOT = "run-"
# What the files that rows name begin with.
OF_RUNS = re.compile(r"(run|difference|excluded|tried)-\d{8,19}")
# What files are called that runs and pages make, with an attempt, a token, or that of a copy without a person; others
# in the same storage are none of ours, and nobody touches them. What earlier versions made is `left-out`.
_OF_RUN = r"(?:run|difference|excluded|tried|leavers|left-out)-\d{8,19}(?:-[0-9a-f]{1,20})*"
_NUMBER = re.compile(r"-(\d{8,19})")
_OURS = re.compile(rf"{_OF_RUN}|{COMPARED}{_OF_RUN}-{_OF_RUN}")


def is_ours(name: str) -> bool:
    """Return whether a file of this name is one that runs or pages make."""
    return _OURS.fullmatch(name) is not None


def run_of(name: str) -> int:
    """Return the number of the run that a file of ours is called after; of what pages compared, the first one's."""
    found = _NUMBER.search(name)
    return int(found[1]) if found else 0


class MemberFiles:
    """The files of members by name: snapshots, differences, and profiles that were excluded. Cheap to make.

    A file never changes once it is there; it may go away at any time, or be found damaged: it counts as gone then.
    """

    def __init__(
        self, folder: Path, *, scratch: Path, memory_mb: int, storage: Storage | None = None, cache_mb: int = 2048
    ) -> None:
        self.folder = folder
        self.storage = storage or FolderStorage(folder)
        self.place: Place = FolderPlace(folder)
        if self.storage.folder is None:
            self.place = CopiedPlace(self.storage, folder, most_bytes=cache_mb * 2**20)
        self.scratch = scratch
        self.memory_mb = memory_mb
        self._shared = SharedConnection(scratch, memory_mb=memory_mb)
        # Whether ids of a file have capital letters, as far as searches found out.
        self.has_capitals = BoundedCache[tuple[str, Stamp | None], bool](_CONTENTS_KNOWN)
        # The files that were found damaged, and those that proved to be what they say, as they were then.
        self._damaged: dict[str, Stamp | None] = {}
        self._renewed = set[str]()
        # What files held as this process made them, or as they proved themselves, as digests.
        self._contents = BoundedCache[str, str](_CONTENTS_KNOWN)
        self.proven = BoundedCache[str, Stamp](_FILES_KNOWN)
        # Those that have as many rows as they should: what began a group is counted as a difference, and that proves no
        # snapshot.
        self.counted = BoundedCache[str, Stamp](_FILES_KNOWN)
        # How many members each two of these files share, as far as was asked.
        self.shared_counts = BoundedCache[frozenset[tuple[str, Stamp | None]], int](_PAIRS_KNOWN)

    def path(self, name: str) -> Path:
        """Return where the file of this name lies, or would lie; a copy of it is fetched. Raises StorageError."""
        return self.place.read(name)

    def make(self, name: str, write: Callable[[Path], T], *, is_kept: bool = True) -> T:
        """Have a file written whole to a path, and keep it under its name where all processes find it.

        One that is not kept is for this process alone. Raises StorageError.
        """

        def write_and_note(target: Path) -> T:
            result = write(target)
            with duckdb_errors():
                self._contents.put(name, digest_of(target))
            return result

        return self.place.make(name, write_and_note, is_kept=is_kept)

    def digest(self, name: str) -> str:
        """Return what tells the present content of a file from any other. Raises StorageError."""
        with duckdb_errors(), closing(Steady(self.path(name))) as file:
            return file.digest()

    def note_proven(self, name: str, stamp: Stamp | None, content: str) -> None:
        """Remember that a file proved to be what it says, as it was then, with that content."""
        self.proven.put(name, stamp)
        self._contents.put(name, content)

    @contextmanager
    def as_made(self, name: str) -> Generator[None]:
        """Let what is read of a file inside be what it held when it was made, or proved itself, and nothing else.

        Raises: MembersDamaged, before anything is read or at the end; MembersGone, StorageError.
        """
        file, content = self._open_as_made(name)
        with closing(file):
            yield
            file.require_unchanged()
            if file.digest() != content:
                raise changed()

    def _open_as_made(self, name: str) -> tuple[Steady, str]:
        for _ in range(2):
            with duckdb_errors():
                file = Steady(self.path(name))
                content = file.digest()
            if self._contents.get(name) in (None, content):
                return file, content
            file.close()
            if not self.place.renew(name):
                break
        raise changed()

    def table(self, name: str) -> str:
        """Return the file as a table of SQL."""
        return f"read_parquet({quoted(self.path(name))})"

    def changes(self, name: str) -> str:
        """Return a difference as a table of SQL; of a snapshot everyone in it was added."""
        is_snapshot = name.startswith(SNAPSHOT)
        return f"(SELECT 'added' AS change, * FROM {self.table(name)})" if is_snapshot else self.table(name)

    def stamp(self, name: str) -> Stamp | None:
        """Return what tells the present file of this name from another one, None when there is none."""
        return self.place.stamp(name)

    def exists(self, name: str | None) -> bool:
        """Return whether the file is there, and was not found damaged so far."""
        if name is None or not self.place.exists(name):
            return False
        return name not in self._damaged or self._damaged[name] != self.stamp(name)

    def note_damage(self, name: str) -> None:
        """Remember that the file cannot be used as it is now: it counts as gone until another takes its place."""
        self._damaged[name] = self.stamp(name)

    def renew(self, name: str) -> bool:
        """Fetch the copy of a file again, once, that cannot be read as it is; False where there is no other one."""
        if name in self._renewed:
            return False
        self._renewed.add(name)
        return self.place.renew(name)

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
            if self.renew(name):
                return self.is_readable(name)
            self.note_damage(name)
            return False
        return True

    def set_aside(self, name: str, *, now_s: float) -> Path | None:
        """Rename a damaged file, to be looked at later; returns its new place, None when it cannot be renamed."""
        return self.place.set_aside(name, now_s=now_s)

    def was_set_aside(self, name: str) -> bool:
        """Return whether a file of this name was found damaged and is there to be looked at."""
        return self.place.was_set_aside(name)

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
        self.place.remove(name)

    def discard(self, name: str) -> None:
        """Remove a file that this process made, or began to make."""
        self.place.discard(name)

    @contextmanager
    def open(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Give a large piece of work a DuckDB of its own; what it reads stays until then. Raises StorageError."""
        with self.place.reading(), reused(self.scratch, memory_mb=self.memory_mb) as db:
            yield db

    def hold(self, names: Sequence[str]) -> None:
        """Have files stay as they are until the DuckDB around is given back, or that raise. Raises StorageError."""
        for name in names:
            self.place.read(name)

    @contextmanager
    def cursor(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Give a cursor of the DuckDB that stays open, for what a screen asks. Raises StorageError."""
        with self.place.reading(), self._shared.cursor() as db:
            yield db

    def chunks(
        self, query: str, values: Sequence[str] = (), *, of: Sequence[str], chunk: int = 1000, setting: str = ""
    ) -> Iterator[list[Any]]:
        """Yield the rows of a query of these files, some at a time, from a DuckDB that is opened with the first."""
        with self.open() as db:
            self.hold(of)
            if setting:
                db.execute(setting)
            cursor = db.execute(query, values)
            while rows := cursor.fetchmany(chunk):
                yield rows

    def member_chunks(
        self, query: str, values: Sequence[str] = (), *, of: Sequence[str], chunk: int, setting: str = ""
    ) -> Iterator[list[Member]]:
        """Yield the members of a query of `apptimize_id, distinct_id`, in this order, of these files."""
        for rows in self.chunks(query, values, of=of, chunk=chunk, setting=setting):
            yield as_members(rows)

    @property
    def at_once(self) -> int:
        """How many files are asked with one question."""
        return _COPIES_AT_ONCE if self.place.is_elsewhere else _FILES_AT_ONCE

    def bring_paths(self, paths: Sequence[Path]) -> list[Path]:
        """Have files here to be read, those that were set aside among them, and return those that are there."""
        names = {path.stem for path in paths if path.suffix == END}
        there = set(self.place.bring(sorted(names)))
        return [path for path in paths if path.stem in there or (path.stem not in names and path.is_file())]

    def ask_all(
        self, names: Iterable[str], query: str, values: Sequence[str], *, source: str = _AS_TABLE
    ) -> list[tuple[Any, ...]]:
        """Ask many files, some hundreds at once, by a query with {0} in place of its table.

        What is not there, or is damaged, holds nothing; a file that turns out to be damaged does not `exist` afterward.
        """
        names, at_once = list(dict.fromkeys(names)), self.at_once
        rows = list[tuple[Any, ...]]()
        for start in range(0, len(names), at_once):
            rows += self._ask_some(names[start : start + at_once], query, values, source)
        return rows

    def _ask_some(self, names: Sequence[str], query: str, values: Sequence[str], source: str) -> list[tuple[Any, ...]]:
        names = [name for name in self.place.bring(names) if self.exists(name)]
        if not names:
            return []
        try:
            with self.cursor() as db:
                where = self.place.read if self.place.is_elsewhere else self.place.file
                files = source.format(", ".join(quoted(where(name)) for name in names))
                return db.execute(f"SELECT {query.format(files)}", values).fetchall()
        except (MembersGone, MembersDamaged) as exc:
            if len(names) == 1:
                if self.renew(names[0]):
                    return self._ask_some(names, query, values, source)
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
