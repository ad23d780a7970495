"""What can be changed of a recurring sync."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.project import match_rule
from core.rules import holding
from core.rules.due_times import next_slot
from core.rules.matching import MatchRule
from core.rules.personal_properties import require_impersonal
from core.seen import saving
from core.syncs.checks import check_settings, checked_tags, get_limit_for, require_room
from core.syncs.listing import SyncView, sync_errors
from core.validation import clean_exact_line
from data import connections, run_stats, syncs
from data.models import Schedule, Sync
from data.seen import Seen, see
from data.syncs import SyncSettings

# A group that changes every 15 minutes has so many in ten days.
_CHANGES_LOOKED_AT = 1000
_WHAT = "this sync"


def see_settings(sync: Sync) -> Seen:
    """Return what somebody sees who is to edit a sync."""
    return see(sync, ("every_minutes", "cron", "zone", "max_shrink", "tags"))


def see_matching(sync: Sync) -> Seen:
    """Return what somebody sees who is to change how a sync matches users."""
    return see(sync, ("match_property", "expects_prefix"))


@action(Role.ANALYST)
def edit_sync(
    bridge: Bridge,
    actor: Actor,
    sync_id: int,
    *,
    every_minutes: int | None = None,
    schedule: Schedule | None = None,
    max_shrink: int | None,
    tags: Sequence[str] | None = None,
    seen: Seen | None = None,
) -> Sync:
    """Change interval or schedule, shrink limit and, if given, tags; the next slot follows the new times.

    With what was `seen` of it (`see_settings`), no one may have changed that since.
    Raises: NotFound, SettingsError, ChangedMeanwhile, BudgetTooSmall.
    """
    limit, now = get_limit_for(bridge, sync_id), bridge.clock.now()
    timing = check_settings(every_minutes, schedule, max_shrink)
    settings = SyncSettings(timing, max_shrink, None if tags is None else checked_tags(tags))
    with sync_errors(), saving(_WHAT):
        return syncs.edit(
            bridge.engine,
            sync_id,
            settings,
            next_run_at=next_slot(sync_id, timing, after=now),
            check_room=lambda _, present: require_room(limit, present, timing, now=now),
            seen=seen,
            now=now,
        )


@dataclass(frozen=True)
class ShrinkSuggestion:
    """A shrink limit to offer, in percent, and the largest share that the group lost at once, None without a past."""

    percent: int
    largest_drop: float | None = None


@action(Role.VIEWER)
def suggest_shrink_limit(bridge: Bridge, actor: Actor, group_id: int | None) -> ShrinkSuggestion:
    """Suggest a shrink limit for a recurring sync of a group from that group's past; None: there is no group yet."""
    drop = None if group_id is None else run_stats.largest_drop(bridge.engine, group_id, changes=_CHANGES_LOOKED_AT)
    return ShrinkSuggestion(holding.suggest_shrink_limit(drop), drop)


@action(Role.VIEWER)
def get_match_rule(bridge: Bridge, actor: Actor, view: SyncView) -> MatchRule:
    """Return how a sync matches users: as its destination knows them, by its own settings, or by its connection's."""
    destination = connections.get_connection(bridge.engine, view.group.destination_id)
    return match_rule(syncs.get_mixpanel(bridge.engine, view.sync), view.sync, destination)


@action(Role.ANALYST)
def change_sync_matching(
    bridge: Bridge,
    actor: Actor,
    sync_id: int,
    *,
    match_property: str = "",
    expects_prefix: bool | None = None,
    seen: Seen | None = None,
) -> Sync:
    """Give a sync its own match settings, or the connection's again (empty, None).

    All syncs of its group share them. With what was `seen` of them (`see_matching`), no one may have changed that
    since. Raises: NotFound, SettingsError, ChangedMeanwhile.
    """
    own = clean_exact_line(match_property, "Match property") if match_property.strip() else None
    if own:
        require_impersonal(own, "Match property")
    with sync_errors(), saving(_WHAT):
        return syncs.set_matching(bridge.engine, sync_id, match_property=own, expects_prefix=expects_prefix, seen=seen)
