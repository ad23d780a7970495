"""Look exact ids up in many files of members at once, or read many small ones; files that are gone hold no one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from data.members.duck import marks
from data.members.store import SNAPSHOT, MemberFiles, as_members
from data.models import Member, MembershipChange

KINDS: tuple[MembershipChange, ...] = ("added", "removed")


def list_membership_changes(
    files: MemberFiles, differences: Iterable[str], *apptimize_ids: str
) -> dict[str, dict[str, MembershipChange]]:
    """Return for each of these members in which of the differences they were added or removed."""
    changes: dict[str, dict[str, MembershipChange]] = {apptimize_id: {} for apptimize_id in apptimize_ids}
    names = list(differences)
    snapshots = [name for name in names if name.startswith(SNAPSHOT)]
    others = [name for name in names if not name.startswith(SNAPSHOT)]
    for some, change_column in ((snapshots, "'added'"), (others, "change")):
        query = f"apptimize_id, filename, {change_column} FROM {{0}} WHERE apptimize_id IN ({marks(apptimize_ids)})"
        for apptimize_id, path, change in files.ask_all(some, query, apptimize_ids):
            changes[apptimize_id][Path(path).stem] = change
    return changes


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


def list_changed(files: MemberFiles, differences: Iterable[str]) -> dict[str, dict[MembershipChange, list[Member]]]:
    """Return whom each of some small differences added and removed, in order of Apptimize id, by difference.

    All of them are in memory. What is gone or damaged is left out; a snapshot is no difference here.
    """
    query = "filename, change, apptimize_id, distinct_id FROM {0} ORDER BY filename, change, apptimize_id"
    return {
        name: {
            kind: as_members(
                (apptimize_id, distinct_id) for change, apptimize_id, distinct_id in rows if change == kind
            )
            for kind in KINDS
        }
        for name, rows in files.ask_each(differences, query, ()).items()
    }
