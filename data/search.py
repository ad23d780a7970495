"""What the search box looks through: names and ids, and no more of what bears them."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import or_, select
from sqlmodel import col

from data.engine import Engine, read_session
from data.models import Connection, Group, Sync, SyncKind, SyncState


class NamedRow(NamedTuple):
    """A group, or the group of a sync: its names, its cohort's, and where it is."""

    id: int
    name: str
    delivered_name: str | None
    cohort_name: str
    cohort_id: int
    destination: str


_NAMES: list[Any] = [Group.name, Group.delivered_name, Group.cohort_name, Group.cohort_id, Connection.name]
_IN_ITS_PLACE = col(Group.destination_id) == col(Connection.id)


def list_groups(engine: Engine) -> list[NamedRow]:
    """List the groups that were delivered, by id."""
    query = _select(Group.id).where(_IN_ITS_PLACE, col(Group.delivered_at).is_not(None))
    return _ask(engine, query.order_by(col(Group.id)))


def list_syncs(engine: Engine, sync_id: int | None) -> list[NamedRow]:
    """List the recurring syncs that were not removed, by id, and the sync of this id, whatever it is."""
    is_listed = (col(Sync.kind) == SyncKind.RECURRING) & (col(Sync.state) != SyncState.REMOVED)
    query = _select(Sync.id).where(
        _IN_ITS_PLACE, col(Sync.group_id) == col(Group.id), or_(is_listed, col(Sync.id) == sync_id)
    )
    return _ask(engine, query.order_by(col(Sync.id)))


def _select(row_id: Any) -> Any:
    return select(row_id, *_NAMES)


def _ask(engine: Engine, query: Any) -> list[NamedRow]:
    with read_session(engine) as session:
        return [NamedRow(*row) for row in session.connection().execute(query)]
