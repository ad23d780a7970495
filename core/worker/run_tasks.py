"""The runs of one worker: claimed as far as there are places, done side by side, handed back when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from core.bridge import Bridge, storage_errors
from core.errors import CohortBridgeError
from core.threads import to_its_end
from core.vendors.http import HttpClient
from core.worker.places import Places
from core.worker.run_execution import carry_out, hand_back
from data import connections, run_queue
from data.claiming import Which
from data.models import DESTINATION_SIDE
from data.run_queue import ClaimableRun

log = logging.getLogger(__name__)


class RunTasks:
    """What a worker has in hand, whichever way it was handed out: found in the table, or told of."""

    def __init__(self, bridge: Bridge, lease_owner: str) -> None:
        self._bridge = bridge
        self._lease_owner = lease_owner
        self._places = Places(bridge.settings.runs_in_flight)
        self._destinations: list[int] = []  # at the last look
        self._told: set[int] = set()  # they have a place, and are not claimed yet
        self._claimed: list[int] = []
        self._are_more_waiting = False
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.http: HttpClient | None = None  # which all runs share; it is there before any starts
        # Since a run has ended: for the loop, and for what tells of runs.
        self.has_place, self.has_place_for_jobs = asyncio.Event(), asyncio.Event()
        self.choosing = asyncio.Lock()  # who looks for runs to give the places to, one at a time
        self.is_ending = False

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What was started."""
        return list(self._tasks.values())

    @property
    def claimed(self) -> int:
        """How many runs were claimed and not started yet."""
        return len(self._claimed)

    def look_at_destinations(self) -> None:
        """See which destinations there are to share the places."""
        self._destinations = connections.list_ids(self._bridge.engine, DESTINATION_SIDE)

    def fill(self, *, waited_s: float = 0.0) -> None:
        """Claim the oldest runs in the table that have a place at their destination, and waited so long."""
        self._free_places()
        now = self._bridge.clock.now()
        queued_before = now - timedelta(seconds=waited_s) if waited_s else None
        # A look needs no locks, and finds most often that nothing waits; where something did the last time, more does.
        is_known, self._are_more_waiting = self._are_more_waiting, False
        while (most := self._find_room()) and (is_known or self._is_one_waiting(queued_before)):
            is_known = False
            if not (taken := self._claim_several(queued_before, most)):
                break
            self._are_more_waiting = True
            for run in taken:
                self._claimed.append(run.id)
                self._places.take(run.id, run.destination_id)

    def _find_room(self) -> int:
        return self._places.find_room(destinations=len(self._destinations))

    def _is_one_waiting(self, queued_before: datetime | None) -> bool:
        which = Which(self._bridge.clock.now(), self._find_full(), queued_before)
        return run_queue.is_one_claimable(self._bridge.engine, which)

    def _claim_several(self, queued_before: datetime | None, most: int) -> list[ClaimableRun]:
        return run_queue.claim_several(
            self._bridge.engine,
            Which(self._bridge.clock.now(), queued_before=queued_before),
            self._find_full,
            lease_owner=self._lease_owner,
            most=most,
        )

    def _find_full(self, and_taken: Sequence[ClaimableRun] = ()) -> set[int]:
        taken = [run.destination_id for run in and_taken]
        return self._places.find_full(destinations=len(self._destinations), and_taken=taken)

    def find_open(self) -> list[int | None] | None:
        """List the destinations that runs may start of, None for previews; or None, where no place of any is taken up.

        A list of none means that there is no place at all.
        """
        self._free_places()
        if not self._places.free:
            return []
        full = self._find_full()
        return [None, *(each for each in self._destinations if each not in full)] if full else None

    def give_place(self, run_id: int, destination_id: int | None) -> None:
        """Give a place to a run that this worker was told of, until `do` has found out about it."""
        self._told.add(run_id)
        self._places.take(run_id, destination_id)

    async def do(self, run_id: int) -> None:
        """Claim a run that was told of, if it may start still, and return once it has ended here.

        When this is cancelled the run goes on.
        """
        try:
            is_ours = not self.is_ending and await to_its_end(lambda: self._take(run_id))
            if is_ours and not self.is_ending and run_id in self._claimed:
                self._claimed.remove(run_id)
                self._start(run_id)
        finally:
            self._told.discard(run_id)
            self._free_places()
            self._note_place()
            if self.is_ending and run_id in self._claimed:  # since `stop`, which did not see it
                self._claimed.remove(run_id)
                await asyncio.shield(asyncio.to_thread(hand_back, self._bridge, run_id, self._lease_owner))
        if (task := self._tasks.get(run_id)) is not None and is_ours:
            await asyncio.wait([task])

    def _take(self, run_id: int) -> bool:
        try:
            with storage_errors():
                # Its place was given to it before.
                now = self._bridge.clock.now()
                if not run_queue.claim_next(self._bridge.engine, lease_owner=self._lease_owner, now=now, only=run_id):
                    return False
        except CohortBridgeError as exc:
            log.warning("run not claimed run_id=%s reason=%s", run_id, exc)
            return False
        self._claimed.append(run_id)
        return True

    def start_claimed(self) -> None:
        """Start what was claimed."""
        while self._claimed:
            self._start(self._claimed.pop())

    def _start(self, run_id: int) -> None:
        assert self.http is not None
        log.info("run starts run_id=%s", run_id)
        work = carry_out(self._bridge, run_id, lease_owner=self._lease_owner, http=self.http)
        self._tasks[run_id] = asyncio.create_task(work)
        self._tasks[run_id].add_done_callback(lambda _: self._note_place())

    def _note_place(self) -> None:
        self.has_place.set()
        self.has_place_for_jobs.set()

    def _free_places(self) -> None:
        self._tasks = {run_id: task for run_id, task in self._tasks.items() if not task.done()}
        self._places.keep_only({*self._tasks, *self._claimed, *self._told})

    async def stop(self) -> None:
        """Hand back what is running or claimed; nothing is started any more."""
        self.is_ending = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        # A task that is cancelled before its first step cannot hand its run back by itself.
        for run_id in [*self._claimed, *self._tasks]:
            await asyncio.to_thread(hand_back, self._bridge, run_id, self._lease_owner)
        self._claimed.clear()
