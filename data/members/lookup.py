"""Look exact ids up in many files of members at once; files that are gone hold no one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from data.members.duck import marks
from data.members.store import MemberFiles, as_members
from data.models import Member, MembershipChange


def list_holding(files: MemberFiles, names: Iterable[str], apptimize_id: str) -> set[str]:
    """Return which of these snapshots hold the member."""
    rows = files.ask_all(names, "DISTINCT filename FROM {0} WHERE apptimize_id = ?", [apptimize_id])
    return {Path(path).stem for (path,) in rows}


def list_membership_changes(
    files: MemberFiles, differences: Iterable[str], *apptimize_ids: str
) -> dict[str, dict[str, MembershipChange]]:
    """Return for each of these members in which of the differences they were added or removed."""
    query = f"apptimize_id, filename, change FROM {{0}} WHERE apptimize_id IN ({marks(apptimize_ids)})"
    changes: dict[str, dict[str, MembershipChange]] = {apptimize_id: {} for apptimize_id in apptimize_ids}
    for apptimize_id, path, change in files.ask_all(differences, query, apptimize_ids):
        changes[apptimize_id][Path(path).stem] = change
    return changes


def find_by_id(files: MemberFiles, names: Iterable[str], text: str) -> list[tuple[Member, str]]:
    """Return the members whose Apptimize id, or else whose distinct id, is this text.

    Each comes with the name of the file, once for each file that holds them.
    """
    names = list(names)
    for column in ("apptimize_id", "distinct_id"):
        query = f"DISTINCT apptimize_id, distinct_id, filename FROM {{0}} WHERE {column} = ? ORDER BY ALL LIMIT 2000"
        if rows := files.ask_all(names, query, [text]):
            return [(Member(apptimize_id, distinct_id), Path(path).stem) for apptimize_id, distinct_id, path in rows]
    return []


def list_members_with(files: MemberFiles, names: Iterable[str], ids: Sequence[str]) -> dict[str, list[Member]]:
    """Return, by snapshot, the members with exactly one of these ids as Apptimize id or distinct id.

    What is damaged holds no one either.
    """
    # Two questions in one: files are sorted by Apptimize id, so that the first of them reads next to nothing.
    one_of = f"IN ({marks(ids)})"
    query = (
        f"filename, apptimize_id, distinct_id FROM {{0}} WHERE apptimize_id {one_of} UNION "
        f"SELECT filename, apptimize_id, distinct_id FROM {{0}} WHERE distinct_id {one_of}"
    )
    return {name: as_members(rows) for name, rows in files.ask_each(names, query, [*ids, *ids]).items()}
