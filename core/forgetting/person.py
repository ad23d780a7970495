"""Forget a person: their ids are removed from all that is kept here, and no group is touched.

While that is done no run and no association begins, and none is running: what one had read would bring the person back.
First all files are written again beside the old ones; then one transaction names the new ones, puts the groups in doubt
that may hold the person, and adds the line of the audit log; then the old files go. A process that dies before the
transaction has changed nothing; one that dies after it leaves files that nothing names, which forgetting again removes,
and the worker a day later.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from core.access import roles
from core.access.roles import Actor, Role, action
from core.associate.running import watch_associations
from core.backup.leftovers import remove_leftovers
from core.bridge import Bridge, storage_errors
from core.errors import IdShared, LeaseLost, RunAlreadyActive, StorageFailed
from core.forgetting import logs
from core.forgetting.association_files import AssociationFilesWithout, find_written_pairs
from core.forgetting.member_files import MemberFilesWithout, MemberSearch
from core.forgetting.traces import Traces
from core.leases import lock
from core.leases.lease import new_lease_owner
from core.leases.watch import look_together
from core.threads import in_own_thread, in_stoppable_thread, to_its_end
from core.validation import check_user_id
from core.worker.run_execution import watch_runs
from data import engine, forgetting
from data.forgetting import ALL, Forgotten, InDoubt
from data.members.files import is_older
from data.members.forgetting import PersonIds, follow
from data.members.store import SNAPSHOT
from data.models import LeaseKind

# More ids than one person has: what belongs together then is a mistake, such as a property that a company shares.
MOST_IDS = 12
_PATIENCE_S = 60.0
_YOUNG_S = 3600
# What the hash of the audit log is made for: that of an address is never that of an id.
_FOR_HASH = "forgotten id\n"


@action(Role.ADMIN)
def find_traces(bridge: Bridge, actor: Actor, user_id: str, *, alone: bool = False) -> Traces:
    """Count what is kept of a person, known by any of their ids, byte for byte; `alone`: of this id only.

    Raises: SettingsError, IdShared, StorageFailed.
    """
    check_user_id(user_id)
    person, search = _find_person(bridge, user_id, alone=alone)
    counts = search.count(person.all)
    rows = AssociationFilesWithout(bridge)
    rows.find(person.all)
    excluded = sum(number for path, number in counts.items() if path.name.startswith("excluded-"))
    members = sum(number for path, number in counts.items() if path.name.startswith(SNAPSHOT))
    return replace(
        _count_ids(person),
        members=members,
        changes=sum(counts.values()) - members - excluded,
        excluded=excluded,
        association_rows=rows.count,
        unreadable=len(search.search.unreadable) + rows.unreadable,
        log_entries=logs.count_ids(bridge.settings.home / "logs", person.all),
    )


@action(Role.ADMIN)
def forget_person(
    bridge: Bridge,
    actor: Actor,
    user_id: str,
    *,
    alone: bool = False,
    patience_s: float = _PATIENCE_S,
    when_begun: Callable[[asyncio.Task[Any]], object] = lambda _: None,
) -> Traces:
    """Remove a person from all that is kept here, known by any of their ids, byte for byte; `alone`: this id only.

    Waits at most `patience_s` for runs that have begun. `when_begun` is given the task, which may be cancelled:
    nothing is changed then, unless it was too late. Returns what was removed. Raises SettingsError, IdShared,
    RunAlreadyActive, StorageFailed.
    """
    check_user_id(user_id)

    async def main() -> Traces:
        task = asyncio.current_task()
        assert task is not None
        when_begun(task)
        with storage_errors():
            return await _forget(bridge, actor, user_id, alone=alone, patience_s=patience_s)

    return asyncio.run(main())


async def _forget(bridge: Bridge, actor: Actor, user_id: str, *, alone: bool, patience_s: float) -> Traces:
    lease_owner = new_lease_owner()
    async with lock.in_turn(bridge, LeaseKind.FORGETTING, ALL, lease_owner=lease_owner):
        await _wait_until_idle(bridge, patience_s)
        work = _Work(bridge, actor, user_id, lease_owner)
        try:
            await in_stoppable_thread(partial(work.prepare, alone=alone))
            # What is changed is told in one line of the audit log, which is written with it, and not row by row.
            return await to_its_end(partial(Context().run, work.finish))
        finally:
            if not work.is_recorded:
                await asyncio.shield(asyncio.to_thread(work.drop_new))


async def _wait_until_idle(bridge: Bridge, patience_s: float) -> None:
    """Wait for what is running to end, or to be found dead. Raises RunAlreadyActive."""
    watches = watch_runs(bridge), watch_associations(bridge)
    until_s = bridge.clock.steady_s() + patience_s
    while True:
        await in_own_thread(partial(look_together, bridge, watches))
        running = await in_own_thread(partial(forgetting.list_running, bridge.engine))
        if not running:
            return
        if bridge.clock.steady_s() >= until_s:
            others = f" and {len(running) - 1:,} more" if len(running) > 1 else ""
            verb = "are" if others else "is"
            raise RunAlreadyActive(
                f"{running[0].capitalize()}{others} {verb} running, and what was read would bring the person back. "
                "Nothing was forgotten."
            )
        await asyncio.sleep(bridge.lease_times.heartbeat_s)


def _find_person(bridge: Bridge, user_id: str, *, alone: bool) -> tuple[PersonIds, MemberSearch]:
    """Find the ids that belong to a person, as reads and what was written by hand know them. Raises IdShared."""
    search = MemberSearch(bridge)

    def find(ids: list[str]) -> set[tuple[str | None, str | None]]:
        return search.find_pairs(ids, most=MOST_IDS) | find_written_pairs(bridge, ids, most=MOST_IDS)

    asked = PersonIds(user_id)
    if alone:
        pairs = find([user_id])
        as_distinct = frozenset({user_id} & {distinct_id for _, distinct_id in pairs})
        return PersonIds(user_id, as_distinct, frozenset({user_id} & {each for each, _ in pairs})), search
    person = follow(asked, find, most=MOST_IDS)
    if len(person.all) > MOST_IDS:
        raise IdShared(
            f"More than {MOST_IDS} ids belong together with this one, since many profiles share an id: they cannot be "
            "one person's. Nothing was forgotten."
        )
    return person, search


def _count_ids(person: PersonIds) -> Traces:
    return Traces(distinct_ids=len(person.distinct_ids), apptimize_ids=len(person.apptimize_ids))


@dataclass
class _Work:
    """What is done under the lease: all of it prepared beside what is there, then put in its place."""

    bridge: Bridge
    actor: Actor
    user_id: str
    lease_owner: str
    is_recorded: bool = False
    person: PersonIds = field(init=False)
    members: MemberFilesWithout | None = None
    associations: AssociationFilesWithout | None = None

    def prepare(self, *, alone: bool) -> None:
        """Find the person, and write all files again without them. Raises StorageError, IdShared."""
        self.person, search = _find_person(self.bridge, self.user_id, alone=alone)
        ids = self.person.all
        counts = search.count(ids)
        self.members = MemberFilesWithout(self.bridge, counts, search.search.unreadable)
        self.members.write(ids)
        self.associations = AssociationFilesWithout(self.bridge)
        self.associations.write(ids)

    def drop_new(self) -> None:
        """Remove what was prepared, since it does not take the place of anything."""
        for files in (self.members, self.associations):
            if files is not None:
                files.drop_new()

    def finish(self) -> Traces:
        """Record what is forgotten, then put the new files in place. Raises StorageError, LeaseLost."""
        assert self.members is not None
        assert self.associations is not None
        forgotten = Forgotten(
            self.person.all,
            self.members.rewritten,
            self.associations.rows,
            self.associations.checked,
            self.associations.unusable,
            self.associations.new_bundles,
        )
        traces = self._count()
        in_doubt = forgetting.record(
            self.bridge.engine,
            forgotten,
            lease_owner=self.lease_owner,
            scope=roles.scope(self.bridge, self.actor.name, "forget_person"),
            describe=lambda in_doubt: self._describe(_with_groups(traces, in_doubt)),
        )
        if in_doubt is None:
            raise LeaseLost(
                "The process slept for so long that others may have begun. Nothing was forgotten.", advice="Try again."
            )
        self.is_recorded = True
        try:
            self.members.drop_old()
            self.associations.put_in_place()
            masked = logs.mask_ids(self.bridge.settings.home / "logs", self.person.all)
            self._clear_scratch()
            remove_leftovers(self.bridge)
        except OSError as exc:
            raise StorageFailed(
                f"Not all files could be removed: {exc.strerror or exc}.",
                advice="Let the user that runs Cohort Bridge write in the folder of COHORT_BRIDGE_HOME, then forget "
                "the person again.",
            ) from exc
        engine.drop_leftovers(self.bridge.engine)
        return replace(_with_groups(traces, in_doubt), log_entries=masked)

    def _clear_scratch(self) -> None:
        """Remove what processes that died had read, or spilled: no run reads now, and what a page spills is young."""
        scratch, young_s = self.bridge.settings.scratch, self.bridge.clock.host_now().timestamp() - _YOUNG_S
        for folder in scratch.glob("read-*"):
            shutil.rmtree(folder, ignore_errors=True)
        for path in scratch.glob("duckdb_temp*"):
            if is_older(path, young_s):
                path.unlink(missing_ok=True)

    def _count(self) -> Traces:
        assert self.members is not None
        assert self.associations is not None
        files = self.members
        return replace(
            _count_ids(self.person),
            members=files.members,
            changes=files.changes,
            excluded=files.excluded,
            association_rows=self.associations.count,
            unreadable=len(files.unreadable) + files.unproven + self.associations.unreadable,
            leftovers=len([path for path in files.removed if path not in files.unreadable]),
        )

    def _describe(self, traces: Traces) -> dict[str, Any]:
        """Make what the audit log says: a hash that only the key can make again, and numbers."""
        counted = {name: number for name, number in vars(traces).items() if number}
        return {"id hash": self.bridge.vault.hash_text(f"{_FOR_HASH}{self.user_id}")} | counted


def _with_groups(traces: Traces, in_doubt: InDoubt) -> Traces:
    return replace(traces, groups_in_doubt=in_doubt.groups, groups_only_adding=in_doubt.only_adding)
