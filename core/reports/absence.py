"""Why a user is not in a group, or in none at all, and what the next step is: one answer wherever one is looked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.reports.user_lookup import LOST, REMOVED, InGroup, UserLookup
from core.rules.matching import Reason
from data import connections, groups, run_stats, syncs
from data.members.lookup import list_members_with, list_membership_changes
from data.models import MIXPANEL_SIDE, Association, Group, Run, RunStatus, Sync


class Cause(StrEnum):
    """Why a user is not in a group; the first of these tell most of what to do."""

    HELD = "held"  # a run that would add the user waits for a person
    PREVIEWED = "previewed"  # in a cohort that was only previewed: it has no group
    SET_BY_HAND = "set_by_hand"  # the id was set on the profile after the cohort was last read
    EXCLUDED = "excluded"  # a profile of the cohort that made no member
    ROLLED_BACK = "rolled_back"
    LEFT = "left"
    LOST = "lost"  # it is not known who is in the group
    NOT_IN_COHORT = "not_in_cohort"  # not in the cohort as last read, or without a profile
    NOT_CONNECTED = "not_connected"
    NOTHING_READ = "nothing_read"
    UNKNOWN = "unknown"  # no read of any cohort had the id


_ORDER = list(Cause)
# Of so many runs the files are looked into, the newest ones.
_MOST_PLANNED = 50
# A run would add the user, and has not done so.
PLANNED = (Cause.HELD, Cause.PREVIEWED)


@dataclass(frozen=True)
class Absence:
    """Why a user is not in a group, and what the next step needs to know.

    `groups` are all groups of which that is true, the first of them being `group`; none where nothing is known of the
    user. `sync` is the recurring sync that keeps `group`, if one does. `at` and `run_id` say when, and with which run,
    it came to be; `reason` why a profile was excluded, from members whose id is of this `kind`.
    """

    cause: Cause
    groups: tuple[Group, ...] = ()
    destination: str = ""
    reason: str = ""
    kind: str = ""
    run_id: int | None = None
    at: datetime | None = None
    sync: Sync | None = None

    @property
    def group(self) -> Group | None:
        """The group that the next step is about."""
        return self.groups[0] if self.groups else None


@action(Role.VIEWER)
def explain_absence(bridge: Bridge, actor: Actor, user: UserLookup, *, group_id: int | None = None) -> list[Absence]:
    """Explain why a user is missing who was looked up, in all groups or in one: what tells most first.

    Groups that lack the user for the same reason are one answer. Where nothing at all is known of the id, the one
    answer has no group. Raises StorageFailed.
    """
    planned = _find_planned(bridge, user, group_id)
    if not user.is_known and not planned:
        return [_explain_unknown(bridge, user)]
    missing = [answer for answer in user.groups if not answer.is_member] + _list_others(bridge, user, planned)
    kept_by = syncs.recurring_by_group(bridge.engine, [answer.group.id for answer in missing if answer.group.id])
    return _merge(_explain(answer, user, planned, kept_by) for answer in missing)


def _explain_unknown(bridge: Bridge, user: UserLookup) -> Absence:
    if not connections.list_side(bridge.engine, MIXPANEL_SIDE):
        return Absence(Cause.NOT_CONNECTED)
    if user.lost:
        return Absence(Cause.LOST, tuple(user.lost))
    return Absence(Cause.UNKNOWN if user.groups else Cause.NOTHING_READ)


def _list_others(bridge: Bridge, user: UserLookup, planned: dict[int, Run]) -> list[InGroup]:
    """Return the groups of these runs that a lookup leaves out: nobody was ever in them, or excluded from them."""
    known = {answer.group.id for answer in user.groups}
    others = [(run, groups.get_group(bridge.engine, group_id)) for group_id, run in planned.items()]
    return [
        InGroup(group, run.destination, is_member=False) for run, group in others if group and group.id not in known
    ]


def _find_planned(bridge: Bridge, user: UserLookup, group_id: int | None) -> dict[int, Run]:
    """Return the run that would add the user, by group: one that is held, or that previewed a group."""
    planned = run_stats.planned_changes(bridge.engine, only=group_id, limit=_MOST_PLANNED)
    runs = {run.difference: run for run in planned if run.difference}
    if not runs:
        return {}
    names = [name for name in runs if bridge.snapshots.exists(name)]
    ids = list(dict.fromkeys([user.id, *user.distinct_ids, *user.apptimize_ids, *user.other_ids]))
    members = list_members_with(bridge.snapshots, names, ids)
    member_ids = {member.apptimize_id for rows in members.values() for member in rows}
    changes = list_membership_changes(bridge.snapshots, names, *member_ids) if member_ids else {}
    added = {name for kinds in changes.values() for name, kind in kinds.items() if kind == "added"}
    return {run.group_id: run for name, run in runs.items() if name in added}


def _explain(answer: InGroup, user: UserLookup, planned: dict[int, Run], kept_by: dict[int, Sync]) -> Absence:
    group_id = answer.group.id or 0
    absence = Absence(
        Cause.NOT_IN_COHORT, (answer.group,), answer.destination, kind=answer.kind, sync=kept_by.get(group_id)
    )
    if run := planned.get(group_id):
        cause = Cause.HELD if run.status == RunStatus.HELD else Cause.PREVIEWED
        return replace(absence, cause=cause, run_id=run.id, at=run.finished_at)
    if answer.reason == LOST:
        return replace(absence, cause=Cause.LOST)
    if answer.reason == REMOVED:
        cause = Cause.ROLLED_BACK if answer.by_rollback else Cause.LEFT
        return replace(absence, cause=cause, run_id=answer.run_id, at=answer.since)
    if by_hand := _set_since(answer, user):
        return replace(absence, cause=Cause.SET_BY_HAND, at=by_hand.finished_at or by_hand.started_at)
    if answer.reason:
        return replace(absence, cause=Cause.EXCLUDED, reason=answer.reason)
    return absence


def _set_since(answer: InGroup, user: UserLookup) -> Association | None:
    """Return what set the user's id by hand after the group's cohort was last read, if it can make the user a member.

    A destination that knows people by another id takes no notice of what is set by hand. Where no read had the user's
    profile, it may have been made by that.
    """
    is_known = any(other.is_member or other.reason for other in user.groups)
    if answer.kind or answer.reason not in ([*Reason] if is_known else [None]):
        return None
    read_at = answer.group.verified_at or answer.group.delivered_at
    return next(
        (
            association
            for association, _ in user.associated
            if read_at is None or (association.finished_at or association.created_at) > read_at
        ),
        None,
    )


def _merge(absences: Iterable[Absence]) -> list[Absence]:
    merged: dict[object, Absence] = {}
    for absence in sorted(absences, key=_usefulness):
        # What happened with a run, and what waits in one, is true of its group alone.
        key = (absence.cause, absence.reason, absence.kind, absence.run_id)
        first = merged.get(key)
        merged[key] = replace(first, groups=first.groups + absence.groups) if first else absence
    return list(merged.values())


def _usefulness(absence: Absence) -> tuple[int, bool, float]:
    """Order causes; of those that are the same, first what a sync mends by itself, then what happened last."""
    at = absence.at.timestamp() if absence.at else 0.0
    return _ORDER.index(absence.cause), absence.sync is None, -at
