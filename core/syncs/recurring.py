"""Recurring syncs: add one, pause it, let it run again, remove it, run it now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.lookup import find_destination, find_mixpanel
from core.errors import NotConnected
from core.rules import pause_ends
from core.syncs.checks import (
    check_settings,
    checked_tags,
    get_limit_for,
    get_query_limit,
    require_room,
    require_room_for,
)
from core.syncs.cohorts import check_cohort_id, known_cohort
from core.syncs.listing import sync_errors
from core.syncs.placing import arrange_group, placing_errors
from data import due_syncs, sync_pauses, syncs
from data.models import Connection, Run, Schedule, Sync, Timing
from data.run_queue import RunRequest
from data.syncs import ChangedSyncs, SyncPlace, SyncSettings


@action(Role.ANALYST)
def add_sync(
    bridge: Bridge,
    actor: Actor,
    cohort_id: int,
    *,
    every_minutes: int = 15,
    schedule: Schedule | None = None,
    group: str | None = None,
    to: str | None = None,
    max_shrink: int | None = None,
    tags: Sequence[str] = (),
    mixpanel: str | None = None,
    paused: bool = False,
    like: Sync | None = None,
) -> Sync:
    """Start a recurring sync, at an interval, or at set times if there is a schedule.

    Its first run is due at once, or once it is resumed.

    `mixpanel` names the connection that is read through, where there are several; `like` is a sync whose connection
    and match settings it takes over.
    Raises: NotConnected, SettingsError naming the field, GroupTaken, BudgetTooSmall with an interval that would fit,
    CohortUnknown and CohortNotExportable (from the shared list of cohorts, if it is recent).
    """
    check_cohort_id(cohort_id)
    timing = check_settings(every_minutes, schedule, max_shrink)
    project = find_mixpanel(bridge, mixpanel) if like is None else _find_project_of(bridge, like)
    place = SyncPlace(project, find_destination(bridge, to), cohort_id)
    known, limit = known_cohort(bridge, project, cohort_id), get_query_limit(bridge, project)
    now = bridge.clock.now()
    with placing_errors():
        return syncs.add_recurring(
            bridge.engine,
            place,
            SyncSettings(timing, max_shrink, checked_tags(tags), *_matching_of(like)),
            actor=actor.name,
            arrange=arrange_group(place, known, group, now),
            check_room=lambda _, present: require_room(limit, present, timing, now=now),
            paused_reason=_paused_by(actor) if paused else None,
            now=now,
        )


def _find_project_of(bridge: Bridge, sync: Sync) -> Connection:
    """Find the connection that a sync reads through: a cohort has its number in one project alone."""
    connection = syncs.get_mixpanel(bridge.engine, sync)
    if connection.removed:
        raise NotConnected("The Mixpanel connection of this sync was removed.")
    return connection


def _matching_of(sync: Sync | None) -> tuple[str | None, bool | None]:
    return (sync.match_property, sync.expects_prefix) if sync else (None, None)


def _paused_by(actor: Actor) -> str:
    return f"Paused by {actor.name}."


@action(Role.ANALYST)
def pause_sync(bridge: Bridge, actor: Actor, sync_id: int, *, reason: str = "", until: datetime | None = None) -> Sync:
    """Stop a recurring sync until it is resumed, by a worker at `until` if that is given.

    A run that works already ends as it would. Of one that is paused this is the end from now on, or that it has none.
    Raises: NotFound, SettingsError.
    """
    return _pause(bridge, [sync_id], reason or _paused_by(actor), until).syncs[0]


@action(Role.ANALYST)
def pause_syncs(bridge: Bridge, actor: Actor, sync_ids: Sequence[int], *, until: datetime | None = None) -> int:
    """Stop several recurring syncs at once, all or none; returns how many that changed. Raises as `pause_sync` does."""
    return _pause(bridge, sync_ids, _paused_by(actor), until).count


def _pause(bridge: Bridge, sync_ids: Sequence[int], reason: str, until: datetime | None) -> ChangedSyncs:
    now = bridge.clock.now()
    if until is not None:
        pause_ends.check_end(until, now=now)
    with sync_errors():
        return sync_pauses.pause(bridge.engine, sync_ids, reason=reason, until=until, now=now)


@action(Role.ANALYST)
def resume_sync(bridge: Bridge, actor: Actor, sync_id: int) -> Sync:
    """Resume a paused sync; it is due at once. Raises NotFound, BudgetTooSmall, NotConnected, ReceiverShared."""
    return _resume(bridge, [sync_id]).syncs[0]


@action(Role.ANALYST)
def resume_syncs(bridge: Bridge, actor: Actor, sync_ids: Sequence[int]) -> int:
    """Resume several paused syncs, all or none; returns how many were paused.

    Raises: NotFound, BudgetTooSmall, NotConnected, ReceiverShared.
    """
    return _resume(bridge, sync_ids).count


def _resume(bridge: Bridge, sync_ids: Sequence[int]) -> ChangedSyncs:
    limits = {sync_id: get_limit_for(bridge, sync_id) for sync_id in sync_ids}
    now = bridge.clock.now()

    def check_room(sync: Sync, present: Sequence[Timing]) -> None:
        require_room_for(sync, limits[sync.id or 0], present, now=now)

    with sync_errors(), placing_errors():
        return sync_pauses.resume(bridge.engine, sync_ids, check_room=check_room, now=now)


@action(Role.ANALYST)
def remove_sync(bridge: Bridge, actor: Actor, sync_id: int) -> Sync:
    """End a sync for good; its group stays as it is, its history too, and what it had queued is cancelled."""
    with sync_errors():
        return syncs.remove(bridge.engine, sync_id, actor=actor.name, now=bridge.clock.now())


@action(Role.ANALYST)
def run_now(bridge: Bridge, actor: Actor, sync_id: int) -> Run:
    """Queue a run of a sync for a worker, or return the one that is not finished yet.

    Raises: NotFound, ReceiverShared.
    """
    request = RunRequest(trigger="manual", actor=actor.name)
    with sync_errors(), placing_errors():
        return due_syncs.queue_run(bridge.engine, sync_id, request, now=bridge.clock.now())
