"""Who is in a group, and who joined, left and stayed with a run: worked out from what is kept of each run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core import spreadsheet
from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound
from data import run_stats, runs
from data.engine import read_session
from data.members.changes import ChangeKind
from data.members.search import SearchPage
from data.models import Group, Run, RunStatus


@action(Role.VIEWER)
def find_members(
    bridge: Bridge, actor: Actor, group_id: int, *, search: str = "", offset: int = 0, limit: int = 50
) -> SearchPage:
    """Page and search through what was last delivered, in order of Apptimize id. Raises NotFound, StorageFailed."""
    with read_session(bridge.engine) as session:
        group = session.get(Group, group_id)
    if group is None or group.base_snapshot is None:
        raise NotFound("This group was not delivered yet.", advice="Export its cohort first.")
    return bridge.snapshots.find(group.base_snapshot, search=search, offset=offset, limit=limit)


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
    bridge: Bridge, actor: Actor, run_id: int, way: ChangeKind, *, search: str = "", offset: int = 0, limit: int = 50
) -> SearchPage:
    """Page and search through who came, or left, with a run, or would have. Raises NotFound, StorageFailed."""
    return bridge.snapshots.find_changes(_difference(bridge, run_id), way, search=search, offset=offset, limit=limit)


@action(Role.VIEWER)
def changes_csv(bridge: Bridge, actor: Actor, run_id: int) -> Iterator[str]:
    """Yield who came and left with a run, for a spreadsheet. Raises NotFound, StorageFailed."""
    return lines_of_changes(bridge, _difference(bridge, run_id))


@action(Role.VIEWER)
def find_unchanged(
    bridge: Bridge, actor: Actor, run_id: int, *, search: str = "", offset: int = 0, limit: int = 50
) -> SearchPage:
    """Page and search through who stayed with a run, or would have. Raises NotFound, StorageFailed."""
    found = _unchanged(bridge, run_id)
    return bridge.snapshots.find_others(
        *found.files, total=found.run.unchanged, search=search, offset=offset, limit=limit
    )


@action(Role.VIEWER)
def unchanged_csv(bridge: Bridge, actor: Actor, run_id: int) -> Iterator[str]:
    """Yield who stayed with a run, or would have, for a spreadsheet. Raises NotFound, StorageFailed."""
    chunks = bridge.snapshots.iterate_others(*_unchanged(bridge, run_id).files)
    return spreadsheet.lines(["apptimize_id", "distinct_id"], (pair for chunk in chunks for pair in chunk))


@dataclass(frozen=True)
class _Unchanged:
    """The members before or after a run, and those of them that it removed or added: the others stayed."""

    run: Run
    files: tuple[str, str | None, ChangeKind]


def _unchanged(bridge: Bridge, run_id: int) -> _Unchanged:
    """Find out who stayed: of what a run wrote, or else of what the group still holds as the run found it."""
    run = _run(bridge, run_id)
    if run.added or run.removed:
        _difference(bridge, run_id)  # without it nobody can tell
    if run.status == RunStatus.SUCCEEDED and not run.dry_run:
        if run.snapshot and bridge.snapshots.exists(run.snapshot):
            return _Unchanged(run, (run.snapshot, run.difference, "added"))
        raise NotFound(f"The members as of run {run_id} are not kept (any more).", advice="Choose a later run.")
    with read_session(bridge.engine) as session:
        group = session.get(Group, run.group_id)
    base = runs.get(bridge.engine, group.base_run_id) if group and group.base_run_id else None
    if (
        group is None
        or base is None
        or base.finished_at is None
        or run.finished_at is None
        or base.finished_at > run.finished_at
        or not bridge.snapshots.exists(group.base_snapshot)
    ):
        raise NotFound(
            f"The group is not any more what run {run_id} found: who stayed is not kept.", advice="Preview it again."
        )
    assert group.base_snapshot is not None
    return _Unchanged(run, (group.base_snapshot, run.difference, "removed"))


def _run(bridge: Bridge, run_id: int) -> Run:
    run = runs.get(bridge.engine, run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}.", advice="See History.")
    return run


def _difference(bridge: Bridge, run_id: int) -> str:
    run = _run(bridge, run_id)
    if run.difference is None or not bridge.snapshots.exists(run.difference):
        raise NotFound(f"Who came and left with run {run_id} is not kept.", advice="Choose a later run.")
    return run.difference


def lines_of_changes(bridge: Bridge, name: str) -> Iterator[str]:
    def rows() -> Iterator[tuple[str, str, str]]:
        for way in ("added", "removed"):
            for chunk in bridge.snapshots.iterate_changes(name, way):
                yield from ((way, member.apptimize_id, member.distinct_id) for member in chunk)

    return spreadsheet.lines(["change", "apptimize_id", "distinct_id"], rows())


# --- two runs ------------------------------------------------------------------------------------------------------


@action(Role.VIEWER)
def kept_runs(bridge: Bridge, actor: Actor, group_id: int) -> list[Run]:
    """List the runs of a group whose members are kept whole, newest first."""
    return [run for run in run_stats.kept_runs(bridge.engine, group_id) if bridge.snapshots.exists(run.snapshot)]


def require_kept(bridge: Bridge, run_id: int) -> Run:
    run = runs.get(bridge.engine, run_id)
    if run is None or run.status != RunStatus.SUCCEEDED or not bridge.snapshots.exists(run.snapshot):
        raise NotFound(
            f"The members as of run {run_id} are not kept (any more).",
            advice="Choose a later run that succeeded: the last 30 that changed something are kept.",
        )
    return run
