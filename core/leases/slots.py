"""The requests that one run may have in flight, out of those that its project allows."""

from __future__ import annotations

import secrets
import threading

from core.bridge import Bridge
from core.leases.watch import HeartbeatWatch
from data import query_slots

IN_FLIGHT = query_slots.SLOTS


class RequestSlots:
    """The requests that one run may have in flight, out of the project's five. Leased; renew every few seconds."""

    def __init__(self, bridge: Bridge, project: str, *, lease_owner: str | None = None) -> None:
        self._bridge = bridge
        self.project = project
        self._lease_owner = lease_owner or secrets.token_hex(16)
        self._numbers: list[int] = []
        self._given_up: list[int] = []  # still held: requests may be in flight on them
        self._asked_before = 0
        self._others = HeartbeatWatch(bridge)
        # A call in a thread outlives the task that was cancelled while it waited for it: none takes after the release.
        self._lock = threading.Lock()
        self._is_released = False

    @property
    def width(self) -> int:
        """How many requests may be in flight now."""
        return len(self._numbers)

    def take(self, *, most: int = IN_FLIGHT) -> int:
        """Take up to `most` free slots, and return how many are held now. With none free, holders are asked to share.

        A slot whose process is dead is free.
        """
        with self._lock:
            return 0 if self._is_released else self._take(most)

    def _take(self, most: int) -> int:
        slots = query_slots.list_held(self._bridge.engine, self.project)
        others = [lease for lease in slots if lease.lease_owner != self._lease_owner]
        taken, self._asked_before = query_slots.take(
            self._bridge.engine,
            self.project,
            lease_owner=self._lease_owner,
            most=max(0, most - self.width),
            dead=self._others.look(others),
            ask=not self._numbers,
            now=self._bridge.clock.now(),
        )
        self._numbers += taken
        return self.width

    def renew(self) -> int:
        """Keep the slots, and give up half when others found none free. Returns how many may be used from now on.

        Those given up are handed back by `hand_back`, once no more requests are in flight than may be.
        """
        with self._lock:
            return self._renew() if self._numbers else 0

    def _renew(self) -> int:
        numbers, asked = query_slots.renew(self._bridge.engine, self.project, lease_owner=self._lease_owner)
        self._given_up = [number for number in self._given_up if number in numbers]
        self._numbers = [number for number in numbers if number not in self._given_up]
        if asked != self._asked_before and not self._given_up:
            kept = (len(self._numbers) + 1) // 2
            self._numbers, self._given_up = self._numbers[:kept], self._numbers[kept:]
            self._asked_before = asked
        return self.width

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
        query_slots.hand_back(self._bridge.engine, self.project, numbers, lease_owner=self._lease_owner)
