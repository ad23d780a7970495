"""Filters that people keep under a name: each person has their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlmodel import col, select

from data.engine import Engine, read_session, write_session
from data.locks import PEOPLE
from data.repeating import repeated
from data.saved_filter_models import SavedFilter

# Is given the filters that the person has kept already, and raises to refuse another one.
Check = Callable[[Sequence[SavedFilter]], None]


def list_own(engine: Engine, person_id: int, page: str) -> list[SavedFilter]:
    """List what a person has kept of a page's filters, by name."""
    with read_session(engine) as session:
        own = select(SavedFilter).where(SavedFilter.person_id == person_id, SavedFilter.page == page)
        return list(session.exec(own.order_by(col(SavedFilter.name))).all())


@repeated
def keep(
    engine: Engine, person_id: int, page: str, name: str, query: str, *, check: Check, now: datetime
) -> SavedFilter:
    """Keep a filter under a name, in the place of what was kept under that before."""
    with write_session(engine, PEOPLE) as session:
        own = session.exec(
            select(SavedFilter).where(SavedFilter.person_id == person_id, SavedFilter.page == page)
        ).all()
        kept = next((each for each in own if each.name == name), None)
        if kept is None:
            check(own)
            kept = SavedFilter(person_id=person_id, page=page, name=name, query=query, created_at=now)
        kept.query = query
        session.add(kept)
    return kept


@repeated
def remove(engine: Engine, person_id: int, filter_id: int) -> SavedFilter | None:
    """Remove a filter that a person has kept; None when it is not there, or another person's."""
    with write_session(engine, PEOPLE) as session:
        kept = session.get(SavedFilter, filter_id)
        if kept is None or kept.person_id != person_id:
            return None
        session.delete(kept)
    return kept
