"""The rows of a file that associates users: kept, judged, paged and searched outside Python's memory (DuckDB, Parquet).

Below a folder of its own an association has `raw/` (the rows as they were read, in numbered Parquet files) and
`plan.parquet`: `row` (its line in the file), `distinct_id`, `apptimize_id` (as it will be written), `problem` (null:
it will be written), `effect` (what writing it changes), `taken` (another profile is known to have the id), by row.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import duckdb
from data.members.duck import connect, plain_errors, quoted
from data.members.files import flush_to_disk, replacing
from data.models import Member

# Sorted by row: a batch is read from one or two groups.
_ROW_GROUP = 20_000
_RAW_CHUNK = 50_000
# What is found by looking at all rows together.
REPEATED, CONFLICT, SHARED, UNPREFIXED = "repeated", "conflict", "shared", "unprefixed"
CROSSED, OTHERS_ID, TOO_LONG = "crossed", "others_id", "too_long"
# What writing a row changes, as far as earlier readings tell.
SAME, CHANGED, NEW, UNSEEN = "same", "changed", "new", "unseen"


class RawRow(NamedTuple):
    """A row as it was read, and what is wrong with it by itself."""

    row: int
    member: Member
    problem: str | None


class PlannedRow(NamedTuple):
    """A row as it will be written, or why not."""

    row: int
    member: Member
    problem: str | None
    effect: str | None
    taken: bool


class RowToWrite(NamedTuple):
    """A row of a batch."""

    row: int
    member: Member


# Apptimize id first, as `Member` has it; the files have the columns in another order.
_PLANNED = "row, apptimize_id, distinct_id, problem, effect, taken"


def _planned_row(
    row: int, apptimize_id: str, distinct_id: str, problem: str | None, effect: str | None, taken: bool
) -> PlannedRow:
    return PlannedRow(row, Member(apptimize_id, distinct_id), problem, effect, taken)


@dataclass(frozen=True)
class ImportSummary:
    """What a plan comes to: `rows` = `writable` + the `problems`; `taken` counts among those that are writable."""

    rows: int
    writable: int
    problems: dict[str, int]
    effects: dict[str, int]
    taken: int


@dataclass(frozen=True)
class Known:
    """What earlier readings know of profiles: files of members, and of profiles that made none."""

    members: Sequence[Path] = ()
    excluded: Sequence[Path] = ()


class Rows:
    """The rows of one association. Cheap to make; each call opens and closes DuckDB. Raises StorageError."""

    def __init__(self, folder: Path, *, scratch: Path, memory_mb: int) -> None:
        self.folder = folder
        self._scratch = scratch
        self._memory_mb = memory_mb

    @property
    def upload(self) -> Path:
        """The file as it was given."""
        return self.folder / "upload.csv"

    @property
    def outcomes(self) -> Path:
        """The outcome of every row, once all of it has ended."""
        return self.folder / "outcomes.csv"

    @property
    def _raw(self) -> Path:
        return self.folder / "raw"

    @property
    def _plan(self) -> Path:
        return self.folder / "plan.parquet"

    @property
    def has_plan(self) -> bool:
        """Whether the rows were judged."""
        return self._plan.is_file()

    def keep(self, rows: Iterable[RawRow]) -> int:
        """Keep the rows as they were read, whole or not at all, and return how many they are."""
        part = self.folder / f"raw-{secrets.token_hex(4)}.part"
        with plain_errors():
            for old in (*self.folder.glob("raw-*.part"), self._raw):
                shutil.rmtree(old, ignore_errors=True)
            part.mkdir(parents=True)
            count, waiting = 0, list[RawRow]()
            with self._open() as db:
                for row in rows:
                    waiting.append(row)
                    if len(waiting) == _RAW_CHUNK:
                        _keep_chunk(db, waiting, part / f"{count:09}.parquet")
                        count += len(waiting)
                        waiting.clear()
                _keep_chunk(db, waiting, part / f"{count:09}.parquet")
                count += len(waiting)
            part.replace(self._raw)
            flush_to_disk(self.folder)
        return count

    def judge(
        self,
        *,
        prefix: str | None,
        prefixes: Sequence[str],
        known: Known,
        longest: int = 256,
        within: AbstractContextManager[object] | None = None,
    ) -> ImportSummary:
        """Judge the rows together and write the plan, whole or not at all.

        Ids that start with none of the `prefixes`, if any are expected, are given `prefix`; None leaves their rows out,
        and an empty text writes them as they are. An id that is longer than `longest` by its prefix is not written.
        The plan replaces another inside `within`, which raises as it is entered to leave that one.
        """
        with self._open() as db:
            raw = f"read_parquet({quoted(self._raw / '*.parquet')})"
            starts = " OR ".join(f"starts_with(apptimize_id, {quoted(one)})" for one in prefixes) or "true"
            given = f"CASE WHEN problem IS NULL AND NOT ({starts}) THEN {quoted(prefix or '')} ELSE '' END"
            lacks = f"CASE WHEN NOT ({starts}) THEN '{UNPREFIXED}' END" if prefix is None else "NULL"
            db.execute(
                f"CREATE VIEW read_rows AS SELECT row, distinct_id, given || apptimize_id AS apptimize_id, coalesce("
                f"problem, lacks, CASE WHEN given <> '' AND length(given || apptimize_id) > {longest:d} THEN "
                f"'{TOO_LONG}' END) AS problem FROM (SELECT *, {given} AS given, {lacks} AS lacks FROM {raw})"
            )
            _find_repeats(db)
            db.execute(
                "CREATE VIEW judged AS SELECT row, distinct_id, apptimize_id, "
                "coalesce(read_rows.problem, repeats.problem) AS problem FROM read_rows LEFT JOIN repeats USING (row)"
            )
            _find_effects(db, known)
            db.execute(
                "CREATE VIEW compared AS SELECT row, distinct_id, apptimize_id, effect, taken, "
                f"coalesce(problem, CASE WHEN effect IS NULL AND others_id THEN '{OTHERS_ID}' END) AS problem "
                "FROM judged LEFT JOIN effects USING (row)"
            )
            with replacing(self._plan, within=within) as part:
                db.execute(
                    "COPY (SELECT row, distinct_id, apptimize_id, problem, "
                    f"CASE WHEN problem IS NULL THEN coalesce(effect, '{UNSEEN}') END AS effect, "
                    "problem IS NULL AND coalesce(taken, false) AS taken "
                    f"FROM compared ORDER BY row) TO {quoted(part)} "
                    f"(FORMAT parquet, ROW_GROUP_SIZE {_ROW_GROUP})"
                )
            return self._count(db)

    def _count(self, db: duckdb.DuckDBPyConnection) -> ImportSummary:
        found = db.execute(
            f"SELECT problem, effect, taken, count(*) FROM {self._planned} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        problems, effects, taken = dict[str, int](), dict[str, int](), 0
        for problem, effect, is_taken, number in found:
            counts, name = (effects, effect) if problem is None else (problems, problem)
            counts[name] = counts.get(name, 0) + number
            taken += number if is_taken else 0
        writable = sum(effects.values())
        return ImportSummary(writable + sum(problems.values()), writable, problems, effects, taken)

    @property
    def _planned(self) -> str:
        return f"read_parquet({quoted(self._plan)})"

    def batches(self, *, after: int, size: int) -> Generator[list[RowToWrite]]:
        """Yield the rows to write after that one, by row, `size` at a time."""
        with self._open() as db:
            cursor = db.execute(
                f"SELECT row, apptimize_id, distinct_id FROM {self._planned} WHERE problem IS NULL AND row > ?", [after]
            )
            while rows := cursor.fetchmany(size):
                yield [RowToWrite(row, Member(apptimize_id, distinct_id)) for row, apptimize_id, distinct_id in rows]

    def planned(
        self,
        *,
        problems: Sequence[str] = (),
        writable: bool = False,
        search: str = "",
        offset: int = 0,
        limit: int = 50,
    ) -> list[PlannedRow]:
        """Return rows of the plan, a page at a time by row: those with these problems, or those that are writable."""
        where, values = _where(problems, search, writable=writable)
        with self._open() as db:
            found = db.execute(
                f"SELECT {_PLANNED} FROM {self._planned} {where} LIMIT ? OFFSET ?", [*values, limit, offset]
            )
            return [_planned_row(*row) for row in found.fetchall()]

    def count(self, *, problems: Sequence[str] = (), writable: bool = False, search: str = "") -> int:
        """Count the rows that `planned` pages through."""
        where, values = _where(problems, search, writable=writable)
        with self._open() as db:
            row = db.execute(f"SELECT count(*) FROM {self._planned} {where}", values).fetchone()
        return row[0] if row else 0

    def iterate(self, *, chunk: int = 10_000) -> Iterator[list[PlannedRow]]:
        """Yield all rows of the plan, by row; one chunk is in memory."""
        with self._open() as db:
            cursor = db.execute(f"SELECT {_PLANNED} FROM {self._planned}")
            while rows := cursor.fetchmany(chunk):
                yield [_planned_row(*row) for row in rows]

    def find(self, wanted: str) -> list[PlannedRow]:
        """Return the rows to write with exactly this distinct id or Apptimize id."""
        if not self.has_plan:
            return []
        with self._open() as db:
            found = db.execute(
                f"SELECT {_PLANNED} FROM {self._planned} WHERE problem IS NULL AND (distinct_id = ? OR apptimize_id = ?)",
                [wanted, wanted],
            )
            return [_planned_row(*row) for row in found.fetchall()]

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def begin_writing(self) -> None:
        """Remove what is not needed any more, and what would not be true any more, once rows are written."""
        shutil.rmtree(self._raw, ignore_errors=True)
        with suppress(OSError):
            self.outcomes.unlink(missing_ok=True)

    @contextmanager
    def _open(self) -> Generator[duckdb.DuckDBPyConnection]:
        with plain_errors():
            self._scratch.mkdir(parents=True, exist_ok=True)
            db = connect(self._scratch, memory_mb=self._memory_mb)
            try:
                # Rows stay in the order of the file, and sorting them does not share its memory.
                db.execute("SET threads = 1")
                yield db
            finally:
                db.close()


def _keep_chunk(db: duckdb.DuckDBPyConnection, rows: Sequence[RawRow], target: Path) -> None:
    if not rows and target.name != f"{0:09}.parquet":
        return
    columns: list[Any] = [
        [row.row for row in rows],
        [row.member.distinct_id for row in rows],
        [row.member.apptimize_id for row in rows],
        [row.problem for row in rows],
    ]
    db.execute(
        "COPY (SELECT unnest(?::BIGINT[]) AS row, unnest(?::VARCHAR[]) AS distinct_id, unnest(?::VARCHAR[]) AS "
        f"apptimize_id, unnest(?::VARCHAR[]) AS problem) TO {quoted(target)} (FORMAT parquet)",
        columns,
    )


def _find_repeats(db: duckdb.DuckDBPyConnection) -> None:
    """Find rows that say something twice, or two different things; ids are held only where hashes are alike.

    Two rows cross when one gives the other's user as an id: as an alias it would lead the other row to the first user.
    """
    for column in ("distinct_id", "apptimize_id"):
        db.execute(
            f"CREATE TABLE twice_{column} AS SELECT hash({column}) AS id FROM read_rows WHERE problem IS NULL "
            "GROUP BY 1 HAVING count(*) > 1"
        )
    users = "SELECT {} FROM read_rows WHERE problem IS NULL"
    given = f"{users} AND apptimize_id <> distinct_id"
    db.execute(
        f"CREATE TABLE alike AS SELECT h AS id FROM ({users.format('hash(distinct_id) AS h')} INTERSECT "
        f"{given.format('hash(apptimize_id) AS h')})"
    )
    db.execute(
        f"CREATE TABLE crossing AS {users.format('distinct_id AS id')} AND hash(distinct_id) IN (FROM alike) INTERSECT "
        f"{given.format('apptimize_id AS id')} AND hash(apptimize_id) IN (FROM alike)"
    )
    db.execute(
        "CREATE VIEW suspects AS SELECT *, distinct_id IN (FROM crossing) OR (apptimize_id <> distinct_id AND "
        "apptimize_id IN (FROM crossing)) AS crosses FROM read_rows WHERE problem IS NULL AND (hash(distinct_id) IN "
        "(FROM twice_distinct_id UNION FROM alike) OR hash(apptimize_id) IN (FROM twice_apptimize_id UNION FROM alike))"
    )
    db.execute(
        "CREATE TABLE repeats AS SELECT row, CASE "
        "WHEN min(apptimize_id) OVER user_rows <> max(apptimize_id) OVER user_rows THEN "
        f"'{CONFLICT}' WHEN min(distinct_id) OVER id_rows <> max(distinct_id) OVER id_rows THEN '{SHARED}' "
        f"WHEN crosses THEN '{CROSSED}' "
        f"WHEN row_number() OVER (PARTITION BY distinct_id, apptimize_id ORDER BY row) > 1 THEN '{REPEATED}' "
        "END AS problem FROM suspects "
        "WINDOW user_rows AS (PARTITION BY distinct_id), id_rows AS (PARTITION BY apptimize_id)"
    )


def _find_effects(db: duckdb.DuckDBPyConnection, known: Known) -> None:
    parts = ["SELECT NULL::VARCHAR AS distinct_id, NULL::VARCHAR AS apptimize_id WHERE false"]
    parts += [f"SELECT distinct_id, apptimize_id FROM read_parquet({quoted(one)})" for one in known.members]
    parts += [f"SELECT distinct_id, apptimize_id FROM read_parquet({quoted(one)})" for one in known.excluded]
    db.execute(f"CREATE VIEW known AS {' UNION ALL '.join(parts)}")
    db.execute(
        "CREATE TABLE effects AS SELECT row, CASE "
        f"WHEN bool_or(is_user AND its_id = new_id) THEN '{SAME}' WHEN bool_or(is_user AND its_id IS NOT NULL) THEN "
        f"'{CHANGED}' WHEN bool_or(is_user) THEN '{NEW}' END AS effect, bool_or(is_taken) AS taken, "
        "bool_or(NOT is_user AND NOT is_taken) AS others_id FROM (SELECT row, true AS is_user, false AS is_taken, "
        "known.apptimize_id AS its_id, judged.apptimize_id AS new_id "
        "FROM judged JOIN known USING (distinct_id) WHERE problem IS NULL UNION ALL "
        "SELECT row, false, true, NULL, NULL FROM judged JOIN known USING (apptimize_id) "
        "WHERE problem IS NULL AND judged.distinct_id <> known.distinct_id UNION ALL "
        "SELECT row, false, true, NULL, NULL FROM judged JOIN known ON judged.apptimize_id = known.distinct_id "
        "WHERE problem IS NULL AND judged.distinct_id <> known.distinct_id UNION ALL "
        "SELECT row, false, false, NULL, NULL FROM judged JOIN known ON judged.distinct_id = known.apptimize_id "
        "WHERE problem IS NULL AND judged.distinct_id <> known.distinct_id) GROUP BY row"
    )


def _where(problems: Sequence[str], search: str, *, writable: bool) -> tuple[str, list[str]]:
    conditions, values = list[str](), list[str]()
    if writable:
        conditions.append("problem IS NULL")
    elif problems:
        conditions.append(f"problem IN ({', '.join('?' * len(problems))})")
        values += problems
    else:
        conditions.append("problem IS NOT NULL")
    if search:
        conditions.append("(contains(lower(distinct_id), lower(?)) OR contains(lower(apptimize_id), lower(?)))")
        values += [search, search]
    return f"WHERE {' AND '.join(conditions)}", values
