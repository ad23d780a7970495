"""How many members each two of some snapshots have in common, found in one pass over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.members.changes import find_cuts, ranges
from data.members.duck import MemoryTooSmall, quoted
from data.members.snapshots import Snapshots

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

# Each snapshot has a bit of a number of 64.
MOST_SNAPSHOTS = 64
_SETS, _PART = "sets", "part"
# So much of all of them, as it is in their files, is added up at a time, or a quarter of the memory: it does not spill.
_AT_ONCE = 96 * 2**20


def count_shared(snapshots: Snapshots, names: Sequence[str], *, one_by_one: bool = False) -> list[list[int]]:
    """Count for each two of at most 64 snapshots the ids that are in both; beside itself, those that a snapshot has.

    To read them `one_by_one` takes less memory and half as much time again: it is done where the memory is too small
    for all of them. Raises StorageError.
    """
    assert len(names) <= MOST_SNAPSHOTS
    snapshots.place.bring(names)  # elsewhere, one after another takes long
    try:
        with snapshots.open() as db:
            paths = [snapshots.path(name) for name in names]
            _count_sets(db, paths, memory_mb=snapshots.memory_mb, one_by_one=one_by_one)
            shared = [[0] * len(names) for _ in names]
            for one in range(len(names)):
                for other, count in enumerate(_count_beside(db, one, len(names)), start=one):
                    shared[one][other] = shared[other][one] = count
            db.execute(f"DROP TABLE {_SETS}")
    except MemoryTooSmall:
        if one_by_one:
            raise
        return count_shared(snapshots, names, one_by_one=True)
    return shared


def _count_sets(db: duckdb.DuckDBPyConnection, files: Sequence[Path], *, memory_mb: int, one_by_one: bool) -> None:
    """Count in the table `sets` how many ids are in exactly which of the files, a range of ids at a time."""
    db.execute(f"CREATE TABLE {_SETS} (bits UBIGINT, members BIGINT)")
    for where, values in ranges(find_cuts(db, files, min(_AT_ONCE, memory_mb * 2**20 // 4))):
        each = [
            f"SELECT apptimize_id, {1 << bit}::UBIGINT AS bit FROM read_parquet({quoted(file)}) {where}"
            for bit, file in enumerate(files)
        ]
        if one_by_one:
            db.execute(f"CREATE TABLE {_PART} (apptimize_id VARCHAR, bit UBIGINT)")
            for query in each:
                db.execute(f"INSERT INTO {_PART} {query}", values)
            _add_sets(db, f"(FROM {_PART})", [])
            db.execute(f"DROP TABLE {_PART}")
        else:
            _add_sets(db, f"({' UNION ALL '.join(each)})", values * len(files))


def _add_sets(db: duckdb.DuckDBPyConnection, ids: str, values: list[str]) -> None:
    sets = f"SELECT bit_or(bit) AS bits FROM {ids} GROUP BY apptimize_id"
    db.execute(f"INSERT INTO {_SETS} SELECT bits, count(*) FROM ({sets}) GROUP BY bits", values)


def _count_beside(db: duckdb.DuckDBPyConnection, one: int, count: int) -> tuple[int, ...]:
    """Add up how many ids a file has, and how many of them each of those after it has too."""
    each = ", ".join(
        f"coalesce(sum(members) FILTER (bits & {1 << other}::UBIGINT <> 0), 0)::BIGINT" for other in range(one, count)
    )
    row = db.execute(f"SELECT {each} FROM {_SETS} WHERE bits & {1 << one}::UBIGINT <> 0").fetchone()
    return row or (0,) * (count - one)
