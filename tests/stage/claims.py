"""What a worker may claim, looked at without claiming it."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import col, select

from core.bridge import Bridge
from data.claiming import Which, may_start
from data.engine import read_session
from data.models import Group, Run
from data.run_queue import ClaimableRun


def list_claimable(bridge: Bridge, *, now: datetime | None = None) -> list[ClaimableRun]:
    """List the runs that a worker may claim now, the oldest first."""
    query = (
        select(Run.id, Run.dry_run, Group.destination_id)
        .where(Run.group_id == Group.id, *may_start(Run, Which(now or bridge.clock.now())))
        .order_by(col(Run.queued_at), col(Run.id))
    )
    with read_session(bridge.engine) as session:
        rows = session.exec(query).all()
    return [ClaimableRun(run_id or 0, None if dry_run else destination_id) for run_id, dry_run, destination_id in rows]


def claimable(bridge: Bridge, *, now: datetime | None = None) -> list[int]:
    """List the numbers of these."""
    return [run.id for run in list_claimable(bridge, now=now)]
