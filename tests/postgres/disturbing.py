"""What goes wrong around workers on several machines, in an order that a seed decides; everything is counted."""

from __future__ import annotations

import heapq
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from data.models import LeaseKind
from tests.postgres.machines import Machines, Worker
from tests.stage.object_storage import Asked
from tests.stage.sandbox import wait_until

# A worker that ends by itself so soon after its start found no database.
_STARTING_S = 20.0
_CHANGE_EVERY_S = 0.2
# Longer than anything that goes wrong lasts.
_ENDING_S = 120.0
_HOLDERS = "SELECT lease_owner, key FROM lease WHERE kind = %s"


class Kill(NamedTuple):
    """A worker that was killed while it held runs: when, by the database's clock."""

    at_s: float
    runs: list[int]
    with_machine: bool  # then no one can see by itself that the process has ended


@dataclass
class Disturber:
    """Lets things go wrong, each kind once before any comes a second time, and ends each again."""

    stage: Machines
    done: Counter[str] = field(default_factory=Counter[str])
    kills: list[Kill] = field(default_factory=list[Kill])
    ended: list[str] = field(default_factory=list[str])  # by themselves, which none may
    _later: list[tuple[float, int, Callable[[], None]]] = field(
        default_factory=list[tuple[float, int, Callable[[], None]]]
    )
    _turns: itertools.count[int] = field(default_factory=itertools.count)
    _busy: set[str] = field(default_factory=set[str])  # what is going on and must not be begun beside itself

    def disturb(self, for_s: float) -> None:
        """Let things go wrong for so long, and put everything right again."""
        until_s = time.monotonic() + for_s
        kinds = list[Callable[[], None]]()
        next_s = time.monotonic()
        while time.monotonic() < until_s:
            if time.monotonic() >= next_s:
                if not kinds:
                    kinds = self._all()
                    self.stage.rng.shuffle(kinds)
                kinds.pop()()
                next_s = time.monotonic() + self.stage.rng.uniform(0.5, 2.5)
            self._go_on()
            self.stage.change_a_cohort()
            time.sleep(_CHANGE_EVERY_S)  # this is the pace of what is tested
        wait_until(self._has_ended_all, within_s=_ENDING_S)

    def keep_up(self) -> None:
        """Start workers again that have ended, as a supervisor does."""
        for worker in self.stage.workers:
            if worker.process is not None and not worker.is_up:
                self._note_end(worker)
                self.stage.start(worker)

    def _all(self) -> list[Callable[[], None]]:
        kinds = [self._kill, self._kill, self._freeze, self._freeze, self._end_in_order]
        kinds += [self._restart_server, self._crash_server, self._cut, self._make_read_only]
        return kinds + ([self._break_storage] if self.stage.scale.object_storage else [])

    def _go_on(self) -> None:
        """Do what was put off until now, and look after the workers."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        self.keep_up()

    def _has_ended_all(self) -> bool:
        self._go_on()
        return not self._later

    def _then(self, after_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + after_s, next(self._turns), do))

    def _note_end(self, worker: Worker) -> None:
        assert worker.process
        status = worker.process.exitcode
        if status == 1 and time.monotonic() - worker.started_at_s < _STARTING_S:
            self.done["starts without a database, ended with a sentence"] += 1
            return
        self.ended.append(f"{worker.machine} ended with {status} after {time.monotonic() - worker.started_at_s:.0f} s")

    # Workers

    def _kill(self) -> None:
        worker = self._choose()
        if worker is None:
            return
        held = self._held_by(worker)
        worker.signal(signal.SIGKILL)
        assert worker.process
        worker.process.join()
        worker.process = None
        with_machine = self.stage.rng.random() < 0.5
        worker.boots += with_machine
        self.kills.append(Kill(self.stage.clock.now_s(), held, with_machine))
        self.done["workers killed, and their machines started again" if with_machine else "workers killed"] += 1
        self.done["workers killed with runs in their hands"] += bool(held)
        self._then(self.stage.rng.uniform(0.2, 3.0), lambda: self.stage.start(worker))

    def _freeze(self) -> None:
        worker = self._choose()
        if worker is None:
            return
        held = self._held_by(worker)
        worker.signal(signal.SIGSTOP)
        worker.is_frozen = True
        lease_s = self.stage.scale.whole_lease_s
        frozen_s = self.stage.rng.uniform(0.25, 1.3) * lease_s
        self.done["workers frozen"] += 1
        self.done["workers frozen for longer than a lease with runs in their hands"] += bool(held) and (
            frozen_s > lease_s
        )
        self._then(frozen_s, lambda: self._wake(worker))

    def _wake(self, worker: Worker) -> None:
        worker.is_frozen = False
        worker.signal(signal.SIGCONT)

    def _end_in_order(self) -> None:
        worker = self._choose()
        if worker is None:
            return
        assert worker.process
        worker.process.terminate()
        worker.process.join(30)
        status = worker.process.exitcode
        if status != 0:
            self.ended.append(f"{worker.machine} took SIGTERM and ended with {status}")
            worker.process.kill()
            worker.process.join()
        worker.process = None
        self.done["workers ended in order"] += 1
        self.stage.start(worker)

    def _choose(self) -> Worker | None:
        """Choose a worker that works, one that holds a run if there is one; one at least is left alone."""
        working = [worker for worker in self.stage.workers if worker.is_up and not worker.is_frozen]
        if len(working) < 2:
            return None
        holding = [worker for worker in working if self._held_by(worker)]
        return self.stage.rng.choice(holding or working)

    def _held_by(self, worker: Worker) -> list[int]:
        """List the runs that a worker holds, by what its leases say; none while the server is away."""
        try:
            rows = self.stage.server.do(_HOLDERS, LeaseKind.RUN, database=self.stage.database)
        except Exception:
            return []
        pid = str(worker.process.pid) if worker.process else ""
        return [int(key) for owner, key in rows if owner.split(":")[1] == pid]

    # The database

    def _restart_server(self) -> None:
        self._take_server_away(at_once=False)
        self.done["restarts of PostgreSQL (fast)"] += 1

    def _crash_server(self) -> None:
        self._take_server_away(at_once=True)
        self.done["restarts of PostgreSQL (immediate)"] += 1

    def _take_server_away(self, *, at_once: bool) -> None:
        self.stage.server.stop(at_once=at_once)
        time.sleep(self.stage.rng.uniform(0.0, 3.0))  # this is what is tested: it is away for so long
        self.stage.server.start()

    def _cut(self) -> None:
        self.done["connections cut"] += self.stage.server.cut_connections(self.stage.database)
        self.done["times all connections were cut"] += 1

    def _make_read_only(self) -> None:
        if "read-only" in self._busy:
            return
        self._busy.add("read-only")
        self.stage.server.make_read_only(self.stage.database, True)
        self.done["times the database was read-only"] += 1
        self._then(self.stage.rng.uniform(1.0, 6.0), self._make_writable)

    def _make_writable(self) -> None:
        self._busy.discard("read-only")
        self.stage.server.make_read_only(self.stage.database, False)

    # The object storage

    def _break_storage(self) -> None:
        if "storage" in self._busy:
            return
        self._busy.add("storage")
        name = self.stage.rng.choice(("error", "slow", "cut", "unconfirmed", "half"))
        ways, share = self.stage.ways, self.stage.rng.choice((0.5, 1.0))
        rng = random.Random(self.stage.rng.random())  # not the stage's: requests come in any order

        def fault(asked: Asked) -> str | None:
            is_hit = rng.random() < share
            self.done["requests to the object storage that went wrong"] += is_hit
            return name if is_hit else None

        ways.fault = fault
        self.done[f"times the object storage failed ({name})"] += 1
        self._then(self.stage.rng.uniform(1.0, 6.0), self._mend_storage)

    def _mend_storage(self) -> None:
        self._busy.discard("storage")
        self.stage.ways.fault = lambda asked: None
