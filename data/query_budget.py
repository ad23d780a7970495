"""The budget of a Mixpanel project: counted queries in a rolling window, the limit, and how long it is blocked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select

from data.engine import Engine, read_session, write_session
from data.locks import of_project
from data.query_models import QueryBudget, QuerySpend
from data.repeating import repeated


@dataclass(frozen=True)
class BudgetStatus:
    """How much of a project's window is used. `next_at` is when the next query may start, None when one may now."""

    limit: int
    used: int
    window_s: int
    next_at: datetime | None


def get_status(engine: Engine, project: str, *, now: datetime) -> BudgetStatus:
    """Return how many queries of the rolling window are spent, and when the next slot opens."""
    with read_session(engine) as session:
        rules = session.get(QueryBudget, project) or QueryBudget(project=project)
        spent = _spent(session, rules, now)
    return _status(rules, spent, now)


def list_returns(engine: Engine, project: str, *, now: datetime) -> list[datetime]:
    """List when the queries that are spent now leave the rolling window, the soonest first."""
    with read_session(engine) as session:
        rules = session.get(QueryBudget, project) or QueryBudget(project=project)
        spent = _spent(session, rules, now)
    return [at + timedelta(seconds=rules.window_s) for at in spent]


def _spent(session: Session, rules: QueryBudget, now: datetime) -> list[datetime]:
    query = select(QuerySpend.at).where(
        QuerySpend.project == rules.project, col(QuerySpend.at) > now - timedelta(seconds=rules.window_s)
    )
    return list(session.exec(query.order_by(col(QuerySpend.at))).all())


def _status(rules: QueryBudget, spent: list[datetime], now: datetime) -> BudgetStatus:
    next_at = None
    if len(spent) >= rules.queries:
        # A slot opens when enough of the oldest have left the window.
        next_at = spent[len(spent) - rules.queries] + timedelta(seconds=rules.window_s)
    if rules.blocked_until and rules.blocked_until > now:
        next_at = max(next_at or rules.blocked_until, rules.blocked_until)
    return BudgetStatus(limit=rules.queries, used=len(spent), window_s=rules.window_s, next_at=next_at)


class Spent(NamedTuple):
    """A query that was taken: its number for `give_back`, and the limit that is kept of the project."""

    entry: int
    queries: int
    window_s: int


@repeated
def spend(engine: Engine, project: str, *, clock: Callable[[], datetime]) -> Spent | BudgetStatus:
    """Take one query of this window; without one, return how the budget stands.

    The clock is asked once nobody else spends: by a time from before that, what others spent meanwhile is to come.
    """
    with write_session(engine, of_project(project)) as session:
        now = clock()
        rules = session.get(QueryBudget, project)
        if rules is None:
            rules = QueryBudget(project=project)
            session.add(rules)
        if rules.blocked_until and rules.blocked_until > now + timedelta(seconds=rules.window_s):
            rules.blocked_until = None
        used = _tidy_up(session, rules, now)
        if used >= rules.queries or rules.blocked_until:
            status = _status(rules, _spent(session, rules, now), now)
            if status.next_at:
                return status
        entry = QuerySpend(project=project, at=now)
        session.add(entry)
        session.flush()
        assert entry.id is not None
        return Spent(entry.id, rules.queries, rules.window_s)


def _tidy_up(session: Session, rules: QueryBudget, now: datetime) -> int:
    """Remove what has left the window, and return how many are in it.

    Queries from what is now the future were spent before the clock was set back: at the latest now. That is kept even
    when none is left, or they would be moved to the present again at every try.
    """
    mine, horizon = col(QuerySpend.project) == rules.project, now - timedelta(seconds=rules.window_s)
    at, number = col(QuerySpend.at), func.count()
    counts = select(number, number.filter(at > now), number.filter(at <= horizon)).where(mine)
    all_of_them, later, gone = session.exec(counts).one()
    if later:
        session.exec(update(QuerySpend).where(mine, at > now).values(at=now))
    if gone:
        session.exec(delete(QuerySpend).where(mine, at <= horizon))
    return all_of_them - gone


@repeated
def give_back(engine: Engine, entry: int) -> None:
    """Remove a query that was not counted."""
    with write_session(engine, by_rows=True) as session:
        session.exec(delete(QuerySpend).where(col(QuerySpend.id) == entry))


@repeated
def keep_limit(engine: Engine, project: str, *, queries: int, window_s: int) -> None:
    """Keep the limit of a project. Cheap to call often: writes only what is new."""
    with read_session(engine) as session:
        rules = session.get(QueryBudget, project)
    if rules and (rules.queries, rules.window_s) == (queries, window_s):
        return
    with write_session(engine, of_project(project)) as session:
        rules = session.get(QueryBudget, project) or QueryBudget(project=project)
        rules.queries, rules.window_s = queries, window_s
        session.add(rules)


@repeated
def block(engine: Engine, project: str, *, clock: Callable[[], datetime]) -> BudgetStatus:
    """Block the project for one query's share of the window, or twice that right after another block."""
    with write_session(engine, of_project(project)) as session:
        now = clock()
        rules = session.get(QueryBudget, project) or QueryBudget(project=project)
        share_s = rules.window_s / rules.queries
        # How long the last block lasted can be seen from the trace that it left, as long as it is recent.
        since_s = (now - rules.blocked_until).total_seconds() if rules.blocked_until else None
        is_recent = since_s is not None and since_s < 2 * share_s
        pause_s = min(share_s * (2 if is_recent else 1), rules.window_s)
        rules.blocked_until = now + timedelta(seconds=pause_s)
        session.add(rules)
        return _status(rules, _spent(session, rules, now), now)
