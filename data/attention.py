"""What needs a person, as the menu asks for it: which groups, and nothing more of them."""

from __future__ import annotations

from sqlmodel import col, select, union_all

from data.engine import Engine, read_session
from data.models import FAILED, Run, RunStatus, Sync, SyncKind, SyncState
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
