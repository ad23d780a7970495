"""Many runs that are due at once in one worker, and a worker that is asked to end while it sorts."""

from __future__ import annotations

import os
import statistics
from typing import Any

from bench import measure
from bench.cases import WARM, Case, Sample, Sizes, Stage
from bench.homes import Home
from bench.measure import Failed
from bench.names import MANY, MANY_SIZE, SIZES
from bench.worker import AT_ONCE, Worker, worker

FIRST = "runs due at once, first exports"
AGAIN = "runs due at once, nothing changed"
STOPPED = "SIGTERM while the snapshot is sorted"
# As many queries as a project is allowed for whom so many runs are due at once.
_QUERIES = 100_000
_READING = ("queued", "starting", "queueing", "finding", "reading")


def take_many(sizes: Sizes, stage: Stage) -> list[tuple[Case, Sample]]:
    """Have so many recurring syncs of small cohorts due at once, twice: each delivers its group, then none has to."""
    samples = list[tuple[Case, Sample]]()
    stage.server.ask("reset", queries=_QUERIES)
    with stage.homes.copy() as home:
        measure.run(["-m", "core", "cohorts", "--json"], home.environment)  # which learns how many queries there are
        warm_up = home.add_sync(SIZES[WARM])
        measure.run(["-m", "bench.syncs", str(MANY + 1), str(MANY + sizes.many)], home.environment)
        sync_ids = [row["id"] for row in home.ask("SELECT id FROM sync WHERE id <> ?", warm_up)]
        with worker(home) as steady:
            steady.do([warm_up])
            for reader in (FIRST, AGAIN):
                samples.append((Case(f"{sizes.many} {reader}", MANY_SIZE, 0), _all_at_once(steady, sync_ids, stage)))
    for number in range(1, sizes.many + 1):
        answer = stage.server.ask("group", cohort=MANY + number, write="full")
        if not answer["exact"]:
            raise Failed(f"The group of cohort {MANY + number} is wrong: {answer['why']}.")
    return samples


def _all_at_once(steady: Worker, sync_ids: list[int], stage: Stage) -> Sample:
    load, cpu_s = os.getloadavg()[0], steady.cpu_s
    stage.server.ask("zero")
    runs = steady.do(sync_ids)
    counted = stage.server.ask("counted")
    cpu_s = steady.cpu_s - cpu_s
    steps = [steady.home.steps(run["id"]) for run in runs]
    names = dict.fromkeys(name for each in steps for name in each)
    sample = Sample(
        wall_s=max(run["since_due_s"] for run in runs),
        peak_mib=steady.peak_mib,
        cpu_s=cpu_s,
        load=load,
        steps={name: statistics.median(each.get(name, 0.0) for each in steps) for name in names},
        more={"cpu_s_a_run": cpu_s / len(runs), "median_run_s": statistics.median(run["wall_s"] for run in runs)},
    )
    return sample.with_counts(counted)


def take_stopped(sizes: Sizes, stage: Stage) -> list[tuple[Case, Sample]]:
    """Ask a worker to end while it sorts the snapshot of the largest cohort; its run must be back in the queue."""
    stage.server.ask("reset")
    with stage.homes.copy() as home:
        sync_id = home.add_sync(SIZES[sizes.largest])
        with worker(home) as steady:
            home.set_due(AT_ONCE, [sync_id])
            steady.until(lambda: _is_sorting(home), "the snapshot to be sorted")
            load, cpu_s, peak_mib = os.getloadavg()[0], steady.cpu_s, steady.peak_mib
            gone_after_s, return_code = steady.end()
        (run,) = home.ask("SELECT status, step FROM run")
        left = [path.name for path in home.path.rglob("*.part")]
    if return_code or run["status"] != "queued":
        raise Failed(f"The worker ended with {return_code}, its run as {run['status']} ({run['step']}).")
    more = {"files_left": float(len(left))}
    return [(Case(STOPPED, sizes.largest, 0), Sample(gone_after_s, peak_mib, cpu_s, load, more=more))]


def _is_sorting(home: Home) -> bool:
    """Whether the run has read all, and a file of members is being written."""
    steps: list[dict[str, Any]] = home.ask("SELECT step FROM run")
    if not steps or steps[0]["step"] in _READING:
        return False
    return any(home.path.rglob(".run-*.part"))
