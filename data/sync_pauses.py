"""Pauses of recurring syncs: what stops them, for a time or until somebody resumes them, and what ends that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session, col, select

from data import alert_states, receivers
from data.audit import recorder
from data.audit.scope import Scope
from data.engine import Engine, read_session, write_session
from data.models import Group, Run, Sync, SyncKind, SyncState
from data.repeating import repeated
from data.sync_runs import cancel_queued, give_up_undo
from data.syncs import ChangedSyncs, CheckRoom, find_recurring, list_timings


@repeated
def pause(
    engine: Engine,
    sync_ids: Sequence[int],
    *,
    reason: str,
    now: datetime,
    until: datetime | None = None,
    by_person: bool = True,
) -> ChangedSyncs:
    """Pause recurring syncs, all or none, and cancel what they queued. A worker resumes them at `until`, if given.

    Of one that is paused already this is the end from now on, or that it has none; the cause stays.
    Raises: SyncUnknown, SyncNotRecurring.
    """
    with write_session(engine) as session:
        syncs = _find_each(session, sync_ids)
        were_active = [sync.id for sync in syncs if sync.state == SyncState.ACTIVE]
        count = sum(_pause(session, sync, reason, until, now) for sync in syncs)
        alert_states.note_paused(session, were_active, by_person=by_person, now=now)
        return ChangedSyncs(syncs, count)


def _find_each(session: Session, sync_ids: Sequence[int]) -> list[Sync]:
    """Return these syncs, each once however often it is named."""
    return [find_recurring(session, sync_id) for sync_id in dict.fromkeys(sync_ids)]


def _pause(session: Session, sync: Sync, reason: str, until: datetime | None, now: datetime) -> bool:
    if sync.state == SyncState.PAUSED:
        is_changed = sync.paused_until != until
        sync.paused_until = until
        session.add(sync)
        alert_states.note_pause_end(session, sync.id or 0, until)
        return is_changed
    sync.state, sync.next_run_at, sync.paused_reason, sync.paused_until = SyncState.PAUSED, None, reason, until
    session.add(sync)
    cancel_queued(session, col(Run.sync_id) == sync.id, now=now)
    return True


@repeated
def resume(engine: Engine, sync_ids: Sequence[int], *, check_room: CheckRoom, now: datetime) -> ChangedSyncs:
    """Let paused syncs run again, all or none; they are due at once.

    Raises: SyncUnknown, SyncNotRecurring, SharedReceiver, and what `check_room` raises.
    """
    with write_session(engine) as session:
        syncs = _find_each(session, sync_ids)
        return ChangedSyncs(syncs, sum(_resume(session, sync, check_room, now) for sync in syncs))


def _resume(session: Session, sync: Sync, check_room: CheckRoom, now: datetime) -> bool:
    if sync.state != SyncState.PAUSED:
        return False
    check_room(sync, list_timings(session, sync))
    receivers.require_own(session, session.get_one(Group, sync.group_id))
    sync.state, sync.next_run_at, sync.expected_since = SyncState.ACTIVE, now, now
    sync.paused_reason, sync.paused_until = None, None
    give_up_undo(session, sync.group_id, now=now)
    session.add(sync)
    session.flush()  # the next one of several is checked beside this one
    alert_states.note_resumed(session, sync.id or 0, now=now)
    return True


# --- pauses with an end --------------------------------------------------------------------------------------------


class EndedPause(NamedTuple):
    """A sync that was paused until a time which has come."""

    sync_id: int
    until: datetime


def list_ended(engine: Engine, *, now: datetime) -> list[EndedPause]:
    """List the pauses that end by now, the earliest first."""
    query = select(Sync.id, Sync.paused_until).where(
        Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.PAUSED, col(Sync.paused_until) <= now
    )
    with read_session(engine) as session:
        rows = session.exec(query.order_by(col(Sync.paused_until), col(Sync.id))).all()
    return [EndedPause(sync_id, until) for sync_id, until in rows if sync_id is not None and until is not None]


@repeated
def end(engine: Engine, ended: EndedPause, *, check_room: CheckRoom, scope: Scope, now: datetime) -> Sync | None:
    """Resume a sync whose pause has ended, None if somebody changed it since.

    Raises: SharedReceiver, and what `check_room` raises.
    """
    with recorder.acting(scope), write_session(engine) as session:
        sync = _find_ended(session, ended)
        return sync if sync and _resume(session, sync, check_room, now) else None


@repeated
def prolong(engine: Engine, ended: EndedPause, *, reason: str, scope: Scope, now: datetime) -> Sync | None:
    """Leave a sync paused whose pause has ended, until somebody resumes it; None if somebody changed it since."""
    with recorder.acting(scope), write_session(engine) as session:
        sync = _find_ended(session, ended)
        if sync:
            sync.paused_reason, sync.paused_until = reason, None
            session.add(sync)
            alert_states.note_paused(session, [sync.id], by_person=False, now=now, again=True)
        return sync


def _find_ended(session: Session, ended: EndedPause) -> Sync | None:
    sync = session.get(Sync, ended.sync_id)
    is_as_it_was = sync and sync.state == SyncState.PAUSED and sync.paused_until == ended.until
    return sync if is_as_it_was else None
