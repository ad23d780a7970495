"""The requests that one run may have in flight, out of those that its project allows."""

from __future__ import annotations

import secrets
import threading

from core.bridge import Bridge
from core.leases.watch import HeartbeatWatch
from core.turns import Turn
from data import query_slots
from data.models import Lease

IN_FLIGHT = query_slots.SLOTS
# Who was asked to share takes no more for so long: where one small cohort is read, the next is not far.
_SHARES_FOR_S = 10.0


class RequestSlots:
    """The requests that one run may have in flight, out of the project's five. Leased; renew every few seconds.

    Whoever waits for one in this process has the `turn`, and is woken as soon as one is handed back here.
    """

    def __init__(self, bridge: Bridge, project: str, *, lease_owner: str | None = None) -> None:
        self._bridge = bridge
        self.project = project
        self._lease_owner = lease_owner or secrets.token_hex(16)
        self._numbers: list[int] = []
        self._given_up: list[int] = []  # still held: requests may be in flight on them
        self._most = IN_FLIGHT  # would be of use
        self._asked_before: int | None = None  # not known: of one slot nothing is to share
        self._shared_at_s: float | None = None
        self._others = HeartbeatWatch(bridge)
        # A call in a thread outlives the task that was cancelled while it waited for it: none takes after the release.
        self._lock = threading.Lock()
        self._is_released = False

    @property
    def width(self) -> int:
        """How many requests may be in flight now."""
        return len(self._numbers)

    @property
    def turn(self) -> Turn:
        """The turn to wait for a slot of the project, in the running loop."""
        return self._bridge.turns.of(self._turn_name)

    @property
    def _turn_name(self) -> str:
        return f"slots/{self.project}"

    def want(self, most: int) -> None:
        """Note how many would be of use: one, until it is known how much there is to ask for."""
        self._most = min(most, IN_FLIGHT)

    def take(self) -> int:
        """Take free slots up to what is wanted, and return how many are held now.

        With none free, holders are asked to share. A slot whose process is dead is free.
        """
        with self._lock:
            return 0 if self._is_released else self._take()

    def _take(self) -> int:
        with self._others.asking():
            others = self._take_free(dead=[])
        if self.width < self._most and (dead := self._others.look(others)):
            self._take_free(dead=dead)
        return self.width

    def _take_free(self, *, dead: list[Lease]) -> list[Lease]:
        """Take what is free, or held by the dead, and return what others held."""
        taken = query_slots.take(
            self._bridge.engine,
            self.project,
            lease_owner=self._lease_owner,
            most=self._most - self.width,
            dead=dead,
            ask=not self._numbers,
            now=self._bridge.clock.now(),
        )
        if taken.asked is not None:
            self._asked_before = taken.asked
        self._numbers += taken.numbers
        return taken.others

    def renew(self, *, grow: bool = True) -> int:
        """Keep the slots, and give up half when others found none free. Returns how many may be used from now on.

        Those given up are handed back by `hand_back`, once no more requests are in flight than may be. To `grow` is to
        take more that are wanted and free, unless others asked to share a moment ago.
        """
        with self._lock:
            if self._is_released:
                return 0
            if self._numbers:
                self._renew(grow=grow)
            # Who was held up may find its slots taken: without new ones it would wait for ever.
            return self.width or self._take()

    def _renew(self, *, grow: bool) -> None:
        numbers, asked = query_slots.renew(self._bridge.engine, self.project, lease_owner=self._lease_owner)
        self._given_up = [number for number in self._given_up if number in numbers]
        self._numbers = [number for number in numbers if number not in self._given_up]
        now_s = self._bridge.clock.steady_s()
        if self._asked_before is None:
            self._asked_before = asked
        if asked != self._asked_before:
            self._shared_at_s = now_s
            if not self._given_up:
                kept = (len(self._numbers) + 1) // 2
                self._numbers, self._given_up = self._numbers[:kept], self._numbers[kept:]
                self._asked_before = asked
        elif grow and 0 < self.width < self._most and not self._given_up and not self._shares(now_s):
            self._take()

    def _shares(self, now_s: float) -> bool:
        return self._shared_at_s is not None and now_s - self._shared_at_s < _SHARES_FOR_S

    def hand_back(self) -> None:
        """Hand back what was given up."""
        with self._lock:
            if self._given_up and not self._is_released:
                self._hand_back(self._given_up)
                self._given_up = []

    def release(self) -> None:
        """Hand back all, for good."""
        with self._lock:
            self._is_released = True
            self._hand_back(self._numbers + self._given_up)
            self._numbers, self._given_up = [], []

    def _hand_back(self, numbers: list[int]) -> None:
        if numbers:
            query_slots.hand_back(self._bridge.engine, self.project, numbers, lease_owner=self._lease_owner)
            self._bridge.turns.wake(self._turn_name)
