"""How many members each two of some snapshots have in common, found in one pass over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.members.changes import find_cuts, ranges
from data.members.duck import quoted
from data.members.snapshots import Snapshots

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

# Each snapshot has a bit of a number of 64.
MOST_SNAPSHOTS = 64
_SETS = "sets"
# So much of all of them, as it is in their files, is added up at a time, or half of the memory: of each file one of its
# two columns is read.
_AT_ONCE = 64 * 2**20


def count_shared(snapshots: Snapshots, names: Sequence[str]) -> list[list[int]]:
    """Count for each two of at most 64 snapshots the ids that are in both; beside itself, those that a snapshot has.

    Raises StorageError.
    """
    assert len(names) <= MOST_SNAPSHOTS
    snapshots.place.bring(names)  # elsewhere, one after another takes long
    with snapshots.open() as db:
        _count_sets(db, [snapshots.path(name) for name in names], memory_mb=snapshots.memory_mb)
        shared = [[0] * len(names) for _ in names]
        for one in range(len(names)):
            for other, count in enumerate(_count_beside(db, one, len(names)), start=one):
                shared[one][other] = shared[other][one] = count
        db.execute(f"DROP TABLE {_SETS}")
    return shared


def _count_sets(db: duckdb.DuckDBPyConnection, files: Sequence[Path], *, memory_mb: int) -> None:
    """Count in the table `sets` how many ids are in exactly which of the files, a range of ids at a time."""
    db.execute(f"CREATE TABLE {_SETS} (bits UBIGINT, members BIGINT)")
    for where, values in ranges(find_cuts(db, files, min(_AT_ONCE, memory_mb * 2**20 // 2))):
        each = [
            f"SELECT apptimize_id, {1 << bit}::UBIGINT AS bit FROM read_parquet({quoted(file)}) {where}"
            for bit, file in enumerate(files)
        ]
        db.execute(
            f"INSERT INTO {_SETS} SELECT bits, count(*) FROM ("
            f"SELECT bit_or(bit) AS bits FROM ({' UNION ALL '.join(each)}) GROUP BY apptimize_id) GROUP BY bits",
            values * len(files),
        )


def _count_beside(db: duckdb.DuckDBPyConnection, one: int, count: int) -> tuple[int, ...]:
    """Add up how many ids a file has, and how many of them each of those after it has too."""
    each = ", ".join(
        f"coalesce(sum(members) FILTER (bits & {1 << other}::UBIGINT <> 0), 0)::BIGINT" for other in range(one, count)
    )
    row = db.execute(f"SELECT {each} FROM {_SETS} WHERE bits & {1 << one}::UBIGINT <> 0").fetchone()
    return row or (0,) * (count - one)
