"""Members as of a run, and what one snapshot changed against another.

A snapshot is a Parquet file with the columns `apptimize_id` and `distinct_id`, sorted by Apptimize id in byte order,
each Apptimize id once. It appears under its name only when it is whole and on disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from data.members.changes import Difference, compare, list_changes
from data.members.collector import Collector
from data.members.duck import ONE_THREAD, ROW_GROUP, duckdb_errors, quoted
from data.members.files import replacing
from data.members.members_json import StoredMembers
from data.members.store import MemberFiles
from data.models import Member, MembershipChange


class Snapshots(MemberFiles):
    """The snapshots and their differences: made, compared and read through. Found in: `search` and `lookup`."""

    def collector(self) -> Collector:
        """Open a collector that works within the same memory limit."""
        return Collector(self.scratch, memory_mb=self.memory_mb)

    def stored(self, name: str, change: MembershipChange | None = None) -> StoredMembers:
        """Return the members of a snapshot, or of a difference those that were added or removed, to be delivered."""
        return StoredMembers(self, name, change)

    def iterate(self, name: str, *, chunk: int = 1000) -> Iterator[list[Member]]:
        """Yield all members in order of Apptimize id, `chunk` at a time; one chunk is in memory."""
        return self.member_chunks(f"SELECT apptimize_id, distinct_id FROM {self.table(name)}", chunk=chunk)

    def compare(self, name: str, base: str | None) -> Difference:
        """Compare a snapshot with a base; without one everything is added."""
        if base is None:
            return Difference(added=self.count(name), removed=0, unchanged=0)
        with self.open() as db:
            return compare(db, self.table(name), self.table(base))

    def keep_difference(self, difference: str, name: str, base: str | None) -> Difference:
        """Keep the members that a snapshot adds to a base and removes from it in an own file, and count them.

        The file has the columns `change` (`added` or `removed`), `apptimize_id`, `distinct_id`, sorted by the first
        two. It appears under its name only when it is whole and on disk.
        """
        new = self.table(name)
        old = self.table(base) if base else f"(SELECT * FROM {new} LIMIT 0)"
        with self.open() as db, duckdb_errors(), replacing(self.path(difference)) as part:
            db.execute(
                f"COPY ({list_changes(new, old)}) TO {quoted(part)} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})"
            )
        return self.compare(name, base)

    def iterate_changes(
        self, difference: str, change: MembershipChange, *, chunk: int = 1000
    ) -> Iterator[list[Member]]:
        """Yield the members that were added, or removed, in order of Apptimize id, `chunk` at a time."""
        query = f"SELECT apptimize_id, distinct_id FROM {self.table(difference)} WHERE change = ?"
        return self.member_chunks(query, [change], chunk=chunk)

    def iterate_others(
        self, name: str, difference: str | None, change: MembershipChange, *, chunk: int = 1000
    ) -> Iterator[list[Member]]:
        """Yield a snapshot's members who are not among those that were added, or removed, `chunk` at a time, sorted."""
        others = self.others(name, difference, change)
        query = f"SELECT apptimize_id, distinct_id FROM {others} ORDER BY apptimize_id"
        return self.member_chunks(query, chunk=chunk, setting=ONE_THREAD)

    def others(self, name: str, difference: str | None, change: MembershipChange) -> str:
        """Return, as a table of SQL, a snapshot's members who are not among those that were added, or removed."""
        if difference is None:
            return self.table(name)
        changed = f"(FROM {self.table(difference)} WHERE change = {quoted(change)})"
        return f"{self.table(name)} AS members ANTI JOIN {changed} AS changed USING (apptimize_id)"

    def count_changes(self, difference: str) -> tuple[int, int]:
        """Count who was added, and who was removed."""
        with self.cursor() as db:
            rows = db.execute(f"SELECT change, count(*) FROM {self.table(difference)} GROUP BY change").fetchall()
        counts = dict(rows)
        return counts.get("added", 0), counts.get("removed", 0)
