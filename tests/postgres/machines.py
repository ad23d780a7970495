"""Workers as if each was on another machine: on one PostgreSQL, one object storage and one sandbox."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from base64 import urlsafe_b64encode
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.clock import SHARED_LEASE_TIMES
from core.sandbox.server import running as sandbox_running
from core.syncs import cohorts, recurring
from tests.faults import process
from tests.faults.population import Population, changed, write_files
from tests.postgres import outages
from tests.postgres.outages import FastClock, Server
from tests.stage import object_storage
from tests.stage.home import Home, connect

_DATABASE = "machines"
_FIRST_COHORT = 101
# What a group holds: some take two messages, most one.
_SIZES = (5, 20, 60, 150, 1300)
# How long each answer of the vendors takes, so that a worker that is killed is often in the middle of a run.
_SLOW_S = 0.5


@dataclass(frozen=True)
class Scale:
    """How much there is: syncs, workers, how fast the database's clock runs, for how long things go wrong."""

    syncs: int
    workers: int
    speed: float
    disturbed_s: float
    lease_s: float | None  # None: as it is outside of tests
    own_homes: bool = True
    object_storage: bool = True
    clocks_apart_s: float = 900.0
    shared_audit_head: bool = True  # in the storage, so that any machine can verify the audit log
    dispatch: str = ""  # what hands out work, as the setting of that name takes it

    @property
    def queries(self) -> int:
        """The queries of an hour: half as many again as the syncs need for their slots."""
        return self.syncs * 6

    @property
    def whole_lease_s(self) -> float:
        """How long a lease lasts."""
        return self.lease_s or SHARED_LEASE_TIMES.lease_s


@dataclass
class Worker:
    """A worker, its home, and how far its machine's clock is ahead."""

    home: Home
    machine: str
    ahead_s: float
    process: ForkServerProcess | None = None
    boots: int = 1  # how often its machine was started
    started_at_s: float = 0.0
    is_frozen: bool = False

    @property
    def is_up(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        assert self.process
        assert self.process.pid
        os.kill(self.process.pid, number)


@dataclass
class Machines:
    """All of them, with what they share."""

    scale: Scale
    server: Server
    clock: FastClock
    population: Population
    ways: object_storage.Faults  # the way of the workers to the object storage
    bridge: Bridge  # as one more machine sees it
    control: Home
    env: dict[str, str]
    workers: list[Worker]
    rng: random.Random
    numbers: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    changes: int = 0

    @property
    def database(self) -> str:
        """The name of the database."""
        return _DATABASE

    def start(self, worker: Worker) -> None:
        """Start a worker's process."""
        worker.process = process.start(
            worker.home,
            "worker",
            lease_s=self.scale.lease_s,
            machine=f"{worker.machine}-{worker.boots}",
            host_ahead_s=worker.ahead_s,
            env=self.env,
        )
        worker.started_at_s, worker.is_frozen = time.monotonic(), False

    def add_syncs(self) -> None:
        """Start a recurring sync of each cohort."""
        for number in range(self.scale.syncs):
            cohort = _FIRST_COHORT + number
            self.numbers[cohort] = sorted(self.rng.sample(range(3200), self.rng.choice(_SIZES)))
            self.population.set(cohort, self.numbers[cohort])
            recurring.add_sync(self.bridge, LOCAL, cohort)

    def change_a_cohort(self) -> None:
        """Let some leave a cohort and others join it."""
        cohort = self.rng.choice(list(self.numbers))
        self.numbers[cohort] = changed(self.rng, self.numbers[cohort], by=self.rng.choice((1, 5, 20)))
        self.population.set(cohort, self.numbers[cohort])
        self.changes += 1

    def read_log(self) -> str:
        """Return what the workers wrote."""
        files = {Path(f"{worker.home.path}.log") for worker in self.workers}
        return "".join(file.read_text(errors="replace") for file in sorted(files) if file.exists())

    def close(self) -> None:
        """End the processes that are left."""
        for worker in self.workers:
            if worker.process is not None and worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


@contextmanager
def machines(folder: Path, scale: Scale, seed: int) -> Generator[Machines]:
    """Set up the server, the storage, the sandbox and a sync for each cohort; no worker is started yet."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # of the object storage: a line a request
    clock = FastClock(scale.speed)
    listed = range(_FIRST_COHORT, _FIRST_COHORT + scale.syncs)
    with (
        outages.running() as server,
        object_storage.faults() as ways,
        sandbox_running(folder / "sandbox", **write_files(folder, listed), clock=clock.now_s) as sandbox,
        closing(Population(sandbox.url)) as population,
    ):
        population.limit(hourly_limit=scale.queries)
        url = server.make_database(_DATABASE, clock)
        control = Home(folder / "control" / "home")
        key = urlsafe_b64encode(os.urandom(32)).decode()
        stored = _stored(scale, ways.port)
        env = {
            "COHORT_BRIDGE_DATABASE_URL": url,
            "COHORT_BRIDGE_SECRET_KEY": key,
            "COHORT_BRIDGE_RETRY_OVER_S": "3",
            "COHORT_BRIDGE_METRICS_ADDRESS": "off",
            "COHORT_BRIDGE_DISPATCH": scale.dispatch,
            **stored,
        }
        os.environ.update({name: value for name, value in _stored(scale, None).items() if name.startswith("AWS_")})
        own = {"database_url": url, "secret_key": key, "storage_url": stored.get("COHORT_BRIDGE_STORAGE_URL", "")}
        with control.bridge(mixpanel_url=population.url, **own) as bridge:
            connect(bridge, population)
            cohorts.list_cohorts(bridge, LOCAL)  # with the answer comes how many queries there are
            workers = [_worker(folder, scale, number, control) for number in range(scale.workers)]
            stage = Machines(
                scale, server, clock, population, ways, bridge, control, env, workers, random.Random(seed)
            )  # fmt: skip
            stage.add_syncs()
            population.fault("slow", seconds=_SLOW_S)
            with closing(stage):
                yield stage


def _stored(scale: Scale, port: int | None) -> dict[str, str]:
    """Return the environment of a process that reaches the storage by that port; of a shared folder nothing."""
    if not scale.object_storage:
        return {}
    if port is None:
        return object_storage.environ()
    return {"COHORT_BRIDGE_STORAGE_URL": f"s3://{object_storage.make_bucket()}/members", **object_storage.environ(port)}


def _worker(folder: Path, scale: Scale, number: int, shared: Home) -> Worker:
    name = f"machine-{number + 1}"
    home = Home(folder / name / "home") if scale.own_homes else shared
    home.path.parent.mkdir(parents=True, exist_ok=True)
    # Two are right, of the others one is ahead and one behind: any two of these are as far apart, or twice as far.
    ahead_s = (0.0, scale.clocks_apart_s, 0.0, -scale.clocks_apart_s)[number % 4]
    return Worker(home, name, ahead_s)
