"""The requests that may be in flight to a Mixpanel project: a lease for each, numbered."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine
from sqlmodel import Session

from data import leases
from data.engine import write_session
from data.locks import of_project
from data.models import Lease, LeaseKind
from data.query_models import QueryBudget
from data.repeating import repeated

SLOTS = 5


class SlotsTaken(NamedTuple):
    """The numbers of the slots that were taken, the leases of those that others held, and how often holders were asked
    to share until now; None where that was not looked up, since one slot cannot be shared."""

    numbers: list[int]
    others: list[Lease]
    asked: int | None


def list_held(engine: Engine, project: str) -> list[Lease]:
    """List the leases of a project's slots that are held."""
    return leases.list_held(engine, LeaseKind.QUERY_SLOT, keys=list(_keys(project)))


@repeated
def take(
    engine: Engine,
    project: str,
    *,
    lease_owner: str,
    most: int,
    ask: bool,
    now: datetime,
    dead: Collection[Lease] = (),
) -> SlotsTaken:
    """Take up to `most` slots that are free, or held by one of the `dead`; with none, `ask` the holders to share."""
    keys, dead_ones = _keys(project), {lease.key: lease for lease in dead}
    taken: list[int] = []
    with write_session(engine, of_project(project)) as session:
        held = {lease.key: lease for lease in leases.find_all(session, LeaseKind.QUERY_SLOT, list(keys))}
        for key, number in keys.items():
            if len(taken) < most and (key not in held or key in dead_ones):
                if key not in held:
                    leases.take_free(session, LeaseKind.QUERY_SLOT, key, lease_owner=lease_owner, now=now)
                    taken.append(number)
                elif leases.claim(
                    session, LeaseKind.QUERY_SLOT, key, lease_owner=lease_owner, now=now, dead=dead_ones[key]
                ):
                    taken.append(number)
        asked = None if ask and taken and most == 1 else _asked(session, project, more=ask and not taken)
    return SlotsTaken(taken, [lease for lease in held.values() if lease.lease_owner != lease_owner], asked)


def _asked(session: Session, project: str, *, more: bool) -> int:
    budget = session.get(QueryBudget, project) or QueryBudget(project=project)
    if more:
        budget.slots_wanted += 1
        session.add(budget)
    return budget.slots_wanted


@repeated
def renew(engine: Engine, project: str, *, lease_owner: str) -> tuple[list[int], int]:
    """Renew the slots that are held. Returns their numbers, and how often holders were asked to share until now."""
    keys = _keys(project)
    with write_session(engine, by_rows=True) as session:
        held_keys = leases.hold_all(session, LeaseKind.QUERY_SLOT, list(keys), lease_owner=lease_owner)
        budget = session.get(QueryBudget, project)
        return sorted(keys[key] for key in held_keys), budget.slots_wanted if budget else 0


@repeated
def hand_back(engine: Engine, project: str, numbers: Collection[int], *, lease_owner: str) -> None:
    """Hand back slots of these numbers."""
    keys = [_key(project, number) for number in numbers]
    with write_session(engine, by_rows=True) as session:
        leases.hand_back_all(session, LeaseKind.QUERY_SLOT, keys, lease_owner=lease_owner)


def _keys(project: str) -> dict[str, int]:
    return {_key(project, number): number for number in range(SLOTS)}


def _key(project: str, number: int) -> str:
    return f"{project}/{number}"
