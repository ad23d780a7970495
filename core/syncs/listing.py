"""The recurring syncs that are there."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound
from data import run_stats
from data.engine import read_session
from data.models import Connection, Group, Run, Sync, SyncKind, SyncState


@dataclass(frozen=True)
class SyncView:
    """A sync with what a person wants to see beside it."""

    sync: Sync
    group: Group
    destination: str
    last_run: Run | None


@action(Role.VIEWER)
def list_syncs(bridge: Bridge, actor: Actor) -> list[SyncView]:
    """List the syncs that were not removed, by id, each with its group and its last run."""
    with read_session(bridge.engine) as session:
        rows = session.exec(
            select(Sync, Group, Connection.name)
            .where(
                col(Sync.state) != SyncState.REMOVED,
                col(Sync.group_id) == col(Group.id),
                col(Group.destination_id) == col(Connection.id),
            )
            .order_by(col(Sync.id))
        ).all()
    last = run_stats.newest_of_each_sync(bridge.engine, [sync.id for sync, _, _ in rows if sync.id is not None])
    return [SyncView(sync, group, name, last.get(sync.id or 0)) for sync, group, name in rows]


@action(Role.VIEWER)
def get_sync(bridge: Bridge, actor: Actor, sync_id: int) -> SyncView:
    """Return a sync, removed ones too. Raises NotFound."""
    with read_session(bridge.engine) as session:
        sync = sync_in(session, sync_id)
        group = session.get_one(Group, sync.group_id)
        destination = session.get_one(Connection, group.destination_id)
    last = run_stats.newest_of_each_sync(bridge.engine, [sync_id])
    return SyncView(sync, group, destination.name, last.get(sync_id))


def sync_in(session: Session, sync_id: int) -> Sync:
    sync = session.get(Sync, sync_id)
    if sync is None:
        raise NotFound(f"There is no sync {sync_id}.", advice="See the list: `python -m core syncs list`, or Syncs.")
    return sync


def recurring(session: Session, sync_id: int) -> Sync:
    sync = sync_in(session, sync_id)
    if sync.kind != SyncKind.RECURRING or sync.state == SyncState.REMOVED:
        raise NotFound(f"There is no recurring sync {sync_id}.", advice="It was removed, or exports once only.")
    return sync
