"""What any two runs of a group differ in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import SettingsError
from core.reports.members import lines_of_changes, page_request, require_kept
from core.syncs.runs import members_not_kept
from data import proofs
from data.members import search as member_search
from data.members.duck import MembersDamaged
from data.members.places import COMPARED
from data.members.search import SearchPage
from data.members.snapshots import Snapshots
from data.models import MembershipChange, Run


@dataclass(frozen=True)
class Comparison:
    """How the members as of one run differ from those as of an earlier one of the same group."""

    before: Run
    after: Run
    name: str
    added: int
    removed: int
    unchanged: int


@action(Role.VIEWER)
def compare_runs(bridge: Bridge, actor: Actor, before_id: int, after_id: int) -> Comparison:
    """Compare the members as of two runs of a group. The first time takes about as long as reading both.

    Raises: NotFound when the members of one are no longer kept, SettingsError when they are of two groups.
    """
    before, after = require_kept(bridge, before_id), require_kept(bridge, after_id)
    if before.group_id != after.group_id:
        raise SettingsError("Runs: these two wrote different groups.", advice="Choose two runs of one group.")
    assert before.snapshot is not None
    assert after.snapshot is not None
    # No row names it, so the worker removes it a day after it was last made.
    name = f"{COMPARED}{before.snapshot}-{after.snapshot}"
    counts = _count_kept(bridge, name, before, after)
    if counts is None:
        bridge.snapshots.keep_difference(name, after.snapshot, before.snapshot, is_kept=False)
        _require_present(bridge, name, before, after)
        counts = bridge.snapshots.count_changes(name)
    added, removed = counts
    return Comparison(before, after, name, added, removed, _members(bridge, after) - added)


def _require_present(bridge: Bridge, name: str, *compared: Run) -> None:
    """Keep nothing of snapshots that another took the place of meanwhile: somebody in them was forgotten."""
    for run in compared:
        if run.snapshot is None or bridge.snapshots.stamp(run.snapshot) is None:
            bridge.snapshots.discard(name)
            assert run.id is not None
            raise members_not_kept(run.id)


def is_made_of(snapshots: Snapshots, name: str, *made_of: str) -> bool:
    """Return whether a file is there, and was made of these snapshots.

    A database that was restored gives a run the number, and its snapshot the name, that another one had.
    """
    made, stamps = snapshots.stamp(name), [snapshots.stamp(snapshot) for snapshot in made_of]
    # In object storage no name comes twice, and times say nothing.
    return made is not None and (
        snapshots.place.is_elsewhere or all(stamp is not None and stamp[2] <= made[2] for stamp in stamps)
    )


def _members(bridge: Bridge, run: Run) -> int:
    """Return how many members the snapshot of a run has: without those who were forgotten fewer than the run had."""
    members = proofs.members_of(bridge.engine, run.snapshot or "")
    return run.members if members is None else members


def _count_kept(bridge: Bridge, name: str, before: Run, after: Run) -> tuple[int, int] | None:
    """Count what is kept of a comparison; None where nothing is, or what is there is not one of these two snapshots."""
    snapshots = bridge.snapshots
    if not is_made_of(snapshots, name, before.snapshot or "", after.snapshot or ""):
        return None
    try:
        added, removed = snapshots.count_changes(name)
    except MembersDamaged:
        return None
    is_so = _members(bridge, before) + added - removed == _members(bridge, after)
    return (added, removed) if is_so else None


@action(Role.VIEWER)
def find_compared(
    bridge: Bridge,
    actor: Actor,
    before_id: int,
    after_id: int,
    kind: MembershipChange,
    *,
    search: str = "",
    offset: int = 0,
    limit: int = 50,
) -> SearchPage:
    """Page and search through who joined, or left, between two runs. Raises as `compare_runs` does."""
    name = compare_runs(bridge, actor, before_id, after_id).name
    return member_search.find_changes(bridge.snapshots, name, kind, page_request(search, offset, limit))


@action(Role.VIEWER)
def compared_csv(bridge: Bridge, actor: Actor, before_id: int, after_id: int) -> Iterator[str]:
    """Yield who joined and left between two runs, for a spreadsheet. Raises as `compare_runs` does."""
    compared = compare_runs(bridge, actor, before_id, after_id)
    return lines_of_changes(bridge, compared.name, compared.after)
