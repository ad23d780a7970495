"""Do a claimed run for a worker, whatever becomes of it, and recover those whose process died."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial

from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError, LeaseLost, NoQuerySlot, OfAnotherInstallation, Unforeseen
from core.export.outcome import failure_from
from core.export.run import Export
from core.leases.ending import what_ended
from core.leases.watch import LeaseWatch
from core.moments import moment_text
from core.rules.due_times import interval_of
from core.rules.recovery import pause_after_deaths
from core.vendors.http import HttpClient
from data import run_queue, run_records
from data.engine import StorageError
from data.failure import Failure
from data.models import Lease, LeaseKind, RunStatus, Timing
from data.run_outcome import RunOutcome
from data.run_queue import Death, Recovery

log = logging.getLogger(__name__)

_ENDED_EARLY = "The process that did this run ended without finishing it."


def watch_runs(bridge: Bridge) -> LeaseWatch:
    """Watch the runs that are held by any process, to recover those whose process died."""

    return LeaseWatch(bridge, LeaseKind.RUN, partial(interrupt, bridge))


def interrupt(bridge: Bridge, lease: Lease) -> bool:
    """End a run whose process died, and have it tried again in time. False when its lease has moved since."""
    now = bridge.clock.now()
    interrupted = run_queue.interrupt(bridge.engine, lease, recover=partial(_recover, now=now), now=now)
    if interrupted:
        log.warning("run interrupted run_id=%s", lease.key)
    return interrupted


def _recover(death: Death, *, now: datetime) -> Recovery:
    """Decide when a run whose process died is tried again, and say so."""
    pause = pause_after_deaths(death.deaths, every_minutes=_minutes(death.timing))
    if not death.is_wanted:
        advice = "It is not tried again: it was a preview, it was cancelled, or its sync was stopped."
    elif pause is None:
        advice = (
            f"That happened {death.deaths} times running, and it is not tried again. Check the machine's memory, then "
            "start the export again."
        )
    elif pause:
        advice = (
            f"That happened {death.deaths} times running: it is tried again at {moment_text(now + pause)}, or "
            "sooner when you start it. Check the machine's memory."
        )
    else:
        advice = "Nothing to do: a new run recovers the group. If this happens often, check the machine's memory."
    again_at = None if pause is None or not death.is_wanted else now + pause
    return Recovery(Failure("interrupted", _ENDED_EARLY, advice), again_at)


def _minutes(timing: Timing | None) -> int | None:
    return None if timing is None else interval_of(timing) // timedelta(minutes=1)


async def carry_out(bridge: Bridge, run_id: int, *, lease_owner: str, http: HttpClient) -> None:
    """Do a claimed run for a worker.

    A run without a query slot waits in the database; one whose process is asked to stop is handed back.
    """
    try:
        await Export(bridge, run_id, lease_owner=lease_owner, http=http).run()
    except NoQuerySlot as exc:
        log.info("run waits run_id=%s until=%s", run_id, exc.next_at.isoformat())
        await asyncio.to_thread(_let_wait, bridge, run_id, lease_owner, exc)
    except LeaseLost as exc:
        log.warning("run lost run_id=%s reason=%s", run_id, exc)
    except OfAnotherInstallation as exc:
        log.warning("run handed back run_id=%s reason=%s", run_id, exc)
        await asyncio.to_thread(hand_back, bridge, run_id, lease_owner)
    except CohortBridgeError as exc:
        # The end could not be recorded: the lease runs out, and the run is recovered then.
        log.error("run not recorded run_id=%s code=%s reason=%s", run_id, exc.code, exc)  # noqa: TRY400
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or not task.cancelling():  # no one asked: handed back, it would come back at once, for ever
            log.exception("run failed unexpectedly run_id=%s", run_id)
            await asyncio.to_thread(_record_unexpected, bridge, run_id, lease_owner, exc)
            return
        await asyncio.shield(asyncio.to_thread(hand_back, bridge, run_id, lease_owner))
        raise
    except BaseException as exc:  # SystemExit too: whatever a run raises ends that run, and not the worker
        log.exception("run failed unexpectedly run_id=%s", run_id)
        await asyncio.to_thread(_record_unexpected, bridge, run_id, lease_owner, exc)


def _let_wait(bridge: Bridge, run_id: int, lease_owner: str, exc: NoQuerySlot) -> None:
    try:
        wait(bridge, run_id, lease_owner, exc, keep=False)
    except CohortBridgeError as failed:
        # Its lease runs out, and it is recovered then.
        log.warning("run not left waiting run_id=%s reason=%s", run_id, failed)


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


def _record_unexpected(bridge: Bridge, run_id: int, lease_owner: str, exc: BaseException) -> None:
    failure = failure_from(_what_ended(exc))
    outcome = RunOutcome(RunStatus.FAILED, finished_at=bridge.clock.now(), failure=failure)
    try:
        run_records.record(bridge.engine, run_id, outcome, lease_owner=lease_owner)
    except StorageError as exc:
        log.warning("run not recorded run_id=%s reason=%s", run_id, exc)


def _what_ended(exc: BaseException) -> CohortBridgeError:
    if isinstance(exc, MemoryError):
        return what_ended(exc)
    return Unforeseen(
        "The run stopped on an error that Cohort Bridge did not foresee.",
        advice="The worker's log has the details. The group may need a new export.",
    )
