"""What needs a person: which groups, as the menu asks for it, and of a few groups the run that does."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import col, func, select, union_all

from data.engine import Engine, read_session
from data.models import FAILED, Group, Run, RunStatus, Sync, SyncKind, SyncState
from data.run_stats import select_newest_of_groups

# So many held runs are listed, and counted, at most.
MOST_HELD = 1000


def list_groups(engine: Engine) -> list[int]:
    """List the group of each paused recurring sync, of each held run, and of each newest run that failed.

    A group whose sync is paused is not listed for its failure again: core/reports/overview.py lists the same one by
    one, with all that is known of each.
    """
    paused = select(col(Sync.group_id)).where(Sync.kind == SyncKind.RECURRING, Sync.state == SyncState.PAUSED)
    held = select(col(Run.group_id)).where(Run.status == RunStatus.HELD, col(Run.dry_run).is_(False))
    held = select(held.limit(MOST_HELD).subquery().c.group_id)
    failed = select(col(Run.group_id)).where(
        col(Run.id).in_(select_newest_of_groups()),
        col(Run.status).in_(FAILED),
        col(Run.group_id).not_in(paused),
    )
    with read_session(engine) as session:
        return list(session.connection().execute(union_all(paused, held, failed)).scalars())


def list_unresolved(engine: Engine, group_ids: Sequence[int]) -> dict[int, Run]:
    """Return, by group, the run that needs a person of each of these: the one that is held, or the newest if it failed.

    What is held comes first: it waits for a decision whatever was queued, or has failed, since.
    """
    newest = select_newest_of_groups(col(Group.id).in_(group_ids))
    is_held = (col(Run.group_id).in_(group_ids), col(Run.dry_run).is_(False), Run.status == RunStatus.HELD)
    held = select(func.max(Run.id)).where(*is_held).group_by(col(Run.group_id))
    failed = select(Run).where(col(Run.id).in_(newest), col(Run.status).in_(FAILED))
    with read_session(engine) as session:
        runs = [*session.exec(failed).all(), *session.exec(select(Run).where(col(Run.id).in_(held))).all()]
    return {run.group_id: run for run in runs}
