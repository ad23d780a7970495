"""Runs whose process dies: tried again at once, then after ever longer pauses, if they had begun to read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.moments import moment_text
from core.syncs import recurring, runs
from core.worker import run_execution
from data import leases, run_queue, run_records
from data.engine import write_session
from data.models import LeaseKind, Run, RunFilter, RunStatus, Sync, SyncKind
from data.run_outcome import RunOutcome, RunProgress
from tests.stage.claims import claimable
from tests.stage.clock import FakeClock

MINUTE_S = 60.0


def newest(bridge: Bridge) -> Run:
    return runs.list_runs(bridge, LOCAL, RunFilter(), limit=1)[0]


def begin(bridge: Bridge, run: Run, step: str, *, lease_owner: str = "one") -> None:
    """Claim a run, and let it get to a step."""
    assert run.id is not None
    assert run_queue.claim(bridge.engine, run.id, lease_owner=lease_owner, now=bridge.clock.now())
    run_queue.heartbeat(bridge.engine, run.id, lease_owner=lease_owner, progress=RunProgress(step))


def die(bridge: Bridge, step: str = "reading") -> Run:
    """Let the newest run die in a step; returns it as it is recorded then."""
    run = newest(bridge)
    begin(bridge, run, step)
    (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN, keys=[str(run.id)])
    assert run_execution.interrupt(bridge, lease)
    return runs.get_run(bridge, LOCAL, run.id or 0)


def pause_minutes(bridge: Bridge) -> float | None:
    """Return how long the newest run waits until it is tried again; None: it ended, and there is no other."""
    run = newest(bridge)
    if run.status != RunStatus.QUEUED:
        return None
    waits = run.waiting_until - bridge.clock.now() if run.waiting_until else timedelta(0)
    return round(waits.total_seconds() / 60, 1)


@pytest.fixture
def stopped_clock(fake_clock: FakeClock) -> FakeClock:
    fake_clock.start_s = 1_790_000_000.0
    return fake_clock


@pytest.fixture
def only_run(bridge: Bridge, stopped_clock: FakeClock, group_with_runs: list[Run]) -> Run:
    """The one run that waits: the group's others are cancelled."""
    for run in group_with_runs[:2]:
        run_queue.ask_to_cancel(bridge.engine, run.id or 0, now=bridge.clock.now())
    return group_with_runs[2]


def make_recurring(bridge: Bridge, run: Run, every_minutes: int) -> None:
    with write_session(bridge.engine) as session:
        sync = session.get_one(Sync, run.sync_id)
        sync.kind, sync.every_minutes = SyncKind.RECURRING, every_minutes


@pytest.mark.parametrize(
    ("every_minutes", "pauses"),
    [
        (15, [0, 1, 2, 4, 8, 15, 15, 15]),
        (1440, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440]),
        (None, [0, 1, 2, 4, 8, 16, 32, None]),
    ],
)
def test_a_run_that_dies_again_waits_longer_each_time_up_to_its_interval_and_a_one_time_export_ends_then(
    bridge: Bridge, only_run: Run, stopped_clock: FakeClock, every_minutes: int | None, pauses: list[float | None]
):
    if every_minutes:
        make_recurring(bridge, only_run, every_minutes)
    seen: list[float | None] = []
    for pause in pauses:
        stopped_clock.shift_s += 5 * MINUTE_S
        dead = die(bridge)
        seen.append(pause_minutes(bridge))
        if pause:
            stopped_clock.shift_s += pause * MINUTE_S - 1
            assert claimable(bridge) == []
            stopped_clock.shift_s += 1
        assert claimable(bridge) == ([] if pause is None else [newest(bridge).id])

    assert seen == pauses
    assert dead.error_advice
    assert ("not tried again" in dead.error_advice) == (every_minutes is None)


def test_a_run_that_waits_after_a_death_says_when_it_is_tried_again(
    bridge: Bridge, only_run: Run, stopped_clock: FakeClock
):
    told = [die(bridge).error_advice or "" for _ in range(2)]

    at = bridge.clock.now() + timedelta(minutes=1)
    assert newest(bridge).waiting_until == at
    assert "a new run recovers the group" in told[0]
    assert f"2 times running: it is tried again at {moment_text(at)}" in told[1]


@pytest.mark.parametrize("step", ["starting", "queueing", "finding"])
def test_a_death_before_a_run_began_to_read_does_not_count(bridge: Bridge, only_run: Run, step: str):
    seen = []
    for dies_in in (step, step, step, "reading", step, "delivering", step):
        die(bridge, dies_in)
        seen.append(pause_minutes(bridge))

    assert seen == [0, 0, 0, 0, 0, 1, 0]


def test_deaths_are_counted_from_the_last_run_that_ended_by_itself(bridge: Bridge, only_run: Run):
    die(bridge)
    die(bridge)
    run = newest(bridge)
    begin(bridge, run, "reading")
    outcome = RunOutcome(RunStatus.FAILED, finished_at=bridge.clock.now())
    run_records.record(bridge.engine, run.id or 0, outcome, lease_owner="one")
    queue_another(bridge, run)

    die(bridge)

    assert pause_minutes(bridge) == 0


def queue_another(bridge: Bridge, like: Run, *, lease_owner: str | None = None) -> None:
    with write_session(bridge.engine) as session:
        values = {name: getattr(like, name) for name in ("sync_id", "group_id", "cohort_id", "cohort_name")}
        run = Run(
            **values,
            group_name=like.group_name,
            destination=like.destination,
            trigger="cli",
            actor="local",
            queued_at=bridge.clock.now(),
        )
        session.add(run)
        if lease_owner:
            run_queue.keep_for(session, run, lease_owner, now=bridge.clock.now())


def test_a_person_who_starts_what_waits_after_a_death_need_not_wait(bridge: Bridge, only_run: Run):
    make_recurring(bridge, only_run, 1440)
    die(bridge)
    die(bridge)

    run = recurring.run_now(bridge, LOCAL, only_run.sync_id)

    assert (run.id, claimable(bridge)) == (newest(bridge).id, [run.id])


def test_a_wait_of_before_the_clock_was_set_back_ends(bridge: Bridge, only_run: Run, stopped_clock: FakeClock):
    make_recurring(bridge, only_run, 1440)
    die(bridge)
    die(bridge)

    stopped_clock.shift_s -= 48 * 3600

    assert claimable(bridge) == [newest(bridge).id]


def test_a_dead_run_is_not_tried_again_beside_a_newer_one_that_a_process_has_in_hand(bridge: Bridge, only_run: Run):
    begin(bridge, only_run, "reading")
    (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN)
    queue_another(bridge, only_run, lease_owner="command")

    run_execution.interrupt(bridge, lease)

    unfinished = runs.active_runs(bridge, LOCAL)
    assert [run.trigger for run in unfinished] == ["cli"]


def test_deaths_in_a_row_are_counted_in_the_order_in_which_runs_ended(
    bridge: Bridge, stopped_clock: FakeClock, group_with_runs: list[Run]
):
    """The run that dies was overtaken by one with a larger number, which ended well before that."""
    overtaken, cancelled, overtaking = group_with_runs
    run_queue.ask_to_cancel(bridge.engine, cancelled.id or 0, now=bridge.clock.now())
    begin(bridge, overtaking, "reading")
    ended = RunOutcome(RunStatus.SUCCEEDED, finished_at=bridge.clock.now())
    assert run_records.record(bridge.engine, overtaking.id or 0, ended, lease_owner="one")

    stopped_clock.shift_s += 1
    begin(bridge, overtaken, "reading")
    (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN, keys=[str(overtaken.id)])
    assert run_execution.interrupt(bridge, lease)
    stopped_clock.shift_s += 1
    die(bridge)

    assert pause_minutes(bridge) == 1
