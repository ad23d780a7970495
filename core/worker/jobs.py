"""The `schedule` loop: short jobs that never export by themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.bridge import storage_errors
from core.clock import Clock
from core.errors import CohortBridgeError

if TYPE_CHECKING:
    from schedule import Scheduler

log = logging.getLogger(__name__)

# A clock that is further off than this was set.
_CLOCK_WAS_SET_S = 2.0

# Every so many seconds, this.
Job = tuple[int, Callable[[], object]]


class Jobs:
    """Does each job at its interval, and all of them at once to begin with. A job that fails is logged, no more.

    None is begun once `is_ending`: each may wait for the database as long as that takes.
    """

    def __init__(self, jobs: list[Job], clock: Clock, *, is_ending: Callable[[], bool]) -> None:
        self._jobs = jobs
        self._clock = clock
        self._is_ending = is_ending
        self._scheduler, self._clocks = self._begin()

    def _begin(self) -> tuple[Scheduler, tuple[datetime, float]]:
        from schedule import Scheduler  # takes a while to import, and most commands need none

        scheduler = Scheduler()
        every: Any = scheduler.every  # the library types it only in part
        for seconds, job in self._jobs:
            every(seconds).seconds.do(self._do, job)
        clocks = self._both_clocks()
        scheduler.run_all()
        return scheduler, clocks

    def _do(self, job: Callable[[], object]) -> None:
        if not self._is_ending():
            guarded(job)

    def run_pending(self) -> None:
        """Do the jobs that are due."""
        wall, steady_s = self._both_clocks()
        passed_s = (wall - self._clocks[0]).total_seconds()
        if abs(passed_s - (steady_s - self._clocks[1])) > _CLOCK_WAS_SET_S:
            # What was planned by the clock as it was could be an hour away.
            self._scheduler, self._clocks = self._begin()
            return
        self._clocks = (wall, steady_s)
        self._scheduler.run_pending()

    def _both_clocks(self) -> tuple[datetime, float]:
        """The clock that the scheduler goes by, which daylight saving sets as people do, and one that no one sets."""
        return self._clock.host_now().astimezone().replace(tzinfo=None), self._clock.steady_s()


def guarded(job: Callable[[], object]) -> None:
    """Do a job; one that fails is logged."""
    try:
        with storage_errors():
            job()
    except CohortBridgeError as exc:
        log.warning("job failed job=%s reason=%s", job.__name__, exc)
    except Exception:
        log.exception("job failed job=%s", job.__name__)
