"""Cohort Bridge in its own process, which can be told where to die and what the clock is to say.

The process is forked from a server that has everything imported, so that a test costs its runs and not its imports.
What runs in it is the command line as it is, with a clock and lengths of leases of the test's.
"""

from __future__ import annotations

import asyncio
import datetime as datetimes
import functools
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import schedule
from sqlmodel import Session

from core.alerts import sending
from core.backup import backing_up
from core.backup.archive import Archive
from core.cli import app
from core.clock import SYSTEM_CLOCK, Clock, LeaseTimes
from core.export import cohort_reader
from core.export.record import Recorder
from core.leases import slots
from core.vendors import cohort_sync, mixpanel
from data import (
    associations,
    home_copy,
    outbox,
    page_sizes,
    placing,
    placing_on_server,
    process_identity,
    restored,
    row_copy,
    run_queue,
    run_records,
)
from data.members import collector, snapshots
from data.members.copies import CopiedPlace
from data.storage.s3 import S3Storage
from tests.stage import databases
from tests.stage.home import PAGES, RETRY_OVER_S, Home

# The steps of a run, and the call that is each.
STEPS: dict[str, tuple[Any, str]] = {
    "claim": (run_queue, "claim_several"),
    "slots": (slots.RequestSlots, "take"),
    "ask": (mixpanel.Mixpanel, "_send"),
    "page": (cohort_reader.CohortReader, "_take"),
    "snapshot": (collector.Collector, "write"),
    "difference": (snapshots.Snapshots, "keep_difference"),
    "doubt": (run_records, "mark_in_doubt"),
    "message": (cohort_sync.EndpointDelivery, "send_message"),
    "record": (run_records, "record"),
    "commit": (Session, "commit"),
    "tidy": (Recorder, "_tidy_up"),
    "trial": (page_sizes, "begin_trial"),
}
# Those of a message of an alert.
ALERT_STEPS: dict[str, tuple[Any, str]] = {
    "mark_alert": (outbox, "_mark"),
    "send_alert": (sending, "notify"),
    "record_alert": (outbox, "record"),
}
# Those of a backup, and of a restore.
BACKUP_STEPS: dict[str, tuple[Any, str]] = {
    "copy": (home_copy, "copy_database"),
    "archive": (backing_up, "write"),
    "unpack": (Archive, "unpack"),
    "settle": (restored, "settle"),
    "decide": (placing, "decide"),
    "place": (placing, "_place"),
    "place_database": (placing, "_place_database"),
    "finish": (placing, "finish"),
    "copy_rows": (row_copy, "copy_rows"),
    "compare_rows": (row_copy, "require_same"),
    "place_beside": (placing, "place_beside"),
    "clear": (placing_on_server, "clear"),
}
# Those of what is kept in object storage: the whole put, its request, the copy here, and the row of an association.
STORAGE_STEPS: dict[str, tuple[Any, str]] = {
    "put": (S3Storage, "put_file"),
    "send": (S3Storage, "_put_at_once"),
    "adopt": (CopiedPlace, "_adopt"),
    "add_association": (associations, "add"),
    "record_check": (associations, "record_check"),
}
_REAL_TIME = time.time


@dataclass(frozen=True)
class Kill:
    """Get a signal, SIGKILL for one, before or after the nth time of a step."""

    step: str
    when: str
    nth: int = 1
    by: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.when}-{self.step}-{self.nth}"


@dataclass(frozen=True)
class WallClock:
    """What the wall clock says: the real time, moved, and passing faster; moved once more by what a file says."""

    start_s: float = 0.0  # what it said at `steady_s` of the steady clock; 0: the real time
    steady_s: float = 0.0
    speed: float = 1.0
    moved_by: str = ""

    def now_s(self) -> float:
        real = self.start_s + (time.monotonic() - self.steady_s) * self.speed if self.start_s else _REAL_TIME()
        return real + (float(Path(self.moved_by).read_text() or 0) if self.moved_by else 0.0)

    @property
    def clock(self) -> Clock:
        """The clock to inject: the steady ones are never set."""
        return Clock(now=lambda: datetimes.datetime.fromtimestamp(self.now_s(), datetimes.UTC))


@dataclass(frozen=True)
class Orders:
    """What a process is to do."""

    home: str
    arguments: tuple[str, ...]
    kill: Kill | None = None
    lease_s: float | None = 1.5
    clock: WallClock | None = None
    disk_is_full: bool = False  # while a snapshot is written
    machine: str = ""  # the name of another machine that it is as if it ran on
    host_ahead_s: float = 0.0  # by how much the wall clock of that machine is ahead
    env: dict[str, str] = field(default_factory=dict[str, str])


# Above all no test's own thread is copied into the processes: they come from a server that has none.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.process", "tests.stage.preload"])


def start(home: Home, *arguments: str, **orders: Any) -> ForkServerProcess:
    """Start a command in its own process; its output goes to `<home>.log`."""
    orders["env"] = PAGES | orders.get("env", {})
    orders["env"] = databases.environment(home.path) | orders.get("env", {})
    process = _context.Process(target=_carry_out, args=(Orders(str(home.path), arguments, **orders),), daemon=True)
    process.start()
    return process


def finish(process: ForkServerProcess, *, within_s: float = 60.0) -> int:
    """Wait for a process to end, and return its status: negative is the signal that ended it."""
    process.join(within_s)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"a process did not end within {within_s:.0f} s")
    return process.exitcode


def run(home: Home, *arguments: str, within_s: float = 60.0, **orders: Any) -> int:
    """Run a command to its end."""
    return finish(start(home, *arguments, **orders), within_s=within_s)


def stop(process: ForkServerProcess, *, within_s: float = 30.0) -> float:
    """Ask a process to end with SIGTERM, and return how many seconds it took; it must end with 0."""
    began = time.monotonic()
    process.terminate()
    status = finish(process, within_s=within_s)
    assert status == 0, f"it ended with {status}"
    return time.monotonic() - began


def _carry_out(orders: Orders) -> None:
    home = Path(orders.home)
    os.chdir(home.parent)
    output = os.open(f"{home}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    for name in [name for name in os.environ if name.startswith("COHORT_BRIDGE_")]:
        del os.environ[name]
    os.environ |= {"COHORT_BRIDGE_HOME": orders.home, "COHORT_BRIDGE_RETRY_OVER_S": str(RETRY_OVER_S), **orders.env}
    time.tzset()
    if orders.clock:
        _set_libraries_clock(orders.clock)
    if orders.kill:
        _plant(orders.kill)
    if orders.disk_is_full:
        _fill_disk()
    if orders.machine:
        _move_to(orders.machine)
    sys.argv = ["core", *orders.arguments]
    clock = orders.clock.clock if orders.clock else _hosts_clock(orders.host_ahead_s)
    app.main(clock=clock, lease_times=None if orders.lease_s is None else shorter_leases(orders.lease_s))


def _move_to(machine: str) -> None:
    """Let the process be known as one of another machine: no one here can see by its id whether it has ended."""
    socket.gethostname = lambda: machine
    process_identity._machine = lambda: f"{machine}/{machine}"  # pyright: ignore[reportPrivateUsage]


def _hosts_clock(ahead_s: float) -> Clock:
    """Return the clock of a host, which a database with its own clock knows better."""
    if not ahead_s:
        return SYSTEM_CLOCK
    shown = WallClock(start_s=_REAL_TIME() + ahead_s, steady_s=time.monotonic())
    time.time = shown.now_s
    _set_libraries_clock(shown)
    return replace(SYSTEM_CLOCK, now=shown.clock.now)


def shorter_leases(lease_s: float) -> LeaseTimes:
    """Let dead runs be found sooner than after 45 seconds, all else in proportion."""
    return LeaseTimes(heartbeat_s=lease_s / 8, lease_s=lease_s, fresh_s=lease_s / 4)


def _set_libraries_clock(clock: WallClock) -> None:
    """Let `schedule`, which asks the machine itself, see what the clock says."""

    class Shown(datetimes.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetimes.datetime.fromtimestamp(clock.now_s(), tz)

    if clock.speed == 1:
        names = vars(datetimes) | {"datetime": Shown}
        schedule.datetime = types.SimpleNamespace(**names)  # type: ignore[assignment]


def _fill_disk() -> None:
    """Let no file grow beyond a few bytes while a snapshot is written, as on a disk that has no more."""
    real = collector.Collector.write

    def write(self: collector.Collector, target: Path) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
        try:
            real(self, target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    collector.Collector.write = write


def _plant(kill: Kill) -> None:
    owner, name = (STEPS | ALERT_STEPS | BACKUP_STEPS | STORAGE_STEPS)[kill.step]
    real: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def die_if(when: str, call: int) -> None:
        if when == kill.when and call == kill.nth:
            os.kill(os.getpid(), kill.by)

    def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    @functools.wraps(real)
    def here(*args: Any, **kwargs: Any) -> Any:
        call = count()
        die_if("before", call)
        result = real(*args, **kwargs)
        die_if("after", call)
        return result

    @functools.wraps(real)
    async def there(*args: Any, **kwargs: Any) -> Any:
        call = count()
        die_if("before", call)
        result = await real(*args, **kwargs)
        die_if("after", call)
        return result

    setattr(owner, name, there if asyncio.iscoroutinefunction(real) else here)
