"""Which groups share members: how many each two do, and who. Only what is known of a group is counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations_with_replacement

from core import spreadsheet
from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors_of
from core.errors import NotFound, SettingsError, StorageFailed
from core.reports.comparison import is_made_of
from core.reports.members import page_request
from core.rules.id_words import id_words
from core.rules.matching import id_kind
from core.syncs.groups import get_base
from data import groups, proofs
from data.members import search as member_search
from data.members.duck import MembersDamaged, MembersGone
from data.members.overlap import count_shared
from data.members.places import COMPARED
from data.members.search import SearchPage
from data.members.snapshots import Snapshots
from data.models import Group

# More columns than these nobody reads.
MOST_GROUPS = 50

Pair = tuple[int, int]


class NotCompared(StrEnum):
    """Why nothing is said of a group: a number that may be wrong is worse than none."""

    IN_DOUBT = "in_doubt"  # what its destination holds is not known
    LOST = "lost"  # the file of its members is gone, or is not what it was


@dataclass(frozen=True)
class Shared:
    """How many members two groups share, `first` having the smaller id, and how many each has."""

    first: Group
    second: Group
    members: int
    of_first: int
    of_second: int

    def share_of(self, group: Group) -> float | None:
        """Return which share of the members of one of the two that is; None of an empty group."""
        whole = self.whole_of(group)
        return self.members / whole if whole else None

    def whole_of(self, group: Group) -> int:
        """Return how many members one of the two has."""
        return self.of_first if group.id == self.first.id else self.of_second


@dataclass(frozen=True)
class Overlap:
    """What groups share: `groups` those that were compared, in the order asked for, `not_compared` why others were not.

    Groups that know people by different ids are not compared with each other: `pairs` has none of them. A group and
    itself share what its snapshot holds, which is without those who were forgotten.
    """

    groups: list[Group]
    not_compared: list[tuple[Group, NotCompared]]
    pairs: dict[Pair, Shared] = field(default_factory=dict[Pair, Shared])

    def between(self, one: Group, other: Group) -> Shared | None:
        """Return what two groups share; None where they are not comparable."""
        return self.pairs.get(_ordered(one.id or 0, other.id or 0))

    @property
    def sharing(self) -> list[Shared]:
        """Each two groups that share members, first those that share most."""
        pairs = [pair for (one, other), pair in self.pairs.items() if one != other and pair.members]
        return sorted(pairs, key=lambda pair: (-pair.members, pair.first.id, pair.second.id))

    @property
    def kinds(self) -> dict[str, list[Group]]:
        """The groups that were compared, by the kind of id that they know people by."""
        return _by_kind(self.groups)


def _ordered(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)


def _by_kind(compared: Sequence[Group]) -> dict[str, list[Group]]:
    by_kind = defaultdict[str, list[Group]](list)
    for group in compared:
        by_kind[id_kind(group.base_match)].append(group)
    return by_kind


@action(Role.VIEWER)
def compare_groups(bridge: Bridge, actor: Actor, group_ids: Sequence[int]) -> Overlap:
    """Count how many members each two of at most 50 groups share, as last delivered. Raises SettingsError, NotFound.

    Each snapshot has proved itself, and its file is the one that did. A choice whose snapshots were counted in this
    process takes no time again.
    """
    asked = list(dict.fromkeys(group_ids))
    if len(asked) > MOST_GROUPS:
        raise SettingsError(
            f"Groups: at most {MOST_GROUPS} are compared at a time.", advice="Choose fewer of them.", code="too_many"
        )
    delivered = {group.id: group for group in groups.list_groups(bridge.engine)}
    if unknown := [group_id for group_id in asked if group_id not in delivered]:
        raise NotFound(f"There is no delivered group {unknown[0]}.", advice="See Groups.")
    names = _believed(bridge, [delivered[group_id] for group_id in asked])
    not_compared = [
        (delivered[group_id], NotCompared.IN_DOUBT if delivered[group_id].in_doubt else NotCompared.LOST)
        for group_id in asked
        if group_id not in names
    ]
    pairs = dict[Pair, Shared]()
    for same in _by_kind([delivered[group_id] for group_id in names]).values():
        lost = _count_pairs(bridge, {group.id or 0: names[group.id or 0] for group in same}, delivered, pairs)
        not_compared += [(delivered[group_id], NotCompared.LOST) for group_id in lost]
    gone = {group.id for group, _ in not_compared}
    return Overlap([delivered[group_id] for group_id in names if group_id not in gone], not_compared, pairs)


def _believed(bridge: Bridge, asked: Sequence[Group]) -> dict[int, str]:
    """Return the snapshots of groups' members that can be believed, in the order of the groups."""
    known = [(group, group.base_snapshot) for group in asked if group.base_snapshot and not group.in_doubt]
    proven = proofs.find_proven(bridge.engine, bridge.snapshots, {name: group.members for group, name in known})
    return {group.id or 0: name for group, name in known if name in proven}


def _count_pairs(
    bridge: Bridge, names: dict[int, str], delivered: dict[int | None, Group], pairs: dict[Pair, Shared]
) -> list[int]:
    """Count what each two of some groups of one kind share; returns those whose files went away meanwhile."""
    lost = list[int]()
    while True:
        names = {group_id: name for group_id, name in names.items() if group_id not in lost}
        try:
            counts = _counts(bridge, list(names.values()))
            break
        except (MembersGone, MembersDamaged):
            unreadable = [group_id for group_id, name in names.items() if not bridge.snapshots.is_readable(name)]
            if not unreadable:
                raise
            lost += unreadable
    for one, other in combinations_with_replacement(sorted(names), 2):
        shared, *wholes = (
            counts[frozenset(pair)] for pair in ((names[one], names[other]), (names[one],), (names[other],))
        )
        pairs[one, other] = Shared(delivered[one], delivered[other], shared, *wholes)
    return lost


def _counts(bridge: Bridge, names: Sequence[str]) -> dict[frozenset[str], int]:
    """Count what each two of some snapshots share: as it was counted before, where they are all the same files."""
    snapshots = bridge.snapshots
    stamps = {name: snapshots.stamp(name) for name in names}
    keys = {
        frozenset((one, other)): frozenset(((one, stamps[one]), (other, stamps[other])))
        for one, other in combinations_with_replacement(names, 2)
    }
    known = snapshots.shared_counts
    counts = {pair: known.get(key) for pair, key in keys.items()}
    if None in counts.values():
        shared, place = count_shared(snapshots, names), {name: number for number, name in enumerate(names)}
        for pair in keys:
            numbers = [place[name] for name in pair]
            counts[pair] = shared[numbers[0]][numbers[-1]]
        for pair, key in keys.items():
            known.put(key, counts[pair])
    return {pair: count or 0 for pair, count in counts.items()}


# --- two groups ----------------------------------------------------------------------------------------------------


@action(Role.VIEWER)
def find_shared(
    bridge: Bridge, actor: Actor, first: int, second: int, *, search: str = "", offset: int = 0, limit: int = 50
) -> SearchPage:
    """Page and search through who is in both of two groups. The first time takes about as long as reading both.

    Raises: NotFound, SettingsError where they know people by different ids, StorageFailed where it is not known.
    """
    return member_search.find_members(
        bridge.snapshots, _keep_shared(bridge, first, second), page_request(search, offset, limit)
    )


@action(Role.VIEWER)
def shared_csv(bridge: Bridge, actor: Actor, first: int, second: int) -> Iterator[str]:
    """Yield who is in both of two groups, for a spreadsheet. Raises as `find_shared` does."""
    name = _keep_shared(bridge, first, second)
    group = groups.get_group(bridge.engine, first)
    column = id_words(group.base_match if group else "").column
    members = (member for chunk in bridge.snapshots.iterate(name) for member in chunk)
    return spreadsheet.lines([column, "distinct_id"], storage_errors_of(members))


def _keep_shared(bridge: Bridge, first: int, second: int) -> str:
    """Return the name of a file of who is in both groups, as the one with the smaller id has them: a snapshot's kind.

    No row names it, so the worker removes it a day after it was last made.
    """
    snapshots = bridge.snapshots
    one, other = _bases(bridge, *_ordered(first, second))
    name = f"{COMPARED}{one}-{other}"
    if not _is_kept(snapshots, name, one, other):
        snapshots.keep_shared(name, one, other)
        if any(snapshots.stamp(each) is None for each in (one, other)):
            snapshots.discard(name)  # what is in it may be of somebody who was forgotten meanwhile
            raise StorageFailed("The members of a group were replaced meanwhile.", advice="Try again.")
        snapshots.counted.put(name, snapshots.stamp(name))
    return name


def _is_kept(snapshots: Snapshots, name: str, one: str, other: str) -> bool:
    """Return whether a file is there, was made of these two snapshots, and can be read, which is tried once."""
    if not is_made_of(snapshots, name, one, other):
        return False
    if not snapshots.counted.holds(name, snapshots.stamp(name)):
        if not snapshots.is_readable(name):
            return False
        snapshots.counted.put(name, snapshots.stamp(name))
    return True


def _bases(bridge: Bridge, first: int, second: int) -> tuple[str, str]:
    """Return the snapshots of two groups that can be compared."""
    delivered = [group for group_id in (first, second) for group in groups.list_groups(bridge.engine, only=group_id)]
    if len(delivered) < 2 or first == second:
        raise NotFound("These are not two delivered groups.", advice="See Groups.")
    if len(_by_kind(delivered)) > 1:
        raise SettingsError(
            "Groups: these two know people by different ids.",
            advice="Compare groups whose destinations know people by the same id.",
            code="other_ids",
        )
    if any(group.in_doubt for group in delivered):
        raise StorageFailed(
            "What the destination of one of these groups holds is in doubt, so it is not known whom they share.",
            advice="Export its cohort again: that ends the doubt.",
            code="in_doubt",
        )
    return get_base(bridge, first), get_base(bridge, second)
