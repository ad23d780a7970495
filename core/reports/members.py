"""Who is in a group, since when, and what any two runs differ in: worked out from what is kept of each run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from core import spreadsheet
from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound
from data import groups, run_stats, runs
from data.engine import read_session
from data.members.changes import ChangeKind
from data.members.search import SearchPage
from data.models import Group, Member, Run, RunStatus

# So many changes are looked through in about a tenth of a second; a person may ask for more.
LOOKED_THROUGH = 300


@dataclass(frozen=True)
class Membership:
    """One time that a member was in a group. `since` None: it began before `kept_since`, all that is kept.

    `until` None: the member is in the group now, as far as is known.
    """

    group: Group
    since: datetime | None
    since_run: int | None
    until: datetime | None = None
    until_run: int | None = None
    kept_since: datetime | None = None
    is_in: bool = True


@dataclass(frozen=True)
class Lookback:
    """What an answer rests on: so many changes, the oldest of them at `back_to`; `is_more` when older ones are kept."""

    changes: int
    back_to: datetime | None
    is_more: bool


@dataclass(frozen=True)
class MembershipHistory:
    """What is known of one member; None: nobody is known by that text, which may stand for several of `ids`."""

    member: Member | None
    ids: list[Member]
    stays: list[Membership]
    looked: Lookback
    lost: list[Group] = field(default_factory=list[Group])  # whose members are gone from the disk: nobody can tell


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


# --- one member ----------------------------------------------------------------------------------------------------


@action(Role.VIEWER)
def membership_history(
    bridge: Bridge,
    actor: Actor,
    text: str,
    *,
    group_id: int | None = None,
    member: str | None = None,
    look_through: int = LOOKED_THROUGH,
) -> MembershipHistory:
    """Tell of the member whose Apptimize id, or else whose distinct id, is this text: in which groups, and since when.

    It is worked out from the newest `look_through` changes that are kept; with `group_id` only from that group's. Where
    a distinct id has several Apptimize ids, `member` picks one. Raises StorageFailed.
    """
    groups = _groups(bridge, group_id)
    changes, looked = changes_back(bridge, group_id, look_through)
    lost = [one for one in groups if is_lost(bridge, one)]
    found = bridge.snapshots.known_as(_bases(groups), text)
    is_present = bool(found)
    found = found or bridge.snapshots.known_as([one.difference for one in changes], text)
    ids = list(dict.fromkeys(known for known, _ in found))
    picked = next((known for known in ids if known.apptimize_id == member), ids[0] if ids else None)
    if picked is None:
        return MembershipHistory(None, [], [], looked, lost)
    apptimize_id = picked.apptimize_id
    if is_present and apptimize_id == text:
        in_now = {name for _, name in found}
    else:
        in_now = bridge.snapshots.holding(_bases(groups), apptimize_id)
    came_and_went = bridge.snapshots.changes_of([one.difference for one in changes], apptimize_id)[apptimize_id]
    by_group = kept_of_each_group(bridge, changes)
    stays = [
        stay
        for group in groups
        for stay in memberships(group, by_group[group.id or 0], came_and_went, is_in=group.base_snapshot in in_now)
    ]
    return MembershipHistory(picked, ids, sorted(stays, key=_newest_first), looked, lost)


def is_lost(bridge: Bridge, group: Group) -> bool:
    """Tell whether a group's members are gone from the disk: nobody can tell who is among them then."""
    return group.base_snapshot is not None and not bridge.snapshots.exists(group.base_snapshot)


def changes_back(bridge: Bridge, group_id: int | None, most: int) -> tuple[list[run_stats.Change], Lookback]:
    """Return the newest changes of a group, or of all, newest first and at most so many, and how far back they go."""
    found = run_stats.changes(bridge.engine, group_id, limit=most + 1)
    changes = found[:most]
    return changes, Lookback(len(changes), changes[-1].at if changes else None, is_more=len(found) > most)


def kept_of_each_group(bridge: Bridge, changes: list[run_stats.Change]) -> dict[int, list[run_stats.Change]]:
    """Sort changes whose file is still there by group, the oldest first."""
    by_group: dict[int, list[run_stats.Change]] = defaultdict(list)
    for change in reversed(changes):
        if bridge.snapshots.exists(change.difference):
            by_group[change.group_id].append(change)
    return by_group


def memberships(
    group: Group, changes: list[run_stats.Change], came_and_went: dict[str, ChangeKind], *, is_in: bool
) -> list[Membership]:
    """Put together when a member was in a group, from its changes, the oldest first.

    A run after which the group held nobody but those it added says of everybody whether they were in: what it does not
    name had left by then. Where the changes say nothing, what the group holds now decides.
    """
    kept_since = changes[0].at if changes else group.delivered_at
    stays: list[Membership] = []
    # Before the first change that is kept nobody was in a group that the change filled from nothing.
    known_before = bool(changes) and changes[0].is_whole
    for change in changes:
        way = came_and_went.get(change.difference)
        inside = bool(stays) and stays[-1].until is None
        if way == "added" and not inside:
            stays.append(Membership(group, change.at, change.run_id, kept_since=kept_since))
        elif way == "removed" and not inside and not stays and not known_before:
            stays.append(Membership(group, None, None, change.at, change.run_id, kept_since, is_in=False))
        elif inside and (way == "removed" or (way is None and change.is_whole)):
            stays[-1] = replace(stays[-1], until=change.at, until_run=change.run_id, is_in=False)
    inside = bool(stays) and stays[-1].until is None
    if is_in and not inside:
        stays.append(Membership(group, None, None, kept_since=kept_since))
    elif inside and not is_in:
        stays[-1] = replace(stays[-1], is_in=False)
    return stays


def _newest_first(stay: Membership) -> tuple[bool, float]:
    at = stay.until or stay.since or stay.kept_since
    return not stay.is_in, -(at.timestamp() if at else 0.0)


def _groups(bridge: Bridge, group_id: int | None) -> list[Group]:
    return [one for one in groups.list_groups(bridge.engine) if group_id in (None, one.id)]


def _bases(groups: Iterable[Group]) -> list[str]:
    return [one.base_snapshot for one in groups if one.base_snapshot]


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
