"""Whatever happens in whatever order: after each step the groups are what an oracle of sets says."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import NotFound
from core.syncs import groups, held_runs, listing, recurring, undo
from core.syncs import settings as sync_settings
from core.worker import service
from data.models import UNFINISHED, Run, RunStatus, SyncState
from tests.faults import process
from tests.faults.conftest import Tally
from tests.faults.population import COHORTS, Population, all_runs, assert_counts_add_up
from tests.faults.process import STEPS, Kill, WallClock
from tests.stage import databases
from tests.stage.clock import FakeClock
from tests.stage.home import Home, copy_home, export, group_row
from tests.stage.sandbox import NOON
from tests.stage.seeds import SEEDS

USED = COHORTS[:3]
FAULTS = ["server_error", "reset_after", "reset_before", "cut_off_json", "page_rows_missing", "session_forgotten"]
FAULTS += ["apptimize_failure_200", "unauthorized", "load_shedding", "rate_limit_hour", "total_wrong"]


def _put_garbage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(200)
        file.write(bytes(32))


def _cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {"garbage": _put_garbage, "cut off": _cut_off, "gone": Path.unlink}


class Syncs(RuleBasedStateMachine):
    """Three cohorts, their syncs, and the people, vendors and processes that disturb them."""

    population: Population
    template: Path
    ran: Tally

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="syncs-"))
        self.home: Home = copy_home(self.template, self.folder / "home")
        self.clock = FakeClock(NOON)
        self.backup = self.folder / "backup.db"
        self._open()
        self.population.reset()
        self.members: dict[int, set[int]] = {cohort: set() for cohort in USED}
        self.deleted: set[int] = set()
        self.seen = 0  # the newest run whose end was checked
        self.held_by: dict[int, frozenset[str]] = {}  # run -> what its group held after it
        type(self).ran("examples of the state machine")

    def _open(self) -> None:
        self.opened = self.home.bridge(clock=self.clock.clock, lease_times=process.shorter_leases(1.5))
        self.bridge: Bridge = self.opened.__enter__()

    @initialize()
    def start(self) -> None:
        for cohort in USED:
            self.joins(cohort, 1, 30)
            recurring.add_sync(self.bridge, LOCAL, cohort, max_shrink=60 if cohort == USED[2] else None)
        self.work()

    def teardown(self) -> None:
        try:
            self.all_is_well_in_the_end()
        finally:
            self.opened.__exit__(None, None, None)
            databases.drop_below(self.folder)
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- what happens in Mixpanel ---

    @rule(cohort=st.sampled_from(USED), start=st.integers(0, 3000), number=st.sampled_from([1, 30, 1100]))
    def joins(self, cohort: int, start: int, number: int) -> None:
        self.members[cohort] |= set(range(start, min(3200, start + number)))
        self._tell(cohort)

    @rule(cohort=st.sampled_from(USED), share=st.sampled_from([1, 3, 10]), seed=st.integers(0, 9))
    def leave(self, cohort: int, share: int, seed: int) -> None:
        gone = random.Random(seed).sample(sorted(self.members[cohort]), len(self.members[cohort]) // share)
        self.members[cohort] -= set(gone)
        self._tell(cohort)

    def _tell(self, cohort: int) -> None:
        if cohort not in self.deleted:
            self.population.set(cohort, sorted(self.members[cohort]))

    @rule(cohort=st.sampled_from(USED), name=st.sampled_from("ABC"))
    def rename(self, cohort: int, name: str) -> None:
        if cohort not in self.deleted:
            self.population.name(cohort, f"{cohort} {name}")

    @rule(cohort=st.sampled_from(USED))
    def delete(self, cohort: int) -> None:
        if cohort not in self.deleted:
            self.population.remove(cohort)
            self.deleted.add(cohort)

    @precondition(lambda self: self.deleted)
    @rule()
    def restore(self) -> None:
        cohort = self.deleted.pop()
        self.population.name(cohort, f"{cohort} restored")
        self._tell(cohort)

    @rule(name=st.sampled_from(FAULTS), after=st.integers(0, 4), times=st.sampled_from([1, 5, 60]))
    def fault(self, name: str, after: int, times: int) -> None:
        self.population.fault(name, after=after, times=times)

    @rule(seconds=st.sampled_from([0.2, 1.0]), times=st.sampled_from([1, 4]))
    def the_endpoint_is_slow(self, seconds: float, times: int) -> None:
        self.population.fault("slow", target="apptimize", seconds=seconds, times=times)

    @rule()
    def clear_faults(self) -> None:
        self.population.clear_faults()

    # --- what people do ---

    @rule(number=st.integers(1, 3), what=st.sampled_from(["pause", "resume", "run"]))
    def press(self, number: int, what: str) -> None:
        act: Any = {"pause": recurring.pause_sync, "resume": recurring.resume_sync, "run": recurring.run_now}[what]
        act(self.bridge, LOCAL, number)

    @rule(number=st.integers(1, 3), max_shrink=st.sampled_from([None, 0, 50]), every=st.sampled_from([15, 30]))
    def edit(self, number: int, max_shrink: int | None, every: int) -> None:
        sync_settings.edit_sync(self.bridge, LOCAL, number, every_minutes=every, max_shrink=max_shrink)

    @rule(cohort=st.sampled_from(USED))
    def export_once(self, cohort: int) -> None:
        if cohort not in self.deleted:
            export(self.bridge, cohort)
            self.check()

    @rule(pick=st.integers(0, 50))
    def undo(self, pick: int) -> None:
        runs = [run for run in all_runs(self.bridge) if run.id in self.held_by and run.snapshot]
        if runs:
            run = runs[pick % len(runs)]
            with suppress(NotFound):  # its members are gone, or not what they were
                undo.undo_to(self.bridge, LOCAL, run.id or 0)
            self.work()

    @rule(apply=st.booleans())
    def decide(self, apply: bool) -> None:
        for run in all_runs(self.bridge):
            if run.status == RunStatus.HELD:
                (held_runs.apply_held if apply else held_runs.discard_held)(self.bridge, LOCAL, run.id or 0)
        self.work()

    # --- time and processes ---

    @rule(minutes=st.sampled_from([1, 15, 15, 15, 50, 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.clock.shift_s += minutes * 60
        self.population.at(self.clock.shift_s)
        self.work()

    @rule(step=st.sampled_from(sorted(STEPS)), when=st.sampled_from(["before", "after"]), nth=st.integers(1, 4))
    def a_worker_dies(self, step: str, when: str, nth: int) -> None:
        self.clock.shift_s += 15 * 60
        self.population.at(self.clock.shift_s)
        # Its clock stands still, as ours does.
        clock = WallClock(start_s=self.clock.now_s(), steady_s=0, speed=1e-9)
        process.run(self.home, "worker", "--once", kill=Kill(step, when, nth), clock=clock)
        self.check()
        type(self).ran("kills")
        self.work()

    @rule(step=st.sampled_from(sorted(STEPS)), nth=st.integers(1, 4), dies=st.booleans())
    def two_workers_work(self, step: str, nth: int, dies: bool) -> None:
        self.clock.shift_s += 15 * 60
        self.population.at(self.clock.shift_s)
        clock = WallClock(start_s=self.clock.now_s(), steady_s=0, speed=1e-9)
        kill = Kill(step, "after", nth) if dies else None
        pair = [process.start(self.home, "worker", "--once", kill=death, clock=clock) for death in (kill, None)]
        for worker in pair:
            process.finish(worker)
        self.check()
        type(self).ran("two workers at a time")
        self.work()

    # --- what happens to what is kept ---

    @rule()
    def back_up(self) -> None:
        self.backup.unlink(missing_ok=True)
        databases.back_up(self.home.path, self.backup)

    @precondition(lambda self: self.backup.exists())
    @rule()
    def put_the_backup_back(self) -> None:
        self.opened.__exit__(None, None, None)
        databases.put_back(self.home.path, self.backup)
        self._open()
        known = {run.id for run in all_runs(self.bridge)}
        self.held_by = {run: members for run, members in self.held_by.items() if run in known}
        type(self).ran("databases put back")
        self.work()

    @rule(cohort=st.sampled_from(USED), how=st.sampled_from(sorted(DAMAGES)))
    def a_base_is_damaged(self, cohort: int, how: str) -> None:
        if base := self._base_of(cohort):
            DAMAGES[how](base)
            type(self).ran("bases damaged")

    @rule(pair=st.sampled_from(list(combinations(USED, 2))))
    def two_bases_are_swapped(self, pair: tuple[int, int]) -> None:
        base, other = map(self._base_of, pair)
        if base and other:
            aside = base.with_suffix(".aside")
            for source, target in ((base, aside), (other, base), (aside, other)):
                os.rename(source, target)
            type(self).ran("bases swapped")

    def _base_of(self, cohort: int) -> Path | None:
        """The file of the members that the cohort's group was given last, if there is one."""
        base = group_row(self.bridge, cohort).base_snapshot
        path = self.bridge.snapshots.path(base) if base else None
        return path if path and path.exists() else None

    def work(self) -> None:
        service.once(self.bridge)
        self.check()

    # --- what must hold ---

    def check(self) -> None:
        """No run says that it succeeded and is wrong; a held or failed run that wrote nothing left the group alone."""
        runs = all_runs(self.bridge)
        assert_counts_add_up(runs)
        newest = {run.cohort_id: run for run in runs if run.status not in UNFINISHED}
        for cohort, run in newest.items():
            if run.id in self.held_by or run.status != RunStatus.SUCCEEDED:
                continue
            there = self.population.members(cohort) or frozenset()
            if run.trigger == "undo":
                assert there == self._as_of(run, runs), f"run {run.id} was to restore {run.restore_snapshot}"
            else:
                assert there == self.population.expected_members(cohort), f"run {run.id} of {cohort}"
            self.held_by[run.id or 0] = there

    def _as_of(self, undo: Run, runs: list[Run]) -> frozenset[str]:
        same = [
            self.held_by[run.id or 0]
            for run in runs
            if run.snapshot == undo.restore_snapshot and run.id in self.held_by
        ]
        return same[0]

    def all_is_well_in_the_end(self) -> None:
        self.population.clear_faults()
        while self.deleted:
            self.restore()
        for number in (1, 2, 3):
            if listing.get_sync(self.bridge, LOCAL, number).sync.state == SyncState.PAUSED:
                recurring.resume_sync(self.bridge, LOCAL, number)
            sync_settings.edit_sync(self.bridge, LOCAL, number, every_minutes=15, max_shrink=None)
        for _ in range(2):  # the first may be what still waited, or was queued, before
            self.clock.shift_s += 3700
            self.population.at(self.clock.shift_s)
            self.work()
        self.decide(apply=True)
        assert [run for run in all_runs(self.bridge) if run.status in UNFINISHED] == []
        for cohort in USED:
            assert self.population.members(cohort) == self.population.expected_members(cohort)
        assert groups.list_groups(self.bridge, LOCAL)


def test_the_groups_are_right_whatever_happens_in_whatever_order(
    population: Population, population_template: Path, ran: Tally
):
    machine = type("Machine", (Syncs,), {"population": population, "template": population_template, "ran": ran})
    machine_settings = settings(
        max_examples=max(2, SEEDS * 6),
        stateful_step_count=25 if SEEDS else 12,
        deadline=None,
        derandomize=not SEEDS,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        database=None,
    )

    run_state_machine_as_test(machine, settings=machine_settings)
