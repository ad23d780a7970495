"""Runs that are no longer kept, and the files of members that rows name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine
from sqlmodel import Session, col, delete, select

from data import proofs
from data.engine import read_session, write_session
from data.members.store import run_of
from data.models import UNFINISHED, Group, Run, RunStatus
from data.repeating import repeated

# What waits for a person waits for as long as they need.
_KEPT = (*UNFINISHED, RunStatus.HELD)
# So many names are asked for at a time.
_AT_ONCE = 500


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


def list_left(engine: Engine, names: Sequence[str]) -> list[str]:
    """Return those of some files of members that no row names, and none will: the runs that they are of have ended."""
    return [name for start in range(0, len(names), _AT_ONCE) for name in _left(engine, names[start : start + _AT_ONCE])]


def _left(engine: Engine, names: Sequence[str]) -> list[str]:
    theirs = col(Run.id).in_({run_of(name) for name in names})
    with read_session(engine) as session:
        # Asked first: one that ends after that has named its files by then.
        working = set(session.exec(select(Run.id).where(theirs, col(Run.status).in_(UNFINISHED))).all())
        own = session.exec(select(Run.snapshot, Run.difference, Run.excluded).where(theirs)).all()
        named = {name for files in own for name in files if name}
        # What the run itself names is found at once. All rows are looked through for the few that are left.
        left = [name for name in names if name not in named and run_of(name) not in working]
        return _list_unnamed(session, left) if left else []


def named_files(engine: Engine) -> set[str]:
    """Return the names of all files of members that a run or a group names."""
    with read_session(engine) as session:
        return {
            name for column in proofs.FILE_COLUMNS for name in session.exec(select(column).distinct()).all() if name
        }
