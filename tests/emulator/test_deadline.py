"""A run has a deadline of its own: what hangs ends as a failed run, and gives its places back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.clock import LeaseTimes
from core.errors import RunTookTooLong
from core.export.deadline import Deadline
from core.rules.due_times import longest_work
from core.syncs import one_time, recurring, runs
from core.worker import service
from data import leases
from data.engine import read_session
from data.models import Group, LeaseKind, Run
from tests.stage.clock import FakeClock
from tests.stage.home import Home
from tests.stage.sandbox import POWER, Sandbox
from tests.stage.seeds import few

HOUR_S = 3600.0
# The clock leaps here, with no heartbeat on the way: that must not look like a death.
NEVER_STALLED = LeaseTimes(heartbeat_s=0.1, lease_s=1e9)


async def work_until(bridge: Bridge, hangs: Callable[[], object], then: Callable[[], None]) -> None:
    """Let a worker do what is queued; once it hangs, do this, and wait until the worker is done."""
    working = asyncio.create_task(service.Worker(bridge).once())
    await asyncio.to_thread(hangs)
    then()
    await asyncio.wait_for(working, 20)


@few(1)
@pytest.mark.parametrize(
    ("target", "kind", "said", "in_doubt"),
    [
        ("mixpanel", "engage", "not all profiles of the cohort had arrived", False),
        ("apptimize", "cohort-sync", "the destination had not taken all members", True),
    ],
)
def test_a_run_that_hangs_ends_after_an_hour_of_work_and_its_places_are_free(
    sandbox: Sandbox, home: Home, fake_clock: FakeClock, target: str, kind: str, said: str, in_doubt: bool
):
    sandbox.fault("slow", target=target, page=1, seconds=60)
    with home.bridge(clock=fake_clock.clock, lease_times=NEVER_STALLED) as bridge:
        run_id = one_time.start_export(bridge, LOCAL, POWER).id or 0

        def let_an_hour_pass() -> None:
            fake_clock.ahead_s += HOUR_S + 1

        asyncio.run(work_until(bridge, lambda: sandbox.wait_for(kind, page=1), let_an_hour_pass))

        run = runs.get_run(bridge, LOCAL, run_id)
        assert (run.status, run.error_code) == ("failed", "took_too_long")
        assert run.error_message == f"The run was stopped after an hour of work: {said}."
        assert "the next run overwrites the group in full" in (run.error_advice or "")
        with read_session(bridge.engine) as session:
            assert session.get_one(Group, run.group_id).in_doubt == in_doubt
        assert [lease for kind in LeaseKind for lease in leases.list_held(bridge.engine, kind)] == []
        sandbox.clear_faults()
        one_time.start_export(bridge, LOCAL, POWER)
        service.once(bridge)
    assert sandbox.group(POWER) == sandbox.answer(POWER).group


def test_a_run_of_a_daily_sync_may_work_for_two_days(sandbox: Sandbox, home: Home, fake_clock: FakeClock):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=1)
    with home.bridge(clock=fake_clock.clock, lease_times=NEVER_STALLED) as bridge:
        recurring.add_sync(bridge, LOCAL, POWER, every_minutes=1440)

        def let_a_day_pass() -> None:
            fake_clock.ahead_s += 24 * HOUR_S

        asyncio.run(work_until(bridge, lambda: sandbox.wait_for("engage", page=1), let_a_day_pass))

        assert newest(bridge).status == "succeeded"


def newest(bridge: Bridge) -> Run:
    return runs.list_runs(bridge, LOCAL, limit=1)[0]


def test_waiting_in_the_queue_or_for_a_slot_is_no_work(fake_clock: FakeClock):
    deadline = Deadline(fake_clock.clock, longest_work(None))
    for step, hours in [("starting", 0.1), ("queueing", 30.0), ("reading", 0.8), ("waiting", 30.0)]:
        fake_clock.ahead_s += hours * HOUR_S
        deadline.check(step)

    fake_clock.ahead_s += 0.2 * HOUR_S
    with pytest.raises(RunTookTooLong):
        deadline.check("delivering")


def test_a_run_may_work_for_two_intervals_and_always_for_an_hour():
    hours = [longest_work(minutes) / timedelta(hours=1) for minutes in (None, 15, 30, 60, 1440)]

    assert hours == [1, 1, 1, 2, 48]
