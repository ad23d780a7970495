"""One budget per Mixpanel project, in the database: every process that asks spends the same hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.bridge import Bridge
from core.clock import Clock
from core.errors import NoQuerySlot
from core.moments import moment_text
from core.vendors.query_budget import QueryLimit
from data import query_budget
from data.engine import Engine
from data.query_budget import BudgetStatus


@dataclass
class ProjectBudget:
    """The counted queries of one project, kept in the database: a QueryAllowance for its client."""

    engine: Engine
    project: str
    clock: Clock
    _kept: QueryLimit | None = None  # as it was when the last query was taken

    def status(self) -> BudgetStatus:
        """Return how many queries of the rolling hour are spent, and when the next slot opens."""
        return query_budget.get_status(self.engine, self.project, now=self.clock.now())

    def list_returns(self) -> list[datetime]:
        """List when the queries that are spent now leave the rolling hour, the soonest first."""
        return query_budget.list_returns(self.engine, self.project, now=self.clock.now())

    def spend(self) -> int:
        """Take one query of this hour before it is asked, and return its number for `give_back`.

        Raises: NoQuerySlot with the time of the next one.
        """
        spent = query_budget.spend(self.engine, self.project, clock=self.clock.now)
        if isinstance(spent, BudgetStatus):
            raise _no_slot(spent)
        self._kept = QueryLimit(spent.queries, spent.window_s)
        return spent.entry

    def give_back(self, entry: int) -> None:
        """Return a query that Mixpanel did not count."""
        query_budget.give_back(self.engine, entry)

    def learn(self, limit: QueryLimit) -> None:
        """Remember the limit that an answer states."""
        if limit == self._kept:
            return
        query_budget.keep_limit(self.engine, self.project, queries=limit.queries, window_s=limit.window_s)

    def block(self) -> NoQuerySlot:
        """Note that Mixpanel refused for the hour although our own count had room: others use the project too.

        The next try comes when one query's share of the window has passed, twice that after the next refusal, and so
        on. Returns the error that says when.
        """
        return _no_slot(query_budget.block(self.engine, self.project, clock=self.clock.now))


def budget_for(bridge: Bridge, project: str) -> ProjectBudget:
    """Return the budget of the project of this key."""
    return ProjectBudget(bridge.engine, project, bridge.clock)


def _no_slot(status: BudgetStatus) -> NoQuerySlot:
    assert status.next_at
    return NoQuerySlot(
        f"All {status.limit} Mixpanel queries of this hour are spent; the next slot opens at "
        f"{moment_text(status.next_at, with_seconds=True)}.",
        next_at=status.next_at,
    )
