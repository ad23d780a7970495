"""What is remembered of asking a Mixpanel project for larger pages, and which run tries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from sqlmodel import Session, select

from data import leases, run_queue
from data.engine import Engine, read_session, write_session
from data.locks import of_project
from data.models import LeaseKind, Run, RunStatus
from data.query_models import PageSize
from data.repeating import repeated
from data.run_order import last_ended_first

# How a run that would try finds a project: it is the one that tries, another is, or something is in doubt.
Trial = Literal["begun", "taken", "in doubt"]


def get(engine: Engine, project: str, size: int) -> PageSize:
    """Return what is remembered of a size: nothing, in a row that is not kept, where it was never asked for."""
    with read_session(engine) as session:
        return _find(session, project, size)


@repeated
def begin_trial(engine: Engine, project: str, size: int, *, mark: str, lease_owner: str, now: datetime) -> Trial:
    """Be the one run that tries a size, unless another is; `mark` is the doubt that a process leaves if it dies.

    Where something is in doubt already, a mark of a process that died included, there is nothing to try yet. A trial
    is over with its run, also where its process died before it could say so.
    """
    with write_session(engine, of_project(project)) as session:
        other = leases.find(session, LeaseKind.PAGE_SIZE, project)
        left = other if other and run_queue.is_part_left(session, other) else None
        if not leases.claim(session, LeaseKind.PAGE_SIZE, project, lease_owner=lease_owner, now=now, dead=left):
            return "taken"
        row = _find(session, project, size)
        if row.doubt:
            leases.hand_back(session, LeaseKind.PAGE_SIZE, project, lease_owner=lease_owner)
            return "in doubt"
        row.doubt = mark
        session.add(row)
        return "begun"


@repeated
def change(engine: Engine, project: str, size: int, apply: Callable[[PageSize], None], *, lease_owner: str) -> None:
    """Change what is remembered of a size, and end the trial if it is this owner's."""
    with write_session(engine, of_project(project)) as session:
        row = _find(session, project, size)
        apply(row)
        session.add(row)
        leases.hand_back(session, LeaseKind.PAGE_SIZE, project, lease_owner=lease_owner)


def _find(session: Session, project: str, size: int) -> PageSize:
    return session.get(PageSize, (project, size)) or PageSize(project=project, size=size)


def last_profiles(engine: Engine, group_id: int) -> int | None:
    """Return how many profiles the group's latest run that succeeded had read; None before the first one."""
    with read_session(engine) as session:
        query = select(Run.profiles).where(Run.group_id == group_id, Run.status == RunStatus.SUCCEEDED)
        return session.exec(query.order_by(*last_ended_first()).limit(1)).first()
