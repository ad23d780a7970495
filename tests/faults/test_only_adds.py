"""A receiver that only adds holds exactly its cohort after every success, whatever became of the deliveries before."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass, field

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.syncs import held_runs, recurring, undo
from core.worker import retention, service
from data.engine import read_session, write_session
from data.models import Group, Run, RunStatus
from data.tried import list_tried
from tests.faults import process
from tests.faults.conftest import Tally
from tests.faults.population import ONE, Population, all_runs, changed, last, list_unfinished
from tests.faults.process import Kill
from tests.stage.adding import lead_to, messages_of
from tests.stage.home import Home, group_row
from tests.stage.receivers import Receiver
from tests.stage.seeds import LONG, SEEDS, few


@pytest.fixture
def receiver(population: Population, bridge: Bridge) -> Receiver:
    made = population.receiver("only-adds", key="crm id")
    lead_to(bridge, made)
    return made


def held(receiver: Receiver) -> frozenset[str]:
    return frozenset(receiver.members(ONE) or ())


def run_once(bridge: Bridge) -> Run:
    """Let the sync run once, whatever of it waits."""
    recurring.run_now(bridge, LOCAL, 1)
    service.once(bridge)
    return last(bridge)


def tried_files(bridge: Bridge) -> set[str]:
    with read_session(bridge.engine) as session:
        return {row.snapshot for row in list_tried(session, 1)}


# Where a first delivery of two messages, or a full one with who left, can be cut off; some of it in the short form.
STEPS = [
    Kill(step, when, nth, by)
    for step, nth in (("snapshot", 1), ("doubt", 1), ("message", 1), ("message", 2), ("message", 3), ("record", 1))
    for when in ("before", "after")
    for by in (signal.SIGKILL, signal.SIGTERM)
]
SHORT = [
    Kill("doubt", "after"),
    Kill("message", "after", 1, signal.SIGTERM),
    Kill("message", "after", 2),
    Kill("record", "before"),
    Kill("record", "after"),
]


@few(2)
@pytest.mark.parametrize("kill", STEPS if SEEDS else SHORT, ids=lambda kill: f"{kill}-{kill.by.name}")
def test_a_process_that_ends_at_a_step_leaves_nobody_behind(
    home: Home, bridge: Bridge, population: Population, receiver: Receiver, kill: Kill, ran: Tally
):
    rng = random.Random(f"{kill}")
    numbers = rng.sample(range(3200), 1100)
    population.set(ONE, numbers)
    recurring.add_sync(bridge, LOCAL, ONE)
    if rng.random() < 0.5:
        service.once(bridge)
        population.set(ONE, changed(rng, numbers, by=300))
        recurring.run_now(bridge, LOCAL, 1)
        with write_session(bridge.engine) as session:
            session.get_one(Group, 1).full_at = None  # a full one is due

    process.run(home, "worker", "--once", kill=kill)
    population.set(ONE, changed(rng, numbers, by=600))
    if not list_unfinished(bridge):
        recurring.run_now(bridge, LOCAL, 1)
    assert process.run(home, "worker", "--once") == 0

    assert last(bridge).status == RunStatus.SUCCEEDED
    assert held(receiver) == population.expected_members(ONE)
    assert tried_files(bridge) == set()
    ran("kills")


@LONG
def test_a_receiver_that_fails_for_days_keeps_a_few_files_and_forgets_nobody(
    bridge: Bridge, population: Population, receiver: Receiver, ran: Tally
):
    rng, numbers = random.Random(1), list(range(0, 400, 2))
    population.set(ONE, numbers)
    recurring.add_sync(bridge, LOCAL, ONE)
    with messages_of(40):
        service.once(bridge)
        for after in (1, 4, 2, 5, 3, 1, 2, 4, 3):
            numbers = changed(rng, numbers, by=30)
            population.set(ONE, numbers)
            receiver.fault("server_error", after=after)
            assert run_once(bridge).status == RunStatus.FAILED
            population.clear_faults()
            tried = tried_files(bridge)
            kept = {path.stem for path in bridge.snapshots.folder.glob("*.parquet")}
            assert len(tried) <= 4
            assert tried <= kept
            assert {name for name in kept if name.startswith(("run", "tried", "leavers"))} == tried | {
                group_row(bridge, ONE).base_snapshot
            }
        assert any(name.startswith("tried") for name in tried)
        population.set(ONE, changed(rng, numbers, by=30))
        assert run_once(bridge).status == RunStatus.SUCCEEDED
    assert held(receiver) == population.expected_members(ONE)
    ran("failures", 9)


@dataclass
class Story:
    """What happens to one group, step by step, at random."""

    bridge: Bridge
    population: Population
    receiver: Receiver
    rng: random.Random
    numbers: list[int] = field(default_factory=list[int])
    was_applied: bool = False  # past what is not known: from then on more may be there
    was_deleted: bool = False  # by somebody else, and not written since

    def people_come_and_go(self) -> None:
        size = self.rng.choice((0, 30, 90, 150))
        self.numbers = self.rng.sample(range(400), size)
        self.population.set(ONE, self.numbers)

    def a_delivery_is_cut_off(self) -> None:
        self.receiver.fault(
            self.rng.choice(("server_error", "reset_after", "receiver_failure_200")), after=self.rng.randrange(7)
        )
        self.run()
        self.population.clear_faults()

    def run(self) -> None:
        run = run_once(self.bridge)
        if run.status == RunStatus.HELD:
            assert run.error_code == "held_unknown_members"
            self.was_applied = True
            held_runs.apply_held(self.bridge, LOCAL, run.id or 0)
            service.once(self.bridge)
            run = last(self.bridge)
        self.was_deleted = self.was_deleted and run.write in (None, "none")  # it is not asked what it holds
        if run.status == RunStatus.SUCCEEDED and not self.was_deleted:
            there, expected = held(self.receiver), self.population.expected_members(ONE)
            assert there >= expected if self.was_applied else there == expected

    def a_file_is_lost(self) -> None:
        files = sorted(self.bridge.snapshots.folder.glob("*.parquet"))
        if files and self.rng.random() < 0.3:
            self.rng.choice(files).unlink()

    def the_worker_tidies_up(self) -> None:
        retention.remove_unnamed_files(self.bridge)

    def it_is_rolled_back(self) -> None:
        kept = [run for run in all_runs(self.bridge) if run.snapshot and self.bridge.snapshots.exists(run.snapshot)]
        if not kept:
            return
        earlier = self.rng.choice(kept)
        undo.undo_to(self.bridge, LOCAL, earlier.id or 0)
        service.once(self.bridge)
        assert last(self.bridge).status in (RunStatus.SUCCEEDED, RunStatus.FAILED)
        recurring.resume_sync(self.bridge, LOCAL, 1)

    def it_is_deleted_there(self) -> None:
        if self.receiver.members(ONE) is not None:
            self.receiver.forget(ONE)
            self.was_applied, self.was_deleted = False, True


@LONG
@pytest.mark.parametrize("seed", range(SEEDS * 10 or 1))
def test_after_a_success_that_nobody_let_through_the_receiver_holds_exactly_the_cohort(
    bridge: Bridge, population: Population, receiver: Receiver, seed: int, ran: Tally
):
    rng = random.Random(seed)
    story = Story(bridge, population, receiver, rng)
    story.people_come_and_go()
    recurring.add_sync(bridge, LOCAL, ONE)
    steps = [
        *[story.people_come_and_go] * 3,
        *[story.a_delivery_is_cut_off] * 4,
        *[story.run] * 3,
        story.the_worker_tidies_up,
        story.it_is_rolled_back,
        story.it_is_deleted_there,
        *[story.a_file_is_lost] * (seed % 3 == 2),
    ]
    with messages_of(25):
        for _ in range(25):
            rng.choice(steps)()
        story.run()
    ran("stories")
