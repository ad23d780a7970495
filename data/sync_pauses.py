"""Pauses of recurring syncs: what stops them, and what lets them run again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col

from data import alert_states, receivers
from data.engine import Engine, write_session
from data.models import Group, Run, Sync, SyncState
from data.sync_runs import cancel_queued, give_up_undo
from data.syncs import ChangedSyncs, CheckRoom, find_recurring, list_intervals


def pause(engine: Engine, sync_ids: Sequence[int], *, reason: str, now: datetime) -> ChangedSyncs:
    """Pause recurring syncs, all or none, and cancel what they queued. Raises SyncUnknown, SyncNotRecurring."""
    with write_session(engine) as session:
        syncs = [find_recurring(session, sync_id) for sync_id in sync_ids]
        paused = [sync for sync in syncs if _pause(session, sync, reason, now)]
        alert_states.note_paused(session, [sync.id for sync in paused], by_person=True, now=now)
        return ChangedSyncs(syncs, len(paused))


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
        syncs = [find_recurring(session, sync_id) for sync_id in sync_ids]
        return ChangedSyncs(syncs, sum(_resume(session, sync, check_room, now) for sync in syncs))


def _resume(session: Session, sync: Sync, check_room: CheckRoom, now: datetime) -> bool:
    if sync.state != SyncState.PAUSED:
        return False
    check_room(sync, list_intervals(session, sync))
    receivers.require_own(session, session.get_one(Group, sync.group_id))
    sync.state, sync.paused_reason, sync.next_run_at = SyncState.ACTIVE, None, now
    give_up_undo(session, sync.group_id, now=now)
    session.add(sync)
    session.flush()  # the next one of several is checked beside this one
    alert_states.note_resumed(session, sync.id or 0, now=now)
    return True
