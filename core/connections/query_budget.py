"""One budget per Mixpanel project, in the database: counted queries in a rolling hour, and requests in flight.

Mixpanel allows a project 60 queries an hour and 5 at a time, whoever asks (docs reference/rate-limits, read
2026-11-23). The numbers are learnt from its answers, since they differ between plans.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, update
from sqlmodel import col, select

from core.errors import NoQuerySlot
from data.engine import read_session, write_session
from data.models import QueryBudget, QuerySpend, utc_now

# Answers with these are not counted by Mixpanel (mixpanel-headless, Pacer.observe, read 2026-11-23).
UNCOUNTED = frozenset({401, 402, 429})
_POLICY = re.compile(r'"project";q=(\d+);w=(\d+)')


@dataclass(frozen=True)
class Budget:
    """How a project's hour stands. `next_at` is when the next query may start, None when one may start now."""

    limit: int
    used: int
    window_s: int
    next_at: datetime | None


def budget(engine: Engine, project: str, *, now: datetime | None = None) -> Budget:
    """Tell how many queries of the rolling hour are spent, and when the next slot opens."""
    now = now or utc_now()
    with read_session(engine) as session:
        rules = session.get(QueryBudget, project) or QueryBudget(project=project)
        spent = session.exec(
            select(QuerySpend.at)
            .where(QuerySpend.project == project, col(QuerySpend.at) > now - timedelta(seconds=rules.window_s))
            .order_by(col(QuerySpend.at))
        ).all()
    return _stand(rules, list(spent), now)


def frees_at(engine: Engine, project: str, *, now: datetime | None = None) -> list[datetime]:
    """List when the queries that are spent now leave the rolling hour, the soonest first."""
    now = now or utc_now()
    with read_session(engine) as session:
        rules = session.get(QueryBudget, project) or QueryBudget(project=project)
        window = timedelta(seconds=rules.window_s)
        spent = session.exec(
            select(QuerySpend.at)
            .where(QuerySpend.project == project, col(QuerySpend.at) > now - window)
            .order_by(col(QuerySpend.at))
        ).all()
    return [at + window for at in spent]


def _stand(rules: QueryBudget, spent: list[datetime], now: datetime) -> Budget:
    next_at = None
    if len(spent) >= rules.queries:
        # A slot opens when enough of the oldest have left the window.
        next_at = spent[len(spent) - rules.queries] + timedelta(seconds=rules.window_s)
    if rules.blocked_until and rules.blocked_until > now:
        next_at = max(next_at or rules.blocked_until, rules.blocked_until)
    return Budget(limit=rules.queries, used=len(spent), window_s=rules.window_s, next_at=next_at)


def spend(engine: Engine, project: str, *, now: datetime | None = None) -> int:
    """Take one query of this hour before it is asked, and return its number for `give_back`.

    Raises: NoQuerySlot with the time of the next one.
    """
    now = now or utc_now()
    with write_session(engine) as session:
        rules = session.get(QueryBudget, project)
        if rules is None:
            rules = QueryBudget(project=project)
            session.add(rules)
        # Queries from what is now the future were spent before the clock was set back: at the latest now.
        session.exec(
            update(QuerySpend).where(col(QuerySpend.project) == project, col(QuerySpend.at) > now).values(at=now)
        )
        if rules.blocked_until and rules.blocked_until > now + timedelta(seconds=rules.window_s):
            rules.blocked_until = None
        horizon = now - timedelta(seconds=rules.window_s)
        session.exec(delete(QuerySpend).where(col(QuerySpend.project) == project, col(QuerySpend.at) <= horizon))
        spent = session.exec(
            select(QuerySpend.at).where(QuerySpend.project == project).order_by(col(QuerySpend.at))
        ).all()
        stand = _stand(rules, list(spent), now)
        entry = None if stand.next_at else QuerySpend(project=project, at=now)
        if entry:
            session.add(entry)
    if entry is None:
        # Only now: what was moved back above is kept, or it would be moved to the present again at every try.
        raise no_slot(stand)
    assert entry.id is not None
    return entry.id


def no_slot(stand: Budget) -> NoQuerySlot:
    """Build the error that says when the next query may start."""
    assert stand.next_at
    return NoQuerySlot(
        f"All {stand.limit} Mixpanel queries of this hour are spent; the next slot opens at "
        f"{stand.next_at:%H:%M:%S} UTC.",
        next_at=stand.next_at,
    )


def give_back(engine: Engine, entry: int) -> None:
    """Return a query that Mixpanel did not count."""
    with write_session(engine) as session:
        session.exec(delete(QuerySpend).where(col(QuerySpend.id) == entry))


def learn(engine: Engine, project: str, headers: Mapping[str, str]) -> None:
    """Remember the limit that an answer states. Cheap to call for every answer: writes only what is new."""
    found = _POLICY.search(headers.get("RateLimit-Policy", ""))
    if not found:
        return
    queries, window_s = int(found[1]), int(found[2])
    if queries < 1 or window_s < 1:
        return
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


def block(engine: Engine, project: str, *, now: datetime | None = None) -> Budget:
    """Note that Mixpanel refused for the hour although our own count had room: others use the project too.

    The next try comes when one query's share of the window has passed, twice that after the next refusal, and so on.
    """
    now = now or utc_now()
    with write_session(engine) as session:
        rules = session.get(QueryBudget, project) or QueryBudget(project=project)
        share_s = rules.window_s / rules.queries
        # How long the last block lasted can be told from the trace that it left, as long as it is recent.
        since = (now - rules.blocked_until).total_seconds() if rules.blocked_until else None
        recent = since is not None and since < 2 * share_s
        pause_s = min(share_s * (2 if recent else 1), rules.window_s)
        rules.blocked_until = now + timedelta(seconds=pause_s)
        session.add(rules)
    return budget(engine, project, now=now)
