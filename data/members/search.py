"""Search in a snapshot or in a difference by a part of an id, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.members.snapshots import Snapshots
from data.members.store import as_members
from data.models import Member, MembershipChange

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class SearchPage:
    """A page of the members that match, and how many there are: `is_more` when the count stopped there."""

    rows: list[Member]
    total: int
    is_more: bool = False


@dataclass(frozen=True)
class PageRequest:
    """Which page of which members: those with `text` in an id, all without. A search ends after `most` of them."""

    text: str = ""
    offset: int = 0
    limit: int = 50
    most: int = 1000


@dataclass(frozen=True)
class _Query:
    """The members to page through: a table of SQL with its values, its order, and their number where it is known."""

    table: str
    values: Sequence[str] = ()
    order: str = ""
    total: int | None = None


def find_members(snapshots: Snapshots, name: str, request: PageRequest) -> SearchPage:
    """Return a page of a snapshot's members in order of Apptimize id. Raises StorageError."""
    return _find(snapshots, [name], _Query(f"(FROM {snapshots.table(name)})"), request)


def find_changes(snapshots: Snapshots, difference: str, change: MembershipChange, request: PageRequest) -> SearchPage:
    """Return a page of who was added, or removed, as `find_members` does. Raises StorageError."""
    table = f"(FROM {snapshots.changes(difference)} WHERE change = ?)"
    return _find(snapshots, [difference], _Query(table, [change]), request)


def find_others(
    snapshots: Snapshots,
    name: str,
    difference: str | None,
    change: MembershipChange,
    request: PageRequest,
    *,
    total: int,
) -> SearchPage:
    """Return a page of a snapshot's `total` members who are not among those that were added, or removed.

    Raises: StorageError.
    """
    table = f"(FROM {snapshots.others(name, difference, change)})"
    names = [name, *filter(None, [difference])]
    return _find(snapshots, names, _Query(table, order="ORDER BY apptimize_id", total=total), request)


def _find(snapshots: Snapshots, names: Sequence[str], query: _Query, request: PageRequest) -> SearchPage:
    """Find what is asked for in the files of a query; the first has everybody who may be found."""
    with snapshots.cursor() as db:
        snapshots.hold(names)
        if not request.text:
            return _page(db, query, request)
        columns = f"SELECT apptimize_id, distinct_id FROM {query.table}"
        where = f"WHERE {_condition(snapshots, db, names[0], request.text)}"
        values = [*query.values, request.text, request.text, request.most + 1]
        rows = db.execute(f"{columns} {where} {query.order} LIMIT ?", values).fetchall()
    shown = rows[: request.most][request.offset : request.offset + request.limit]
    return SearchPage(as_members(shown), min(len(rows), request.most), is_more=len(rows) > request.most)


def _page(db: duckdb.DuckDBPyConnection, query: _Query, request: PageRequest) -> SearchPage:
    total = query.total
    if total is None:
        row = db.execute(f"SELECT count(*) FROM {query.table}", query.values).fetchone()
        total = int(row[0]) if row else 0
    rows = db.execute(
        f"SELECT apptimize_id, distinct_id FROM {query.table} {query.order} LIMIT ? OFFSET ?",
        [*query.values, request.limit, request.offset],
    ).fetchall()
    return SearchPage(as_members(rows), total)


def _condition(snapshots: Snapshots, db: duckdb.DuckDBPyConnection, name: str, text: str) -> str:
    """Return the condition in SQL of a text in either id, whatever the case."""
    # To lower a million ids takes as long as to search them: it is done only where it makes a difference.
    if text.lower() == text.upper() or not _has_capitals(snapshots, db, name):
        return "contains(apptimize_id, lower(?)) OR contains(distinct_id, lower(?))"
    return "contains(lower(apptimize_id), lower(?)) OR contains(lower(distinct_id), lower(?))"


def _has_capitals(snapshots: Snapshots, db: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Return whether any id changes when it is lowered; asked of each file once, since files never change."""
    key = name, snapshots.stamp(name)
    known = snapshots.has_capitals.get(key)
    if known is None:
        changes = "apptimize_id <> lower(apptimize_id) OR distinct_id <> lower(distinct_id)"
        row = db.execute(f"SELECT EXISTS (FROM {snapshots.table(name)} WHERE {changes})").fetchone()
        known = bool(row and row[0])
        snapshots.has_capitals.put(key, known)
    return known
