"""Who is in a group, and who joined, left or was unchanged by a run: worked out from what is kept of each run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core import spreadsheet
from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors_of
from core.errors import NotFound, StorageFailed
from core.rules.id_words import id_words
from core.syncs.groups import get_base
from core.syncs.runs import members_not_kept
from core.text import clean_search
from data import groups, proofs, run_stats, runs
from data.members import search as member_search
from data.members.duck import MembersDamaged
from data.members.search import PageRequest, SearchPage
from data.models import MembershipChange, Run, RunStatus
from data.run_stats import LoggedChange


def page_request(search: str, offset: int, limit: int) -> PageRequest:
    """Ask for so many members from one on, by what of a text can be searched for."""
    return PageRequest(clean_search(search), offset, limit)


@action(Role.VIEWER)
def find_members(
    bridge: Bridge, actor: Actor, group_id: int, *, search: str = "", offset: int = 0, limit: int = 50
) -> SearchPage:
    """Page and search through what was last delivered, in order of Apptimize id. Raises NotFound, StorageFailed."""
    return member_search.find_members(bridge.snapshots, get_base(bridge, group_id), page_request(search, offset, limit))


@action(Role.VIEWER)
def are_members_kept(bridge: Bridge, actor: Actor, run: Run) -> bool:
    """Return whether the members as of a run are still kept."""
    return bridge.snapshots.exists(run.snapshot)


@action(Role.VIEWER)
def are_changes_kept(bridge: Bridge, actor: Actor, run: Run) -> bool:
    """Return whether it is still kept who joined and left with a run."""
    return bridge.snapshots.exists(run.difference)


@action(Role.VIEWER)
def find_changes(
    bridge: Bridge,
    actor: Actor,
    run_id: int,
    kind: MembershipChange,
    *,
    search: str = "",
    offset: int = 0,
    limit: int = 50,
) -> SearchPage:
    """Page and search through who joined, or left, with a run, or would have. Raises NotFound, StorageFailed."""
    difference, request = _difference(bridge, run_id), page_request(search, offset, limit)
    return member_search.find_changes(bridge.snapshots, difference, kind, request)


@action(Role.VIEWER)
def changes_csv(bridge: Bridge, actor: Actor, run_id: int) -> Iterator[str]:
    """Yield who joined and left with a run, for a spreadsheet. Raises NotFound, StorageFailed."""
    return lines_of_changes(bridge, _difference(bridge, run_id), _run(bridge, run_id))


@action(Role.VIEWER)
def find_unchanged(
    bridge: Bridge, actor: Actor, run_id: int, *, search: str = "", offset: int = 0, limit: int = 50
) -> SearchPage:
    """Page and search through who a run left unchanged, or would have. Raises NotFound, StorageFailed."""
    unchanged = _unchanged(bridge, run_id)
    request = page_request(search, offset, limit)
    return member_search.find_others(
        bridge.snapshots, *unchanged.files, request, total=_count_unchanged(bridge, unchanged)
    )


@action(Role.VIEWER)
def unchanged_csv(bridge: Bridge, actor: Actor, run_id: int) -> Iterator[str]:
    """Yield who a run left unchanged, or would have, for a spreadsheet. Raises NotFound, StorageFailed."""
    unchanged = _unchanged(bridge, run_id)
    chunks = bridge.snapshots.iterate_others(*unchanged.files)
    return spreadsheet.lines(
        [id_words(unchanged.run.matched_by).column, "distinct_id"],
        storage_errors_of(member for chunk in chunks for member in chunk),
    )


@dataclass(frozen=True)
class _Unchanged:
    """The members before or after a run, and those of them that it removed or added: the others are unchanged."""

    run: Run
    files: tuple[str, str | None, MembershipChange]


def _count_unchanged(bridge: Bridge, unchanged: _Unchanged) -> int:
    """Count whom a run left unchanged, without those who were forgotten since."""
    name, difference, change = unchanged.files
    run = unchanged.run
    members = proofs.members_of(bridge.engine, name)
    if members is None or members == run.unchanged + (run.added if change == "added" else run.removed):
        return run.unchanged
    changed = bridge.snapshots.count_changes(difference) if difference else (0, 0)
    return members - changed[0 if change == "added" else 1]


def _unchanged(bridge: Bridge, run_id: int) -> _Unchanged:
    """Find the files of the unchanged members: what a run wrote, or what the group still holds as the run found it."""
    run = _run(bridge, run_id)
    if run.added or run.removed:
        _difference(bridge, run_id)  # without it that is not known
    if run.status == RunStatus.SUCCEEDED and not run.dry_run:
        if run.snapshot and are_whole(bridge, run):
            return _Unchanged(run, (run.snapshot, run.difference, "added"))
        raise NotFound(f"The members as of run {run_id} are not kept (any more).", advice="Choose a later run.")
    group = groups.get_group(bridge.engine, run.group_id)
    base = runs.get(bridge.engine, group.base_run_id) if group and group.base_run_id else None
    base_snapshot = group.base_snapshot if group else None
    if (
        group is None
        or base_snapshot is None
        or base is None
        or base.finished_at is None
        or run.finished_at is None
        or base.finished_at > run.finished_at
        or not proofs.is_proven(bridge.engine, bridge.snapshots, base_snapshot, members=group.members)
    ):
        raise NotFound(
            f"The group is not any more what run {run_id} found: who was unchanged is not kept.",
            advice="Preview it again.",
        )
    return _Unchanged(run, (base_snapshot, run.difference, "removed"))


def _run(bridge: Bridge, run_id: int) -> Run:
    run = runs.get(bridge.engine, run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}.", advice="See History.")
    return run


def _difference(bridge: Bridge, run_id: int) -> str:
    run = _run(bridge, run_id)
    if run.difference is None or not bridge.snapshots.exists(run.difference):
        raise NotFound(f"Who joined and left with run {run_id} is not kept.", advice="Choose a later run.")
    if not is_what_it_says(bridge, run, run.difference):
        raise StorageFailed(
            f"The file of who joined and left with run {run_id} is damaged.",
            advice="Choose another run: no group and no other run is affected.",
        )
    return run.difference


def is_what_it_says(bridge: Bridge, run: Run | LoggedChange, difference: str) -> bool:
    """Return whether a difference has as many members as its run added and removed; asked once while it is as it is."""
    snapshots = bridge.snapshots
    stamp = snapshots.stamp(difference)
    if not snapshots.counted.holds(difference, stamp):
        try:
            counts = snapshots.count_changes(difference)
        except MembersDamaged:
            return False
        if not _adds_up(bridge, run, difference, counts):
            return False
        snapshots.counted.put(difference, stamp)
    return True


def _adds_up(bridge: Bridge, run: Run | LoggedChange, difference: str, counts: tuple[int, int]) -> bool:
    """Return whether these are the counts of a run's difference: of one without somebody who was forgotten fewer."""
    if counts == (run.added, run.removed):
        return True
    proof = proofs.members_of(bridge.engine, difference)
    return (
        proof is not None
        and sum(counts) == proof
        and proofs.is_proven(bridge.engine, bridge.snapshots, difference, members=proof)
    )


def lines_of_changes(bridge: Bridge, name: str, run: Run) -> Iterator[str]:
    def rows() -> Iterator[tuple[str, str, str]]:
        for kind in ("added", "removed"):
            for chunk in bridge.snapshots.iterate_changes(name, kind):
                yield from ((kind, member.apptimize_id, member.distinct_id) for member in chunk)

    return spreadsheet.lines(["change", id_words(run.matched_by).column, "distinct_id"], storage_errors_of(rows()))


# --- two runs ------------------------------------------------------------------------------------------------------


@action(Role.VIEWER)
def kept_runs(bridge: Bridge, actor: Actor, group_id: int) -> list[Run]:
    """List the runs of a group whose members are kept whole, newest first."""
    return [run for run in run_stats.kept_runs(bridge.engine, group_id) if bridge.snapshots.exists(run.snapshot)]


def require_kept(bridge: Bridge, run_id: int) -> Run:
    run = runs.get(bridge.engine, run_id)
    if run is None or run.status != RunStatus.SUCCEEDED or not are_whole(bridge, run):
        raise members_not_kept(run_id)
    return run


def are_whole(bridge: Bridge, run: Run) -> bool:
    """Return whether the members as of a run are kept, and proved to be those."""
    return proofs.is_proven(bridge.engine, bridge.snapshots, run.snapshot, members=run.members)
