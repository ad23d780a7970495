"""Which snapshots and files of excluded profiles are kept of a group."""

from __future__ import annotations

from sqlmodel import col, func, select, update

from core.bridge import Bridge
from data.engine import write_session
from data.models import Group, Run

_SNAPSHOTS_KEPT = 30


def forget_old_snapshots(bridge: Bridge, group: Group) -> None:
    """Keep the newest snapshots of a group, and its base; remove the others. Runs that changed nothing share one."""
    with write_session(bridge.engine) as session:
        base = session.exec(select(Group.base_snapshot).where(Group.id == group.id)).one()
        newest = select(Run.snapshot).where(Run.group_id == group.id, col(Run.snapshot).is_not(None))
        kept = session.exec(newest.group_by(col(Run.snapshot)).order_by(func.max(Run.id).desc())).all()
        old = [name for name in kept[_SNAPSHOTS_KEPT:] if name and name != base]
        session.exec(update(Run).where(col(Run.snapshot).in_(old)).values(snapshot=None))
    for name in old:
        bridge.snapshots.remove(name)


def forget_older_excluded(bridge: Bridge, run_id: int) -> None:
    """Keep the profiles that made no member of a group's latest reading alone: they are for mending, not history."""
    with write_session(bridge.engine) as session:
        group_id = session.exec(select(Run.group_id).where(Run.id == run_id)).one()
        older = (col(Run.group_id) == group_id, col(Run.id) < run_id, col(Run.excluded).is_not(None))
        names = session.exec(select(Run.excluded).where(*older)).all()
        session.exec(update(Run).where(*older).values(excluded=None))
    for name in names:
        if name:
            bridge.snapshots.remove(name)
