"""What two sets of members differ in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.members.duck import duckdb_errors

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Difference:
    """How many members a snapshot has that the base lacks, the other way round, and that both have.

    `renamed` counts those in both whose distinct id is another one now.
    """

    added: int
    removed: int
    unchanged: int
    renamed: int = 0


def compare(db: duckdb.DuckDBPyConnection, new: str, old: str) -> Difference:
    """Count the difference of two tables of members. Raises StorageError."""
    with duckdb_errors():
        row = db.execute(
            "SELECT count(*) FILTER (old.apptimize_id IS NULL), count(*) FILTER (new.apptimize_id IS NULL), count(*), "
            "count(*) FILTER (new.distinct_id <> old.distinct_id) "
            f"FROM {new} AS new FULL JOIN {old} AS old ON new.apptimize_id = old.apptimize_id"
        ).fetchone()
    added, removed, either, renamed = row or (0, 0, 0, 0)
    return Difference(added=added, removed=removed, unchanged=either - added - removed, renamed=renamed)


def list_changes(new: str, old: str) -> str:
    """Build the query of who is in one table of members alone: change, Apptimize id, distinct id, in order."""
    return (
        "SELECT change, apptimize_id, distinct_id FROM ("
        f"SELECT 'added' AS change, * FROM {new} AS new ANTI JOIN {old} AS old USING (apptimize_id) UNION ALL "
        f"SELECT 'removed', * FROM {old} AS old ANTI JOIN {new} AS new USING (apptimize_id)"
        ") ORDER BY change, apptimize_id"
    )
