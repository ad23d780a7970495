"""What is checked before a recurring sync is added or changed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, select

from core.bridge import Bridge
from core.connections.project import project_for
from core.errors import BudgetTooSmall, NotConnected, SettingsError
from core.rules.due_times import INTERVALS, checked_interval, queries_an_hour
from core.syncs.listing import recurring
from core.validation import clean_line
from data.engine import read_session
from data.models import Connection, QueryBudget, Sync, SyncKind, SyncState

_TAG_LENGTH, _MOST_TAGS = 40, 10


def require_room(session: Session, limit: int, project_id: int, every: int, *, leave_out: int | None = None) -> None:
    present = [
        other
        for sync_id, other in session.exec(
            select(Sync.id, Sync.every_minutes).where(
                Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.ACTIVE, Sync.project_id == project_id
            )
        ).all()
        if other and sync_id != leave_out
    ]
    if queries_an_hour([*present, every]) <= limit:
        return
    longer = [other for other in INTERVALS if other > every]
    fitting = [other for other in longer if queries_an_hour([*present, other]) <= limit]
    together = [other for other in longer if queries_an_hour([max(other, one) for one in [*present, every]]) <= limit]
    if fitting:
        advice = f"It fits every {checked_interval(fitting[0])}."
    elif together:
        advice = (
            f"All {len(present) + 1} fit every {checked_interval(together[0])}: give the others that interval first."
        )
    else:
        advice = "No interval fits: pause or remove another sync."
    raise BudgetTooSmall(
        f"Mixpanel allows this project {limit} queries an hour, and {len(present)} recurring syncs use them: one more "
        f"every {checked_interval(every)} does not fit.",
        advice=advice,
    )


def checked_shrink_limit(bridge: Bridge, mixpanel: Connection) -> int:
    with read_session(bridge.engine) as session:
        key = project_for(bridge, mixpanel).key
        return (session.get(QueryBudget, key) or QueryBudget(project=key)).queries


def mixpanel_of(bridge: Bridge, sync_id: int) -> Connection:
    """Return the sync's own connection: another project's limit says nothing of it. Raises NotConnected."""
    with read_session(bridge.engine) as session:
        connection = session.get_one(Connection, recurring(session, sync_id).mixpanel_id)
    if connection.removed:
        raise NotConnected("The Mixpanel connection of this sync was removed.")
    return connection


def checked_tags(tags: Sequence[str]) -> list[str]:
    """Return tags as they are kept: trimmed, each once, in order. Raises SettingsError."""
    found = sorted({clean_line(tag, "Tag", most=_TAG_LENGTH) for tag in tags if tag.strip()}, key=str.casefold)
    if len(found) > _MOST_TAGS:
        raise SettingsError(f"Tags: a sync has at most {_MOST_TAGS}.")
    return found


def check(every_minutes: int, max_shrink: int | None) -> None:
    if every_minutes not in INTERVALS:
        raise SettingsError("Interval: choose 15, 30, 60 or 1440 minutes.")
    if max_shrink is not None and not 0 <= max_shrink <= 100:
        raise SettingsError("Brake: this is a share from 0 to 100 percent.")
