"""Which runs may be claimed, and the statement that claims the next of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, UpdateBase, case, func, literal_column, or_, update
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from data import leases, worker_names
from data.models import TO_CLAIM, Group, LeaseKind, Run, RunStatus

# No wait for a query slot is longer than the window that they are counted in, none after a death than an interval.
_LONGEST_WAITING, _LONGEST_QUEUED = timedelta(hours=1), timedelta(days=1)
# Other rows of runs than those that a statement is about; made once, which takes longer than what they are made for.
_WAITING_RUN, _RUNNING_RUN = aliased(Run), aliased(Run)


@dataclass(frozen=True)
class Which:
    """Which runs may be claimed: not those of a destination that is full, nor what was queued later than that."""

    now: datetime
    full: Collection[int] = ()
    queued_before: datetime | None = None
    only: int | None = None


def claiming(which: Which, lease_owner: str) -> UpdateBase:
    """Build the statement that claims a run, and returns it as a claimable one."""
    waiting = _WAITING_RUN
    first = (
        select(waiting.id)
        .join(Group, col(Group.id) == waiting.group_id)
        .where(~leases.is_kind_held(LeaseKind.FORGETTING), *may_start(waiting, which))
        .order_by(col(waiting.queued_at), col(waiting.id))
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True, of=[waiting, Group])
    )
    destination = select(Group.destination_id).where(Group.id == Run.group_id).correlate(Run)
    return (
        update(Run)
        .where(col(Run.id) == first.scalar_subquery())
        .values(**started(which.now, lease_owner))
        .returning(col(Run.id), col(Run.dry_run), destination.scalar_subquery())
        .execution_options(synchronize_session=False)
    )


def started(now: datetime, lease_owner: str) -> dict[str, Any]:
    begun = {"started_at": func.coalesce(Run.started_at, now), "worker": worker_names.called_now(lease_owner)}
    return {"status": RunStatus.RUNNING, "step": "starting", "waiting_until": None, **begun}


def may_start(run: type[Run], which: Which) -> list[ColumnElement[bool]]:
    """Build the conditions, beside a group that was joined, that a worker may claim a run now.

    One that waits for longer than any wait takes began to wait before the clock was set back: it may be claimed too.
    """
    now, until = which.now, col(run.waiting_until)
    latest: ColumnElement[Any] = case(
        (col(run.status) == RunStatus.QUEUED, now + _LONGEST_QUEUED), else_=now + _LONGEST_WAITING
    )
    running = _RUNNING_RUN
    busy = select(running.group_id).where(running.status == RunStatus.RUNNING, col(running.dry_run).is_(False))
    return [
        _is_waiting(run),
        leases.is_free(LeaseKind.RUN, run.id),
        or_(until.is_(None), until <= now, until > latest),
        or_(col(run.dry_run), col(run.group_id).not_in(busy) & col(Group.destination_id).not_in(which.full)),
        *([] if which.queued_before is None else [col(run.queued_at) <= which.queued_before]),
        *([] if which.only is None else [col(run.id) == which.only]),
    ]


def _is_waiting(run: type[Run]) -> ColumnElement[bool]:
    """Build the condition that a run waits to be claimed, in the words of the index that lists those alone.

    Said as a plain list it would have SQLite take the index of all statuses, and sort all that wait.
    """
    words: list[ColumnElement[str]] = [literal_column(f"'{status}'") for status in TO_CLAIM]
    return col(run.status).in_(words).self_group().op("IS")(literal_column("TRUE"))
