"""What can be changed of a recurring sync."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlmodel import col

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.project import match_rule
from core.rules.due_times import next_slot
from core.rules.matching import MatchRule
from core.syncs.checks import check, checked_shrink_limit, checked_tags, mixpanel_of, require_room
from core.syncs.listing import SyncView, recurring, sync_in
from core.validation import clean_line
from data.engine import read_session, write_session
from data.models import Connection, Sync, SyncState, utc_now


@action(Role.ANALYST)
def edit_sync(
    bridge: Bridge,
    actor: Actor,
    sync_id: int,
    *,
    every_minutes: int,
    max_shrink: int | None,
    tags: Sequence[str] | None = None,
) -> Sync:
    """Change interval, brake and, if given, tags; the next slot follows the new interval.

    Raises: NotFound, SettingsError, BudgetTooSmall.
    """
    check(every_minutes, max_shrink)
    limit = checked_shrink_limit(bridge, mixpanel_of(bridge, sync_id))
    with write_session(bridge.engine) as session:
        sync = recurring(session, sync_id)
        if sync.state == SyncState.ACTIVE and sync.every_minutes != every_minutes:
            require_room(session, limit, sync.project_id, every_minutes, leave_out=sync_id)
            sync.next_run_at = next_slot(sync_id, every_minutes, after=utc_now())
        sync.every_minutes, sync.max_shrink = every_minutes, max_shrink
        if tags is not None:
            sync.tags = checked_tags(tags)
        session.add(sync)
    return sync


@action(Role.VIEWER)
def get_match_rule(bridge: Bridge, actor: Actor, view: SyncView) -> MatchRule:
    """Tell how a sync matches users: by its own settings, as far as it has any, else by its connection's."""
    with read_session(bridge.engine) as session:
        return match_rule(session.get_one(Connection, view.sync.mixpanel_id), view.sync)


@action(Role.ANALYST)
def change_sync_matching(
    bridge: Bridge, actor: Actor, sync_id: int, *, match_property: str = "", expects_prefix: bool | None = None
) -> Sync:
    """Give a sync match settings of its own, or the connection's again (empty, None).

    All syncs of its group share them. Raises: NotFound, SettingsError.
    """
    own = clean_line(match_property, "Match property") if match_property.strip() else None
    with write_session(bridge.engine) as session:
        sync = sync_in(session, sync_id)
        session.exec(
            update(Sync)
            .where(col(Sync.group_id) == sync.group_id)
            .values(match_property=own, expects_prefix=expects_prefix)
        )
        session.refresh(sync)
    return sync
