"""Recurring syncs: when they are due, what the project's queries allow, and what people do with them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.lookup import find_destination, find_mixpanel
from core.errors import NotFound, SettingsError
from core.syncs.checks import check, checked_shrink_limit, checked_tags, mixpanel_of, require_room
from core.syncs.cohorts import check_cohort_id, known_cohort
from core.syncs.listing import recurring, sync_in
from core.syncs.placing import follow_matching, place_group
from core.syncs.queueing import new_run, unfinished
from core.syncs.undo import cancel_queued
from data.engine import write_session
from data.models import Group, Run, RunStatus, Sync, SyncKind, SyncState, utc_now

# --- what people do ------------------------------------------------------------------------------------------------


@action(Role.ANALYST)
def add_sync(
    bridge: Bridge,
    actor: Actor,
    cohort_id: int,
    *,
    every_minutes: int = 15,
    group: str | None = None,
    to: str | None = None,
    max_shrink: int | None = None,
    tags: Sequence[str] = (),
) -> Sync:
    """Start a recurring sync; its first run is due at once.

    Raises: NotConnected, SettingsError naming the field, GroupTaken, BudgetTooSmall with an interval that would fit,
    CohortUnknown and CohortNotExportable (from the shared list of cohorts, if it is recent).
    """
    check_cohort_id(cohort_id)
    check(every_minutes, max_shrink)
    mixpanel, destination = find_mixpanel(bridge), find_destination(bridge, to)
    known, limit = known_cohort(bridge, mixpanel, cohort_id), checked_shrink_limit(bridge, mixpanel)
    with write_session(bridge.engine) as session:
        place = place_group(session, mixpanel, destination, cohort_id, known, group)
        _refuse_second(session, place)
        require_room(session, limit, mixpanel.project_id, every_minutes)
        assert mixpanel.id is not None
        assert place.id is not None
        sync = Sync(
            kind=SyncKind.RECURRING,
            mixpanel_id=mixpanel.id,
            group_id=place.id,
            project_id=mixpanel.project_id,
            cohort_id=cohort_id,
            every_minutes=every_minutes,
            max_shrink=max_shrink,
            next_run_at=utc_now(),
            tags=checked_tags(tags),
            created_by=actor.name,
        )
        follow_matching(session, sync)
        session.add(sync)
    return sync


def _refuse_second(session: Session, group: Group) -> None:
    other = session.exec(
        select(Sync).where(
            Sync.group_id == group.id, Sync.kind == SyncKind.RECURRING, col(Sync.state) != SyncState.REMOVED
        )
    ).first()
    if other:
        raise SettingsError(
            f"Cohort: sync {other.id} keeps the group {group.name} up to date already.",
            advice="Edit or resume that one.",
            code="sync_exists",
        )


@action(Role.ANALYST)
def pause_sync(bridge: Bridge, actor: Actor, sync_id: int, *, reason: str = "") -> Sync:
    """Stop a recurring sync until it is resumed; a run that works already ends as it would. Raises NotFound."""
    with write_session(bridge.engine) as session:
        sync = recurring(session, sync_id)
        _pause(session, sync, reason or f"Paused by {actor.name}.")
    return sync


def _pause(session: Session, sync: Sync, reason: str) -> bool:
    if sync.state != SyncState.ACTIVE:
        return False
    sync.state, sync.next_run_at, sync.paused_reason = SyncState.PAUSED, None, reason
    session.add(sync)
    cancel_queued(session, col(Run.sync_id) == sync.id)
    return True


@action(Role.ANALYST)
def pause_syncs(bridge: Bridge, actor: Actor, sync_ids: Sequence[int]) -> int:
    """Stop several recurring syncs at once, all or none; returns how many were active. Raises NotFound."""
    with write_session(bridge.engine) as session:
        return sum(_pause(session, recurring(session, one), f"Paused by {actor.name}.") for one in sync_ids)


@action(Role.ANALYST)
def resume_sync(bridge: Bridge, actor: Actor, sync_id: int) -> Sync:
    """Let a paused sync go on; it is due at once. Raises NotFound, BudgetTooSmall, NotConnected."""
    limit = checked_shrink_limit(bridge, mixpanel_of(bridge, sync_id))
    with write_session(bridge.engine) as session:
        sync = recurring(session, sync_id)
        _resume(session, sync, limit)
    return sync


def _resume(session: Session, sync: Sync, limit: int) -> bool:
    if sync.state != SyncState.PAUSED:
        return False
    assert sync.every_minutes is not None
    require_room(session, limit, sync.project_id, sync.every_minutes)
    sync.state, sync.paused_reason, sync.next_run_at = SyncState.ACTIVE, None, utc_now()
    session.add(sync)
    session.flush()
    return True


@action(Role.ANALYST)
def resume_syncs(bridge: Bridge, actor: Actor, sync_ids: Sequence[int]) -> int:
    """Let several paused syncs go on, all or none; returns how many were paused.

    Raises: NotFound, BudgetTooSmall, NotConnected.
    """
    limits = {one: checked_shrink_limit(bridge, mixpanel_of(bridge, one)) for one in sync_ids}
    with write_session(bridge.engine) as session:
        return sum(_resume(session, recurring(session, one), limits[one]) for one in sync_ids)


@action(Role.ANALYST)
def remove_sync(bridge: Bridge, actor: Actor, sync_id: int) -> Sync:
    """End a sync for good; its group stays as it is, its history too, and what it had queued is cancelled."""
    with write_session(bridge.engine) as session:
        sync = sync_in(session, sync_id)
        sync.state, sync.next_run_at, sync.paused_reason = SyncState.REMOVED, None, None
        session.add(sync)
        cancel_queued(session, col(Run.sync_id) == sync_id, RunStatus.HELD)
    return sync


@action(Role.ANALYST)
def run_now(bridge: Bridge, actor: Actor, sync_id: int) -> Run:
    """Queue a run of a sync for a worker, or return the one that is not finished yet. Raises NotFound."""
    with write_session(bridge.engine) as session:
        sync = sync_in(session, sync_id)
        if sync.state == SyncState.REMOVED:
            raise NotFound(f"Sync {sync_id} was removed.", advice="Start a new one from Cohorts.")
        run = unfinished(session, sync_id) or new_run(session, sync, trigger="manual", actor=actor.name)
        session.add(run)
    return run
