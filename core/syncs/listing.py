"""The syncs that are there."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound, SyncGone
from data import attention, run_stats, syncs
from data.models import Group, Run, RunStatus, Sync
from data.syncs import SyncNotRecurring, SyncRemoved, SyncUnknown


@dataclass(frozen=True)
class SyncView:
    """A sync with what a person wants to see beside it.

    `unresolved_run` is the run of its group that needs a person: one that is held, whatever came after it, or the
    newest if that failed.
    """

    sync: Sync
    group: Group
    destination: str
    last_run: Run | None
    unresolved_run: Run | None = None

    @property
    def is_held(self) -> bool:
        """Whether its group has a held run, which waits for a decision."""
        return self.unresolved_run is not None and self.unresolved_run.status == RunStatus.HELD

    @property
    def is_failing(self) -> bool:
        """Whether the newest run of its group failed."""
        return self.unresolved_run is not None and not self.is_held


@action(Role.VIEWER)
def list_syncs(
    bridge: Bridge,
    actor: Actor,
    *,
    of_groups: Sequence[int] | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[SyncView]:
    """List the syncs that were not removed, of all groups or of these, by id, each with its group and its last run;
    `limit` of those after one.
    """
    return _add_runs(bridge, syncs.list_with_group(bridge.engine, of_groups=of_groups, after=after, limit=limit))


def _add_runs(bridge: Bridge, rows: Sequence[tuple[Sync, Group, str]]) -> list[SyncView]:
    last = run_stats.newest_of_each_sync(bridge.engine, [sync.id for sync, _, _ in rows if sync.id is not None])
    unresolved = attention.list_unresolved(bridge.engine, [sync.group_id for sync, _, _ in rows])
    return [
        SyncView(sync, group, name, last.get(sync.id or 0), unresolved.get(sync.group_id)) for sync, group, name in rows
    ]


@action(Role.VIEWER)
def list_placed(bridge: Bridge, actor: Actor, *, of_groups: Sequence[int] | None = None) -> list[tuple[Sync, Group]]:
    """List the syncs that were not removed, of all groups or of these, by id, each with its group, and without what its
    runs did.
    """
    return [(sync, group) for sync, group, _ in syncs.list_with_group(bridge.engine, of_groups=of_groups)]


@action(Role.VIEWER)
def get_sync(bridge: Bridge, actor: Actor, sync_id: int) -> SyncView:
    """Return a sync, removed ones too. Raises NotFound."""
    row = syncs.get_with_group(bridge.engine, sync_id)
    if row is None:
        raise _unknown(sync_id)
    return _add_runs(bridge, [row])[0]


@contextmanager
def sync_errors() -> Generator[None]:
    """Turn a sync that is not there, or not of the kind that is needed, into NotFound."""
    try:
        yield
    except SyncRemoved as exc:
        raise SyncGone(f"Sync {exc.sync_id} was removed.", advice="Start a new one from Cohorts.") from None
    except SyncNotRecurring as exc:
        raise NotFound(
            f"There is no recurring sync {exc.sync_id}.", advice="It was removed, or exports once only."
        ) from None
    except SyncUnknown as exc:
        raise _unknown(exc.sync_id) from None


def _unknown(sync_id: int) -> NotFound:
    return NotFound(f"There is no sync {sync_id}.", advice="See the list: `python -m core syncs list`, or Syncs.")
