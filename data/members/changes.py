"""What two sets of members differ in, found in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from data.members.duck import ONE_THREAD, quoted
from data.members.fingerprint import SUMS, Sums, hash_of

if TYPE_CHECKING:
    import duckdb

# So much of both sets, as it is in their files, is compared at a time, or a quarter of the memory: it does not spill.
_AT_ONCE = 24 * 2**20
_TABLE = "changes"
# Who is in some sets of members, and not in another one or in another one too.
OTHERS = "others"


@dataclass(frozen=True)
class Difference:
    """How many members a set has that the base lacks, the other way round, and that both have.

    `renamed` counts those in both whose distinct id is another one now. `sums` is what the difference makes of the
    fingerprint's sums of the base, if a key was given.
    """

    added: int
    removed: int
    unchanged: int
    renamed: int = 0
    sums: Sums | None = field(default=None, compare=False)


def find_cuts(db: duckdb.DuckDBPyConnection, files: Sequence[Path], at_once: int) -> list[str]:
    """Find where to cut sorted files of members so that what lies between is at most so many bytes of all of them.

    Any text cuts two sets into the same ranges: what the files say of themselves need not be true for that.
    """
    rows = db.execute(
        "SELECT min(stats_min_value) FILTER (path_in_schema = 'apptimize_id') AS first, sum(total_uncompressed_size) "
        f"FROM parquet_metadata([{', '.join(map(quoted, files))}]) GROUP BY file_name, row_group_id ORDER BY first"
    ).fetchall()
    cuts, size = list[str](), 0
    for first, more in rows:
        if size + more > at_once and first is not None and (not cuts or first > cuts[-1]):
            cuts.append(first)
            size = 0
        size += more
    return cuts


def list_changes(db: duckdb.DuckDBPyConnection, new: Path, old: Path, *, memory_mb: int) -> None:
    """List what differs between two sorted files of members in the table `changes`, to be dropped by `drop_changes`.

    It has the columns `change` (`added`, `removed` or `renamed`), `apptimize_id`, `distinct_id`, `distinct_id_before`
    (of renamed ones); those of each kind are in order of Apptimize id.
    """
    db.execute(ONE_THREAD)
    cuts = find_cuts(db, [new, old], min(_AT_ONCE, memory_mb * 2**20 // 4))
    db.execute(
        f"CREATE TABLE {_TABLE} (change VARCHAR, apptimize_id VARCHAR, distinct_id VARCHAR, distinct_id_before VARCHAR)"
    )
    for where, values in ranges(cuts):
        db.execute(
            f"INSERT INTO {_TABLE} SELECT CASE WHEN old.apptimize_id IS NULL THEN 'added' "
            "WHEN new.apptimize_id IS NULL THEN 'removed' ELSE 'renamed' END AS change, "
            "coalesce(new.apptimize_id, old.apptimize_id) AS id, coalesce(new.distinct_id, old.distinct_id), "
            "CASE WHEN new.apptimize_id IS NOT NULL THEN old.distinct_id END "
            f"FROM (FROM {_table(new)} {where}) AS new FULL JOIN (FROM {_table(old)} {where}) AS old "
            "ON new.apptimize_id = old.apptimize_id WHERE old.apptimize_id IS NULL OR new.apptimize_id IS NULL "
            "OR new.distinct_id IS DISTINCT FROM old.distinct_id ORDER BY change, id",
            [*values, *values],
        )


def list_others(
    db: duckdb.DuckDBPyConnection, known: Sequence[Path], present: Path, *, memory_mb: int
) -> tuple[int, int]:
    """List who is in any of some sorted files of members and not in another one, in the table `others`.

    It has the columns `apptimize_id` and `distinct_id`, in order of the first, each once. Returns how many are in any,
    and how many of the other one are: with those that are listed, they add up.
    """
    db.execute(ONE_THREAD)
    cuts = find_cuts(db, [*known, present], min(_AT_ONCE, memory_mb * 2**20 // 4))
    db.execute(f"CREATE TABLE {OTHERS} (apptimize_id VARCHAR, distinct_id VARCHAR)")
    files = f"read_parquet([{', '.join(map(quoted, known))}])"
    in_any = in_both = 0
    for where, values in ranges(cuts):
        db.execute(
            "CREATE TEMP TABLE part AS SELECT apptimize_id, min(known.distinct_id) AS distinct_id, "
            f"bool_or(present.apptimize_id IS NOT NULL) AS is_present FROM (FROM {files} {where}) AS known "
            f"LEFT JOIN (FROM {_table(present)} {where}) AS present USING (apptimize_id) GROUP BY apptimize_id",
            [*values, *values],
        )
        row = db.execute("SELECT count(*), count(*) FILTER (is_present) FROM part").fetchone() or (0, 0)
        in_any, in_both = in_any + row[0], in_both + row[1]
        db.execute(
            f"INSERT INTO {OTHERS} SELECT apptimize_id, distinct_id FROM part WHERE NOT is_present "
            "ORDER BY apptimize_id"
        )
        db.execute("DROP TABLE part")
    return in_any, in_both


def list_union(db: duckdb.DuckDBPyConnection, files: Sequence[Path], *, memory_mb: int) -> int:
    """List who is in any of some sorted files of members in the table `others`, as `list_others` does; count them."""
    db.execute(ONE_THREAD)
    cuts = find_cuts(db, files, min(_AT_ONCE, memory_mb * 2**20 // 4))
    db.execute(f"CREATE TABLE {OTHERS} (apptimize_id VARCHAR, distinct_id VARCHAR)")
    members = 0
    for where, values in ranges(cuts):
        part = f"FROM read_parquet([{', '.join(map(quoted, files))}]) {where}"
        row = db.execute(f"SELECT count(DISTINCT apptimize_id) {part}", values).fetchone() or (0,)
        members += row[0]
        db.execute(
            f"INSERT INTO {OTHERS} SELECT apptimize_id, min(distinct_id) {part} GROUP BY 1 ORDER BY 1",
            values,
        )
    return members


def list_shared(db: duckdb.DuckDBPyConnection, first: Path, second: Path, *, memory_mb: int) -> int:
    """List who is in both of two sorted files of members in the table `others`, as the first has them; count them."""
    db.execute(ONE_THREAD)
    cuts = find_cuts(db, [first, second], min(_AT_ONCE, memory_mb * 2**20 // 4))
    db.execute(f"CREATE TABLE {OTHERS} (apptimize_id VARCHAR, distinct_id VARCHAR)")
    for where, values in ranges(cuts):
        db.execute(
            f"INSERT INTO {OTHERS} SELECT apptimize_id, distinct_id FROM (FROM {_table(first)} {where}) AS first "
            f"SEMI JOIN (FROM {_table(second)} {where}) AS second USING (apptimize_id) ORDER BY apptimize_id",
            [*values, *values],
        )
    row = db.execute(f"SELECT count(*) FROM {OTHERS}").fetchone()
    return row[0] if row else 0


def ranges(cuts: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the condition of each range of ids between cuts, and its values."""
    for first, last in zip([None, *cuts], [*cuts, None], strict=True):
        yield _between(first, last)


def _between(first: str | None, last: str | None) -> tuple[str, list[str]]:
    """Return the condition of a range of ids, and its values."""
    bounds = [(">=", first), ("<", last)]
    within = " AND ".join(f"apptimize_id {sign} ?" for sign, cut in bounds if cut is not None)
    return f"WHERE {within}" if within else "", [cut for _, cut in bounds if cut is not None]


def drop_changes(db: duckdb.DuckDBPyConnection) -> None:
    """Drop what `list_changes` listed."""
    db.execute(f"DROP TABLE {_TABLE}")


def count_changes(db: duckdb.DuckDBPyConnection, old: Path, *, key: str | None = None) -> Difference:
    """Count what `list_changes` listed; with a key, add it up as well."""
    (before,) = db.execute(f"SELECT count(*) FROM {_table(old)}").fetchone() or (0,)
    counts = dict(db.execute(f"SELECT change, count(*) FROM {_TABLE} GROUP BY change").fetchall())
    added, removed, renamed = (counts.get(change, 0) for change in ("added", "removed", "renamed"))
    sums = None
    if key is not None:
        is_new, was_old = "change <> 'removed'", "change <> 'added'"
        came = _add_up(db, f"SELECT {hash_of(key)} AS hash FROM {_TABLE} WHERE {is_new}")
        before_id = "coalesce(distinct_id_before, distinct_id)"
        went = _add_up(db, f"SELECT {hash_of(key, distinct_id=before_id)} AS hash FROM {_TABLE} WHERE {was_old}")
        sums = came.minus(went)
    return Difference(added, removed, before - removed, renamed, sums)


def _table(file: Path) -> str:
    return f"read_parquet({quoted(file)})"


def _add_up(db: duckdb.DuckDBPyConnection, hashes: str) -> Sums:
    row = db.execute(f"SELECT {SUMS} FROM ({hashes})").fetchone()
    return Sums(*row) if row else Sums()
