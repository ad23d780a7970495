"""When a member was in which group, put together from what is kept of each change of a group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from core.bridge import Bridge
from data import run_stats
from data.models import Group, MembershipChange

# For so long it is kept who joined and left, with the run that did it.
CHANGES_KEPT_FOR = timedelta(days=180)
# So many changes are looked through in about a tenth of a second; a person may ask for more.
LOOKED_THROUGH = 300
# Changes of one group that followed each other, the oldest first.
Stretch = list[run_stats.Change]


@dataclass(frozen=True)
class Membership:
    """One time that a member was in a group. `since` None: it began before `kept_since`, and no more is kept.

    `until` None: the member `is_in` the group now, or it is not known when they left.
    """

    group: Group
    since: datetime | None
    since_run: int | None
    until: datetime | None = None
    until_run: int | None = None
    until_undo: bool = False  # it ended with a rollback, and not because the user left the cohort
    kept_since: datetime | None = None
    is_in: bool = True


@dataclass(frozen=True)
class Lookback:
    """What an answer rests on: so many changes, the oldest of them at `back_to`; `is_more` when older ones are kept."""

    changes: int
    back_to: datetime | None
    is_more: bool


def changes_back(bridge: Bridge, group_id: int | None, most: int) -> tuple[list[run_stats.Change], Lookback]:
    """Return the newest changes of a group, or of all, newest first and at most so many, and how far back they go."""
    newest = run_stats.changes(bridge.engine, group_id, limit=most + 1)
    changes = newest[:most]
    return changes, Lookback(len(changes), changes[-1].at if changes else None, is_more=len(newest) > most)


def list_kept_by_group(bridge: Bridge, changes: list[run_stats.Change]) -> dict[int, list[Stretch]]:
    """Sort changes by group, the oldest first, in stretches: a change whose file is not there parts two.

    The last stretch leads to what the group holds now; it is empty where the file of the newest change is gone.
    """
    by_group: dict[int, list[Stretch]] = defaultdict(lambda: [[]])
    for change in reversed(changes):
        stretches = by_group[change.group_id]
        if bridge.snapshots.exists(change.difference):
            stretches[-1].append(change)
        elif stretches[-1]:
            stretches.append([])
    return by_group


def list_memberships_over_gaps(
    group: Group, stretches: Sequence[Stretch], kinds: dict[str, MembershipChange], *, is_in: bool
) -> list[Membership]:
    """Put together when a member was in a group, as `list_memberships` does, from stretches of its changes.

    Who was in at the end of one may have left and come back before the next: since when they are in is known only as
    far as the stretch goes.
    """
    *earlier, last = stretches
    told = [each for stretch in earlier for each in list_memberships(group, stretch, kinds, is_in=False)]
    return told + list_memberships(group, last, kinds, is_in=is_in)


def list_memberships(
    group: Group, changes: Stretch, kinds: dict[str, MembershipChange], *, is_in: bool
) -> list[Membership]:
    """Put together when a member was in a group, from a stretch of its changes.

    `kinds` has what those differences that name the member did to them. A run after which the group held only those
    that it added shows of every user whether they were in: whom it does not name had left by then. Where the changes
    are silent, what the group holds now decides.
    """
    kept_since = changes[0].at if changes else group.delivered_at
    memberships: list[Membership] = []
    # Before the first change that is kept the group was empty, if that change filled it from nothing.
    known_before = bool(changes) and changes[0].is_whole
    for change in changes:
        kind = kinds.get(change.difference)
        inside = bool(memberships) and memberships[-1].until is None
        if kind == "added" and not inside:
            memberships.append(Membership(group, change.at, change.run_id, kept_since=kept_since))
        elif kind == "removed" and not inside and not memberships and not known_before:
            ended = Membership(group, None, None, change.at, change.run_id, change.is_undo, kept_since, is_in=False)
            memberships.append(ended)
        elif inside and (kind == "removed" or (kind is None and change.is_whole)):
            memberships[-1] = replace(
                memberships[-1], until=change.at, until_run=change.run_id, until_undo=change.is_undo, is_in=False
            )
    inside = bool(memberships) and memberships[-1].until is None
    if is_in and not inside:
        memberships.append(Membership(group, None, None, kept_since=kept_since))
    elif inside and not is_in:
        memberships[-1] = replace(memberships[-1], is_in=False)
    return memberships


def newest_first(membership: Membership) -> tuple[bool, float]:
    """Order memberships: those of the present, then the latest of the past."""
    at = membership.until or membership.since or membership.kept_since
    return not membership.is_in, -(at.timestamp() if at else 0.0)
