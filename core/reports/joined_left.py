"""Who joined and left a group in a period, over all runs that changed it: one list, the newest run first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from core import spreadsheet
from core.access.roles import Actor, Role, action
from core.bridge import Bridge, storage_errors_of
from core.errors import NotFound
from core.reports.members import is_what_it_says
from core.reports.memberships import CHANGES_KEPT_FOR
from core.rules.id_words import id_words
from core.rules.matching import id_kind
from data import groups, run_stats
from data.members import search as member_search
from data.members.lookup import KINDS, list_changed
from data.members.search import PageRequest
from data.members.store import SNAPSHOT
from data.models import Group, Member, MembershipChange
from data.run_stats import LoggedChange

# More runs than a group has in 180 days, each 15 minutes: what is kept has no more.
MOST_RUNS = 20_000
# What has no more members than this is read whole, with others at once; and so many rows at a time go into a file.
_FEW = 1000
_AT_ONCE = 5000


@dataclass(frozen=True)
class Period:
    """A stretch of time, without an end where one is None, and which way people went in it; None: both."""

    since: datetime | None = None
    until: datetime | None = None
    kind: MembershipChange | None = None

    @property
    def kinds(self) -> tuple[MembershipChange, ...]:
        """The ways that are asked for."""
        return (self.kind,) if self.kind else KINDS


class JoinedOrLeft(NamedTuple):
    """Somebody who joined, or left, with a run; without `member` the `people` who did, whose ids are not kept."""

    change: LoggedChange
    kind: MembershipChange
    member: Member | None
    people: int = 1


@dataclass(frozen=True)
class PeriodPage:
    """A page of who joined and left in a period, and how many did in all of it, over so many runs.

    `known_since` is when what is kept begins, if the period reaches further back. `has_other_ids`: some runs knew
    people by another kind of id than others. Rows that are `missing` here are of people who were forgotten since.
    """

    rows: list[JoinedOrLeft]
    joined: int
    left: int
    runs: int
    known_since: datetime | None = None
    has_other_ids: bool = False
    missing: int = 0

    @property
    def total(self) -> int:
        """How many rows all pages have together."""
        return self.joined + self.left

    @property
    def shown(self) -> int:
        """How many of them this page stands for."""
        return sum(row.people for row in self.rows) + self.missing


@action(Role.VIEWER)
def list_joined_and_left(
    bridge: Bridge, actor: Actor, group_id: int, period: Period, *, offset: int = 0, limit: int = 50
) -> PeriodPage:
    """Page through who joined and left in a period; a page reads no more files than it has rows.

    Raises: NotFound, StorageFailed.
    """
    group = _get(bridge, group_id)
    in_period = _changes(bridge, group_id, period)
    changes = [change for change in in_period if any(_count(change, kind) for kind in period.kinds)]
    counts = {kind: sum(_count(change, kind) for change in changes) for kind in period.kinds}
    slices = list(_cut_out(changes, period.kinds, offset, limit))
    rows = list(_rows(bridge, slices))
    return PeriodPage(
        rows,
        joined=counts.get("added", 0),
        left=counts.get("removed", 0),
        runs=len(changes),
        known_since=_known_since(bridge, group, period, in_period),
        has_other_ids=len({id_kind(change.matched_by) for change in changes}) > 1,
        missing=sum(part.limit for part in slices) - sum(row.people for row in rows),
    )


@action(Role.VIEWER)
def joined_and_left_csv(bridge: Bridge, actor: Actor, group_id: int, period: Period) -> Iterator[str]:
    """Yield who joined and left in a period, for a spreadsheet: some thousand are in memory. Raises NotFound.

    Where ids are not kept, a row says how many there were.
    """
    group = _get(bridge, group_id)
    changes = _changes(bridge, group_id, period)

    def rows() -> Iterator[Sequence[object]]:
        for some in _batches(changes, period.kinds):
            for row in _rows(bridge, some):
                member = row.member or Member("", "")
                kind = row.kind if row.member else f"{row.people} {row.kind}, ids not kept"
                yield row.change.at, kind, member.apptimize_id, member.distinct_id, row.change.run_id

    header = ["time", "change", id_words(group.base_match).column, "distinct_id", "run"]
    return spreadsheet.lines(header, storage_errors_of(rows()))


def _get(bridge: Bridge, group_id: int) -> Group:
    group = groups.get_group(bridge.engine, group_id)
    if group is None:
        raise NotFound(f"There is no group {group_id}.", advice="See Groups.")
    return group


def _changes(bridge: Bridge, group_id: int, period: Period) -> list[LoggedChange]:
    return run_stats.changes_between(bridge.engine, group_id, since=period.since, until=period.until, limit=MOST_RUNS)


def _known_since(bridge: Bridge, group: Group, period: Period, changes: Sequence[LoggedChange]) -> datetime | None:
    """Return from when on it is known who joined and left; None where that covers the whole period."""
    begin = bridge.clock.now() - CHANGES_KEPT_FOR
    if len(changes) == MOST_RUNS:
        begin = changes[-1].at
    asked_from = max(period.since, group.created_at) if period.since else group.created_at
    return begin if asked_from < begin else None


def _count(change: LoggedChange, kind: MembershipChange) -> int:
    return change.added if kind == "added" else change.removed


# --- which rows of which files -------------------------------------------------------------------------------------


class _Slice(NamedTuple):
    """Some of those who joined, or left, with a run, counted from the first of them."""

    change: LoggedChange
    kind: MembershipChange
    offset: int
    limit: int

    @property
    def is_small(self) -> bool:
        """Whether its file can be read whole: by what the run counted."""
        name = self.change.difference or ""
        return self.change.added + self.change.removed <= _FEW and not name.startswith(SNAPSHOT)


def _cut_out(
    changes: Iterable[LoggedChange], kinds: Sequence[MembershipChange], offset: int, limit: int
) -> Iterator[_Slice]:
    """Yield what a page consists of. By the counts of the runs alone: no file is read for what is not shown."""
    for change in changes:
        for kind in kinds:
            count = _count(change, kind)
            some = min(count - offset, limit)
            if some > 0:
                yield _Slice(change, kind, offset, some)
                limit -= some
                if not limit:
                    return
            offset = max(0, offset - count)


def _batches(changes: Iterable[LoggedChange], kinds: Sequence[MembershipChange]) -> Iterator[list[_Slice]]:
    """Yield all rows, in slices of which some together are read at once."""
    batch, size = list[_Slice](), 0
    for change in changes:
        for kind in kinds:
            count = _count(change, kind)
            for offset in range(0, count, _AT_ONCE):
                some = min(_AT_ONCE, count - offset)
                if batch and size + some > _AT_ONCE:
                    yield batch
                    batch, size = [], 0
                batch.append(_Slice(change, kind, offset, some))
                size += some
    if batch:
        yield batch


# --- what is in them -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Files:
    """What is known of the files of some runs: which are what they say, and whom the small ones name."""

    believed: set[str] = field(default_factory=set[str])
    small: dict[str, dict[MembershipChange, list[Member]]] = field(
        default_factory=dict[str, "dict[MembershipChange, list[Member]]"]
    )


def _rows(bridge: Bridge, slices: Sequence[_Slice]) -> Iterator[JoinedOrLeft]:
    files = _read(bridge, slices)
    for part in slices:
        name = part.change.difference
        if name is None or name not in files.believed:
            yield JoinedOrLeft(part.change, part.kind, None, part.limit)
            continue
        for member in _members(bridge, files, part, name):
            yield JoinedOrLeft(part.change, part.kind, member)


def _members(bridge: Bridge, files: _Files, part: _Slice, name: str) -> list[Member]:
    if name in files.small:
        return files.small[name][part.kind][part.offset : part.offset + part.limit]
    request = PageRequest(offset=part.offset, limit=part.limit)
    return member_search.find_changes(bridge.snapshots, name, part.kind, request).rows


def _read(bridge: Bridge, slices: Sequence[_Slice]) -> _Files:
    """Read the small files whole, all at once; a file that is not what its run counted is looked at more closely."""
    changes = {part.change.difference: part for part in slices if part.change.difference}
    sizes = bridge.snapshots.count_each([name for name in changes if name])
    files = _Files()
    few = [name for name, part in changes.items() if name and part.is_small and sizes.get(name, _FEW + 1) <= _FEW]
    files.small.update(list_changed(bridge.snapshots, few))
    for name, part in changes.items():
        if not name or name not in sizes:
            continue
        named = files.small.get(name)
        counts = (len(named["added"]), len(named["removed"])) if named else None
        if counts == (part.change.added, part.change.removed) or is_what_it_says(bridge, part.change, name):
            files.believed.add(name)
    return files
