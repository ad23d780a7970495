"""Find the rows of a person in files of members, and write files again without them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.engine import StorageError
from data.members.duck import ONE_THREAD, ROW_GROUP, MembersDamaged, MembersGone, marks, quoted
from data.members.files import replacing
from data.members.fingerprint import SUMS, Sums, hash_of
from data.members.store import MemberFiles

# Each file that is read costs memory until its query ends.
_FILES_AT_ONCE = 250
# A profile that was read without a distinct id has its place in the read instead, which another one has in another.
_NO_ID = "\x00"


@dataclass(frozen=True)
class PersonIds:
    """Ids that belong to one person, by what they were found as; the one that was asked for may be in neither."""

    asked: str
    distinct_ids: frozenset[str] = frozenset()
    apptimize_ids: frozenset[str] = frozenset()

    @property
    def all(self) -> list[str]:
        """Every id, once."""
        return sorted({self.asked} | self.distinct_ids | self.apptimize_ids)

    def plus(self, pairs: Iterable[tuple[str | None, str | None]]) -> PersonIds:
        """Add pairs of an Apptimize id and a distinct id, as rows have them."""
        rows = list(pairs)
        distinct_ids = {distinct_id for _, distinct_id in rows if distinct_id and not distinct_id.startswith(_NO_ID)}
        apptimize_ids = {apptimize_id for apptimize_id, _ in rows if apptimize_id}
        return PersonIds(self.asked, self.distinct_ids | distinct_ids, self.apptimize_ids | apptimize_ids)


@dataclass
class Search:
    """Looks for rows in many files of the same columns. `unreadable` are those that turned out not to be readable.

    `bring` has some of them here to be read, and returns those that are there.
    """

    files: MemberFiles
    unreadable: set[Path] = field(default_factory=set[Path])
    bring: Callable[[Sequence[Path]], list[Path]] = field(
        default=lambda paths: [path for path in paths if path.is_file()]
    )
    at_once: int = _FILES_AT_ONCE

    def find_pairs(self, paths: Sequence[Path], ids: Sequence[str], *, most: int) -> set[tuple[str | None, str | None]]:
        """Return the pairs of ids of rows that have one of these, not many more than `most`. Raises StorageError."""
        where, values = _has_any(ids)
        query = f"DISTINCT apptimize_id, distinct_id FROM {{0}} WHERE {where} LIMIT {most + 1:d}"
        pairs = set[tuple[str | None, str | None]]()
        for rows in self.ask(paths, query, values):
            pairs.update((row[0], row[1]) for row in rows)
            if len(pairs) > most:
                break
        return pairs

    def count(self, paths: Sequence[Path], ids: Sequence[str]) -> dict[Path, int]:
        """Count the rows with one of these ids, by file; files without any are left out. Raises StorageError."""
        where, values = _has_any(ids)
        query = f"filename, count(*) FROM {{0}} WHERE {where} GROUP BY filename"
        return {Path(path): number for rows in self.ask(paths, query, values) for path, number in rows}

    def note_unreadable(self, paths: Iterable[Path]) -> None:
        """Read files whole, and note those in which an id cannot be read."""
        for path in paths:
            for _ in self.ask([path], "sum(length(distinct_id)), sum(length(apptimize_id)) FROM {0}", []):
                pass

    def ask(self, paths: Sequence[Path], query: str, values: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
        """Ask files by a query with {0} in place of their table, and yield its rows, some files at a time.

        Files that went away have none. Raises StorageError, also for one that may not be read.
        """
        at_once = min(self.at_once, _FILES_AT_ONCE)
        for start in range(0, len(paths), at_once):
            yield from self._ask_some(paths[start : start + at_once], query, values)

    def _ask_some(self, paths: Sequence[Path], query: str, values: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
        paths = self.bring([path for path in paths if path not in self.unreadable])
        if not paths:
            return
        table = f"read_parquet([{', '.join(map(quoted, paths))}], filename = true)"
        try:
            with self.files.open() as db:
                self.files.hold([path.stem for path in paths if self._is_copy(path)])
                rows = db.execute(f"SELECT {query.format(table)}", values).fetchall()
        except (MembersGone, MembersDamaged) as exc:
            if len(paths) == 1:
                if self._is_copy(paths[0]) and self.files.renew(paths[0].stem):
                    yield from self._ask_some(paths, query, values)
                else:
                    self._note(paths[0], exc)
                return
            half = len(paths) // 2
            for part in (paths[:half], paths[half:]):
                yield from self._ask_some(part, query, values)
        else:
            yield rows

    def _is_copy(self, path: Path) -> bool:
        """Return whether a file is a copy of one that lies elsewhere, and can be fetched again."""
        return self.files.place.is_elsewhere and path == Path(self.files.place.file(path.stem))

    def _note(self, path: Path, exc: StorageError) -> None:
        if not path.exists():
            return
        if not os.access(path, os.R_OK):
            # What is in it can be read by whoever may: it is not to be taken for damage.
            raise StorageError(
                f"The file {path.name} may not be read, so who is in it is not known.",
                advice="Let the user that runs Cohort Bridge read it, then try again.",
            ) from exc
        self.unreadable.add(path)


def write_without(
    files: MemberFiles, source: Path, target: Path, ids: Sequence[str], *, prefixes: Collection[str] = ()
) -> int:
    """Write the rows of a file that have none of these ids, in their order, to another, or in its own place.

    It appears whole and on disk, or not at all. Ids without one of the `prefixes` count as if they had it. Returns how
    many rows it has. Raises StorageError.
    """
    where, values = _has_any(ids, prefixes)
    with files.open() as db, replacing(target) as part:
        db.execute(ONE_THREAD)
        db.execute(
            f"COPY (FROM read_parquet({quoted(source)}) WHERE NOT coalesce({where}, false)) TO {quoted(part)} "
            f"(FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})",
            values,
        )
        row = db.execute(f"SELECT count(*) FROM read_parquet({quoted(part)})").fetchone()
    return row[0] if row else 0


def add_up(files: MemberFiles, source: Path, ids: Sequence[str], *, key: str) -> Sums:
    """Add up the members of a file that have one of these ids, as its fingerprint does. Raises StorageError."""
    where, values = _has_any(ids)
    with files.open() as db:
        row = db.execute(
            f"SELECT {SUMS} FROM (SELECT {hash_of(key)} AS hash FROM read_parquet({quoted(source)}) WHERE {where})",
            values,
        ).fetchone()
    return Sums(*row) if row else Sums()


def list_rows(files: MemberFiles, source: Path, ids: Sequence[str], *, prefixes: Collection[str] = ()) -> list[int]:
    """List the rows of an association's file that `write_without` leaves out, by number. Raises StorageError."""
    where, values = _has_any(ids, prefixes)
    with files.open() as db:
        rows = db.execute(f"SELECT row FROM read_parquet({quoted(source)}) WHERE {where}", values).fetchall()
    return [number for (number,) in rows]


def follow(
    person: PersonIds, find: Callable[[list[str]], set[tuple[str | None, str | None]]], *, most: int
) -> PersonIds:
    """Add what belongs to a person's ids until nothing new does, or they are more than `most`."""
    while True:
        found = person.plus(find(person.all))
        if found == person or len(found.all) > most:
            return found
        person = found


def _has_any(ids: Sequence[str], prefixes: Collection[str] = ()) -> tuple[str, list[str]]:
    """Build the condition that a row has one of these ids, and its values."""
    columns = ["distinct_id", "apptimize_id", *(f"({quoted(prefix)} || apptimize_id)" for prefix in prefixes)]
    one_of = f"IN ({marks(ids)})"
    return f"({' OR '.join(f'{column} {one_of}' for column in columns)})", [*ids] * len(columns)
