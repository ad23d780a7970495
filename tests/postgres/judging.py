"""What must hold once all is right again: of groups, runs, the budget, the audit log, and what is held."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.access.roles import LOCAL
from core.rules import due_times
from core.syncs import recurring
from data import syncs
from data.models import UNFINISHED, Run, RunStatus, Sync, SyncState
from tests.faults import process
from tests.faults.population import all_runs
from tests.postgres.disturbing import Disturber, Kill
from tests.postgres.machines import Machines
from tests.stage.sandbox import wait_until

_HOUR_S, _SLOT_S = 3600.0, 900.0
# The database's clock runs fast and is looked at with each transaction: what a worker read may be as old as that.
_READ_WITHIN_S = 3.0


def settle(stage: Machines, disturber: Disturber, *, within_s: float, at_once: bool = False) -> None:
    """Wait until every sync has read its cohort as it is now, and end the workers in order.

    With `at_once` runs are asked for; otherwise they come with their next slots.
    """
    if at_once:
        for sync in _syncs(stage):
            recurring.run_now(stage.bridge, LOCAL, sync.id or 0)
    after = datetime.fromtimestamp(stage.clock.now_s() + _READ_WITHIN_S * stage.scale.speed, UTC)
    missing = set[int]()

    def is_settled() -> bool:
        disturber.keep_up()
        fresh = {run.cohort_id for run in all_runs(stage.bridge) if _succeeded(run) and run.started_at > after}  # type: ignore[operator]
        missing.clear()
        missing.update(set(stage.numbers) - fresh)
        return not missing

    try:
        wait_until(is_settled, within_s=within_s)
    except AssertionError:
        raise AssertionError(f"{len(missing)} groups were not written: {_tell(stage, missing)}") from None
    for worker in stage.workers:
        assert worker.process
        process.stop(worker.process, within_s=60)
        worker.process = None


def _tell(stage: Machines, cohorts: Iterable[int]) -> list[str]:
    known = all_runs(stage.bridge)
    last = {run.cohort_id: run for run in known}
    states = {sync.cohort_id: (sync.state, sync.next_run_at) for sync in _syncs(stage)}
    told = list[str]()
    for cohort in sorted(cohorts)[:10]:
        run = last.get(cohort)
        ended = run and (run.id, run.status, run.step, run.queued_at, run.error_message)
        told.append(f"{cohort}: {states.get(cohort)}, {ended}")
    return [f"now {datetime.fromtimestamp(stage.clock.now_s(), UTC)}", *told]


def find_faults(stage: Machines, disturber: Disturber) -> list[str]:
    """List all that is not as it must be, a sentence each."""
    runs = all_runs(stage.bridge)
    return [
        *disturber.ended,
        *_of_groups(stage),
        *_of_overlaps(stage, runs),
        *_of_messages(stage),
        *_of_slots(runs),
        *_of_whole_writes(stage, runs),
        *_of_budget(stage),
        *_of_what_is_held(stage, runs),
        *_of_the_audit_log(stage),
        *_of_words(stage, runs),
    ]


def _of_groups(stage: Machines) -> list[str]:
    population = stage.population
    wrong = [cohort for cohort in stage.numbers if population.members(cohort) != population.expected_members(cohort)]
    return [f"the groups of cohorts {wrong} are not their cohorts"] if wrong else []


def _of_overlaps(stage: Machines, runs: Sequence[Run]) -> list[str]:
    read_within = timedelta(seconds=_READ_WITHIN_S * stage.scale.speed)
    by_group = defaultdict[int, list[Run]](list)
    for run in runs:
        if run.started_at:
            by_group[run.group_id].append(run)
    wrong = list[str]()
    for started in by_group.values():
        started.sort(key=lambda run: run.started_at)  # type: ignore[arg-type, return-value]
        for one, other in pairwise(started):
            if one.finished_at is None or one.finished_at > other.started_at + read_within:  # type: ignore[operator]
                wrong.append(f"runs {one.id} ({one.status}) and {other.id} of one group overlapped")
    return wrong


def _of_messages(stage: Machines) -> list[str]:
    """Compare by the receiver's record: what one run sent for a group comes before all that the next one sent."""
    sessions = defaultdict[str, list[str]](list)
    for message in stage.population.messages():
        sessions[message["cohort_id"]].append(message["session_id"])
    wrong = list[str]()
    for cohort, sent in sessions.items():
        blocks = [session for number, session in enumerate(sent) if number == 0 or sent[number - 1] != session]
        twice = [session for session, times in Counter(blocks).items() if times > 1]
        if twice:
            wrong.append(f"the messages of {len(twice)} runs of cohort {cohort} came between those of another")
    return wrong


def _of_slots(runs: Sequence[Run]) -> list[str]:
    slots = Counter((run.sync_id, _slot_of(run)) for run in _list_scheduled(runs))
    twice = [slot for slot, times in slots.items() if times > 1]
    return [f"{len(twice)} slots were queued more than once, such as {twice[:3]}"] if twice else []


def _list_scheduled(runs: Sequence[Run]) -> list[Run]:
    """List the runs that slots queued: not the first one of a sync, nor one that recovers what was interrupted."""
    before, listed = dict[int, Run](), list[Run]()
    for run in runs:
        previous = before.get(run.sync_id)
        if run.trigger == "schedule" and previous and previous.status != RunStatus.INTERRUPTED:
            listed.append(run)
        before[run.sync_id] = run
    return listed


def _of_whole_writes(stage: Machines, runs: Sequence[Run]) -> list[str]:
    """A group is written in full by its first run and after one that did not succeed, and not for another machine.

    One that was handed back may have been in the middle of it: the worker that continues it writes in full too.
    """
    before, wrong = dict[int, Run](), list[str]()
    starts = Counter(map(int, re.findall(r"run starts run_id=(\d+)", stage.read_log())))
    for run in runs:
        previous = before.get(run.group_id)
        is_first_try = starts[run.id or 0] < 2
        if run.write == "full" and is_first_try and _succeeded(run) and previous and _succeeded(previous):
            wrong.append(f"run {run.id} wrote a group in full after run {previous.id}, which had succeeded")
        before[run.group_id] = run
    return wrong


def _slot_of(run: Run) -> float:
    """Return when the slot of a run began, on its sync's own grid."""
    first = due_times.next_slot(run.sync_id, 15, after=datetime.fromtimestamp(0, UTC)).timestamp()
    return first + (run.queued_at.timestamp() - first) // _SLOT_S * _SLOT_S


def _of_budget(stage: Machines) -> list[str]:
    """Count the queries of every hour as the sandbox did: one that is answered later counts from then on."""
    speed, queries = stage.scale.speed, stage.scale.queries
    began_s = stage.clock.began_s
    asked = [request for request in stage.population.log()["requests"] if request.get("counted")]
    at = sorted(began_s + (request["at"] - began_s) * speed for request in asked)
    lag_s = _READ_WITHIN_S * speed
    most = max((sum(1 for each in at if start <= each < start + _HOUR_S - lag_s) for start in at), default=0)
    return [f"{most} queries were spent in an hour that has {queries}"] if most > queries else []


def _of_what_is_held(stage: Machines, runs: Sequence[Run]) -> list[str]:
    held = stage.server.do("SELECT kind, key, lease_owner FROM lease", database=stage.database)
    wrong = [f"leases are held after the end: {held}"] if held else []
    running = [
        (run.id, run.status) for run in runs if run.status in UNFINISHED and run.status not in ("queued", "waiting")
    ]
    wrong += [f"runs are not finished after the end: {running}"] if running else []
    odd = [(run.id, run.status) for run in runs if run.status == RunStatus.HELD]
    wrong += [f"runs were held back: {odd}"] if odd else []
    stopped = [sync.cohort_id for sync in _syncs(stage) if sync.state != SyncState.ACTIVE]
    return wrong + ([f"the syncs of cohorts {stopped} are not active"] if stopped else [])


def _of_the_audit_log(stage: Machines) -> list[str]:
    wrong = list[str]()
    homes = [stage.control, *([stage.workers[0].home] if stage.scale.shared_audit_head else [])]
    for home in homes:
        if process.run(home, "audit", "verify", env=stage.env, within_s=120):
            wrong.append(f"the audit log: {Path(f'{home.path}.log').read_text().strip()[-600:]}")
    return wrong


def _of_words(stage: Machines, runs: Sequence[Run]) -> list[str]:
    wrong = list[str]()
    log = stage.read_log()
    errors = re.findall(r"^  Traceback \(most recent(?:.*\n  )*?.*\n(?=\d{4}-)", log, re.MULTILINE)
    if errors:
        wrong.append(f"{len(errors)} errors that no one foresaw: {_last_lines(errors)}")
    odd = Counter(run.error_message for run in runs if run.error_code == "unexpected")
    return wrong + ([f"runs failed for no reason that was foreseen: {odd}"] if odd else [])


def _last_lines(errors: Sequence[str]) -> dict[str, int]:
    """Return the last line of each kind of error, with how often it came."""
    return dict(Counter(error.strip().splitlines()[-1][:300] for error in errors).most_common(8))


def _syncs(stage: Machines) -> list[Sync]:
    return [sync for sync, _, _ in syncs.list_with_group(stage.bridge.engine)]


def _succeeded(run: Run) -> bool:
    return run.status == RunStatus.SUCCEEDED


# What came of it, in figures


def tell(stage: Machines, disturber: Disturber) -> list[str]:
    """Tell in figures what went wrong and what came of it, a line each."""
    runs = all_runs(stage.bridge)
    lines = [f"{number:,} {what}" for what, number in sorted(disturber.done.items()) if number]
    ends = Counter(f"{run.status}{f' ({run.error_code})' if run.error_code else ''}" for run in runs)
    lines.append(f"{stage.changes:,} changes of {len(stage.numbers)} cohorts")
    lines.append(f"{len(runs):,} runs: " + ", ".join(f"{number:,} {end}" for end, number in ends.most_common()))
    writes = Counter(run.write for run in runs if _succeeded(run))
    lines.append("of those that succeeded: " + ", ".join(f"{n:,} wrote {w or 'nothing'}" for w, n in writes.items()))
    lines.append(f"{len(stage.population.messages()):,} messages arrived")
    for what, with_machine in (("worker", False), ("machine", True)):
        kills = [kill for kill in disturber.kills if kill.with_machine == with_machine]
        taken = _spread(_recoveries(stage, runs, kills))
        lines.append(f"seconds from the kill of a {what} to the next run of a group that it held: {taken}")
    lines.append(f"seconds from a slot to its run's start: {_spread(_delays(stage, runs))}")
    return lines


def _recoveries(stage: Machines, runs: Sequence[Run], kills: Sequence[Kill]) -> list[float]:
    """List after how many real seconds a run of each group started again whose run a killed worker held."""
    group_of = {run.id: run.group_id for run in runs}
    started = sorted((run.started_at.timestamp(), run.group_id, run.id) for run in runs if run.started_at)
    taken = list[float]()
    for kill in kills:
        for run_id in kill.runs:
            later = (
                at for at, group, id in started if group == group_of.get(run_id) and at > kill.at_s and id != run_id
            )
            if (at_s := next(later, None)) is not None:
                taken.append((at_s - kill.at_s) / stage.scale.speed)
    return taken


def _delays(stage: Machines, runs: Sequence[Run]) -> list[float]:
    started = [(run.started_at, _slot_of(run)) for run in _list_scheduled(runs) if run.started_at]
    return [(at.timestamp() - slot_s) / stage.scale.speed for at, slot_s in started]


def _spread(values: Sequence[Any]) -> str:
    if not values:
        return "none"
    ordered = sorted(values)
    late = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return (
        f"median {statistics.median(ordered):.1f}, 95th percentile {late:.1f}, most {ordered[-1]:.1f} of {len(ordered)}"
    )
