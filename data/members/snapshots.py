"""Members as of a run, and what one snapshot changed against another.

A snapshot is a Parquet file with the columns `apptimize_id` and `distinct_id`, sorted by Apptimize id in byte order,
each Apptimize id once. It appears under its name only when it is whole and on disk. Where a run began a group, what it
added is its snapshot itself, which is read as a difference then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.members.changes import (
    OTHERS,
    Difference,
    count_changes,
    drop_changes,
    list_changes,
    list_others,
    list_shared,
    list_union,
)
from data.members.collector import Collector
from data.members.duck import ONE_THREAD, ROW_GROUP, quoted
from data.members.files import replacing
from data.members.members_json import StoredMembers
from data.members.store import MemberFiles
from data.models import Member, MembershipChange

if TYPE_CHECKING:
    import duckdb

KINDS: tuple[MembershipChange, ...] = ("added", "removed")


class Snapshots(MemberFiles):
    """The snapshots and their differences: made, compared and read through. Found in: `search` and `lookup`."""

    def collector(self, *, key: str = "", prefixes: Sequence[str] = ()) -> Collector:
        """Open a collector that works within the same memory limit."""
        return Collector(self.scratch, memory_mb=self.memory_mb, key=key, prefixes=prefixes)

    def stored(self, name: str, change: MembershipChange | None = None) -> StoredMembers:
        """Return the members of a snapshot, or of a difference those that were added or removed, to be delivered."""
        return StoredMembers(self, name, change)

    def iterate(self, name: str, *, chunk: int = 1000) -> Iterator[list[Member]]:
        """Yield all members in order of Apptimize id, `chunk` at a time; one chunk is in memory."""
        query = f"SELECT apptimize_id, distinct_id FROM {self.table(name)}"
        return self.member_chunks(query, of=[name], chunk=chunk)

    def compare(self, name: str, base: str | None) -> Difference:
        """Compare a snapshot with a base; without one everything is added."""
        if base is None:
            return Difference(added=self.count(name), removed=0, unchanged=0)
        with self._changes(name, base) as db:
            return count_changes(db, self.path(base))

    def keep_difference(
        self, difference: str, name: str, base: str, *, key: str | None = None, is_kept: bool = True
    ) -> Difference:
        """Keep the members that a snapshot adds to a base and removes from it in an own file, and count them.

        The file has the columns `change` (`added` or `removed`), `apptimize_id`, `distinct_id`, sorted by the first
        two. It appears under its name only when it is whole and on disk. With the `key` of the base's fingerprint the
        difference is added up as well. One that is not kept is for this process alone.
        """
        with self._changes(name, base) as db:
            # What is inserted in order stays in order: nothing is sorted again.
            kinds = (f"SELECT change, apptimize_id, distinct_id FROM changes WHERE change = '{kind}'" for kind in KINDS)
            self.make(difference, _copying(db, f"({' UNION ALL '.join(kinds)})"), is_kept=is_kept)
            return count_changes(db, self.path(base), key=key)

    def keep_others(self, difference: str, known: Sequence[str], name: str) -> int:
        """Keep who is in any of some snapshots and not in another one as a difference's removed members; count them.

        The file is for this process alone, and appears under its name only when it is whole. Raises StorageError.
        """
        with self.open() as db:
            paths = [self.path(each) for each in known]
            in_any, in_both = list_others(db, paths, self.path(name), memory_mb=self.memory_mb)
            removed = f"(SELECT 'removed' AS change, * FROM {OTHERS})"
            self.make(difference, _copying(db, removed), is_kept=False)
            db.execute(f"DROP TABLE {OTHERS}")
        return in_any - in_both

    def keep_union(self, target: str, names: Sequence[str]) -> int:
        """Keep who is in any of some snapshots as one snapshot, each with the smallest distinct id; count them.

        The file appears under its name only when it is whole and on disk. Raises StorageError.
        """
        with self.open() as db:
            members = list_union(db, [self.path(name) for name in names], memory_mb=self.memory_mb)
            self.make(target, _copying(db, OTHERS))
            db.execute(f"DROP TABLE {OTHERS}")
        return members

    def keep_shared(self, target: str, first: str, second: str) -> int:
        """Keep who is in both of two snapshots as one snapshot, as the first has them; count them.

        The file is for this process alone, and appears under its name only when it is whole. Raises StorageError.
        """
        with self.open() as db:
            shared = list_shared(db, self.path(first), self.path(second), memory_mb=self.memory_mb)
            self.make(target, _copying(db, OTHERS), is_kept=False)
            db.execute(f"DROP TABLE {OTHERS}")
        return shared

    @contextmanager
    def _changes(self, name: str, base: str) -> Generator[duckdb.DuckDBPyConnection]:
        """Give a DuckDB in which what two snapshots differ in is listed, in order."""
        with self.open() as db:
            list_changes(db, self.path(name), self.path(base), memory_mb=self.memory_mb)
            yield db
            drop_changes(db)

    def iterate_changes(
        self, difference: str, change: MembershipChange, *, chunk: int = 1000
    ) -> Iterator[list[Member]]:
        """Yield the members that were added, or removed, in order of Apptimize id, `chunk` at a time."""
        query = f"SELECT apptimize_id, distinct_id FROM {self.changes(difference)} WHERE change = ?"
        return self.member_chunks(query, [change], of=[difference], chunk=chunk)

    def iterate_others(
        self, name: str, difference: str | None, change: MembershipChange, *, chunk: int = 1000
    ) -> Iterator[list[Member]]:
        """Yield a snapshot's members who are not among those that were added, or removed, `chunk` at a time, sorted."""
        others = self.others(name, difference, change)
        query = f"SELECT apptimize_id, distinct_id FROM {others} ORDER BY apptimize_id"
        names = [name, *filter(None, [difference])]
        return self.member_chunks(query, of=names, chunk=chunk, setting=ONE_THREAD)

    def others(self, name: str, difference: str | None, change: MembershipChange) -> str:
        """Return, as a table of SQL, a snapshot's members who are not among those that were added, or removed."""
        if difference is None:
            return self.table(name)
        changed = f"(FROM {self.changes(difference)} WHERE change = {quoted(change)})"
        return f"{self.table(name)} AS members ANTI JOIN {changed} AS changed USING (apptimize_id)"

    def count_changes(self, difference: str) -> tuple[int, int]:
        """Count who was added, and who was removed."""
        with self.cursor() as db:
            rows = db.execute(f"SELECT change, count(*) FROM {self.changes(difference)} GROUP BY change").fetchall()
        counts = dict(rows)
        return counts.get("added", 0), counts.get("removed", 0)


def _copying(db: duckdb.DuckDBPyConnection, table: str) -> Callable[[Path], None]:
    """Return what writes a table of SQL to a file, whole and on disk, or not at all."""

    def write(target: Path) -> None:
        with replacing(target) as part:
            db.execute(f"COPY {table} TO {quoted(part)} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})")

    return write
