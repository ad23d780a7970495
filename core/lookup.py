"""Look a user up: which ids belong together, which groups they are in and since when, and why they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import col, select

from core.access import Actor, Role, action
from core.associating import rows_of
from core.bridge import Bridge
from core.connections import one_line
from data import associations
from data.engine import reading
from data.models import Association, Connection, Group, Run, Stage
from data.snapshots import DUPLICATE, Change, Snapshots

# Differences that are searched at once, the newest first; and how far back at most, for one member of one group.
_AT_ONCE = 200
_MOST = 20_000
# So many ids of a user lead further: an id that thousands of profiles share tells nothing of one user.
MOST_IDS = 100


# One that was cancelled, or waits to go on, has written what came before.
_MAY_HAVE_WRITTEN = (Stage.TO_WRITE, Stage.WRITING, Stage.DONE, Stage.FAILED, Stage.CANCELLED)


@dataclass(frozen=True)
class InGroup:
    """What one group says of a user.

    `since` is the end of the run that added them, None when that run is no longer kept. Of one who is missing `reason`
    tells why: a matching reason, `duplicate` (with the member's distinct id in `instead`), `removed` (at `since`), or
    None when the group's latest reading did not have them at all.
    """

    group: Group
    destination: str
    is_member: bool
    apptimize_id: str | None = None
    since: datetime | None = None
    run_id: int | None = None
    reason: str | None = None
    instead: str | None = None


@dataclass(frozen=True)
class Who:
    """All that is known of an id, from readings and from what was associated by hand: nobody is asked for it."""

    id: str
    distinct_ids: list[str] = field(default_factory=list[str])
    apptimize_ids: list[str] = field(default_factory=list[str])
    groups: list[InGroup] = field(default_factory=list[InGroup])
    associated: list[tuple[Association, str, str]] = field(default_factory=list[tuple[Association, str, str]])

    @property
    def is_cut_short(self) -> bool:
        """Whether so many ids belong together that not all of them were followed."""
        return len(self.distinct_ids) + len(self.apptimize_ids) >= MOST_IDS

    @property
    def is_known(self) -> bool:
        """Whether any reading or association had this id."""
        return bool(self.distinct_ids or self.apptimize_ids)


@dataclass
class _Ids:
    """Ids that belong together: those of one profile, and of the profiles that share its Apptimize id."""

    asked: str
    distinct_ids: dict[str, None] = field(default_factory=dict[str, None])
    apptimize_ids: dict[str, None] = field(default_factory=dict[str, None])

    @property
    def all(self) -> dict[str, None]:
        return {self.asked: None} | self.distinct_ids | self.apptimize_ids

    @property
    def followed(self) -> list[str]:
        """The ids that lead further."""
        return list(self.all)[:MOST_IDS]

    def add(self, distinct_id: str | None, apptimize_id: str | None) -> None:
        if distinct_id:
            self.distinct_ids[distinct_id] = None
        if apptimize_id:
            self.apptimize_ids[apptimize_id] = None


@dataclass(frozen=True)
class _Place:
    """A group with the files that tell of its members, and of the profiles that its latest reading left out."""

    group: Group
    destination: str
    members: str | None
    left_out: str | None


@action(Role.VIEWER)
def who(bridge: Bridge, actor: Actor, wanted: str) -> Who:
    """Look up a distinct id or an Apptimize id, byte for byte. Raises SettingsError, StorageFailed."""
    one_line(wanted, "Id", most=1024)  # only checked: a space at its end may be what tells it from another
    ids = _Ids(wanted)
    places = list(_places(bridge))
    # Twice: the Apptimize id that the first finds leads to other profiles that have it too.
    for _ in range(2):
        for place in places:
            _collect(bridge.snapshots, place, ids)
    associated = list(_associated(bridge, ids))
    return Who(
        id=ids.asked,
        distinct_ids=list(ids.distinct_ids),
        apptimize_ids=list(ids.apptimize_ids),
        groups=[_in_group(bridge, place, ids) for place in places],
        associated=associated,
    )


def _places(bridge: Bridge) -> Iterator[_Place]:
    snapshots = bridge.snapshots
    with reading(bridge.engine) as session:
        groups = session.exec(
            select(Group, Connection.name)
            .where(col(Group.destination_id) == col(Connection.id))
            .order_by(col(Group.name), col(Group.id))
        ).all()
        kept = session.exec(select(Run.group_id, Run.left_out).where(col(Run.left_out).is_not(None))).all()
    left_out = dict(kept)
    for group, destination in groups:
        members, others = group.base_snapshot, left_out.get(group.id or 0)
        if members or others:
            yield _Place(
                group,
                destination,
                members if snapshots.is_whole(members) else None,
                others if snapshots.is_whole(others) else None,
            )


def _collect(snapshots: Snapshots, place: _Place, ids: _Ids) -> None:
    known = ids.followed
    for apptimize_id, distinct_id in snapshots.find_member(place.members, *known) if place.members else ():
        ids.add(distinct_id, apptimize_id)
    for _, distinct_id, apptimize_id in snapshots.find_left_out(place.left_out, *known) if place.left_out else ():
        ids.add(distinct_id, apptimize_id)


def _associated(bridge: Bridge, ids: _Ids) -> Iterator[tuple[Association, str, str]]:
    for one in associations.listed(bridge.engine, stages=_MAY_HAVE_WRITTEN, limit=100):
        assert one.id is not None
        told = set[int]()
        for wanted in ids.followed:
            for row in rows_of(bridge, one.id).find(wanted):
                if row.row not in told and associations.is_written(bridge.engine, one.id, row.row):
                    told.add(row.row)
                    ids.add(row.distinct_id, row.apptimize_id)
                    yield one, row.distinct_id, row.apptimize_id


def _in_group(bridge: Bridge, place: _Place, ids: _Ids) -> InGroup:
    """Tell what a group says of the asked id itself: groups may be matched on different properties.

    Only an Apptimize id that this group's own reading gives it leads further, to the member who has it too.
    """
    snapshots, asked = bridge.snapshots, ids.asked
    members = snapshots.find_member(place.members, asked) if place.members else []
    for apptimize_id, _ in sorted(members, key=lambda pair: pair[1] != asked):
        return _member(bridge, place, apptimize_id)
    left_out = snapshots.find_left_out(place.left_out, asked) if place.left_out else []
    for _, distinct_id, apptimize_id in left_out:
        if not place.members or not apptimize_id or distinct_id != asked:
            continue
        for its_id, instead in snapshots.find_member(place.members, apptimize_id):
            if its_id == apptimize_id:
                return _member(bridge, place, apptimize_id, instead=instead)
    for reason, _, apptimize_id in left_out:
        return InGroup(place.group, place.destination, is_member=False, apptimize_id=apptimize_id, reason=reason)
    for one in list(ids.apptimize_ids or ids.all)[:MOST_IDS]:
        if run := _last_change(bridge, place.group, one, "removed"):
            return InGroup(
                place.group,
                place.destination,
                is_member=False,
                apptimize_id=one,
                since=run.finished_at,
                run_id=run.id,
                reason="removed",
            )
    return InGroup(place.group, place.destination, is_member=False)


def _member(bridge: Bridge, place: _Place, apptimize_id: str, *, instead: str | None = None) -> InGroup:
    run = _last_change(bridge, place.group, apptimize_id, "added")
    return InGroup(
        place.group,
        place.destination,
        is_member=True,
        apptimize_id=apptimize_id,
        since=run.finished_at if run else None,
        run_id=run.id if run else None,
        reason=DUPLICATE if instead is not None else None,
        instead=instead,
    )


def _last_change(bridge: Bridge, group: Group, apptimize_id: str, change: Change) -> Run | None:
    """Find the latest run that added the member to the group, or removed it, as far back as differences are kept."""
    for offset in range(0, _MOST, _AT_ONCE):
        with reading(bridge.engine) as session:
            query = (
                select(Run)
                .where(
                    Run.group_id == group.id,
                    col(Run.difference).is_not(None),
                    col(Run.finished_at).is_not(None),
                    Run.status == "succeeded",
                    col(Run.dry_run).is_(False),
                )
                .order_by(col(Run.id).desc())
            )
            found = session.exec(query.limit(_AT_ONCE).offset(offset)).all()
        kept = {run.difference: run for run in found if bridge.snapshots.exists(run.difference)}
        if kept:
            changes = bridge.snapshots.changes_of([name for name in kept if name], apptimize_id)
            for name, run in kept.items():
                if name in changes:
                    return run if changes[name] == change else None
        if len(found) < _AT_ONCE:
            return None
    return None
