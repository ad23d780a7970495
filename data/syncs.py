"""Syncs: which cohort is kept in which group, how often, and the runs that they queue.

What a person asks for is checked and changed in one transaction. Where core decides on what is found in it, it hands
in a function that raises to refuse; nothing is kept then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import update
from sqlmodel import Session, col, select

from data import alert_states, connections, receivers
from data.engine import Engine, read_session, write_session
from data.groups import require_free_name
from data.models import NOT_DONE, Connection, Group, Run, RunStatus, Sync, SyncKind, SyncState, Timing
from data.repeating import repeated
from data.run_queue import RunNames, RunRequest
from data.seen import Seen, require_as_seen
from data.sync_models import read_timing
from data.sync_runs import (
    add_run,
    cancel_queued,
    discard_held,
    give_up_undo,
    is_unclaimed,
    start_at_once,
)


class Placed(NamedTuple):
    """The group of a cohort at a destination, and what both are to be called: a preview calls only its run so."""

    group: Group
    cohort_name: str
    own_name: str | None  # None: the group follows the cohort's name

    @property
    def names(self) -> RunNames:
        """What a run calls the cohort and the group."""
        return RunNames(self.cohort_name, self.own_name or self.cohort_name)


# The cohort's group at a destination as it shall be, from the one that is there.
ArrangeGroup = Callable[[Group | None], Placed]
# Whether a sync fits beside the project's other active syncs, which run so often.
CheckRoom = Callable[[Sync, Sequence[Timing]], None]
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
    """What can be changed of a recurring sync; without `tags` they stay as they are.

    `match_property` and `expects_prefix` are those that a new one begins with, where its group has no other yet.
    """

    timing: Timing
    max_shrink: int | None
    tags: list[str] | None = None
    match_property: str | None = None
    expects_prefix: bool | None = None


@dataclass(frozen=True)
class ChangedSyncs:
    """Syncs after a change that was asked for, and how many of them it changed."""

    syncs: list[Sync]
    count: int


# --- read ----------------------------------------------------------------------------------------------------------


def get_recurring(engine: Engine, sync_id: int) -> Sync:
    """Return a recurring sync that was not removed. Raises SyncUnknown, SyncNotRecurring."""
    with read_session(engine) as session:
        return find_recurring(session, sync_id)


def get_mixpanel(engine: Engine, sync: Sync) -> Connection:
    """Return the connection that a sync reads through, removed ones too."""
    with read_session(engine) as session:
        return session.get_one(Connection, sync.mixpanel_id)


def list_with_group(
    engine: Engine, *, of_groups: Sequence[int] | None = None, after: int = 0, limit: int | None = None
) -> list[tuple[Sync, Group, str]]:
    """List the syncs, of all groups or of these, after an id, that were not removed, with group and destination's name,
    by id.
    """
    query = select(Sync, Group, Connection.name).where(col(Sync.state) != SyncState.REMOVED, col(Sync.id) > after)
    query = query if of_groups is None else query.where(col(Sync.group_id).in_(of_groups))
    with read_session(engine) as session:
        return list(session.exec(query.where(*IN_ITS_GROUP).order_by(col(Sync.id)).limit(limit)).all())


def get_several(engine: Engine, sync_ids: Sequence[int]) -> list[tuple[Sync, Group, str]]:
    """Return the syncs of these ids, removed ones too, each with group and destination's name, by id."""
    query = select(Sync, Group, Connection.name).where(col(Sync.id).in_(sync_ids), *IN_ITS_GROUP)
    with read_session(engine) as session:
        return list(session.exec(query.order_by(col(Sync.id))).all())


def get_with_group(engine: Engine, sync_id: int) -> tuple[Sync, Group, str] | None:
    """Return a sync with group and destination's name, removed ones too, None if unknown."""
    query = select(Sync, Group, Connection.name).where(Sync.id == sync_id, *IN_ITS_GROUP)
    with read_session(engine) as session:
        return session.exec(query).first()


def recurring_by_group(engine: Engine, group_ids: Sequence[int]) -> dict[int, Sync]:
    """Return the recurring sync of each of these groups that has one."""
    query = select(Sync).where(Sync.kind == SyncKind.RECURRING, col(Sync.state) != SyncState.REMOVED)
    with read_session(engine) as session:
        kept = session.exec(query.where(col(Sync.group_id).in_(group_ids))).all()
        return {sync.group_id: sync for sync in kept}


IN_ITS_GROUP = (col(Sync.group_id) == col(Group.id), col(Group.destination_id) == col(Connection.id))


# --- start ---------------------------------------------------------------------------------------------------------


@repeated
def start_one_time(
    engine: Engine,
    place: SyncPlace,
    request: RunRequest,
    *,
    arrange: ArrangeGroup,
    check_matching: CheckMatching,
    as_of: datetime | None = None,
    now: datetime,
) -> Run:
    """Queue a one-time export, or return the one that is queued already and that no process holds.

    With `as_of` the newest is returned too that the same person asked for since then, whatever has become of it.
    Raises: ConnectionGone, NameTaken, SharedReceiver, and what the functions raise that are handed in.
    """
    with write_session(engine) as session:
        placed = _place_group(session, place, arrange)
        sync = _one_time(session, place, placed.group, request.actor, check_matching, now)
        if as_of and (asked := _asked_since(session, sync, request, as_of)):
            return asked
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
            queued.cohort_name, queued.group_name = placed.names
            start_at_once(session, queued)
            return queued
        return add_run(session, sync, replace(request, names=placed.names), now=now)


def place_one_time(
    engine: Engine, place: SyncPlace, actor: str, *, arrange: ArrangeGroup, check_matching: CheckMatching, now: datetime
) -> Sync:
    """Find or make the sync of a one-time export without queueing one. Raises as `start_one_time` does."""
    with write_session(engine) as session:
        return _one_time(session, place, _place_group(session, place, arrange).group, actor, check_matching, now)


def _asked_since(session: Session, sync: Sync, request: RunRequest, as_of: datetime) -> Run | None:
    """Return the newest run of a sync that the same person asked for in the same way since then, unless it failed."""
    asked = select(Run).where(
        col(Run.status).not_in(NOT_DONE),
        Run.sync_id == sync.id,
        Run.actor == request.actor,
        Run.trigger == request.trigger,
        Run.dry_run == request.dry_run,
        Run.queued_at >= as_of,
    )
    return session.exec(asked.order_by(col(Run.id).desc()).limit(1)).first()


def add_recurring(
    engine: Engine,
    place: SyncPlace,
    settings: SyncSettings,
    *,
    actor: str,
    arrange: ArrangeGroup,
    check_room: CheckRoom,
    paused_reason: str | None = None,
    as_of: datetime | None = None,
    now: datetime,
) -> Sync:
    """Add a recurring sync that is due at once, or, with a reason, paused.

    With `as_of` the one is returned that the same person gave this group since then, set to the same.
    Raises: ConnectionGone, NameTaken, SharedReceiver, SyncExists, and what the functions raise that are handed in.
    """
    with write_session(engine) as session:
        group = _place_group(session, place, arrange).group
        if other := _find_recurring_of(session, group):
            if as_of and other.created_at >= as_of and _is_as_asked(other, place, settings, actor):
                return other
            raise SyncExists(other.id, group.name)
        sync = _new_sync(SyncKind.RECURRING, place, group, actor, now)
        sync.set_timing(settings.timing)
        sync.max_shrink, sync.tags = settings.max_shrink, settings.tags or []
        sync.match_property, sync.expects_prefix = settings.match_property, settings.expects_prefix
        if paused_reason:
            sync.state, sync.paused_reason = SyncState.PAUSED, paused_reason
        else:
            sync.next_run_at = now
            check_room(sync, list_timings(session, sync))
        _follow_matching(session, sync)
        session.add(sync)
        if paused_reason:
            session.flush()
            alert_states.note_paused(session, [sync.id], by_person=True, now=now)
    return sync


def _is_as_asked(sync: Sync, place: SyncPlace, settings: SyncSettings, actor: str) -> bool:
    """Return whether a sync is what this person asks for: one that holds runs otherwise is not."""
    present = (sync.created_by, sync.mixpanel_id, sync.timing, sync.max_shrink)
    return present == (actor, place.mixpanel.id, settings.timing, settings.max_shrink)


def _place_group(session: Session, place: SyncPlace, arrange: ArrangeGroup) -> Placed:
    """Find or make the cohort's one group at the destination. Raises as `start_one_time` does."""
    connections.require_there(session, place.mixpanel, place.destination)
    present = session.exec(
        select(Group).where(
            Group.destination_id == place.destination.id,
            Group.project_id == place.mixpanel.project_id,
            Group.cohort_id == place.cohort_id,
        )
    ).first()
    placed = arrange(present)
    session.add(placed.group)
    session.flush()
    receivers.require_own(session, placed.group)
    require_free_name(session, placed.group, placed.names.group)
    return placed


def _one_time(
    session: Session, place: SyncPlace, group: Group, actor: str, check_matching: CheckMatching, now: datetime
) -> Sync:
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
    _require_same_matching(session, sync, check_matching)
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


def _find_recurring_of(session: Session, group: Group) -> Sync | None:
    """Find the recurring sync that keeps a group up to date, or would if it were not paused."""
    return session.exec(
        select(Sync).where(
            Sync.group_id == group.id, Sync.kind == SyncKind.RECURRING, col(Sync.state) != SyncState.REMOVED
        )
    ).first()


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


def list_timings(session: Session, sync: Sync) -> list[Timing]:
    """List how often the other active recurring syncs of a sync's project run."""
    rows = session.exec(
        select(Sync.id, Sync.every_minutes, Sync.cron, Sync.zone).where(
            Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE, Sync.project_id == sync.project_id
        )
    ).all()
    timings = [read_timing(every, cron, zone) for sync_id, every, cron, zone in rows if sync_id != sync.id]
    return [timing for timing in timings if timing is not None]


# --- change --------------------------------------------------------------------------------------------------------


@repeated
def edit(
    engine: Engine,
    sync_id: int,
    settings: SyncSettings,
    *,
    next_run_at: datetime,
    check_room: CheckRoom,
    seen: Seen | None = None,
    now: datetime,
) -> Sync:
    """Change a recurring sync; one that is active is due at `next_run_at` when it gets other times.

    Raises: SyncUnknown, SyncNotRecurring, ChangedSinceSeen, and what `check_room` raises.
    """
    with write_session(engine) as session:
        sync = find_recurring(session, sync_id)
        require_as_seen(sync, seen)
        is_rescheduled = sync.state == SyncState.ACTIVE and sync.timing != settings.timing
        sync.set_timing(settings.timing)
        sync.max_shrink = settings.max_shrink
        if settings.tags is not None:
            sync.tags = settings.tags
        if is_rescheduled:
            check_room(sync, list_timings(session, sync))
            sync.next_run_at, sync.expected_since = next_run_at, now
        session.add(sync)
    return sync


@repeated
def set_matching(
    engine: Engine, sync_id: int, *, match_property: str | None, expects_prefix: bool | None, seen: Seen | None = None
) -> Sync:
    """Give all syncs of a sync's group these match settings, None for the connection's.

    Raises: SyncUnknown, ChangedSinceSeen.
    """
    with write_session(engine) as session:
        sync = find(session, sync_id)
        require_as_seen(sync, seen)
        session.exec(
            update(Sync)
            .where(col(Sync.group_id) == sync.group_id)
            .values(match_property=match_property, expects_prefix=expects_prefix)
        )
        session.refresh(sync)
    return sync


@repeated
def remove(engine: Engine, sync_id: int, *, actor: str, now: datetime) -> Sync:
    """End a sync for good, cancel what it queued, and discard what it had held. Raises SyncUnknown."""
    with write_session(engine) as session:
        sync = find(session, sync_id)
        sync.state, sync.next_run_at = SyncState.REMOVED, None
        sync.paused_reason, sync.paused_until = None, None
        session.add(sync)
        cancel_queued(session, col(Run.sync_id) == sync_id, now=now)
        discard_held(session, col(Run.sync_id) == sync_id, by=actor)
        alert_states.note_removed(session, sync_id, now=now)
    return sync


def find(session: Session, sync_id: int) -> Sync:
    """Return a sync, removed ones too. Raises SyncUnknown."""
    sync = session.get(Sync, sync_id)
    if sync is None:
        raise SyncUnknown(sync_id)
    return sync


def find_recurring(session: Session, sync_id: int) -> Sync:
    """Return a recurring sync that was not removed. Raises SyncUnknown, SyncNotRecurring."""
    sync = find(session, sync_id)
    if sync.kind != SyncKind.RECURRING or sync.state == SyncState.REMOVED:
        raise SyncNotRecurring(sync_id)
    return sync
