"""Runs that are no longer kept, and the files of members that rows name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine
from sqlmodel import Session, col, delete, select

from data import proofs
from data.engine import read_session, write_session
from data.models import UNFINISHED, Group, Run, RunStatus
from data.repeating import repeated

# What waits for a person waits for as long as they need.
_KEPT = (*UNFINISHED, RunStatus.HELD)


@repeated
def forget_runs(engine: Engine, *, before: datetime, limit: int) -> tuple[int, list[str]]:
    """Remove up to `limit` runs that were queued before then and have ended, but none that a group's members come from.

    Returns how many, and the files that they named.
    """
    with write_session(engine) as session:
        bases = select(Group.base_run_id).where(col(Group.base_run_id).is_not(None))
        old = session.exec(
            select(Run.id, Run.difference, Run.excluded)
            .where(Run.queued_at < before, col(Run.status).not_in(_KEPT), col(Run.id).not_in(bases))
            .order_by(col(Run.id))
            .limit(limit)
        ).all()
        session.exec(delete(Run).where(col(Run.id).in_([run_id for run_id, _, _ in old])))
        names = [name for _, *names in old for name in names if name]
        if old:
            proofs.forget_unnamed(session)
        # A snapshot that began a group is its first run's difference, and may be what others left it as.
        return len(old), _list_unnamed(session, names)


def list_unnamed(engine: Engine, names: Sequence[str]) -> list[str]:
    """Return those of some files of members that no row names."""
    with read_session(engine) as session:
        return _list_unnamed(session, names)


def _list_unnamed(session: Session, names: Sequence[str]) -> list[str]:
    kept = {
        name
        for column in proofs.FILE_COLUMNS
        for name in session.exec(select(column).where(col(column).in_(names))).all()
    }
    return [name for name in names if name not in kept]


def named_files(engine: Engine) -> set[str]:
    """Return the names of all files of members that a run or a group names."""
    with read_session(engine) as session:
        return {
            name for column in proofs.FILE_COLUMNS for name in session.exec(select(column).distinct()).all() if name
        }
