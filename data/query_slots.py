"""The requests that may be in flight to a Mixpanel project: a lease for each, numbered."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Engine
from sqlmodel import Session

from data import leases
from data.engine import write_session
from data.models import Lease, LeaseKind
from data.query_models import QueryBudget

SLOTS = 5


def list_held(engine: Engine, project: str) -> list[Lease]:
    """List the leases of a project's slots that are held."""
    return leases.list_held(engine, LeaseKind.QUERY_SLOT, [_key(project, number) for number in range(SLOTS)])


def take(
    engine: Engine, project: str, *, lease_owner: str, most: int, dead: Collection[Lease], ask: bool, now: datetime
) -> tuple[list[int], int]:
    """Take up to `most` slots that are free, or held by one of the `dead`; with none, `ask` the holders to share.

    Returns the numbers that were taken, and how often holders were asked until now.
    """
    by_key = {lease.key: lease for lease in dead}
    taken: list[int] = []
    with write_session(engine) as session:
        for number in range(SLOTS):
            key = _key(project, number)
            lease = leases.find(session, LeaseKind.QUERY_SLOT, key)
            mine = lease is not None and lease.lease_owner == lease_owner
            if len(taken) < most and not mine:
                dead_one = by_key.get(key)
                if leases.claim(session, LeaseKind.QUERY_SLOT, key, lease_owner=lease_owner, now=now, dead=dead_one):
                    taken.append(number)
        return taken, _asked(session, project, more=ask and not taken)


def _asked(session: Session, project: str, *, more: bool) -> int:
    budget = session.get(QueryBudget, project) or QueryBudget(project=project)
    budget.slots_wanted += more
    session.add(budget)
    return budget.slots_wanted


def renew(engine: Engine, project: str, *, lease_owner: str) -> tuple[list[int], int]:
    """Renew the slots that are held. Returns their numbers, and how often holders were asked to share until now."""
    with write_session(engine) as session:
        keys = {_key(project, number): number for number in range(SLOTS)}
        held_keys = leases.hold_all(session, LeaseKind.QUERY_SLOT, keys, lease_owner=lease_owner)
        numbers = sorted(keys[key] for key in held_keys)
        budget = session.get(QueryBudget, project)
        return numbers, budget.slots_wanted if budget else 0


def hand_back(engine: Engine, project: str, numbers: Collection[int], *, lease_owner: str) -> None:
    """Hand back slots of these numbers."""
    with write_session(engine) as session:
        for number in numbers:
            leases.hand_back(session, LeaseKind.QUERY_SLOT, _key(project, number), lease_owner=lease_owner)


def _key(project: str, number: int) -> str:
    return f"{project}/{number}"
