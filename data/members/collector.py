"""The profiles of one read, collected outside Python's memory: sorted, compared, written."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import add, sub
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from data.engine import StorageError
from data.members.changes import Difference, count_changes, drop_changes, list_changes
from data.members.duck import ONE_THREAD, ROW_GROUP, duckdb_errors, give_back, quoted, stoppable, take
from data.members.files import replacing
from data.members.fingerprint import SUMS, Sums, hash_of
from data.models import DUPLICATE

# Profiles are taken in by batches: each statement costs as much as a page does.
_BATCH = 50_000
# Between the two ids of a profile, where they wait in a text file; ids that hold it wait elsewhere.
_SEPARATOR = "\x1f"
# What else a line cannot hold: what ends it, and what DuckDB's reader takes away or takes for an end.
_NOT_IN_LINES = ("\r", "\0", "\ufeff")
# No line comes near what DuckDB's reader sets aside for one, twice that for each of its threads.
_LONGEST_LINE = 100_000
_READER_BYTES = 2**21
_WRITTEN_AT_ONCE = 2**20
# With less memory two threads that read the text files leave too little to the rest.
_ROOM_FOR_TWO_MB = 64

_HASHES = (
    "SELECT hash(distinct_id) AS distinct_hash, "
    "CASE WHEN apptimize_id IS NOT NULL THEN hash(apptimize_id) END AS apptimize_hash"
)

# IN, not a join: of a join DuckDB would hold the profiles, whose number it cannot know from the files.
_IS_REPEATED = "hash(apptimize_id) IN (SELECT apptimize_hash FROM repeated)"
# Of each Apptimize id that more than one profile has, the profile that stands for it.
_CHOSEN = "SELECT apptimize_id, min(distinct_id) AS distinct_id FROM repeats GROUP BY apptimize_id"
_TABLES = ("odd", "odd_batch", "hashes", "batch", "repeated", "repeats")


@dataclass(frozen=True)
class Tally:
    """What was collected. `seen` counts rows, `profiles` distinct ids among them: equal when none is there twice.

    `sums` is what the members' fingerprint is made of, in whatever order they came.
    """

    seen: int
    profiles: int
    members: int
    duplicates: int
    unprefixed: int
    prefixed: dict[str, int] = field(default_factory=dict[str, int])  # members by what they start with
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    sums: Sums = Sums()


class _Totals(NamedTuple):
    """What members add up to, and how many of them start with each prefix."""

    sums: Sums
    prefixed: tuple[int, ...]

    def plus(self, other: _Totals) -> _Totals:
        return _Totals(self.sums.plus(other.sums), tuple(map(add, self.prefixed, other.prefixed)))

    def minus(self, other: _Totals) -> _Totals:
        return _Totals(self.sums.minus(other.sums), tuple(map(sub, self.prefixed, other.prefixed)))


class Collector:
    """Takes in the profiles of one read, page by page, and turns them into a snapshot.

    They wait in text files in an own folder below `scratch`, which is gone after `close`: the quickest way from
    Python into DuckDB, which holds at most `memory_mb`. Whether ids repeat shows in hashes of them, 16 bytes a
    profile: where all hashes differ no two ids are the same, and where two are alike the ids themselves are compared.
    `key` is that of the members' fingerprint; it is added up as they come, as are those who start with each of
    `prefixes`, and corrected for what repeats at the end.

    Usable as a context manager. Not for two threads at once. Every method raises StorageError when the disk is full.
    """

    def __init__(self, scratch: Path, *, memory_mb: int, key: str = "", prefixes: Sequence[str] = ()) -> None:
        self._folder = scratch / f"read-{secrets.token_hex(8)}"
        self._files: list[Path] = []
        self._file: IO[bytes] | None = None
        self._waiting = 0  # profiles in the file that is being written
        self._odd: list[tuple[str, str | None, str | None]] = []
        self._excluded = self._folder / "excluded"
        self._excluded_file: IO[bytes] | None = None
        self._seen = 0
        self._reasons: Counter[str] = Counter()
        self._key = key
        self._prefixes = prefixes
        self._totals = _Totals(Sums(), (0,) * len(prefixes))  # of all usable profiles that were taken in
        self._is_settled = False  # whether what repeats was found among all that was collected
        self._repeats = 0
        self._memory_mb = memory_mb
        self._is_sound = True  # nothing was raised in its DuckDB yet
        with duckdb_errors():
            self._duckdb = take(self._folder, memory_mb=memory_mb)
            # An Apptimize id that is null stands for a profile without a usable one.
            self._duckdb.execute("CREATE TABLE odd (distinct_id VARCHAR, apptimize_id VARCHAR, reason VARCHAR)")
            self._duckdb.execute("CREATE TABLE hashes (distinct_hash UBIGINT, apptimize_hash UBIGINT)")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(
        self,
        *,
        distinct_ids: Sequence[str],
        apptimize_ids: Sequence[str],
        unusable_ids: Sequence[str] = (),
        reasons: Sequence[str] = (),
    ) -> None:
        """Add a page: aligned ids of the usable profiles, and aligned ids and reasons of the others."""
        self._reasons.update(reasons)
        self._is_settled = False
        with self._at_work():
            if not self._keep(distinct_ids, apptimize_ids):
                pairs = zip(distinct_ids, apptimize_ids, strict=True)
                self._odd.extend((distinct_id, apptimize_id, None) for distinct_id, apptimize_id in pairs)
            if self._keep(unusable_ids, None):
                self._exclude(unusable_ids, reasons)
            else:
                pairs = zip(unusable_ids, reasons, strict=True)
                self._odd.extend((distinct_id, None, reason) for distinct_id, reason in pairs)
        self._seen += len(distinct_ids) + len(unusable_ids)
        if self._waiting + len(self._odd) >= _BATCH:
            self._take_in()

    def _keep(self, distinct_ids: Sequence[str], apptimize_ids: Sequence[str] | None) -> bool:
        """Append a line for each profile to the text file; False, and none, if they could not be read back."""
        if apptimize_ids is None:
            lines = [f"{distinct_id}{_SEPARATOR}\n" for distinct_id in distinct_ids]
        else:
            pairs = zip(distinct_ids, apptimize_ids, strict=True)
            lines = [f"{distinct_id}{_SEPARATOR}{apptimize_id}\n" for distinct_id, apptimize_id in pairs]
        text = "".join(lines)
        if (
            not all(distinct_ids)
            or (apptimize_ids and not all(apptimize_ids))
            or text.count("\n") != len(lines)
            or text.count(_SEPARATOR) != len(lines)
            or any(sign in text for sign in _NOT_IN_LINES)
            or (len(text) > _LONGEST_LINE and max(map(len, lines)) > _LONGEST_LINE)
        ):
            return False
        if self._file is None:
            self._files.append(self._folder / f"{len(self._files):06}.txt")
            self._file = self._files[-1].open("wb", buffering=_WRITTEN_AT_ONCE)
        self._file.write(text.encode())
        self._waiting += len(lines)
        return True

    def _exclude(self, unusable_ids: Sequence[str], reasons: Sequence[str]) -> None:
        """Keep why ids that can stand in a line are unusable."""
        if not unusable_ids:
            return
        if self._excluded_file is None:
            self._excluded_file = self._excluded.open("wb", buffering=_WRITTEN_AT_ONCE)
        pairs = zip(unusable_ids, reasons, strict=True)
        lines = [f"{distinct_id}{_SEPARATOR}{reason}\n" for distinct_id, reason in pairs]
        self._excluded_file.write("".join(lines).encode())

    def _take_in(self) -> None:
        """Hash what waits in the text file, and hand over what could not be put there."""
        with self._at_work():
            if self._file is not None:
                self._file.close()
                self._file, self._waiting = None, 0
                self._hash(_lines(self._files[-1:]))
            if self._odd:
                odd, self._odd = self._odd, []
                self._duckdb.execute(
                    "CREATE OR REPLACE TABLE odd_batch AS SELECT unnest(?::VARCHAR[]) AS distinct_id, "
                    "unnest(?::VARCHAR[]) AS apptimize_id, unnest(?::VARCHAR[]) AS reason",
                    [[row[column] for row in odd] for column in range(3)],
                )
                self._duckdb.execute("INSERT INTO odd FROM odd_batch")
                self._hash("odd_batch")

    def _hash(self, profiles: str) -> None:
        """Keep the hashes of both ids, and add up those of the pairs."""
        usable = "CASE WHEN apptimize_id IS NOT NULL THEN {} END"
        self._duckdb.execute(
            f"CREATE OR REPLACE TABLE batch AS {_HASHES}, {usable.format(hash_of(self._key))} AS hash, "
            f"{self._prefix} AS prefix FROM {profiles}"
        )
        self._duckdb.execute("INSERT INTO hashes SELECT distinct_hash, apptimize_hash FROM batch")
        self._totals = self._totals.plus(self._add_up("batch"))

    @property
    def _prefix(self) -> str:
        """Which of the prefixes an Apptimize id starts with, by number."""
        starts = enumerate(map(quoted, self._prefixes))
        cases = " ".join(f"WHEN starts_with(apptimize_id, {text}) THEN {number}" for number, text in starts)
        return f"CASE {cases or 'WHEN false THEN 0'} END"

    def _add_up(self, rows: str) -> _Totals:
        by_prefix = "".join(f", count(*) FILTER (prefix = {number})" for number in range(len(self._prefixes)))
        members, low, high, *prefixed = self._row(f"SELECT {SUMS}{by_prefix} FROM {rows}")
        return _Totals(Sums(members, low, high), tuple(prefixed))

    def _settle(self) -> None:
        """Take in the rest, and find the profiles whose Apptimize id, as far as its hash tells, another one has too."""
        self._take_in()
        if self._is_settled:
            return
        with self._at_work():
            self._duckdb.execute(
                "CREATE OR REPLACE TABLE repeated AS SELECT apptimize_hash FROM hashes "
                "WHERE apptimize_hash IS NOT NULL GROUP BY apptimize_hash HAVING count(*) > 1"
            )
            (hashes,) = self._row("SELECT count(*) FROM repeated")
            found = f"FROM {self._usable} WHERE {_IS_REPEATED}" if hashes else "FROM odd LIMIT 0"
            if self._memory_mb < _ROOM_FOR_TWO_MB:
                self._duckdb.execute(ONE_THREAD)
            self._duckdb.execute(f"CREATE OR REPLACE TABLE repeats AS SELECT apptimize_id, distinct_id {found}")
            (self._repeats,) = self._row("SELECT count(*) FROM repeats")
        self._is_settled = True

    def tally(self) -> Tally:
        """Count what was collected; members that start with none of the prefixes are unprefixed, if any were given."""
        self._settle()
        with self._at_work():
            seen, profiles = self._row("SELECT count(*), count(DISTINCT distinct_hash) FROM hashes")
            if seen != self._seen:
                raise StorageError("The profiles that were kept are not the profiles that were read.")
            if profiles != seen:
                (profiles,) = self._row(f"SELECT count(DISTINCT distinct_id) FROM {self._profiles}")
            totals = self._totals
            if self._repeats:
                hashed = f"(SELECT {hash_of(self._key)} AS hash, {self._prefix} AS prefix FROM {{}})"
                totals = totals.minus(self._add_up(hashed.format("repeats")))
                totals = totals.plus(self._add_up(hashed.format(f"({_CHOSEN})")))
        members = totals.sums.members
        return Tally(
            seen=seen,
            profiles=profiles,
            members=members,
            duplicates=seen - self._reasons.total() - members,
            unprefixed=members - sum(totals.prefixed) if self._prefixes else 0,
            prefixed=dict(zip(self._prefixes, totals.prefixed, strict=True)),
            reasons=dict(sorted(self._reasons.items())),
            sums=totals.sums,
        )

    @property
    def _profiles(self) -> str:
        """What was collected, for SQL to read from."""
        if not self._files:
            return "odd"
        return f"(FROM {_lines(self._files)} UNION ALL SELECT distinct_id, apptimize_id FROM odd)"

    @property
    def _usable(self) -> str:
        return f"(FROM {self._profiles} WHERE apptimize_id IS NOT NULL)"

    @property
    def _sorted_members(self) -> str:
        """The query of the members in order; to be used once what repeats was found, and in one thread.

        Of rows with the same id, which stand side by side then, the first is taken as they pass: grouped or joined
        before they are sorted, ten million take more memory than there may be.
        """
        usable = f"SELECT apptimize_id, distinct_id FROM {self._usable} ORDER BY apptimize_id"
        if not self._repeats:
            return usable
        return (
            "SELECT apptimize_id, distinct_id FROM (SELECT *, lag(apptimize_id) OVER () AS before "
            f"FROM ({usable}, distinct_id)) WHERE before IS DISTINCT FROM apptimize_id"
        )

    def compare(self, base: Path | None) -> Difference:
        """Compare what was collected with a base, without keeping a snapshot."""
        if base is None:
            return Difference(added=self.tally().members, removed=0, unchanged=0)
        # Sorted first: a join of all members at once takes more memory than there may be.
        members = self._folder / "members.parquet"
        self.write(members)
        with self._at_work():
            list_changes(self._duckdb, members, base, memory_mb=self._memory_mb)
            difference = count_changes(self._duckdb, base, key=self._key)
            drop_changes(self._duckdb)
        return difference

    def write(self, target: Path) -> None:
        """Keep the snapshot, one row a member with its smallest distinct id: whole and on disk, or not at all."""
        self._settle()
        with self._at_work(), replacing(target) as part:
            self._duckdb.execute(ONE_THREAD)
            self._duckdb.execute(
                f"COPY ({self._sorted_members}) TO {quoted(part)} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})"
            )

    def write_excluded(self, target: Path) -> None:
        """Keep the profiles that make no member, each with the reason: whole and on disk, or not at all.

        The columns are `reason`, `distinct_id`, `apptimize_id` (of duplicates only), sorted by the first two.
        """
        self._settle()
        with self._at_work(), replacing(target) as part:
            parts = ["SELECT reason, distinct_id, NULL::VARCHAR AS apptimize_id FROM odd WHERE reason IS NOT NULL"]
            if self._excluded_file is not None:
                self._excluded_file.flush()
                # The second column is called so by the reader of lines, and holds the reason here.
                parts.append(f"SELECT apptimize_id, distinct_id, NULL FROM {_lines([self._excluded])}")
            parts.append(
                f"SELECT '{DUPLICATE}', distinct_id, apptimize_id FROM repeats "
                "QUALIFY row_number() OVER (PARTITION BY apptimize_id ORDER BY distinct_id) > 1"
            )
            self._duckdb.execute(ONE_THREAD)
            self._duckdb.execute(
                f"COPY (FROM ({' UNION ALL '.join(parts)}) ORDER BY reason, distinct_id) TO {quoted(part)} "
                f"(FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})"
            )

    def close(self) -> None:
        """Give back memory, DuckDB and disk. What was not written is gone."""
        for file in (self._file, self._excluded_file):
            if file is not None:
                with suppress(OSError):  # what a full disk did not take is not needed any more
                    file.close()
        if self._is_sound:
            with duckdb_errors():
                for table in _TABLES:
                    self._duckdb.execute(f"DROP TABLE IF EXISTS {table}")
                give_back(self._duckdb, memory_mb=self._memory_mb)
        else:
            self._duckdb.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _at_work(self) -> Generator[None]:
        try:
            with duckdb_errors(), stoppable(self._duckdb):
                yield
        except BaseException:
            self._is_sound = False
            raise

    def _row(self, query: str) -> tuple[Any, ...]:
        row = self._duckdb.execute(query).fetchone()
        assert row is not None
        return row


def _lines(files: Sequence[Path]) -> str:
    """Read text files: nothing in them is special but the separator, the end of a line, and an id that is not there."""
    return (
        f"read_csv([{', '.join(map(quoted, files))}], delim='{_SEPARATOR}', header=false, quote='', escape='', "
        "columns={'distinct_id': 'VARCHAR', 'apptimize_id': 'VARCHAR'}, auto_detect=false, nullstr='', "
        f"buffer_size={_READER_BYTES})"
    )
