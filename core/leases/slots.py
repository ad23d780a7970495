"""The requests that one run may have in flight, out of those that its project allows. Leased."""

from __future__ import annotations

import secrets
import threading
import time

from sqlalchemy import Engine, func, update
from sqlmodel import Session, col, select

from data.engine import read_session, write_session
from data.models import QueryBudget, QuerySlot

IN_FLIGHT = 5
SLOT_LEASE_S = 45.0


class RequestSlots:
    """The requests that one run may have in flight, out of the project's five. Leased; renew every few seconds."""

    def __init__(self, engine: Engine, project: str, *, holder: str | None = None) -> None:
        self._engine = engine
        self.project = project
        self._holder = holder or secrets.token_hex(16)
        self._numbers: list[int] = []
        self._given_up: list[int] = []  # still held: requests may be in flight on them
        self._wanted_seen = 0
        self._watched: dict[int, tuple[str, int, float]] = {}
        # A call in a thread outlives the task that was cancelled while it waited for it: none takes after the release.
        self._lock = threading.Lock()
        self._released = False

    @property
    def width(self) -> int:
        """How many requests may be in flight now."""
        return len(self._numbers)

    def take(self, *, most: int = IN_FLIGHT) -> int:
        """Take up to `most` free slots, and return how many are held now. With none free, holders are asked to share.

        A slot whose holder has not moved for the length of a lease, by this process's own steady clock, is free.
        """
        with self._lock:
            return 0 if self._released else self._take(most)

    def _take(self, most: int) -> int:
        with write_session(self._engine) as session:
            self._make_slots(session)
            slots = session.exec(select(QuerySlot).where(QuerySlot.project == self.project)).all()
            others = [slot for slot in slots if slot.holder != self._holder]
            free = [slot for slot in others if slot.holder is None or self._is_dead(slot)]
            for slot in free[: max(0, most - len(self._numbers))]:
                slot.holder, slot.beat = self._holder, slot.beat + 1
                session.add(slot)
                self._numbers.append(slot.number)
            rules = session.get(QueryBudget, self.project)
            assert rules is not None
            if not self._numbers:
                rules.slots_wanted += 1
                session.add(rules)
            self._wanted_seen = rules.slots_wanted
        return self.width

    def _make_slots(self, session: Session) -> None:
        if session.get(QueryBudget, self.project) is None:
            session.add(QueryBudget(project=self.project))
        for number in range(IN_FLIGHT):
            if session.get(QuerySlot, (self.project, number)) is None:
                session.add(QuerySlot(project=self.project, number=number))
        session.flush()

    def _is_dead(self, slot: QuerySlot) -> bool:
        now = time.monotonic()
        seen = self._watched.get(slot.number)
        if seen is None or seen[:2] != (slot.holder, slot.beat):
            self._watched[slot.number] = (slot.holder or "", slot.beat, now)
            return False
        return now - seen[2] > SLOT_LEASE_S

    def renew(self) -> int:
        """Keep the lease, and give up half when others found none free. Returns how many may be used from now on.

        Those given up are handed back by `hand_back`, once no more requests are in flight than may be.
        """
        with self._lock:
            return self._renew() if self._numbers else 0

    def _renew(self) -> int:
        with write_session(self._engine) as session:
            session.exec(
                update(QuerySlot)
                .where(col(QuerySlot.project) == self.project, col(QuerySlot.holder) == self._holder)
                .values(beat=QuerySlot.beat + 1)
            )
            rules = session.get(QueryBudget, self.project)
            held = session.exec(
                select(QuerySlot.number).where(QuerySlot.project == self.project, QuerySlot.holder == self._holder)
            ).all()
        self._given_up = [number for number in self._given_up if number in held]
        self._numbers = [number for number in held if number not in self._given_up]
        wanted = rules.slots_wanted if rules else 0
        if wanted != self._wanted_seen and not self._given_up:
            kept = (len(self._numbers) + 1) // 2
            self._numbers, self._given_up = self._numbers[:kept], self._numbers[kept:]
            self._wanted_seen = wanted
        return self.width

    def hand_back(self) -> None:
        """Hand back what was given up."""
        with self._lock:
            if self._given_up and not self._released:
                with write_session(self._engine) as session:
                    self._hand_back(session, self._given_up)
                self._given_up = []

    def release(self) -> None:
        """Hand back all, for good."""
        with self._lock:
            self._released = True
            with write_session(self._engine) as session:
                self._hand_back(session, self._numbers + self._given_up)
            self._numbers, self._given_up = [], []

    def _hand_back(self, session: Session, numbers: list[int]) -> None:
        session.exec(
            update(QuerySlot)
            .where(
                col(QuerySlot.project) == self.project,
                col(QuerySlot.holder) == self._holder,
                col(QuerySlot.number).in_(numbers),
            )
            .values(holder=None)
        )


def count_in_flight(engine: Engine, project: str) -> int:
    """Count the slots that are held."""
    with read_session(engine) as session:
        return session.exec(
            select(func.count())
            .select_from(QuerySlot)
            .where(QuerySlot.project == project, col(QuerySlot.holder).is_not(None))
        ).one()
