"""Finding what died: work that somebody holds, and whose beat does not move any more."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from core.bridge import Bridge
from core.leases import lease
from data import run_queue

log = logging.getLogger(__name__)

_DEAD = {
    "error_code": "interrupted",
    "error_message": "The process that did this run ended without finishing it.",
    "error_advice": "Nothing to do: a new run makes it good. If this happens often, check the machine's memory.",
}


@dataclass
class LeaseWatch:
    """Finds runs whose process died: their beat has not moved for a lease's time on this process's own steady clock."""

    bridge: Bridge
    _seen: dict[int, tuple[str, int, float]] = field(default_factory=dict[int, tuple[str, int, float]])
    _alive: set[int] = field(default_factory=set[int])

    @property
    def undecided(self) -> bool:
        """Whether there are runs not known yet to be alive or dead: they have not moved since the first look."""
        return not self._seen.keys() <= self._alive

    def look(self) -> int:
        """Look once, and end those that are dead; call it every few seconds. Returns how many were."""
        now, dead = time.monotonic(), 0
        present = {number: (owner, beat) for number, owner, beat in self._leases()}
        self._alive &= present.keys()
        self._alive |= {number for number, seen in self._seen.items() if present.get(number, seen[:2]) != seen[:2]}
        self._seen = {number: seen for number, seen in self._seen.items() if present.get(number) == seen[:2]}
        for number, (owner, beat) in present.items():
            since = self._seen.setdefault(number, (owner, beat, now))[2]
            if now - since > lease.LEASE_S and self._interrupt(number, owner, beat):
                del self._seen[number]
                dead += 1
        return dead

    def _leases(self) -> list[tuple[int, str, int]]:
        return run_queue.leases(self.bridge.engine)

    def _interrupt(self, number: int, owner: str, beat: int) -> bool:
        ended = run_queue.interrupt(self.bridge.engine, number, owner=owner, beat_seen=beat, error=_DEAD)
        if ended:
            log.warning("run interrupted run_id=%s", number)
        return ended
