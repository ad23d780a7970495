"""What is measured, part by part: who reads or exports which cohort, and how one measurement of each is taken."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bench import measure
from bench.homes import Home, Homes, homes
from bench.measure import Failed, Server, Taken
from bench.names import SIZES
from bench.worker import PARKED, worker

OURS = "Cohort Bridge"
FULL = "full export"
UNCHANGED, ONE_PERCENT, HALF = "worker: nothing changed", "worker: 1 % changed", "worker: 50 % changed"
UTILS = "mixpanel-utils"
HEADLESS = "mixpanel-headless"
FETCH = "httpx alone (not decoded)"
OTHERS = (UTILS, HEADLESS, FETCH)
CHANGES = {UNCHANGED: 0, ONE_PERCENT: 1, HALF: 50}
# The cohort that a worker is warmed up with.
WARM = 2_000


@dataclass(frozen=True)
class Case:
    """What is measured: who reads a cohort of how many profiles, at which latency, from a server of which kind."""

    reader: str
    size: int
    latency_ms: int
    honors: bool = True  # whether the server answers as many rows a page as are asked for


@dataclass(frozen=True)
class Sample:
    """One measurement of a case."""

    wall_s: float
    peak_mib: float
    cpu_s: float
    load: float
    requests: int = 0
    messages: int = 0
    most_in_flight: int = 0
    server_cpu_s: float = 0.0
    server_mib: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)
    more: dict[str, float] = field(default_factory=dict)

    def with_counts(self, counted: dict[str, Any]) -> Sample:
        """Return it with what the server counted meanwhile."""
        return replace(
            self,
            requests=counted["requests"],
            messages=counted["messages"],
            most_in_flight=counted["most_in_flight"],
            server_cpu_s=counted["cpu_s"],
            server_mib=counted["peak_mib"],
        )


@dataclass
class Stage:
    """A server with cohorts, and homes that are connected to it."""

    server: Server
    homes: Homes
    _delivered: dict[int, Home] = field(default_factory=dict)

    def reset(self, case: Case, **more: object) -> None:
        """Have the server begin again, as a case asks for it."""
        self.server.ask("reset", latency_ms=case.latency_ms, honors=int(case.honors), **more)

    def require_group(self, size: int, write: str) -> None:
        """Check the group that has arrived. Raises Failed."""
        answer = self.server.ask("group", cohort=SIZES[size], write=write)
        if not answer["exact"]:
            raise Failed(f"The receiver does not hold the cohort's members after a write ({write}): {answer['why']}.")

    def delivered(self, size: int) -> Home:
        """Return a home with a recurring sync of a cohort of this size that has run once; made when first asked for.

        Beside it there is one of the cohort to warm up with. The server keeps the groups.
        """
        if size not in self._delivered:
            home = Home(self.homes.folder / f"delivered-{size}", self.homes.url)
            shutil.copytree(self.homes.connected.path, home.path)
            self.server.ask("reset")
            for each in (WARM, size):
                home.add_sync(SIZES[each])
            measure.run(["-m", "core", "worker", "--once"], home.environment)
            self.require_group(size, "full")
            self.server.ask("keep")
            home.set_due(PARKED)
            self._delivered[size] = home
        return self._delivered[size]


@contextmanager
def stage(cohorts: Sequence[str]) -> Generator[Stage]:
    """Start a server with these cohorts, and connect a home to it, while inside."""
    with measure.server(cohorts) as server, homes(server.url) as made:
        yield Stage(server, made)


def take(case: Case, stage: Stage) -> Sample:
    """Measure a case once. Raises Failed where its result is wrong."""
    stage.reset(case)
    load = os.getloadavg()[0]
    taken = _HOW.get(case.reader, _other)(case, stage)
    counted = stage.server.ask("counted")
    taken.check()
    process = taken.process
    sample = Sample(process.wall_s, process.peak_mib, process.cpu_s, load, steps=taken.steps)
    return sample.with_counts(counted)


@dataclass(frozen=True)
class _Result:
    """What was taken, and how it is found out whether the result is right: that takes the server's time."""

    process: Taken
    check: Callable[[], None]
    steps: dict[str, float] = field(default_factory=dict)


def _export(case: Case, stage: Stage) -> _Result:
    """Export as a whole process, or only read and compare."""
    cohort, dry = SIZES[case.size], [] if case.reader == FULL else ["--dry-run"]
    with stage.homes.copy() as home:
        taken = measure.run(["-m", "core", "export", str(cohort), "--json", *dry], home.environment)
        steps = home.steps(home.newest_run())

    def check() -> None:
        truth = stage.server.ask("truth", cohort=cohort)
        _require_counts(json.loads(taken.output), truth | {"added": truth["members"], "removed": 0})
        if not dry:
            stage.require_group(case.size, "full")

    return _Result(taken, check, steps)


def _require_counts(run: dict[str, Any], truth: dict[str, int]) -> None:
    counts = {name: run[name] for name in truth}
    if counts != truth:
        raise Failed(f"The run counted {counts} instead of {truth}.")


def _recurring(case: Case, stage: Stage) -> _Result:
    """Do a recurring run in a worker that is steady: started, idle, warmed up by a run of a small cohort."""
    cohort, delivered = SIZES[case.size], stage.delivered(case.size)
    with stage.homes.copy(delivered) as home, worker(home) as steady:
        stage.reset(case, groups="kept")
        warm_up, sync = (row["id"] for row in home.ask("SELECT id FROM sync ORDER BY id"))
        steady.do([warm_up])
        truth = stage.server.ask("change", cohort=cohort, percent=CHANGES[case.reader])
        stage.server.ask("zero")
        cpu_s = steady.cpu_s
        (run,) = steady.do([sync])
        taken = Taken(run["wall_s"], steady.peak_mib, steady.cpu_s - cpu_s, "")
        steps = home.steps(run["id"])

    def check() -> None:
        _require_counts(run, truth)
        stage.require_group(case.size, run["write"])

    return _Result(taken, check, steps)


_COMMANDS = {UTILS: "utils", HEADLESS: "headless", FETCH: "httpx"}


def _other(case: Case, stage: Stage) -> _Result:
    with stage.homes.empty() as environment:
        arguments = ["-m", "bench.others", _COMMANDS[case.reader], stage.server.url, str(SIZES[case.size]), "5"]
        taken = measure.run(arguments, environment)

    def check() -> None:
        if int(taken.output) != case.size:
            raise Failed(f"{case.reader} read {taken.output.strip()} profiles instead of {case.size}.")

    return _Result(taken, check)


_HOW = {OURS: _export, FULL: _export, UNCHANGED: _recurring, ONE_PERCENT: _recurring, HALF: _recurring}


# --- the parts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """How many profiles the cohorts of the bench have."""

    small: int = 100_000
    large: int = 1_000_000
    largest: int = 10_000_000
    many: int = 300


QUICK = Sizes(small=10_000, large=100_000, largest=1_000_000, many=30)


@dataclass(frozen=True)
class Part:
    """What is measured together, so that its rows can be compared: from which cohorts, and in how many rounds."""

    about: str
    minutes: float  # on two quiet cores
    cohorts: Callable[[Sizes], list[str]]
    cases: Callable[[Sizes], list[Case]]
    rounds: int = 3


def _reading(size: int, latency_ms: int) -> list[Case]:
    """Our dry run, from both kinds of servers, beside the others, who ask for no size."""
    ours = [Case(OURS, size, latency_ms, honors) for honors in (True, False)]
    return ours + [Case(reader, size, latency_ms) for reader in OTHERS]


def _small(sizes: Sizes) -> list[Case]:
    return _reading(sizes.small, 0) + _reading(sizes.small, 50)


def _large(sizes: Sizes) -> list[Case]:
    own = [Case(reader, sizes.large, 0) for reader in (FULL, UNCHANGED, ONE_PERCENT, HALF)]
    return _reading(sizes.large, 0) + own


def _large_far(sizes: Sizes) -> list[Case]:
    return [*_reading(sizes.large, 50), Case(FULL, sizes.large, 50), Case(UNCHANGED, sizes.large, 50)]


def _largest(sizes: Sizes) -> list[Case]:
    return [
        Case(OURS, size, latency_ms, honors)
        for honors in (True, False)
        for latency_ms in (0, 50)
        for size in (sizes.large, sizes.largest)
    ]


PARTS = {
    "small": Part("100,000 profiles", 1, lambda sizes: [str(sizes.small)], _small),
    "large": Part(
        "1,000,000 profiles at 0 ms",
        4,
        lambda sizes: [str(WARM), f"{sizes.large}+1+50"],
        _large,
    ),
    "large-50ms": Part("1,000,000 profiles at 50 ms", 5, lambda sizes: [str(WARM), str(sizes.large)], _large_far),
    "largest": Part(
        "10,000,000 profiles beside 1,000,000",
        5,
        lambda sizes: [str(sizes.large), str(sizes.largest)],
        _largest,
        rounds=1,
    ),
}
