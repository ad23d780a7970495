"""Look a user up: which ids belong together, which groups they are in and since when, and why they are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import col, select

from core.access.roles import Actor, Role, action
from core.associate.files import import_rows
from core.bridge import Bridge
from core.reports.members import (
    LOOKED_THROUGH,
    Lookback,
    Membership,
    changes_back,
    is_lost,
    kept_of_each_group,
    memberships,
)
from core.validation import clean_line
from data import associations, run_stats
from data.engine import read_session
from data.members.changes import ChangeKind
from data.members.excluded import DUPLICATE, ExcludedProfile
from data.members.snapshots import Snapshots
from data.models import Association, Connection, Group, ImportStage, Member

# So many changes a command looks through, which may take some seconds.
FAR_BACK = 20_000
# The reason where the members of a group are gone from the disk.
LOST = "lost"
# So many ids of a user lead further: an id that thousands of profiles share tells nothing of one user.
MOST_IDS = 100


# One that was cancelled, or waits to go on, has written what came before.
_MAY_HAVE_WRITTEN = (
    ImportStage.TO_WRITE,
    ImportStage.WRITING,
    ImportStage.DONE,
    ImportStage.FAILED,
    ImportStage.CANCELLED,
)


@dataclass(frozen=True)
class InGroup:
    """What one group says of a user.

    `since` is the end of the run that added them, None when it was before `kept_since`, where the looking ended. Of one
    who is missing `reason` tells why: a matching reason, `duplicate` (with the member's distinct id in `instead`),
    `removed` (at `since`), `lost` when the group's members are gone from the disk and nobody can tell, or None when the
    group's latest reading did not have them at all.
    """

    group: Group
    destination: str
    is_member: bool
    apptimize_id: str | None = None
    since: datetime | None = None
    run_id: int | None = None
    reason: str | None = None
    instead: str | None = None
    kept_since: datetime | None = None


@dataclass(frozen=True)
class Who:
    """All that is known of an id, from readings and from what was associated by hand: nobody is asked for it."""

    id: str
    looked: Lookback
    distinct_ids: list[str] = field(default_factory=list[str])
    apptimize_ids: list[str] = field(default_factory=list[str])
    groups: list[InGroup] = field(default_factory=list[InGroup])
    associated: list[tuple[Association, Member]] = field(default_factory=list[tuple[Association, Member]])

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

    @property
    def are_known(self) -> bool:
        """Whether anything had the id that was asked for."""
        return bool(self.distinct_ids or self.apptimize_ids)

    def add(self, user: Member | ExcludedProfile) -> None:
        if user.distinct_id:
            self.distinct_ids[user.distinct_id] = None
        if user.apptimize_id:
            self.apptimize_ids[user.apptimize_id] = None


@dataclass(frozen=True)
class _Place:
    """A group with the files that tell of its members, and of the profiles that its latest reading left out."""

    group: Group
    destination: str
    members: str
    excluded: str
    is_lost: bool = False  # the members are gone from the disk: nobody can tell whether somebody is among them


@dataclass
class _Readings:
    """What the files say of the ids that were asked for so far, by file."""

    snapshots: Snapshots
    places: list[_Place]
    members: dict[str, set[Member]] = field(default_factory=dict[str, "set[Member]"])
    excluded: dict[str, set[ExcludedProfile]] = field(default_factory=dict[str, "set[ExcludedProfile]"])
    asked: set[str] = field(default_factory=set[str])

    def ask(self, wanted: Iterable[str]) -> None:
        """Find the members and the left out that have one of these ids."""
        new = [one for one in dict.fromkeys(wanted) if one not in self.asked]
        if not new:
            return
        self.asked.update(new)
        with ThreadPoolExecutor(2) as threads:  # most of the time goes into opening one file after another
            members = threads.submit(self.snapshots.members_in, [one.members for one in self.places], new)
            excluded = threads.submit(self.snapshots.excluded_in, [one.excluded for one in self.places], new)
        for name, rows in members.result().items():
            self.members.setdefault(name, set()).update(rows)
        for name, others in excluded.result().items():
            self.excluded.setdefault(name, set()).update(others)

    def members_of(self, place: _Place, wanted: str) -> list[Member]:
        """Return the group's members with this id, first the one whose distinct id it is."""
        rows = [member for member in self.members.get(place.members, ()) if wanted in member]
        return sorted(rows, key=lambda member: (member.distinct_id != wanted, member))

    def excluded_of(self, place: _Place, wanted: str) -> list[ExcludedProfile]:
        """Return the group's profiles with this id that made no member, first the one whose distinct id it is."""
        rows = [one for one in self.excluded.get(place.excluded, ()) if wanted in (one.distinct_id, one.apptimize_id)]
        return sorted(rows, key=lambda one: (one.distinct_id != wanted, one.distinct_id, one.reason))


@dataclass(frozen=True)
class _Changes:
    """The changes that were looked through, of each group the oldest first, and what they say of the ids."""

    by_group: dict[int, list[run_stats.Change]]
    came_and_went: dict[str, dict[str, ChangeKind]]

    def last_stay(self, group: Group, apptimize_id: str, *, is_in: bool) -> Membership | None:
        """Tell when a member was last in the group, as the member's timeline does."""
        ways = self.came_and_went.get(apptimize_id, {})
        stays = memberships(group, self.by_group.get(group.id or 0, []), ways, is_in=is_in)
        return stays[-1] if stays else None


@action(Role.VIEWER)
def who(bridge: Bridge, actor: Actor, wanted: str, *, look_through: int = LOOKED_THROUGH) -> Who:
    """Look up a distinct id or an Apptimize id, byte for byte.

    Since when somebody is in a group, or was removed, is worked out from the newest `look_through` changes of all
    groups. Raises SettingsError, StorageFailed.
    """
    clean_line(wanted, "Id", most=1024)  # only checked: a space at its end may be what tells it from another
    ids = _Ids(wanted)
    readings = _Readings(bridge.snapshots, list(_places(bridge)))
    # Twice: the Apptimize id that the first finds leads to other profiles that have it too.
    for _ in range(2):
        readings.ask(ids.followed)
        _collect(readings, ids)
    found, looked = changes_back(bridge, None, look_through)
    if not ids.are_known:  # who has left every group is still known by what removed them
        for rows in bridge.snapshots.members_in([one.difference for one in found], [wanted]).values():
            for member in rows:
                ids.add(member)
    associated = list(_associated(bridge, ids))
    changes = _changes(bridge, found, ids)
    return Who(
        id=ids.asked,
        looked=looked,
        distinct_ids=list(ids.distinct_ids),
        apptimize_ids=list(ids.apptimize_ids),
        groups=[_in_group(readings, place, ids, changes) for place in readings.places],
        associated=associated,
    )


def _places(bridge: Bridge) -> Iterator[_Place]:
    excluded = run_stats.excluded_files(bridge.engine)
    with read_session(bridge.engine) as session:
        groups = session.exec(
            select(Group, Connection.name)
            .where(col(Group.destination_id) == col(Connection.id))
            .order_by(col(Group.name), col(Group.id))
        ).all()
    for group, destination in groups:
        members, others = group.base_snapshot, excluded.get(group.id or 0)
        if members or others:
            yield _Place(group, destination, members or "", others or "", is_lost(bridge, group))


def _collect(readings: _Readings, ids: _Ids) -> None:
    for place in readings.places:
        for member in sorted(readings.members.get(place.members, ())):
            ids.add(member)
        for profile in sorted(readings.excluded.get(place.excluded, ()), key=lambda one: one.distinct_id):
            ids.add(profile)


def _associated(bridge: Bridge, ids: _Ids) -> Iterator[tuple[Association, Member]]:
    for one in associations.listed(bridge.engine, stages=_MAY_HAVE_WRITTEN, limit=100):
        assert one.id is not None
        told = set[int]()
        for wanted in ids.followed:
            for row in import_rows(bridge, one.id).find(wanted):
                if row.row not in told and associations.is_written(bridge.engine, one.id, row.row):
                    told.add(row.row)
                    ids.add(row.member)
                    yield one, row.member


def _changes(bridge: Bridge, found: list[run_stats.Change], ids: _Ids) -> _Changes:
    by_group = kept_of_each_group(bridge, found)
    names = [one.difference for changes in by_group.values() for one in changes]
    return _Changes(by_group, bridge.snapshots.changes_of(names, *ids.followed))


def _in_group(readings: _Readings, place: _Place, ids: _Ids, changes: _Changes) -> InGroup:
    """Tell what a group says of the asked id itself: groups may be matched on different properties.

    Only an Apptimize id that this group's own reading gives it leads further, to the member who has it too.
    """
    asked = ids.asked
    for member in readings.members_of(place, asked):
        return _member(place, member.apptimize_id, changes)
    excluded = readings.excluded_of(place, asked)
    for _, distinct_id, apptimize_id in excluded:
        if not apptimize_id or distinct_id != asked:
            continue
        readings.ask([apptimize_id])  # where very many ids belong together it was not followed
        for member in readings.members_of(place, apptimize_id):
            if member.apptimize_id == apptimize_id:
                return _member(place, apptimize_id, changes, instead=member.distinct_id)
    for reason, _, apptimize_id in excluded:
        return InGroup(place.group, place.destination, is_member=False, apptimize_id=apptimize_id, reason=reason)
    for one in list(ids.apptimize_ids or ids.all)[:MOST_IDS]:
        stay = changes.last_stay(place.group, one, is_in=False)
        if stay and stay.until:
            return InGroup(
                place.group,
                place.destination,
                is_member=False,
                apptimize_id=one,
                since=stay.until,
                run_id=stay.until_run,
                reason="removed",
            )
    return InGroup(place.group, place.destination, is_member=False, reason=LOST if place.is_lost else None)


def _member(place: _Place, apptimize_id: str, changes: _Changes, *, instead: str | None = None) -> InGroup:
    stay = changes.last_stay(place.group, apptimize_id, is_in=True)
    return InGroup(
        place.group,
        place.destination,
        is_member=True,
        apptimize_id=apptimize_id,
        since=stay.since if stay else None,
        run_id=stay.since_run if stay else None,
        kept_since=stay.kept_since if stay else None,
        reason=DUPLICATE if instead is not None else None,
        instead=instead,
    )
