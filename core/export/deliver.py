"""Write a group: choose the smallest write that is safe, and deliver the members, or what changed of them."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from core.bridge import Bridge, notice_restore
from core.connections.receiver_form import receiver_for
from core.errors import GroupGone, LeaseLost
from core.export import retention
from core.export.compare import Comparison, require_whole
from core.export.job import Job, receiver_shared
from core.export.leavers import Leavers
from core.export.progress import Progress
from core.export.run_lease import RunLease
from core.rules.writing import WriteFacts, WriteMode, choose_write_mode
from core.threads import in_own_thread, in_stoppable_thread
from core.vendors.addresses import Reach, allowed_reach
from core.vendors.cohort_sync import EndpointDelivery, message_count
from core.vendors.csv_files import CsvDelivery
from core.vendors.delivery import Delivery, Target
from core.vendors.http import HttpClient, connect_entered
from core.vendors.retry import RetryPlan
from data import deliveries, run_records
from data.members.proof import Proof
from data.models import Connection, ConnectionKind
from data.receivers import SharedReceiver
from data.tried import Tried


@dataclass(frozen=True)
class DeliveryPlan:
    """What is written to a group, and how."""

    job: Job
    comparison: Comparison
    target: Target
    mode: WriteMode
    leavers: Leavers | None = None  # of a receiver that only adds: who is removed after a full write

    @property
    def writes(self) -> bool:
        """Whether anything is written: a dry run only says what would be."""
        return self.mode != "none" and not self.job.run.dry_run

    @property
    def tries(self) -> Tried | None:
        """What the delivery begins with, where that has to be known until one is accepted whole."""
        if not self.job.only_adds:
            return None
        if self.leavers and self.leavers.tries:
            return self.leavers.tries
        return Tried(self.comparison.snapshot, self.comparison.proof or Proof(self.comparison.members))

    @property
    def messages(self) -> int:
        """How many messages it takes, where a group is written by messages."""
        if self.mode == "full":
            removals = message_count(self.leavers.members, whole=False) if self.leavers else 0
            return message_count(self.comparison.members, whole=True) + removals
        difference = self.comparison.difference
        return sum(message_count(size, whole=False) for size in (difference.removed, difference.added))


@dataclass(frozen=True)
class GroupWriter:
    """Writes the group of one run. The lease is checked before each message."""

    bridge: Bridge
    http: HttpClient
    lease: RunLease
    progress: Progress

    async def write(
        self, job: Job, comparison: Comparison, leavers: Leavers | None = None, *, description: str = ""
    ) -> WriteMode:
        """Write a snapshot to the group, unless it is there already or the run is dry. Returns how it was written."""
        mode = await self.choose_mode(job, comparison)
        if mode == "full" and job.only_adds and leavers is None:
            # The daily overwrite fell due since `needs_leavers` was asked: nothing but the time is another now.
            leavers = _as_leavers(comparison)
        plan = DeliveryPlan(job, comparison, _target(job, description), mode, leavers)
        if plan.writes:
            if mode == "full":
                await self._require_whole(comparison)
            async with self._connect(job.destination) as http:
                return await self._deliver(self._open(job, http), plan)
        return mode

    async def needs_leavers(self, job: Job, comparison: Comparison) -> bool:
        """Return whether a write has to remove by name who left: a full one, where the receiver only adds."""
        return job.only_adds and await self.choose_mode(job, comparison) == "full"

    async def _require_whole(self, comparison: Comparison) -> None:
        await in_stoppable_thread(partial(require_whole, self.bridge.snapshots, comparison))

    async def choose_mode(self, job: Job, comparison: Comparison) -> WriteMode:
        """Choose how the group is written, or would be. Nothing is sent for that."""
        delivery = self._open(job, self.http)
        in_place = await in_own_thread(partial(delivery.is_in_place, _target(job)))
        facts = _facts(job, comparison, in_place=in_place, takes_differences=delivery.takes_differences)
        return choose_write_mode(facts, now=self.bridge.clock.now())

    async def _deliver(self, delivery: Delivery, plan: DeliveryPlan) -> WriteMode:
        self.progress.begin("delivering")
        self.progress.delivery = delivery
        if delivery.takes_differences:
            self.progress.messages_expected = plan.messages
        await self._mark_in_doubt(plan)
        try:
            await self._send(delivery, plan)
        except GroupGone:
            if not plan.job.only_adds:
                raise
        else:
            return plan.mode
        # Such a receiver does not know the cohort: it was deleted there, and all members that are sent make it again.
        again = replace(plan, mode="full", leavers=plan.leavers or _as_leavers(plan.comparison))
        self.progress.messages_expected = delivery.messages + again.messages
        await self._require_whole(plan.comparison)
        await self._send(delivery, again)
        return again.mode

    async def _send(self, delivery: Delivery, plan: DeliveryPlan) -> None:
        snapshots, difference = self.bridge.snapshots, plan.comparison.difference
        if plan.mode == "full":
            stored = snapshots.stored(plan.comparison.snapshot)
            await delivery.overwrite(plan.target, stored, members=plan.comparison.members)
            if plan.leavers and plan.leavers.file:
                left = snapshots.stored(plan.leavers.file, "removed")
                await delivery.change(plan.target, "removed", left, members=plan.leavers.members)
            return
        removed = snapshots.stored(plan.job.files.difference, "removed")
        await delivery.change(plan.target, "removed", removed, members=difference.removed)
        added = snapshots.stored(plan.job.files.difference, "added")
        await delivery.change(plan.target, "added", added, members=difference.added)

    async def _mark_in_doubt(self, plan: DeliveryPlan) -> None:
        """Commit before the first message that the group is in doubt: the next run cannot trust its base then.

        Where the receiver only adds, it is noted as well whom it may hold then, until a delivery is accepted whole.

        That a delivery began is noted beside the database as well, which may be put back to what it was before: under
        this run too, whose own delivery must not make up for those that are missing from the count then.
        """
        await asyncio.to_thread(notice_restore, self.bridge)
        job, tries = plan.job, plan.tries
        assert job.run.id is not None
        assert job.group.id is not None
        mark = partial(run_records.mark_in_doubt, self.bridge.engine, job.run.id, job.group.id)
        try:
            number = await asyncio.to_thread(mark, lease_owner=self.lease.owner, tries=tries)
        except SharedReceiver as exc:
            raise receiver_shared(exc) from None
        if number is None:
            raise LeaseLost("The run lost its lease before it wrote anything.")
        await asyncio.to_thread(deliveries.note, self.bridge.delivery_mark, number)
        if tries and tries.in_place_of:
            await asyncio.to_thread(retention.forget_tried, self.bridge, tries.in_place_of)

    def _connect(self, destination: Connection) -> AbstractAsyncContextManager[HttpClient]:
        """Open the client that may connect to a destination; wherever it may go, that is the present one."""
        settings = self.bridge.settings
        reach = allowed_reach(allow_private=settings.allow_private_hosts, practice=destination.practice)
        if reach is Reach.ANYWHERE or destination.kind != ConnectionKind.ENDPOINT:
            return nullcontext(self.http)
        return connect_entered(reach, connections=settings.messages_in_flight)

    def _open(self, job: Job, http: HttpClient) -> Delivery:
        if job.destination.kind == ConnectionKind.CSV:
            return CsvDelivery(Path(job.destination.folder), self.lease.check, job.group.delivered_name)
        settings = self.bridge.settings
        return EndpointDelivery(
            http,
            receiver_for(self.bridge, job.destination),
            self.lease.check,
            in_flight=settings.messages_in_flight,
            retry=RetryPlan(over_s=settings.retry_over_s),
            note=self.progress.run_log.called,
            tries=self.progress.run_log,
        )


def _as_leavers(comparison: Comparison) -> Leavers:
    removed = comparison.difference.removed
    return Leavers(comparison.changes if removed else None, removed)


def _target(job: Job, description: str = "") -> Target:
    return Target(
        project_id=job.sync.project_id,
        cohort_id=job.sync.cohort_id,
        cohort_name=job.group.cohort_name,
        group_name=job.group.name,
        description=description,
    )


def _facts(job: Job, comparison: Comparison, *, in_place: bool, takes_differences: bool) -> WriteFacts:
    return WriteFacts(
        group=job.group,
        matched_by=str(job.rule),
        has_base=comparison.base is not None,
        has_changes=comparison.has_changes,
        in_place=in_place,
        force_full=job.run.force_full,
        is_restore=job.run.restore_snapshot is not None,
        takes_differences=takes_differences,
    )
