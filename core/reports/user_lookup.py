"""Look a user up: which ids belong together, which groups they are in and since when, and why they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from core.access.roles import Actor, Role, action
from core.associate.files import import_rows
from core.bridge import Bridge
from core.reports.memberships import (
    LOOKED_THROUGH,
    Lookback,
    Membership,
    Stretch,
    changes_back,
    list_kept_by_group,
    list_memberships,
    list_memberships_over_gaps,
    newest_first,
)
from core.reports.user_reads import MOST_IDS, GroupFiles, UserIds, UserReads, get_reads
from core.rules.matching import id_kind
from core.validation import check_user_id
from data import associations, groups, run_stats
from data.members.lookup import list_members_with, list_membership_changes
from data.models import DUPLICATE, Association, Group, ImportStage, Member, MembershipChange

# So many changes a command looks through, which may take some seconds.
FAR_BACK = 20_000
# The reason where the members of a group are gone from the disk.
LOST = "lost"
# The reason where a run removed the user from a group.
REMOVED = "removed"
# An association that was cancelled, or waits to be resumed, has written what came before.
_MAY_HAVE_WRITTEN = (
    ImportStage.TO_WRITE,
    ImportStage.WRITING,
    ImportStage.DONE,
    ImportStage.FAILED,
    ImportStage.CANCELLED,
)


@dataclass(frozen=True)
class InGroup:
    """What one group knows of a user.

    `since` is the end of the run that added them, None when it was before `kept_since`, where the lookback ended, or
    the file of a change is gone. Of a user who is missing `reason` says why: a matching reason, `duplicate` (with the
    member's distinct id in `instead`), `removed` (at `since`), `lost` when the group's members are gone from the disk
    and it cannot be known, or None when the group's latest read did not have them at all. `kind` is that of the group's
    ids, empty for Apptimize ids, and `apptimize_id` is of that kind.
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
    kind: str = ""
    by_rollback: bool = False  # `removed` because the group was rolled back, and not because the user left the cohort


@dataclass(frozen=True)
class MembershipHistory:
    """When one id was in which group: the memberships of the present first, then the latest of the past.

    `distinct_id` is the profile that it was read with, None where no group has the id any more.
    """

    apptimize_id: str
    distinct_id: str | None
    memberships: list[Membership]

    def has(self, user_id: str) -> bool:
        """Return whether this is the history of the id itself, and not of one that belongs to it."""
        return user_id in (self.apptimize_id, self.distinct_id)


@dataclass(frozen=True)
class UserLookup:
    """All that is known of an id, from reads and from what was associated by hand: no vendor is asked for it.

    `groups` has one answer of every group. `other_ids` are what groups know the user by that do not hold Apptimize ids.
    `histories` has one for each id that a group knows the user by, first those of the id that was asked for: a distinct
    id may have several. `lost` are groups whose members are gone from
    the disk: whether the user is among them is not known.
    """

    id: str
    lookback: Lookback
    distinct_ids: list[str] = field(default_factory=list[str])
    apptimize_ids: list[str] = field(default_factory=list[str])
    other_ids: list[str] = field(default_factory=list[str])
    groups: list[InGroup] = field(default_factory=list[InGroup])
    associated: list[tuple[Association, Member]] = field(default_factory=list[tuple[Association, Member]])
    histories: list[MembershipHistory] = field(default_factory=list[MembershipHistory])
    lost: list[Group] = field(default_factory=list[Group])

    @property
    def is_cut_short(self) -> bool:
        """Whether so many ids belong together that not all of them were followed."""
        return len(self.distinct_ids) + len(self.apptimize_ids) + len(self.other_ids) >= MOST_IDS

    @property
    def is_known(self) -> bool:
        """Whether any read or association had this id."""
        return bool(self.distinct_ids or self.apptimize_ids or self.other_ids)


@dataclass(frozen=True)
class _Changes:
    """The changes that were looked through, in stretches of each group, and what they did to the ids."""

    by_group: dict[int, list[Stretch]]
    kinds: dict[str, dict[str, MembershipChange]]

    def memberships(self, group: Group, apptimize_id: str, *, is_in: bool) -> list[Membership]:
        return list_memberships_over_gaps(group, self._stretches(group), self.kinds.get(apptimize_id, {}), is_in=is_in)

    def last_membership(self, group: Group, apptimize_id: str, *, is_in: bool) -> Membership | None:
        """Return the newest one that is known to be the last: none from before a file that is gone."""
        last = self._stretches(group)[-1]
        memberships = list_memberships(group, last, self.kinds.get(apptimize_id, {}), is_in=is_in)
        return memberships[-1] if memberships else None

    def _stretches(self, group: Group) -> list[Stretch]:
        return self.by_group.get(group.id or 0, [[]])


@action(Role.VIEWER)
def look_up_user(
    bridge: Bridge,
    actor: Actor,
    user_id: str,
    *,
    group_id: int | None = None,
    look_through: int = LOOKED_THROUGH,
) -> UserLookup:
    """Look up a distinct id or an Apptimize id, byte for byte, in all groups or in one.

    Since when a user is in a group, or was removed, is worked out from the newest `look_through` changes of these
    groups. Raises SettingsError, StorageFailed.
    """
    check_user_id(user_id)
    ids = UserIds(user_id)
    reads = get_reads(bridge, group_id)
    # Twice: the Apptimize id that the first finds leads to other profiles that have it too.
    for _ in range(2):
        reads.ask(ids.followed)
        reads.collect(ids)
    recent, lookback = changes_back(bridge, group_id, look_through)
    members = reads.members_with(user_id)
    if not members:  # a user who has left every group is still known by what removed them
        former = _members_of_changes(bridge, recent, user_id)
        members = list(former)
        if not ids.are_known:
            for member, kind in former.items():
                ids.add(member, kind)
    associated = list(_associated(bridge, ids))
    apptimize_ids = _with_history(reads, members, ids)
    changes = _changes(bridge, recent, [*ids.followed, *apptimize_ids])
    holders = _find_holders(reads, ids)
    delivered = groups.list_groups(bridge.engine, only=group_id)
    lost = {files.group.id for files in reads.groups if reads.is_lost(files)}
    return UserLookup(
        id=ids.asked,
        lookback=lookback,
        distinct_ids=list(ids.distinct_ids),
        apptimize_ids=list(ids.apptimize_ids),
        other_ids=[user_id for user_id in ids.other_ids if user_id not in ids.distinct_ids],
        groups=[_in_group(reads, files, ids, holders, changes) for files in reads.groups],
        associated=associated,
        histories=_histories(reads, delivered, apptimize_ids, changes),
        lost=[group for group in delivered if group.id in lost],
    )


# --- which ids belong together -------------------------------------------------------------------------------------


def _members_of_changes(bridge: Bridge, changes: list[run_stats.Change], user_id: str) -> dict[Member, str]:
    """Find the members that changes added or removed, each with the kind of its group's ids."""
    groups_by_name = {change.difference: change.group_id for change in changes}
    if not groups_by_name:
        return {}
    only = next(iter(groups_by_name.values())) if len(set(groups_by_name.values())) == 1 else None
    kinds = {group.id: id_kind(group.base_match) for group in groups.list_groups(bridge.engine, only=only)}
    rows = list_members_with(bridge.snapshots, list(groups_by_name), [user_id])
    return {member: kinds.get(groups_by_name.get(name), "") for name, members in rows.items() for member in members}


def _associated(bridge: Bridge, ids: UserIds) -> Iterator[tuple[Association, Member]]:
    for association in associations.list_newest(bridge.engine, stages=_MAY_HAVE_WRITTEN, limit=100):
        assert association.id is not None
        seen = set[int]()
        for user_id in ids.followed:
            for row in import_rows(bridge, association.id).find(user_id):
                if row.row not in seen and associations.is_written(bridge.engine, association.id, row.row):
                    seen.add(row.row)
                    ids.add(row.member)
                    yield association, row.member


def _changes(bridge: Bridge, recent: list[run_stats.Change], user_ids: list[str]) -> _Changes:
    by_group = list_kept_by_group(bridge, recent)
    names = [change.difference for stretches in by_group.values() for stretch in stretches for change in stretch]
    kinds = list_membership_changes(bridge.snapshots, names, *dict.fromkeys(user_ids))
    # A file that turned out to be damaged tells nothing, and not that no one joined or left.
    return _Changes(list_kept_by_group(bridge, recent), kinds)


# --- since when ----------------------------------------------------------------------------------------------------


def _with_history(reads: UserReads, members: list[Member], ids: UserIds) -> dict[str, str | None]:
    """Choose the ids to show the history of, each with its distinct id: first those that were asked for."""
    same = [member for member in members if member.apptimize_id == ids.asked]
    apptimize_ids: dict[str, str | None] = {}
    for member in sorted(same or members):
        apptimize_ids.setdefault(member.apptimize_id, member.distinct_id)
    others = [user_id for user_id in ids.member_ids if user_id not in apptimize_ids]
    reads.ask([*apptimize_ids, *others[:MOST_IDS]])
    for apptimize_id in others[:MOST_IDS]:
        rows = [member for member in reads.members_with(apptimize_id) if member.apptimize_id == apptimize_id]
        apptimize_ids[apptimize_id] = rows[0].distinct_id if rows else None
    return dict(list(apptimize_ids.items())[:MOST_IDS])


def _histories(
    reads: UserReads, delivered: list[Group], apptimize_ids: dict[str, str | None], changes: _Changes
) -> list[MembershipHistory]:
    files = {group_files.group.id: group_files for group_files in reads.groups}
    histories: list[MembershipHistory] = []
    for apptimize_id, distinct_id in apptimize_ids.items():
        memberships = [
            membership
            for group in delivered
            for membership in changes.memberships(
                group, apptimize_id, is_in=_holds(reads, files.get(group.id), apptimize_id)
            )
        ]
        histories.append(MembershipHistory(apptimize_id, distinct_id, sorted(memberships, key=newest_first)))
    return histories


def _holds(reads: UserReads, files: GroupFiles | None, apptimize_id: str) -> bool:
    members = reads.list_members(files, apptimize_id) if files else []
    return any(member.apptimize_id == apptimize_id for member in members)


# --- what each group knows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Holders:
    """The profiles that have the asked id as a member's id, and the kinds of id of the groups where they have it."""

    distinct_ids: list[str]
    kinds: set[str]

    def leading_to(self, files: GroupFiles) -> list[str]:
        """Return the distinct ids by which a group knows the user whose members have ids of another kind."""
        return [] if files.kind in self.kinds else self.distinct_ids


def _find_holders(reads: UserReads, ids: UserIds) -> _Holders:
    distinct_ids, kinds = dict[str, None](), set[str]()
    if ids.asked not in ids.distinct_ids:  # every group knows a distinct id itself
        for files in reads.groups:
            rows = [*reads.list_members(files, ids.asked), *reads.list_excluded(files, ids.asked)]
            for row in rows:
                if row.apptimize_id == ids.asked:
                    distinct_ids[row.distinct_id] = None
                    kinds.add(files.kind)
    return _Holders(list(distinct_ids)[:MOST_IDS], kinds)


def _in_group(reads: UserReads, files: GroupFiles, ids: UserIds, holders: _Holders, changes: _Changes) -> InGroup:
    """Return what a group knows of the asked id itself: groups may be matched on different properties.

    Only an id that this group's own read gives it leads further, to the member who has it too; and where its members
    have ids of another kind, the distinct ids of those who have the asked one.
    """
    asked_for = [ids.asked, *holders.leading_to(files)]
    for user_id in asked_for:
        for member in reads.list_members(files, user_id):
            return _as_member(files, member.apptimize_id, changes)
    excluded = [profile for user_id in asked_for for profile in reads.list_excluded(files, user_id)]
    for _, distinct_id, apptimize_id in excluded:
        if not apptimize_id or distinct_id not in asked_for:
            continue
        reads.ask([apptimize_id])  # where very many ids belong together it was not followed
        for member in reads.list_members(files, apptimize_id):
            if member.apptimize_id == apptimize_id:
                return _as_member(files, apptimize_id, changes, instead=member.distinct_id)
    for reason, _, apptimize_id in excluded:
        return InGroup(
            files.group,
            files.destination,
            is_member=False,
            apptimize_id=apptimize_id,
            reason=reason,
            kind=files.excluded_kind,
        )
    return _as_removed(files, ids, changes) or InGroup(
        files.group,
        files.destination,
        is_member=False,
        reason=LOST if reads.is_lost(files) else None,
        kind=files.kind,
    )


def _as_removed(files: GroupFiles, ids: UserIds, changes: _Changes) -> InGroup | None:
    own = ids.other_ids | ids.distinct_ids if files.kind else ids.apptimize_ids
    for user_id in list(own or ids.all)[:MOST_IDS]:
        membership = changes.last_membership(files.group, user_id, is_in=False)
        if membership and membership.until:
            return InGroup(
                files.group,
                files.destination,
                is_member=False,
                apptimize_id=user_id,
                since=membership.until,
                run_id=membership.until_run,
                reason=REMOVED,
                kind=files.kind,
                by_rollback=membership.until_undo,
            )
    return None


def _as_member(files: GroupFiles, apptimize_id: str, changes: _Changes, *, instead: str | None = None) -> InGroup:
    membership = changes.last_membership(files.group, apptimize_id, is_in=True)
    return InGroup(
        files.group,
        files.destination,
        is_member=True,
        apptimize_id=apptimize_id,
        since=membership.since if membership else None,
        run_id=membership.since_run if membership else None,
        kept_since=membership.kept_since if membership else None,
        reason=DUPLICATE if instead is not None else None,
        instead=instead,
        kind=files.kind,
    )
