"""What the latest reads of all groups know of the ids of one user."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from core.bridge import Bridge
from core.rules.matching import id_kind
from data import groups, run_stats
from data.members.excluded import ExcludedProfile, list_excluded_with
from data.members.lookup import list_members_with
from data.members.snapshots import Snapshots
from data.models import Group, Member
from data.proofs import find_miscounted
from data.run_stats import ExcludedFile

# So many ids of a user lead further: an id that thousands of profiles share identifies no one.
MOST_IDS = 100


@dataclass
class UserIds:
    """Ids that belong together: those of one profile, and of the profiles that share its Apptimize id.

    `other_ids` are what destinations know the user by that do not go by Apptimize ids.
    """

    asked: str
    distinct_ids: dict[str, None] = field(default_factory=dict[str, None])
    apptimize_ids: dict[str, None] = field(default_factory=dict[str, None])
    other_ids: dict[str, None] = field(default_factory=dict[str, None])

    @property
    def all(self) -> dict[str, None]:
        """Every id, first the one that was asked for."""
        return {self.asked: None} | self.distinct_ids | self.member_ids

    @property
    def member_ids(self) -> dict[str, None]:
        """Every id that groups know the user by, Apptimize's first."""
        return self.apptimize_ids | self.other_ids

    @property
    def followed(self) -> list[str]:
        """The ids that lead further."""
        return list(self.all)[:MOST_IDS]

    @property
    def are_known(self) -> bool:
        """Whether anything had the id that was asked for."""
        return bool(self.distinct_ids or self.member_ids)

    def add(self, user: Member | ExcludedProfile, kind: str = "") -> None:
        """Add both ids of a member, or those that an excluded profile has; `kind` is that of the group's ids."""
        if user.distinct_id:
            self.distinct_ids[user.distinct_id] = None
        if user.apptimize_id:
            (self.other_ids if kind else self.apptimize_ids)[user.apptimize_id] = None


@dataclass(frozen=True)
class GroupFiles:
    """A group with the files that have its members, and the profiles that its latest read excluded.

    `kind` is that of the ids of its members, as `id_kind` tells it, `excluded_kind` that of those it excluded.
    """

    group: Group
    destination: str
    members: str
    excluded: str
    kind: str = ""
    excluded_kind: str = ""


@dataclass
class UserReads:
    """What the files know of the ids that were asked for so far, by file."""

    snapshots: Snapshots
    groups: list[GroupFiles]
    miscounted: set[str] = field(default_factory=set[str])  # snapshots that are not what they say
    members: dict[str, set[Member]] = field(default_factory=dict[str, "set[Member]"])
    excluded: dict[str, set[ExcludedProfile]] = field(default_factory=dict[str, "set[ExcludedProfile]"])
    asked: set[str] = field(default_factory=set[str])

    def ask(self, ids: Iterable[str]) -> None:
        """Find the members and the excluded profiles that have one of these ids."""
        new = [user_id for user_id in dict.fromkeys(ids) if user_id not in self.asked]
        if not new:
            return
        self.asked.update(new)
        with ThreadPoolExecutor(2) as threads:  # most of the time goes into opening one file after another
            names = [files.members for files in self.groups if files.members not in self.miscounted]
            members = threads.submit(list_members_with, self.snapshots, names, new)
            excluded = threads.submit(
                list_excluded_with, self.snapshots, [files.excluded for files in self.groups], new
            )
        for name, rows in members.result().items():
            self.members.setdefault(name, set()).update(rows)
        for name, others in excluded.result().items():
            self.excluded.setdefault(name, set()).update(others)

    def is_lost(self, files: GroupFiles) -> bool:
        """Return whether the group's members are gone or damaged, as far as is known: then so is who is among them."""
        name = files.members
        return bool(name) and (name in self.miscounted or not self.snapshots.exists(name))

    def collect(self, ids: UserIds) -> None:
        """Add the ids of all profiles that were found to those that belong together."""
        for files in self.groups:
            for member in sorted(self.members.get(files.members, ())):
                ids.add(member, files.kind)
            for profile in sorted(self.excluded.get(files.excluded, ()), key=lambda profile: profile.distinct_id):
                ids.add(profile, files.excluded_kind)

    def list_members(self, files: GroupFiles, user_id: str) -> list[Member]:
        """Return the group's members with this id, first the one whose distinct id it is."""
        rows = [member for member in self.members.get(files.members, ()) if user_id in member]
        return sorted(rows, key=lambda member: (member.distinct_id != user_id, member))

    def list_excluded(self, files: GroupFiles, user_id: str) -> list[ExcludedProfile]:
        """Return the group's profiles with this id that made no member, first the one whose distinct id it is."""
        profiles = self.excluded.get(files.excluded, ())
        rows = [profile for profile in profiles if user_id in (profile.distinct_id, profile.apptimize_id)]
        return sorted(rows, key=lambda row: (row.distinct_id != user_id, row.distinct_id, row.reason))

    def members_with(self, user_id: str) -> list[Member]:
        """Return the members of any group with this id, sorted."""
        return sorted({member for files in self.groups for member in self.list_members(files, user_id)})


def get_reads(bridge: Bridge, group_id: int | None = None) -> UserReads:
    """Find the files of every group that has any, or of one."""
    excluded = run_stats.excluded_files(bridge.engine, only=group_id)
    files = [
        _files_of(group, destination, excluded.get(group.id or 0))
        for group, destination in groups.list_with_destination(
            bridge.engine, only=None if group_id is None else [group_id]
        )
    ]
    files = [group_files for group_files in files if group_files.members or group_files.excluded]
    names = [group_files.members for group_files in files if group_files.members]
    return UserReads(bridge.snapshots, files, find_miscounted(bridge.engine, bridge.snapshots, names))


def _files_of(group: Group, destination: str, excluded: ExcludedFile | None) -> GroupFiles:
    read_by = excluded.matched_by if excluded else ""
    # What a group that was only previewed knows people by, its read alone tells.
    kind = id_kind(group.base_match if group.base_snapshot else read_by)
    return GroupFiles(
        group, destination, group.base_snapshot or "", excluded.name if excluded else "", kind, id_kind(read_by)
    )
