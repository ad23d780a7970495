"""A holder that was killed on this machine is known to be dead at once, by everything that waits for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator

import pytest

from core.associate import running
from core.bridge import Bridge
from core.leases.lock import in_turn
from core.leases.slots import RequestSlots
from core.worker import inline_run
from core.worker.run_execution import watch_runs
from data import leases, runs
from data.engine import write_session
from data.models import LeaseKind, Run, RunStatus
from tests.stage.processes import ROOT, clean_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the heartbeat alone tells")

PROJECT = "mixpanel.com/1"
_HOLD = """
import sys
from datetime import UTC, datetime
from data import leases, query_slots, run_queue
from data.engine import make_engine
from data.models import LeaseKind
engine, run_id, now = make_engine(sys.argv[1]), int(sys.argv[2]), datetime.now(UTC)
run_queue.claim(engine, run_id, lease_owner="killed", now=now)
query_slots.take(engine, "mixpanel.com/1", lease_owner="killed/slots", most=5, dead=[], ask=False, now=now)
leases.acquire(engine, LeaseKind.COHORT_LIST, "mixpanel.com/1", lease_owner="killed/list", now=now)
leases.acquire(engine, LeaseKind.ASSOCIATION, 1, lease_owner="killed", now=now)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(bridge: Bridge, group_with_runs: list[Run]) -> Generator[subprocess.Popen[str]]:
    """A process that holds all there is: the group's first run, the project's slots and its list, an association."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, bridge.settings.database_url, str(group_with_runs[0].id)],
        env={**clean_environment(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_what_a_killed_process_held_is_free_at_the_first_look(
    bridge: Bridge, group_with_runs: list[Run], holder: subprocess.Popen[str]
):
    watch, slots = watch_runs(bridge), RequestSlots(bridge, PROJECT, lease_owner="other")
    while_it_lived = (watch.look(), slots.take())

    holder.kill()
    holder.communicate()

    assert while_it_lived == (0, 0)
    assert (watch.look(), slots.take()) == (1, 5)
    running.wait_until_free(bridge, 1)
    asyncio.run(asyncio.wait_for(take_a_turn(bridge), 5))
    assert [lease.lease_owner for kind in LeaseKind for lease in leases.list_held(bridge.engine, kind)] == ["other"] * 5
    dead = runs.get(bridge.engine, group_with_runs[0].id or 0)
    assert dead
    assert dead.status == RunStatus.INTERRUPTED


async def take_a_turn(bridge: Bridge) -> None:
    async with in_turn(bridge, LeaseKind.COHORT_LIST, PROJECT, lease_owner="next"):
        pass


def test_a_command_that_finds_the_run_of_a_killed_one_in_its_way_ends_it_and_continues(
    bridge: Bridge, group_with_runs: list[Run], holder: subprocess.Popen[str]
):
    dead, mine, _ = group_with_runs
    with write_session(bridge.engine) as session:
        leases.claim(session, LeaseKind.RUN, mine.id, lease_owner="command", now=bridge.clock.now())
    holder.kill()
    holder.communicate()

    waiting = inline_run.InlineRun(bridge, mine.id or 0, "command", patience_s=0.0).claim()
    asyncio.run(asyncio.wait_for(waiting, 10))

    statuses = [current.status for run in (dead, mine) if (current := runs.get(bridge.engine, run.id or 0))]
    assert statuses == [RunStatus.INTERRUPTED, RunStatus.RUNNING]


def test_a_holder_of_an_unknown_place_is_dead_after_a_lease_and_no_sooner(
    bridge: Bridge, holder: subprocess.Popen[str]
):
    with write_session(bridge.engine) as session:
        lease = leases.find(session, LeaseKind.RUN, 1)
        assert lease
        lease.machine = "another"
    holder.kill()
    holder.communicate()

    assert watch_runs(bridge).look() == 0
