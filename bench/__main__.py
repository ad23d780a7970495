"""Measure, print, and keep the results: `python -m bench [--quick] [--rounds N] [--write]`."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import measure, report
from bench.measure import ROOT, Failed, Home, Server, Taken
from bench.server import SIZES

LATENCIES_MS = (0, 50)


@dataclass(frozen=True)
class Case:
    """What is measured: who reads a cohort of how many profiles at which latency."""

    reader: str
    size: int
    latency_ms: int


@dataclass(frozen=True)
class Sample:
    """One measurement of a case."""

    wall_s: float
    peak_mib: float
    cpu_s: float
    requests: int
    most_in_flight: int
    messages: int
    load: float


def main() -> None:
    """Measure what was asked for; ends with 1 when any read gave a wrong answer."""
    asked = _asked()
    sizes = [size for size in SIZES if size == 100_000 or not asked.quick]
    readers = asked.readers.split(",")
    taken: dict[Case, list[Sample]] = defaultdict(list)
    with measure.server(sizes) as server, measure.homes(server.url) as home:
        cases = [Case(reader, size, ms) for ms in LATENCIES_MS for size in sizes for reader in readers]
        if report.FULL in readers:
            cases = [
                case
                for case in cases
                if case.reader != report.FULL or (case.size == max(sizes) and not case.latency_ms)
            ]
        for turn in range(asked.rounds):
            # Forward, then backward: what else the machine does falls on no reader alone.
            for case in cases if turn % 2 == 0 else reversed(cases):
                sample = _measured(case, server, home)
                taken[case].append(sample)
                print(f"{case.reader:28} {case.size:>9,} {case.latency_ms:>3} ms  {sample.wall_s:7.2f} s "
                      f"{sample.peak_mib:6.0f} MiB  cpu {sample.cpu_s:6.2f} s  {sample.requests:,} requests, "
                      f"load {sample.load:.1f}", flush=True)  # fmt: skip
    results = [
        {**asdict(case), "samples": [asdict(sample) for sample in samples], **_middle(samples)}
        for case, samples in taken.items()
    ]
    _keep(results)
    print(report.machine(results), report.table(results), report.goals(results), sep="\n\n")
    if asked.write:
        report.write(results, ROOT / "docs" / "benchmarks.md")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 profiles only")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; the median counts")
    parser.add_argument("--readers", default=",".join(READERS), help="only these")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    return parser.parse_args()


def _measured(case: Case, server: Server, home: Home) -> Sample:
    server.ask(f"reset?latency_ms={case.latency_ms}")
    load = os.getloadavg()[0]
    taken = READERS[case.reader](case, server, home)
    counted = server.ask("counted")
    return Sample(
        wall_s=taken.wall_s,
        peak_mib=taken.peak_mib,
        cpu_s=taken.cpu_s,
        requests=counted["requests"],
        most_in_flight=counted["most_in_flight"],
        messages=counted["messages"],
        load=load,
    )


def _dry_run(case: Case, server: Server, home: Home) -> Taken:
    return _export(case, server, home, "--dry-run")


def _full_export(case: Case, server: Server, home: Home) -> Taken:
    taken = _export(case, server, home)
    group = server.ask(f"group?cohort={SIZES[case.size]}")
    if not group["exact"]:
        raise Failed(f"The receiver does not hold the cohort's members, but {group['members']:,} others.")
    return taken


def _export(case: Case, server: Server, home: Home, *more: str) -> Taken:
    cohort = SIZES[case.size]
    with home.fresh() as environment:
        taken = measure.run(["-m", "core", "export", str(cohort), "--json", *more], environment)
    run = json.loads(taken.output)
    truth = server.ask(f"truth?cohort={cohort}")
    counts = {name: run[name] for name in truth}
    if counts != truth or run["added"] != truth["members"]:
        raise Failed(f"The export counted {counts}, {run['added']} added, instead of {truth}.")
    return taken


def _other(name: str, connections: int) -> Callable[[Case, Server, Home], Taken]:
    def read(case: Case, server: Server, home: Home) -> Taken:
        with home.empty() as environment:
            arguments = ["-m", "bench.others", name, server.url, str(SIZES[case.size]), str(connections)]
            taken = measure.run(arguments, environment)
        if int(taken.output) != case.size:
            raise Failed(f"{case.reader} read {taken.output.strip()} profiles instead of {case.size}.")
        return taken

    return read


READERS: dict[str, Callable[[Case, Server, Home], Taken]] = {
    report.OURS: _dry_run,
    report.UTILS: _other("utils", 5),
    report.UTILS_DEFAULT: _other("utils", 0),
    report.HEADLESS: _other("headless", 5),
    report.FETCH: _other("httpx", 5),
    report.FULL: _full_export,
}


def _middle(samples: list[Sample]) -> dict[str, float]:
    return {
        "wall_s": statistics.median(sample.wall_s for sample in samples),
        "least_wall_s": min(sample.wall_s for sample in samples),
        "peak_mib": max(sample.peak_mib for sample in samples),
        "cpu_s": statistics.median(sample.cpu_s for sample in samples),
        "requests": max(sample.requests for sample in samples),
        "most_in_flight": max(sample.most_in_flight for sample in samples),
        "messages": max(sample.messages for sample in samples),
    }


def _keep(results: list[dict]) -> None:
    folder = ROOT / "bench-results"
    folder.mkdir(exist_ok=True)
    path: Path = folder / time.strftime("%Y-%m-%dT%H%M%S.json")
    path.write_text(json.dumps(results, indent=1))
    print(f"Kept in {path.relative_to(ROOT)}")


main()
