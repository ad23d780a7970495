"""What is kept of runs, and for how long; what is not is removed in small steps."""

from __future__ import annotations

import time
from datetime import timedelta

from sqlmodel import col, delete, select

from core.bridge import Bridge
from data.engine import read_session, write_session
from data.models import UNFINISHED, Group, Run, RunStatus, utc_now

RUNS_KEPT_FOR = timedelta(days=180)
_STEP = 200
# A file of a run that has just begun has no name in its row yet.
_YOUNG_S = 24 * 3600


def forget_old_runs(bridge: Bridge) -> int:
    """Remove a few of the runs that ended too long ago, with their differences; returns how many.

    The run that a group's members come from stays, and so does what waits for a person.
    """
    before = utc_now() - RUNS_KEPT_FOR
    kept = (*UNFINISHED, RunStatus.HELD)
    with write_session(bridge.engine) as session:
        bases = select(Group.base_run_id).where(col(Group.base_run_id).is_not(None))
        old = session.exec(
            select(Run.id, Run.difference, Run.excluded)
            .where(Run.queued_at < before, col(Run.status).not_in(kept), col(Run.id).not_in(bases))
            .order_by(col(Run.id))
            .limit(_STEP)
        ).all()
        session.exec(delete(Run).where(col(Run.id).in_([run_id for run_id, _, _ in old])))
    for _, *files in old:
        for name in filter(None, files):
            bridge.snapshots.remove(name)
    return len(old)


def remove_unnamed_files(bridge: Bridge) -> int:
    """Remove the snapshots and differences that no row names and that are not being written; returns how many."""
    folder = bridge.snapshots.folder
    now_s = time.time()
    files = [path for path in folder.glob("*.parquet") if now_s - path.stat().st_mtime > _YOUNG_S]
    files += [path for path in folder.glob(".*.part") if now_s - path.stat().st_mtime > _YOUNG_S]
    if not files:
        return 0
    with read_session(bridge.engine) as session:
        named = {*session.exec(select(Run.snapshot)).all(), *session.exec(select(Run.difference)).all()}
        named |= {*session.exec(select(Group.base_snapshot)).all(), *session.exec(select(Run.excluded)).all()}
    unnamed = [path for path in files if path.stem not in named]
    for path in unnamed:
        path.unlink(missing_ok=True)
    return len(unnamed)
