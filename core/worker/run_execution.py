"""Do a claimed run for a worker, whatever becomes of it, and recover those whose process died."""

from __future__ import annotations

import asyncio
import logging

from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, LeaseLost, NoQuerySlot
from core.export.run import Export
from core.leases.watch import LeaseWatch
from core.vendors.http import HttpClient
from data import run_queue, run_records
from data.engine import StorageError
from data.failure import Failure
from data.models import Lease, LeaseKind, RunStatus
from data.run_outcome import RunOutcome

log = logging.getLogger(__name__)

_INTERRUPTED = Failure(
    "interrupted",
    "The process that did this run ended without finishing it.",
    "Nothing to do: a new run recovers the group. If this happens often, check the machine's memory.",
)
_UNEXPECTED = Failure(
    "unexpected",
    "The run stopped on an error that Cohort Bridge did not foresee.",
    "The worker's log has the details. The group may need a new export.",
)


def watch_runs(bridge: Bridge) -> LeaseWatch:
    """Watch the runs that are held by any process, to recover those whose process died."""

    def recover(lease: Lease) -> bool:
        interrupted = run_queue.interrupt(bridge.engine, lease, failure=_INTERRUPTED, now=bridge.clock.now())
        if interrupted:
            log.warning("run interrupted run_id=%s", lease.key)
        return interrupted

    return LeaseWatch(bridge, LeaseKind.RUN, recover)


async def carry_out(bridge: Bridge, run_id: int, *, lease_owner: str, http: HttpClient) -> None:
    """Do a claimed run for a worker.

    A run without a query slot waits in the database; one whose process is asked to stop is handed back.
    """
    try:
        await Export(bridge, run_id, lease_owner=lease_owner, http=http).run()
    except NoQuerySlot as exc:
        log.info("run waits run_id=%s until=%s", run_id, exc.next_at.isoformat())
        await asyncio.to_thread(wait, bridge, run_id, lease_owner, exc, keep=False)
    except LeaseLost as exc:
        log.warning("run lost run_id=%s reason=%s", run_id, exc)
    except CohortBridgeError as exc:
        # The end could not be recorded: the lease runs out, and the run is recovered then.
        log.error("run not recorded run_id=%s code=%s reason=%s", run_id, exc.code, exc)  # noqa: TRY400
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.to_thread(hand_back, bridge, run_id, lease_owner))
        raise
    except Exception:
        log.exception("run failed unexpectedly run_id=%s", run_id)
        await asyncio.to_thread(_record_unexpected, bridge, run_id, lease_owner)


def hand_back(bridge: Bridge, run_id: int, lease_owner: str) -> None:
    try:
        run_queue.hand_back(bridge.engine, run_id, lease_owner=lease_owner, now=bridge.clock.now())
    except StorageError as exc:
        # Its lease runs out, and it is recovered then.
        log.warning("run not handed back run_id=%s reason=%s", run_id, exc)


def wait(bridge: Bridge, run_id: int, lease_owner: str, exc: NoQuerySlot, *, keep: bool) -> None:
    with storage_errors():
        run_queue.wait(
            bridge.engine, run_id, lease_owner=lease_owner, until=exc.next_at, keep=keep, now=bridge.clock.now()
        )


def _record_unexpected(bridge: Bridge, run_id: int, lease_owner: str) -> None:
    outcome = RunOutcome(RunStatus.FAILED, finished_at=bridge.clock.now(), failure=_UNEXPECTED)
    try:
        run_records.record(bridge.engine, run_id, outcome, lease_owner=lease_owner)
    except StorageError as exc:
        log.warning("run not recorded run_id=%s reason=%s", run_id, exc)
