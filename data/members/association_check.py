"""Check the rows of an association against each other and against what earlier reads know, in SQL.

Each step is a view or a table of the DuckDB that it is given: `read_rows` (with their prefix) and `repeats`, then, of
some rows after the others, `checked`, `effects` and `compared`. All have the column `row`, the line in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.members.duck import quoted
from data.models import CHANGED, NEW, SAME, UNSEEN

if TYPE_CHECKING:
    import duckdb

# Problems that show only where all rows are looked at together.
REPEATED, CONFLICT, SHARED, UNPREFIXED = "repeated", "conflict", "shared", "unprefixed"
CROSSED, OTHERS_ID, TOO_LONG = "crossed", "others_id", "too_long"

# So much of the rows is held at a time, with what a row takes besides its ids: a third of the least that is usual.
_PART_BYTES = 24 * 2**20
_ROW_BYTES = 64


@dataclass(frozen=True)
class CheckRules:
    """What ids must be like: they start with one of `prefixes`, if any are expected, and are at most `longest` long.

    Ids that start with none of them are given `prefix`; None excludes their rows, and an empty text writes them as
    they are. An id that is longer than `longest` by its prefix is not written. A row whose problems by itself are all
    `accepted` is written.
    """

    prefix: str | None
    prefixes: Sequence[str]
    longest: int = 256
    accepted: Sequence[str] = ()


@dataclass(frozen=True)
class KnownProfiles:
    """What earlier reads know of profiles: files of members, and of profiles that were excluded."""

    members: Sequence[Path] = ()
    excluded: Sequence[Path] = ()

    @property
    def are_kept(self) -> bool:
        """Whether all of the files are still there."""
        return all(file.is_file() for file in (*self.members, *self.excluded))


def check(db: duckdb.DuckDBPyConnection, raw: str, rules: CheckRules, known: KnownProfiles) -> str:
    """Check the rows of a table of SQL, and return the table of the plan, by row."""
    _give_prefixes(db, raw, rules)
    _find_crossing(db)
    _find_repeats(db)
    return _make_plan(db, known)


def _give_prefixes(db: duckdb.DuckDBPyConnection, raw: str, rules: CheckRules) -> None:
    starts = " OR ".join(f"starts_with(apptimize_id, {quoted(prefix)})" for prefix in rules.prefixes) or "true"
    given = f"CASE WHEN problem IS NULL AND NOT ({starts}) THEN {quoted(rules.prefix or '')} ELSE '' END"
    lacks = f"CASE WHEN NOT ({starts}) THEN '{UNPREFIXED}' END" if rules.prefix is None else "NULL"
    too_long = f"given <> '' AND length(given || apptimize_id) > {rules.longest:d}"
    db.execute(
        "CREATE VIEW read_rows AS SELECT row, distinct_id, given || apptimize_id AS apptimize_id, warning, "
        f"coalesce(problem, lacks, CASE WHEN {too_long} THEN '{TOO_LONG}' END) AS problem "
        f"FROM (SELECT *, {given} AS given, {lacks} AS lacks FROM ({_judged(raw, rules.accepted)}))"
    )


def _judged(raw: str, accepted: Sequence[str]) -> str:
    """Return the query of the rows with the first of their problems that is not accepted, and the first of all.

    A row has the problems that were found of it by itself with blanks between them.
    """
    words = "string_split(problem, ' ')"
    names = ", ".join(map(quoted, accepted)) or "''"
    stands = f"CASE WHEN problem IS NOT NULL THEN [word FOR word IN {words} IF word NOT IN ({names})][1] END"
    return f"SELECT row, distinct_id, apptimize_id, {stands} AS problem, {words}[1] AS warning FROM {raw}"


def _find_crossing(db: duckdb.DuckDBPyConnection) -> None:
    """Find rows with an id that is one row's user and another's Apptimize id: as an alias it would mix the two up.

    Here and below ids are held only where their hashes are alike, and sorted where they are many.
    """
    users = "SELECT {} FROM read_rows WHERE problem IS NULL"
    given = f"{users} AND apptimize_id <> distinct_id"
    db.execute(
        f"CREATE TABLE alike AS SELECT h AS id FROM ({users.format('hash(distinct_id) AS h')} INTERSECT "
        f"{given.format('hash(apptimize_id) AS h')})"
    )
    db.execute(
        "CREATE TABLE crossing AS SELECT DISTINCT row FROM ("
        "SELECT row, bool_or(is_user) OVER same_id AND NOT bool_and(is_user) OVER same_id AS crosses FROM ("
        f"{users.format('row, distinct_id AS id, true AS is_user')} UNION ALL "
        f"{given.format('row, apptimize_id, false')}) WHERE hash(id) IN (FROM alike) "
        "WINDOW same_id AS (PARTITION BY id)) WHERE crosses"
    )
    db.execute("DROP TABLE alike")


def _find_repeats(db: duckdb.DuckDBPyConnection) -> None:
    """Find rows that repeat another one, or contradict it."""
    for column in ("distinct_id", "apptimize_id"):
        db.execute(
            f"CREATE TABLE twice_{column} AS SELECT hash({column}) AS id FROM read_rows WHERE problem IS NULL "
            "GROUP BY 1 HAVING count(*) > 1"
        )
    db.execute(
        "CREATE TABLE suspects AS SELECT row, distinct_id, apptimize_id, row IN (FROM crossing) AS crosses "
        "FROM read_rows WHERE problem IS NULL AND (hash(distinct_id) IN (FROM twice_distinct_id) OR "
        "hash(apptimize_id) IN (FROM twice_apptimize_id) OR row IN (FROM crossing))"
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
    for table in ("twice_distinct_id", "twice_apptimize_id", "crossing", "suspects"):
        db.execute(f"DROP TABLE {table}")


def _make_plan(db: duckdb.DuckDBPyConnection, known: KnownProfiles) -> str:
    """Make the table `plan`: the rows with what each changes, and whether its id is taken by another profile.

    Some rows at a time are held, in order, and what is known streams past them: memory depends on the number of
    neither.
    """
    db.execute(f"CREATE VIEW known AS {_all_known(known)}")
    db.execute(
        "CREATE TABLE plan (row BIGINT, distinct_id VARCHAR, apptimize_id VARCHAR, problem VARCHAR, effect VARCHAR, "
        "taken BOOLEAN, warning VARCHAR)"
    )
    # What is written second in a join is held: of the files only the first is looked into to guess which is smaller.
    db.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
    for first, last in _parts(db):
        here = f"row BETWEEN {first:d} AND {last:d}"
        db.execute(
            "CREATE OR REPLACE TABLE checked AS SELECT row, distinct_id, apptimize_id, warning, "
            "coalesce(asked.problem, repeats.problem) AS problem "
            f"FROM (FROM read_rows WHERE {here}) AS asked LEFT JOIN (FROM repeats WHERE {here}) AS repeats USING (row)"
        )
        _find_effects(db)
        _plan_part(db)
    return "plan"


def _plan_part(db: duckdb.DuckDBPyConnection) -> None:
    db.execute(
        "CREATE OR REPLACE VIEW compared AS SELECT row, distinct_id, apptimize_id, warning, effect, taken, "
        f"coalesce(problem, CASE WHEN effect IS NULL AND others_id THEN '{OTHERS_ID}' END) AS problem "
        "FROM checked LEFT JOIN effects USING (row)"
    )
    db.execute(
        "INSERT INTO plan SELECT row, distinct_id, apptimize_id, problem, "
        f"CASE WHEN problem IS NULL THEN coalesce(effect, '{UNSEEN}') END, problem IS NULL AND coalesce(taken, false), "
        "CASE WHEN problem IS NULL THEN warning END FROM compared ORDER BY row"
    )


def _all_known(known: KnownProfiles) -> str:
    """Return the query of what the files know: those of one kind are one scan, which has one of them open at a time."""
    scans = ["SELECT NULL::VARCHAR AS distinct_id, NULL::VARCHAR AS apptimize_id WHERE false"]
    for files in filter(None, (known.members, known.excluded)):
        scans.append(f"SELECT distinct_id, apptimize_id FROM read_parquet([{', '.join(map(quoted, files))}])")
    return " UNION ALL ".join(scans)


def _parts(db: duckdb.DuckDBPyConnection) -> list[tuple[int, int]]:
    """Divide the rows into parts of some megabytes, in order: the first row and the last of each."""
    sizes = f"SELECT row, strlen(distinct_id) + strlen(apptimize_id) + {_ROW_BYTES} AS size FROM read_rows"
    return db.execute(
        f"SELECT min(row), max(row) FROM (SELECT row, sum(size) OVER (ORDER BY row) // {_PART_BYTES} AS part "
        f"FROM ({sizes})) GROUP BY part ORDER BY 1"
    ).fetchall()


def _find_effects(db: duckdb.DuckDBPyConnection) -> None:
    """Find what is known of each row, its own user and its id, and whether its user is known as another's id."""
    db.execute("CREATE OR REPLACE TABLE facts (row BIGINT, effect VARCHAR, taken BOOLEAN, others_id BOOLEAN)")
    asked = "(FROM checked WHERE problem IS NULL) AS asked"
    effect = (
        f"CASE WHEN bool_or(known.apptimize_id = asked.apptimize_id) THEN '{SAME}' "
        f"WHEN bool_or(known.apptimize_id IS NOT NULL) THEN '{CHANGED}' ELSE '{NEW}' END"
    )
    another = "AND known.distinct_id <> asked.distinct_id"
    for facts, alike in (
        (f"{effect}, false, false", "known.distinct_id = asked.distinct_id"),
        ("NULL, true, false", f"known.apptimize_id = asked.apptimize_id {another}"),
        ("NULL, true, false", f"known.distinct_id = asked.apptimize_id {another}"),
        ("NULL, false, true", f"known.apptimize_id = asked.distinct_id {another}"),
    ):
        db.execute(f"INSERT INTO facts SELECT row, {facts} FROM known JOIN {asked} ON {alike} GROUP BY row")
    db.execute(
        "CREATE OR REPLACE TABLE effects AS SELECT row, max(effect) AS effect, bool_or(taken) AS taken, "
        "bool_or(others_id) AS others_id FROM facts GROUP BY row"
    )
