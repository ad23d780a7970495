"""When syncs were paused: noted in the transaction that pauses or resumes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session, col, delete, or_, select, update

from data.engine import Engine, read_session
from data.models import Pause
from data.pause_models import SyncPause

# What is shown of syncs goes no further back.
_KEPT_FOR = timedelta(days=30)


def begin(session: Session, sync_ids: Sequence[int | None], *, now: datetime) -> None:
    """Note that syncs are paused from now on, those that are not already."""
    wanted = list(dict.fromkeys(sync_id for sync_id in sync_ids if sync_id is not None))
    is_open = col(SyncPause.sync_id).in_(wanted) & col(SyncPause.ended_at).is_(None)
    present = set(session.exec(select(SyncPause.sync_id).where(is_open)).all())
    session.add_all(SyncPause(sync_id=sync_id, began_at=now) for sync_id in wanted if sync_id not in present)


def end(session: Session, sync_id: int, *, since: datetime | None = None, now: datetime) -> None:
    """Note that a sync is paused no more, and forget its pauses of long ago.

    `since` is when it was paused, for one that was before pauses were noted here.
    """
    own = col(SyncPause.sync_id) == sync_id
    ended = session.exec(update(SyncPause).where(own, col(SyncPause.ended_at).is_(None)).values(ended_at=now))
    if since is not None and not ended.rowcount:
        session.add(SyncPause(sync_id=sync_id, began_at=since, ended_at=now))
    session.exec(delete(SyncPause).where(own, col(SyncPause.ended_at) < now - _KEPT_FOR))


def list_pauses(engine: Engine, sync_ids: Sequence[int], *, since: datetime) -> dict[int, list[Pause]]:
    """List the pauses of these syncs that had not ended by then, the oldest first, by sync."""
    lasting = or_(col(SyncPause.ended_at).is_(None), col(SyncPause.ended_at) >= since)
    query = select(SyncPause.sync_id, SyncPause.began_at, SyncPause.ended_at)
    pauses: dict[int, list[Pause]] = {}
    with read_session(engine) as session:
        of_these = query.where(col(SyncPause.sync_id).in_(sync_ids), lasting)
        for sync_id, began_at, ended_at in session.exec(of_these.order_by(col(SyncPause.began_at))).all():
            pauses.setdefault(sync_id, []).append(Pause(began_at, ended_at))
    return pauses
