"""Which runs may be claimed, and the statement that claims the next of them.

A statement is built once and given its values each time: to build it takes longer than to have it done.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, bindparam, case, func, literal_column, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from data import leases, worker_names
from data.models import TO_CLAIM, Group, LeaseKind, Run, RunStatus
from data.tables import table_of

# No wait for a query slot is longer than the window that they are counted in, none after a death than an interval.
_LONGEST_WAITING, _LONGEST_QUEUED = timedelta(hours=1), timedelta(days=1)
RUN, GROUP = table_of(Run), table_of(Group)
_TIME = RUN.c.queued_at.type


@dataclass(frozen=True)
class Which:
    """Which runs may be claimed: not those of a destination that is full, nor what was queued later than that."""

    now: datetime
    full: Collection[int] = ()
    queued_before: datetime | None = None
    only: int | None = None

    @property
    def limits(self) -> frozenset[str]:
        """Which limits there are, by the names of their values."""
        return frozenset(name for name in ("queued_before", "only") if getattr(self, name) is not None)

    @property
    def values(self) -> dict[str, Any]:
        """The values for a statement with the conditions of `may_start`."""
        now = self.now
        latest = {"latest_queued": now + _LONGEST_QUEUED, "latest_waiting": now + _LONGEST_WAITING}
        return {"now": now, "full": list(self.full), **latest, **{name: getattr(self, name) for name in self.limits}}


def claiming(which: Which, lease_owner: str) -> tuple[ReturningUpdate[Any, Any, Any], dict[str, Any]]:
    """Return the statement that claims a run and returns it as a claimable one, and its values."""
    return _claiming(which.limits), which.values | worker_names.values_of(lease_owner)


@cache
def _claiming(limits: frozenset[str]) -> ReturningUpdate[Any, Any, Any]:
    waiting, group = RUN.alias("waiting"), GROUP.alias("fed")
    first = (
        select(waiting.c.id)
        .join(group, group.c.id == waiting.c.group_id)
        .where(~leases.is_kind_held(LeaseKind.FORGETTING), *may_start(waiting, group, limits))
        .order_by(waiting.c.queued_at, waiting.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True, of=[waiting, group])
    )
    destination = select(GROUP.c.destination_id).where(GROUP.c.id == RUN.c.group_id).correlate(RUN)
    return (
        update(RUN)
        .where(RUN.c.id == first.scalar_subquery())
        .values(started())
        .returning(RUN.c.id, RUN.c.dry_run, destination.scalar_subquery())
    )


@cache
def finding(limits: frozenset[str]) -> Select[Any]:
    """Build the statement that finds one of the runs that may be claimed, whichever."""
    return select(RUN.c.id).where(RUN.c.group_id == GROUP.c.id, *may_start(RUN, GROUP, limits)).limit(1)


def started() -> dict[str, Any]:
    """Return what a claim changes of a run, for the values of `claiming`."""
    begun = {"started_at": func.coalesce(RUN.c.started_at, bindparam("now", type_=_TIME))}
    return {
        "status": RunStatus.RUNNING,
        "step": "starting",
        "waiting_until": None,
        "worker": worker_names.called_now(),
        **begun,
    }


def may_start(run: FromClause, group: FromClause, limits: Collection[str] = ()) -> list[ColumnElement[bool]]:
    """Build the conditions, beside a group that was joined, that a worker may claim a run now.

    One that waits for longer than any wait takes began to wait before the clock was set back: it may be claimed too.
    """
    now, until = bindparam("now", type_=_TIME), run.c.waiting_until
    latest: ColumnElement[Any] = case(
        (run.c.status == RunStatus.QUEUED, bindparam("latest_queued", type_=_TIME)),
        else_=bindparam("latest_waiting", type_=_TIME),
    )
    running = RUN.alias("running")
    busy = select(running.c.group_id).where(running.c.status == RunStatus.RUNNING, running.c.dry_run.is_(False))
    is_open = group.c.destination_id.not_in(bindparam("full", expanding=True))
    return [
        _is_waiting(run),
        leases.is_free(LeaseKind.RUN, run.c.id),
        or_(until.is_(None), until <= now, until > latest),
        or_(run.c.dry_run, run.c.group_id.not_in(busy) & is_open),
        *([run.c.queued_at <= bindparam("queued_before")] if "queued_before" in limits else []),
        *([run.c.id == bindparam("only")] if "only" in limits else []),
    ]


def _is_waiting(run: FromClause) -> ColumnElement[bool]:
    """Build the condition that a run waits to be claimed, in the words of the index that lists those alone.

    Said as a plain list it would have SQLite take the index of all statuses, and sort all that wait.
    """
    words: list[ColumnElement[str]] = [literal_column(f"'{status}'") for status in TO_CLAIM]
    return run.c.status.in_(words).self_group().op("IS")(literal_column("TRUE"))
