"""What a worker may claim, looked at without claiming it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from core.bridge import Bridge
from data.claiming import GROUP, RUN, Which, may_start
from data.engine import read_session
from data.run_queue import ClaimableRun


def list_claimable(bridge: Bridge, *, now: datetime | None = None) -> list[ClaimableRun]:
    """List the runs that a worker may claim now, the oldest first."""
    query = (
        select(RUN.c.id, RUN.c.dry_run, GROUP.c.destination_id)
        .where(RUN.c.group_id == GROUP.c.id, *may_start(RUN, GROUP))
        .order_by(RUN.c.queued_at, RUN.c.id)
    )
    with read_session(bridge.engine) as session:
        rows = session.connection().execute(query, Which(now or bridge.clock.now()).values).all()
    return [ClaimableRun(run_id, None if dry_run else destination_id) for run_id, dry_run, destination_id in rows]


def claimable(bridge: Bridge, *, now: datetime | None = None) -> list[int]:
    """List the numbers of these."""
    return [run.id for run in list_claimable(bridge, now=now)]
