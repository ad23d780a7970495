"""Finding what died: work that a process holds, and whose heartbeat does not move any more."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from core.bridge import Bridge
from data import leases
from data.engine import StorageError
from data.leases import Stillness
from data.models import Lease, LeaseKind
from data.process_identity import ProcessIdentity, has_ended, identify_process

# How long a heartbeat has not moved is written down no more often than this.
_NOTE_EVERY_S = 5.0
# A database that takes longer to say who holds what is as good as away, for those who hold it as well.
_SLOW_S = 5.0


@dataclass
class _Seen:
    """A lease as it was read, for how long we saw it not move, and what of that is written down or not yet."""

    lease: Lease
    watched_s: float
    noted_s: float
    added_s: float

    @property
    def still_s(self) -> float:
        """How long it has not moved at the least: others may have watched it before us, or write of it less often."""
        return max(self.watched_s, self.noted_s + self.added_s)


class HeartbeatWatch:
    """Judges holders: one whose process is known to have ended is dead, and one whose heartbeat has not moved for a
    lease's time.

    Each watcher goes on from what others saw and wrote down. It adds what passed by its own steady clock between two
    looks; where the database has a clock, no more than passed by that. No clock of another process, or of the wall, is
    asked. Of processes of other machines, containers and systems the heartbeat alone tells.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._alive: set[tuple[str, str]] = set()
        self._looked_at: tuple[float, datetime] | None = None

    @property
    def undecided(self) -> bool:
        """Whether there are processes not known yet to be alive or dead: they have not moved since the first look."""
        return not self._seen.keys() <= self._alive

    def look(self, present: Sequence[Lease]) -> list[Lease]:
        """Look at the leases that are held now, every few seconds. Returns those whose process is dead."""
        passed_s = self._find_passed_s()
        before, self._seen = self._seen, {}
        self._alive &= {_key(lease) for lease in present}
        for lease in present:
            self._seen[_key(lease)] = self._compare(before.get(_key(lease)), lease, passed_s)
        here, lease_s = identify_process(), self._bridge.lease_times.lease_s
        dead = [
            seen.lease
            for seen in self._seen.values()
            if seen.still_s > lease_s or has_ended(_holder(seen.lease), here=here)
        ]
        self.note(at_least_s=_NOTE_EVERY_S)
        return dead

    def _find_passed_s(self) -> float:
        """Return what passed since the last look: the smaller of our own steady time and the database's."""
        clock = self._bridge.clock
        before, self._looked_at = self._looked_at, (clock.steady_s(), clock.now())
        if before is None:
            return 0.0
        passed_s = self._looked_at[0] - before[0]
        if clock.is_databases:
            passed_s = min(passed_s, (self._looked_at[1] - before[1]).total_seconds())
        return max(0.0, passed_s)

    def _compare(self, before: _Seen | None, lease: Lease, passed_s: float) -> _Seen:
        if before is None:
            return _Seen(lease, 0.0, lease.still_s, 0.0)
        if has_moved(before.lease, lease):
            self._alive.add(_key(lease))
            return _Seen(lease, 0.0, lease.still_s, 0.0)
        # Where another watcher has added seconds, they are those that we counted as well.
        added_s = before.added_s + passed_s if lease.still_s == before.noted_s else 0.0
        return _Seen(lease, before.watched_s + passed_s, lease.still_s, added_s)

    @contextmanager
    def asking(self) -> Generator[None]:
        """Ask the database for the leases inside; where that fails, what was not seen counts for nobody's death."""
        try:
            yield
        except StorageError:
            self.start_again()
            raise

    def start_again(self) -> None:
        """Count from the next look on: the database could not be asked, and holders may not have reached it either."""
        self._seen = {}

    def forget(self, lease: Lease) -> None:
        """Look away from a lease that has ended."""
        self._seen.pop(_key(lease), None)

    def note(self, *, at_least_s: float = 0.0) -> None:
        """Write down what was seen since that was done last, for other watchers, where it is so much. Do it at the end.

        Raises: StorageError.
        """
        due = [seen for seen in self._seen.values() if seen.added_s > 0 and seen.added_s >= at_least_s]
        if not due:
            return
        notes = [Stillness(seen.lease, seen.noted_s, seen.noted_s + seen.added_s) for seen in due]
        leases.note_stillness(self._bridge.engine, notes)
        for seen, note in zip(due, notes, strict=True):
            seen.noted_s, seen.added_s = note.still_s, 0.0


class LeaseWatch:
    """Finds work of one kind whose process died, and has it recovered."""

    def __init__(self, bridge: Bridge, kind: LeaseKind, recover: Callable[[Lease], bool]) -> None:
        self._bridge = bridge
        self.kind = kind
        self._recover = recover
        self._heartbeats = HeartbeatWatch(bridge)

    @property
    def undecided(self) -> bool:
        """Whether there is work whose process is not known yet to be alive or dead."""
        return self._heartbeats.undecided

    def look(self) -> int:
        """Look once, and recover what is dead; call it every few seconds. Returns how much was."""
        return look_together(self._bridge, [self])

    def start_again(self) -> None:
        """Count from the next look on."""
        self._heartbeats.start_again()

    def note(self) -> None:
        """Write down what was seen, for the watchers that come after. Raises StorageError."""
        self._heartbeats.note()

    def recover_dead(self, present: Sequence[Lease]) -> int:
        """Recover what is dead of the leases of its kind that are held now. Returns how much was."""
        dead = [lease for lease in self._heartbeats.look(present) if self._recover(lease)]
        for lease in dead:
            self._heartbeats.forget(lease)
        return len(dead)


def look_together(bridge: Bridge, watches: Sequence[LeaseWatch]) -> int:
    """Look once with each of these watches, at one read of the leases. Returns how much was recovered.

    Raises StorageError: what was not seen meanwhile counts for nobody's death.
    """
    began_s, is_known = bridge.clock.steady_s(), False
    try:
        present = leases.list_held(bridge.engine, *(watch.kind for watch in watches))
        is_known = bridge.clock.steady_s() - began_s <= _SLOW_S
    finally:
        if not is_known:
            for watch in watches:
                watch.start_again()
    return sum(watch.recover_dead([lease for lease in present if lease.kind == watch.kind]) for watch in watches)


def _holder(lease: Lease) -> ProcessIdentity:
    return ProcessIdentity(lease.machine, lease.pid or 0, lease.pid_namespace, lease.process_started)


def _key(lease: Lease) -> tuple[str, str]:
    return lease.kind, lease.key


def has_moved(before: Lease, now: Lease) -> bool:
    """Return whether a lease, as it was and as it is, shows that a process was alive in between, or took it."""
    return (before.lease_owner, before.heartbeat) != (now.lease_owner, now.heartbeat)
