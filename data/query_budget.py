"""The budget of a Mixpanel project: counted queries in a rolling window, the limit, and how long it is blocked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from data.engine import Engine, read_session, write_session
from data.query_models import QueryBudget, QuerySpend


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


def spend(engine: Engine, project: str, *, now: datetime) -> int | BudgetStatus:
    """Take one query of this window, and return its number for `give_back`; without one, how the budget stands."""
    with write_session(engine) as session:
        rules = session.get(QueryBudget, project)
        if rules is None:
            rules = QueryBudget(project=project)
            session.add(rules)
        # Queries from what is now the future were spent before the clock was set back: at the latest now. That is kept
        # even when none is left, or they would be moved to the present again at every try.
        session.exec(
            update(QuerySpend).where(col(QuerySpend.project) == project, col(QuerySpend.at) > now).values(at=now)
        )
        if rules.blocked_until and rules.blocked_until > now + timedelta(seconds=rules.window_s):
            rules.blocked_until = None
        horizon = now - timedelta(seconds=rules.window_s)
        session.exec(delete(QuerySpend).where(col(QuerySpend.project) == project, col(QuerySpend.at) <= horizon))
        status = _status(rules, _spent(session, rules, now), now)
        entry = None if status.next_at else QuerySpend(project=project, at=now)
        if entry:
            session.add(entry)
    if entry is None:
        return status
    assert entry.id is not None
    return entry.id


def give_back(engine: Engine, entry: int) -> None:
    """Remove a query that was not counted."""
    with write_session(engine) as session:
        session.exec(delete(QuerySpend).where(col(QuerySpend.id) == entry))


def keep_limit(engine: Engine, project: str, *, queries: int, window_s: int) -> None:
    """Keep the limit of a project. Cheap to call often: writes only what is new."""
    with read_session(engine) as session:
        rules = session.get(QueryBudget, project)
    if rules and (rules.queries, rules.window_s) == (queries, window_s):
        return
    with write_session(engine) as session:
        session.merge(
            QueryBudget(
                project=project,
                queries=queries,
                window_s=window_s,
                blocked_until=rules.blocked_until if rules else None,
                slots_wanted=rules.slots_wanted if rules else 0,
            )
        )


def block(engine: Engine, project: str, *, now: datetime) -> BudgetStatus:
    """Block the project for one query's share of the window, or twice that right after another block."""
    with write_session(engine) as session:
        rules = session.get(QueryBudget, project) or QueryBudget(project=project)
        share_s = rules.window_s / rules.queries
        # How long the last block lasted can be seen from the trace that it left, as long as it is recent.
        since_s = (now - rules.blocked_until).total_seconds() if rules.blocked_until else None
        is_recent = since_s is not None and since_s < 2 * share_s
        pause_s = min(share_s * (2 if is_recent else 1), rules.window_s)
        rules.blocked_until = now + timedelta(seconds=pause_s)
        session.add(rules)
    return get_status(engine, project, now=now)
