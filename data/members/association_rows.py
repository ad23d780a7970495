"""The rows of a file that associates users: kept, checked, paged and searched in DuckDB, outside Python's memory.

Below its folder an association has `raw/` (the rows as they were read, in numbered Parquet files) and
`plan.parquet`: `row` (its line in the file), `distinct_id`, `apptimize_id` (as it will be written), `problem` (null:
it will be written), `effect` (what writing it changes), `taken` (another profile is known to have the id), `warning`
(what is odd about it though it will be written; an earlier version's plan has none), by row.
"""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data.members.association_check import CheckRules, KnownProfiles, check
from data.members.duck import ONE_THREAD, duckdb_errors, marks, opened, quoted
from data.members.files import make_folder, replace_folder, replacing
from data.models import Member

if TYPE_CHECKING:
    import duckdb

# Sorted by row: a batch is read from one or two groups.
_ROW_GROUP = 20_000
# So many rows, or letters in their ids, are read at a time, and come back at a time.
_RAW_CHUNK, _RAW_LETTERS = 50_000, 4 * 2**20
# Apptimize id first, as `Member` has it; the files have the columns in another order.
_PLANNED = "row, apptimize_id, distinct_id, problem, effect, taken, warning"


class RawRow(NamedTuple):
    """A row as it was read, and what is wrong with it by itself: more than one problem has blanks between them."""

    row: int
    member: Member
    problem: str | None


class PlannedRow(NamedTuple):
    """A row as it will be written, or why it will not."""

    row: int
    member: Member
    problem: str | None
    effect: str | None
    taken: bool
    warning: str | None = None


class RowToWrite(NamedTuple):
    """A row of a batch."""

    row: int
    member: Member


@dataclass(frozen=True)
class RowFilter:
    """Which rows of a plan: those that are writable, or `warned` alone, or else those with these problems, or any."""

    problems: Sequence[str] = ()
    writable: bool = False
    warned: bool = False
    search: str = ""


@dataclass(frozen=True)
class ImportSummary:
    """The counts of a plan: `rows` = `writable` + the `problems`; `taken` and `warnings` count among the writable."""

    rows: int
    writable: int
    problems: dict[str, int]
    effects: dict[str, int]
    taken: int
    warnings: dict[str, int] = field(default_factory=dict[str, int])


class ImportRows:
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
        """The outcome of every row, once the association has ended."""
        return self.folder / "outcomes.csv"

    @property
    def raw(self) -> Path:
        """The folder of the rows as they were read."""
        return self.folder / "raw"

    @property
    def plan(self) -> Path:
        """The rows as they were checked together."""
        return self.folder / "plan.parquet"

    @property
    def _planned(self) -> str:
        return f"read_parquet({quoted(self.plan)})"

    @property
    def _with_warnings(self) -> str:
        """The plan with the column `warning`, which an earlier version did not write."""
        return _with_warnings(self._planned)

    @property
    def has_plan(self) -> bool:
        """Whether the rows were checked."""
        return self.plan.is_file()

    def keep(self, rows: Iterable[RawRow]) -> int:
        """Keep the rows as they were read, whole and on disk or not at all, and return how many they are."""
        part = self.folder / f"raw-{secrets.token_hex(4)}.part"
        with duckdb_errors():
            for old in self.folder.glob("raw-*.part"):
                shutil.rmtree(old, ignore_errors=True)
            make_folder(part)
            count, letters, waiting = 0, 0, list[RawRow]()
            with self._open() as db:
                for row in rows:
                    waiting.append(row)
                    letters += len(row.member.distinct_id) + len(row.member.apptimize_id)
                    if len(waiting) == _RAW_CHUNK or letters > _RAW_LETTERS:
                        _keep_chunk(db, waiting, part / f"{count:09}.parquet")
                        count += len(waiting)
                        letters = 0
                        waiting.clear()
                if waiting or not count:  # a file of no rows is one, too
                    _keep_chunk(db, waiting, part / f"{count:09}.parquet")
                    count += len(waiting)
            replace_folder(part, self.raw)
        return count

    def check(
        self, rules: CheckRules, known: KnownProfiles, *, within: AbstractContextManager[object] | None = None
    ) -> ImportSummary:
        """Check the rows together and make the plan, whole or not at all.

        The plan replaces another inside `within`, which raises as it is entered to leave that one.
        """
        with self._open() as db:
            plan = check(db, f"read_parquet({quoted(self.raw / '*.parquet')})", rules, known)
            with replacing(self.plan, within=within) as part:
                db.execute(f"COPY {plan} TO {quoted(part)} (FORMAT parquet, ROW_GROUP_SIZE {_ROW_GROUP})")
            return self._summarize(db, self._planned)

    def summarize(self, plan: Path) -> ImportSummary:
        """Count what a plan says that is to take the place of this one's."""
        with self._open() as db:
            return self._summarize(db, _with_warnings(f"read_parquet({quoted(plan)})"))

    def _summarize(self, db: duckdb.DuckDBPyConnection, planned: str) -> ImportSummary:
        counts = db.execute(
            f"SELECT problem, effect, taken, warning, count(*) FROM {planned} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        problems, effects, warnings, taken = Counter[str](), Counter[str](), Counter[str](), 0
        for problem, effect, is_taken, warning, number in counts:
            if problem is None:
                effects[effect] += number
            else:
                problems[problem] += number
            if warning is not None:
                warnings[warning] += number
            taken += number if is_taken else 0
        writable = effects.total()
        return ImportSummary(
            writable + problems.total(), writable, dict(problems), dict(effects), taken, dict(warnings)
        )

    def batches(self, *, after: int, size: int) -> Generator[list[RowToWrite]]:
        """Yield the rows to write after that one, by row, `size` at a time."""
        with self._open() as db:
            cursor = db.execute(
                f"SELECT row, apptimize_id, distinct_id FROM {self._planned} WHERE problem IS NULL AND row > ?", [after]
            )
            while rows := cursor.fetchmany(size):
                yield [RowToWrite(row, Member(apptimize_id, distinct_id)) for row, apptimize_id, distinct_id in rows]

    def planned(self, which: RowFilter, *, offset: int = 0, limit: int = 50) -> list[PlannedRow]:
        """Return a page of the plan's rows, by row."""
        where, values = _where(which)
        return self._select(f"{where} LIMIT ? OFFSET ?", [*values, limit, offset])

    def count(self, which: RowFilter) -> int:
        """Count the rows that `planned` pages through."""
        where, values = _where(which)
        with self._open() as db:
            row = db.execute(f"SELECT count(*) FROM {self._with_warnings} {where}", values).fetchone()
        return row[0] if row else 0

    def iterate(self, *, chunk: int = 10_000) -> Iterator[list[PlannedRow]]:
        """Yield all rows of the plan, by row; one chunk is in memory."""
        with self._open() as db:
            cursor = db.execute(f"SELECT {_PLANNED} FROM {self._with_warnings}")
            while rows := cursor.fetchmany(chunk):
                yield [_planned_row(*row) for row in rows]

    def find(self, user_id: str) -> list[PlannedRow]:
        """Return the rows to write with exactly this distinct id or Apptimize id."""
        if not self.has_plan:
            return []
        return self._select("WHERE problem IS NULL AND (distinct_id = ? OR apptimize_id = ?)", [user_id, user_id])

    def _select(self, clauses: str, values: Sequence[object]) -> list[PlannedRow]:
        with self._open() as db:
            rows = db.execute(f"SELECT {_PLANNED} FROM {self._with_warnings} {clauses}", values).fetchall()
        return [_planned_row(*row) for row in rows]

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def begin_writing(self) -> None:
        """Remove what is needed or true no longer once rows are written."""
        shutil.rmtree(self.raw, ignore_errors=True)
        with suppress(OSError):
            self.outcomes.unlink(missing_ok=True)

    @contextmanager
    def _open(self) -> Generator[duckdb.DuckDBPyConnection]:
        with opened(self._scratch, memory_mb=self._memory_mb) as db:
            # Rows stay in the order of the file, and sorting them does not share its memory.
            db.execute(ONE_THREAD)
            yield db


def _with_warnings(planned: str) -> str:
    return f"(FROM {planned} UNION ALL BY NAME SELECT NULL::VARCHAR AS warning WHERE false)"


def _keep_chunk(db: duckdb.DuckDBPyConnection, rows: Sequence[RawRow], target: Path) -> None:
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


def _planned_row(
    row: int,
    apptimize_id: str,
    distinct_id: str,
    problem: str | None,
    effect: str | None,
    taken: bool,
    warning: str | None,
) -> PlannedRow:
    return PlannedRow(row, Member(apptimize_id, distinct_id), problem, effect, taken, warning)


def _where(which: RowFilter) -> tuple[str, list[str]]:
    conditions, values = list[str](), list[str]()
    if which.warned:
        conditions.append("warning IS NOT NULL")
    elif which.writable:
        conditions.append("problem IS NULL")
    elif which.problems:
        conditions.append(f"problem IN ({marks(which.problems)})")
        values += which.problems
    else:
        conditions.append("problem IS NOT NULL")
    if which.search:
        conditions.append("(contains(lower(distinct_id), lower(?)) OR contains(lower(apptimize_id), lower(?)))")
        values += [which.search, which.search]
    return f"WHERE {' AND '.join(conditions)}", values
