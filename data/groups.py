"""Groups."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlmodel import col, select

from data.engine import read_session
from data.models import Group


def list_groups(engine: Engine) -> list[Group]:
    """List the groups that were delivered at least once, by id."""
    with read_session(engine) as session:
        query = select(Group).where(col(Group.delivered_at).is_not(None)).order_by(col(Group.id))
        return list(session.exec(query).all())
