"""Syncs: which cohort is kept in which group, how often, and the runs that they queue.

What a person asks for is checked and changed in one transaction. Where core decides on what is found in it, it hands
in a function that raises to refuse; nothing is kept then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import update
from sqlmodel import Session, col, select

from data import receivers
from data.engine import Engine, read_session, write_session
from data.groups import require_free_name
from data.models import Connection, Group, Run, RunStatus, Sync, SyncKind, SyncState
from data.run_queue import RunRequest, new_run
from data.sync_runs import (
    add_run,
    cancel_queued,
    discard_held,
    give_up_undo,
    is_unclaimed,
    start_at_once,
    unfinished_run,
    with_unfinished_runs,
)

# The cohort's group at a destination as it shall be, from the one that is there.
ArrangeGroup = Callable[[Group | None], Group]
# Whether a sync fits beside the intervals, in minutes, of the project's other active syncs.
CheckRoom = Callable[[Sync, Sequence[int]], None]
# Whether a sync and its connection match users as another sync of the same group, with its connection, does.
CheckMatching = Callable[[Sync, Connection, Sync, Connection], None]


class SyncUnknown(LookupError):
    """There is no such sync."""

    def __init__(self, sync_id: int) -> None:
        super().__init__(f"There is no sync {sync_id}.")
        self.sync_id = sync_id


class SyncNotRecurring(SyncUnknown):
    """The sync was removed, or exports once only."""


class SyncRemoved(SyncUnknown):
    """The sync was removed."""


class SyncExists(Exception):
    """Another recurring sync keeps the group."""

    def __init__(self, sync_id: int | None, group_name: str) -> None:
        super().__init__(f"Sync {sync_id} keeps the group {group_name}.")
        self.sync_id = sync_id
        self.group_name = group_name


@dataclass(frozen=True)
class SyncPlace:
    """A cohort, the connection that it is read through, and the destination of its group."""

    mixpanel: Connection
    destination: Connection
    cohort_id: int


@dataclass(frozen=True)
class SyncSettings:
    """What can be changed of a recurring sync; without `tags` they stay as they are."""

    every_minutes: int
    max_shrink: int | None
    tags: list[str] | None = None


@dataclass(frozen=True)
class ChangedSyncs:
    """Syncs after a change that was asked for, and how many of them it changed."""

    syncs: list[Sync]
    count: int


# --- read ----------------------------------------------------------------------------------------------------------


def get_recurring(engine: Engine, sync_id: int) -> Sync:
    """Return a recurring sync that was not removed. Raises SyncUnknown, SyncNotRecurring."""
    with read_session(engine) as session:
        return _recurring(session, sync_id)


def get_mixpanel(engine: Engine, sync: Sync) -> Connection:
    """Return the connection that a sync reads through, removed ones too."""
    with read_session(engine) as session:
        return session.get_one(Connection, sync.mixpanel_id)


def list_with_group(engine: Engine) -> list[tuple[Sync, Group, str]]:
    """List the syncs that were not removed with group and destination's name, by id."""
    query = select(Sync, Group, Connection.name).where(col(Sync.state) != SyncState.REMOVED, *_IN_ITS_GROUP)
    with read_session(engine) as session:
        return list(session.exec(query.order_by(col(Sync.id))).all())


def get_with_group(engine: Engine, sync_id: int) -> tuple[Sync, Group, str] | None:
    """Return a sync with group and destination's name, removed ones too, None if unknown."""
    query = select(Sync, Group, Connection.name).where(Sync.id == sync_id, *_IN_ITS_GROUP)
    with read_session(engine) as session:
        return session.exec(query).first()


_IN_ITS_GROUP = (col(Sync.group_id) == col(Group.id), col(Group.destination_id) == col(Connection.id))


class Schedule(NamedTuple):
    """When a recurring sync is due next."""

    sync_id: int
    every_minutes: int
    next_run_at: datetime | None


def list_schedules(engine: Engine) -> list[Schedule]:
    """List when the recurring syncs that are active are due, the one that is due next first."""
    active = select(Sync.id, Sync.every_minutes, Sync.next_run_at).where(
        Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE
    )
    with read_session(engine) as session:
        rows = session.exec(active.order_by(col(Sync.next_run_at), col(Sync.id))).all()
    return [Schedule(sync_id or 0, every or 0, at) for sync_id, every, at in rows]


# --- start ---------------------------------------------------------------------------------------------------------


def start_one_time(
    engine: Engine,
    place: SyncPlace,
    request: RunRequest,
    *,
    arrange: ArrangeGroup,
    check_matching: CheckMatching,
    now: datetime,
) -> Run:
    """Queue a one-time export, or return the one that is queued already and that no process holds.

    Raises: NameTaken, SharedReceiver, and what the functions raise that are handed in.
    """
    with write_session(engine) as session:
        group = _place_group(session, place, arrange)
        sync = _one_time(session, place, group, request.actor, now)
        _require_same_matching(session, sync, check_matching)
        if not request.dry_run:
            give_up_undo(session, sync.group_id, now=now)
        queued = session.exec(
            select(Run).where(
                Run.sync_id == sync.id,
                Run.status == RunStatus.QUEUED,
                Run.dry_run == request.dry_run,
                is_unclaimed(),
            )
        ).first()
        if queued and request.lease_owner is None:
            queued.force_full = queued.force_full or request.force_full
            start_at_once(session, queued)
            return queued
        return add_run(session, sync, request, now=now)


def add_recurring(
    engine: Engine,
    place: SyncPlace,
    settings: SyncSettings,
    *,
    actor: str,
    arrange: ArrangeGroup,
    check_room: CheckRoom,
    now: datetime,
) -> Sync:
    """Add a recurring sync that is due at once.

    Raises: NameTaken, SharedReceiver, SyncExists, and what the functions raise that are handed in.
    """
    with write_session(engine) as session:
        group = _place_group(session, place, arrange)
        _require_first(session, group)
        sync = _new_sync(SyncKind.RECURRING, place, group, actor, now)
        sync.every_minutes, sync.max_shrink, sync.tags = (
            settings.every_minutes,
            settings.max_shrink,
            settings.tags or [],
        )
        sync.next_run_at = now
        check_room(sync, _intervals(session, sync))
        _follow_matching(session, sync)
        session.add(sync)
    return sync


def _place_group(session: Session, place: SyncPlace, arrange: ArrangeGroup) -> Group:
    """Find or make the cohort's one group at the destination."""
    present = session.exec(
        select(Group).where(
            Group.destination_id == place.destination.id,
            Group.project_id == place.mixpanel.project_id,
            Group.cohort_id == place.cohort_id,
        )
    ).first()
    group = arrange(present)
    session.add(group)
    session.flush()
    receivers.require_own(session, group)
    require_free_name(session, group, group.name)
    return group


def _one_time(session: Session, place: SyncPlace, group: Group, actor: str, now: datetime) -> Sync:
    sync = session.exec(
        select(Sync).where(
            Sync.group_id == group.id, Sync.kind == SyncKind.ONE_TIME, col(Sync.state) != SyncState.REMOVED
        )
    ).first()
    if sync is None:
        sync = _new_sync(SyncKind.ONE_TIME, place, group, actor, now)
        _follow_matching(session, sync)
        session.add(sync)
        session.flush()
    elif sync.mixpanel_id != place.mixpanel.id:
        assert place.mixpanel.id is not None
        sync.mixpanel_id = place.mixpanel.id
        session.add(sync)
    return sync


def _new_sync(kind: SyncKind, place: SyncPlace, group: Group, actor: str, now: datetime) -> Sync:
    assert place.mixpanel.id is not None
    assert group.id is not None
    return Sync(
        kind=kind,
        mixpanel_id=place.mixpanel.id,
        group_id=group.id,
        project_id=place.mixpanel.project_id,
        cohort_id=place.cohort_id,
        created_by=actor,
        created_at=now,
    )


def _require_first(session: Session, group: Group) -> None:
    other = session.exec(
        select(Sync).where(
            Sync.group_id == group.id, Sync.kind == SyncKind.RECURRING, col(Sync.state) != SyncState.REMOVED
        )
    ).first()
    if other:
        raise SyncExists(other.id, group.name)


def _require_same_matching(session: Session, sync: Sync, check: CheckMatching) -> None:
    rows = session.exec(
        select(Sync, Connection).where(
            Sync.group_id == sync.group_id,
            Sync.kind == SyncKind.RECURRING,
            col(Sync.state) != SyncState.REMOVED,
            col(Sync.mixpanel_id) != sync.mixpanel_id,
            col(Sync.mixpanel_id) == col(Connection.id),
            col(Connection.removed).is_(False),
        )
    ).all()
    for other, connection in rows:
        check(sync, session.get_one(Connection, sync.mixpanel_id), other, connection)


def _follow_matching(session: Session, sync: Sync) -> None:
    """Give a new sync the match settings that its group's others have: two of them would undo each other's work."""
    other = session.exec(
        select(Sync).where(Sync.group_id == sync.group_id, col(Sync.state) != SyncState.REMOVED).order_by(col(Sync.id))
    ).first()
    if other:
        sync.match_property, sync.expects_prefix = other.match_property, other.expects_prefix


def _intervals(session: Session, sync: Sync) -> list[int]:
    """List the intervals of the other active recurring syncs of a sync's project."""
    rows = session.exec(
        select(Sync.id, Sync.every_minutes).where(
            Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE, Sync.project_id == sync.project_id
        )
    ).all()
    return [minutes for sync_id, minutes in rows if minutes and sync_id != sync.id]


# --- change --------------------------------------------------------------------------------------------------------


def edit(engine: Engine, sync_id: int, settings: SyncSettings, *, next_run_at: datetime, check_room: CheckRoom) -> Sync:
    """Change a recurring sync; one that is active is due at `next_run_at` when it gets another interval.

    Raises: SyncUnknown, SyncNotRecurring, and what `check_room` raises.
    """
    with write_session(engine) as session:
        sync = _recurring(session, sync_id)
        is_rescheduled = sync.state == SyncState.ACTIVE and sync.every_minutes != settings.every_minutes
        sync.every_minutes, sync.max_shrink = settings.every_minutes, settings.max_shrink
        if settings.tags is not None:
            sync.tags = settings.tags
        if is_rescheduled:
            check_room(sync, _intervals(session, sync))
            sync.next_run_at = next_run_at
        session.add(sync)
    return sync


def set_matching(engine: Engine, sync_id: int, *, match_property: str | None, expects_prefix: bool | None) -> Sync:
    """Give all syncs of a sync's group these match settings, None for the connection's. Raises SyncUnknown."""
    with write_session(engine) as session:
        sync = _get(session, sync_id)
        session.exec(
            update(Sync)
            .where(col(Sync.group_id) == sync.group_id)
            .values(match_property=match_property, expects_prefix=expects_prefix)
        )
        session.refresh(sync)
    return sync


def pause(engine: Engine, sync_ids: Sequence[int], *, reason: str, now: datetime) -> ChangedSyncs:
    """Pause recurring syncs, all or none, and cancel what they queued. Raises SyncUnknown, SyncNotRecurring."""
    with write_session(engine) as session:
        syncs = [_recurring(session, sync_id) for sync_id in sync_ids]
        return ChangedSyncs(syncs, sum(_pause(session, sync, reason, now) for sync in syncs))


def _pause(session: Session, sync: Sync, reason: str, now: datetime) -> bool:
    if sync.state != SyncState.ACTIVE:
        return False
    sync.state, sync.next_run_at, sync.paused_reason = SyncState.PAUSED, None, reason
    session.add(sync)
    cancel_queued(session, col(Run.sync_id) == sync.id, now=now)
    return True


def resume(engine: Engine, sync_ids: Sequence[int], *, check_room: CheckRoom, now: datetime) -> ChangedSyncs:
    """Let paused syncs run again, all or none; they are due at once.

    Raises: SyncUnknown, SyncNotRecurring, SharedReceiver, and what `check_room` raises.
    """
    with write_session(engine) as session:
        syncs = [_recurring(session, sync_id) for sync_id in sync_ids]
        return ChangedSyncs(syncs, sum(_resume(session, sync, check_room, now) for sync in syncs))


def _resume(session: Session, sync: Sync, check_room: CheckRoom, now: datetime) -> bool:
    if sync.state != SyncState.PAUSED:
        return False
    check_room(sync, _intervals(session, sync))
    receivers.require_own(session, session.get_one(Group, sync.group_id))
    sync.state, sync.paused_reason, sync.next_run_at = SyncState.ACTIVE, None, now
    give_up_undo(session, sync.group_id, now=now)
    session.add(sync)
    session.flush()  # the next one of several is checked beside this one
    return True


def remove(engine: Engine, sync_id: int, *, actor: str, now: datetime) -> Sync:
    """End a sync for good, cancel what it queued, and discard what it had held. Raises SyncUnknown."""
    with write_session(engine) as session:
        sync = _get(session, sync_id)
        sync.state, sync.next_run_at, sync.paused_reason = SyncState.REMOVED, None, None
        session.add(sync)
        cancel_queued(session, col(Run.sync_id) == sync_id, now=now)
        discard_held(session, col(Run.sync_id) == sync_id, by=actor)
    return sync


# --- queue ---------------------------------------------------------------------------------------------------------


def queue_run(engine: Engine, sync_id: int, request: RunRequest, *, now: datetime) -> Run:
    """Queue a run of a sync, or return the one that is not finished yet: it waits no longer after a death.

    Raises: SyncUnknown, SyncRemoved, SharedReceiver.
    """
    with write_session(engine) as session:
        sync = _get(session, sync_id)
        if sync.state == SyncState.REMOVED:
            raise SyncRemoved(sync_id)
        receivers.require_own(session, session.get_one(Group, sync.group_id))
        give_up_undo(session, sync.group_id, now=now)
        run = unfinished_run(session, sync_id)
        if run is None:
            return add_run(session, sync, request, now=now)
        start_at_once(session, run)
        return run


def queue_scheduled(engine: Engine, due: Sequence[tuple[Schedule, datetime]], *, now: datetime) -> int:
    """Move syncs that are due to their next slots, and queue a run of each. Returns how many were queued.

    None is queued where another worker was faster, or the last run is not finished: this slot is its as well.
    """
    with write_session(engine) as session:
        moved = [schedule.sync_id for schedule, at in due if _move(session, schedule, at)]
        busy = set(session.exec(with_unfinished_runs(moved)).all())
        free = [sync_id for sync_id in moved if sync_id not in busy]
        query = select(Sync, Group, Connection.name).where(*_IN_ITS_GROUP)
        found = {row[0].id: row for row in session.exec(query.where(col(Sync.id).in_(free))).all()}
        request = RunRequest(trigger="schedule", actor="schedule")
        for sync_id in free:
            # Raises where a row is missing: a sync without its group or destination is damage.
            sync, group, destination = found.get(sync_id) or session.exec(query.where(Sync.id == sync_id)).one()
            session.add(new_run(sync, group, request, destination=destination, now=now))
        return len(free)


def _move(session: Session, schedule: Schedule, at: datetime) -> bool:
    moved = session.exec(
        update(Sync)
        .where(
            col(Sync.id) == schedule.sync_id,
            col(Sync.state) == SyncState.ACTIVE,
            col(Sync.next_run_at).is_not_distinct_from(schedule.next_run_at),
        )
        .values(next_run_at=at)
        .execution_options(synchronize_session=False)
    )
    return moved.rowcount == 1


def _get(session: Session, sync_id: int) -> Sync:
    sync = session.get(Sync, sync_id)
    if sync is None:
        raise SyncUnknown(sync_id)
    return sync


def _recurring(session: Session, sync_id: int) -> Sync:
    sync = _get(session, sync_id)
    if sync.kind != SyncKind.RECURRING or sync.state == SyncState.REMOVED:
        raise SyncNotRecurring(sync_id)
    return sync
