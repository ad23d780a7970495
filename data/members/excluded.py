"""The profiles of a read that made no member: found, counted and paged through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from data.members.duck import marks
from data.members.store import MemberFiles


class ExcludedProfile(NamedTuple):
    """A profile that made no member, why, and, of a duplicate, the Apptimize id that it shares."""

    reason: str
    distinct_id: str
    apptimize_id: str | None


def list_excluded(
    files: MemberFiles, name: str, *, reasons: Sequence[str] = (), search: str = "", offset: int = 0, limit: int = 50
) -> list[ExcludedProfile]:
    """Return a page of the profiles in order of reason and distinct id. Raises StorageError."""
    chunks = _excluded(files, name, reasons, search, f"LIMIT {limit:d} OFFSET {offset:d}")
    return [profile for profiles in chunks for profile in profiles]


def iterate_excluded(
    files: MemberFiles, name: str, *, reasons: Sequence[str] = (), search: str = ""
) -> Iterator[list[ExcludedProfile]]:
    """Yield all of the profiles; one chunk is in memory. Raises StorageError."""
    return _excluded(files, name, reasons, search, "")


def _excluded(
    files: MemberFiles, name: str, reasons: Sequence[str], search: str, window: str
) -> Iterator[list[ExcludedProfile]]:
    where, values = _where(reasons, search)
    query = f"SELECT reason, distinct_id, apptimize_id FROM {files.table(name)} {where} {window}"
    for rows in files.chunks(query, values, of=[name]):
        yield [ExcludedProfile(*row) for row in rows]


def count_excluded(files: MemberFiles, name: str, *, reasons: Sequence[str] = (), search: str = "") -> int:
    """Count the profiles that `list_excluded` pages through. Raises StorageError."""
    where, values = _where(reasons, search)
    with files.open() as db:
        row = db.execute(f"SELECT count(*) FROM {files.table(name)} {where}", values).fetchone()
    return row[0] if row else 0


def list_excluded_with(
    files: MemberFiles, names: Iterable[str], ids: Sequence[str], *, most: int = 100
) -> dict[str, list[ExcludedProfile]]:
    """Return, by file, the profiles with exactly one of these ids, at most so many of a file.

    What is not kept, or was damaged, holds none. Profiles whose own distinct id it is come first.
    """
    one_of = f"IN ({marks(ids)})"
    query = (
        f"filename, reason, distinct_id, apptimize_id FROM {{0}} "
        f"WHERE distinct_id {one_of} OR apptimize_id {one_of} QUALIFY row_number() OVER "
        f"(PARTITION BY filename ORDER BY distinct_id {one_of} DESC, distinct_id) <= {most:d} "
        f"ORDER BY filename, distinct_id {one_of} DESC, distinct_id"
    )
    by_file = files.ask_each(names, query, [*ids] * 4)
    return {name: [ExcludedProfile(*row) for row in rows] for name, rows in by_file.items()}


def _where(reasons: Sequence[str], search: str) -> tuple[str, list[str]]:
    conditions, values = list[str](), list[str]()
    if reasons:
        conditions.append(f"reason IN ({marks(reasons)})")
        values += reasons
    if search:
        conditions.append("(contains(lower(distinct_id), lower(?)) OR contains(lower(apptimize_id), lower(?)))")
        values += [search, search]
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values
