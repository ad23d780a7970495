"""How long a run may work until it has to come to an end: nothing that hangs keeps its place for ever."""

from __future__ import annotations

from datetime import timedelta

from core.clock import Clock
from core.errors import RunTookTooLong

# The steps in which a run waits for its turn: that is no work, and may take as long as it takes.
_WAITS = ("queued", "waiting", "queueing")
_NOT_DONE = {
    "delivering": "the destination had not taken all members",
    "reading": "not all profiles of the cohort had arrived",
    "finding": "the list of cohorts had not arrived",
}


class Deadline:
    """Adds up how long a run works, by the steady clock, from when it is made. Ask it every few seconds."""

    def __init__(self, clock: Clock, longest: timedelta) -> None:
        self._steady_s = clock.steady_s
        self._longest_s = longest.total_seconds()
        self._worked_s = 0.0
        self._asked_at_s = self._steady_s()

    def check(self, step: str) -> None:
        """Count the time since the last look as spent in this step. Raises RunTookTooLong when that is too much."""
        now_s = self._steady_s()
        if step not in _WAITS:
            self._worked_s += now_s - self._asked_at_s
        self._asked_at_s = now_s
        if self._worked_s > self._longest_s:
            hours = self._longest_s / 3600
            raise RunTookTooLong(
                f"The run was stopped after {'an hour' if hours == 1 else f'{hours:g} hours'} of work: "
                f"{_NOT_DONE.get(step, 'what was read had not been compared')}."
            )
