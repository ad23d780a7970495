"""The log of a run: bounded, whatever the run did, and its totals count everything."""

from __future__ import annotations

import json
import time

from core.bridge import Bridge
from core.clock import SYSTEM_CLOCK
from core.run_log import CALLS_KEPT, FAILURES_KEPT, STEPS_KEPT, RunLog
from data import run_queue, runs
from data.engine import read_session, write_session
from data.models import Run, RunLogRow


def test_a_run_log_of_very_many_calls_stays_small_and_counts_them_all():
    run_log = RunLog(SYSTEM_CLOCK)
    for number in range(3000):
        run_log.step(f"step {number}")
        run_log.called("page of profiles", 200 if number % 3 else 500, time.monotonic())

    kept = run_log.kept()

    assert {(total["status"], total["count"]) for total in kept["totals"]} == {(200, 2000), (500, 1000)}
    assert len(kept["calls"]) == CALLS_KEPT + FAILURES_KEPT
    assert len(kept["steps"]) == STEPS_KEPT
    assert len(json.dumps(kept)) < 16_000


def test_an_attempt_continues_the_run_log_of_the_one_before():
    first = RunLog(SYSTEM_CLOCK)
    first.step("reading")
    first.called("first page of profiles", 429, time.monotonic())
    second = RunLog.resume(json.loads(json.dumps(first.kept())), clock=SYSTEM_CLOCK)
    second.step("reading")
    second.step("delivering")
    second.called("first page of profiles", 429, time.monotonic())
    second.called("first page of profiles", None, time.monotonic())

    kept = second.kept()

    assert [step["name"] for step in kept["steps"]] == ["reading", "delivering"]
    assert {(total["status"], total["count"]) for total in kept["totals"]} == {(429, 2), (None, 1)}


def test_a_run_log_is_deleted_with_its_run(bridge: Bridge, group_with_runs: list[Run]):
    run_id = group_with_runs[0].id or 0
    assert run_queue.claim(bridge.engine, run_id, lease_owner="one", now=bridge.clock.now())
    run_queue.heartbeat(bridge.engine, run_id, lease_owner="one", log={"steps": [], "calls": [], "totals": []})
    assert runs.get_run_log(bridge.engine, run_id)

    with write_session(bridge.engine) as session:
        session.delete(session.get_one(Run, run_id))

    with read_session(bridge.engine) as session:
        assert session.get(RunLogRow, run_id) is None


def test_who_lost_the_lease_writes_nothing_into_the_run_log(bridge: Bridge, group_with_runs: list[Run]):
    run_id = group_with_runs[0].id or 0
    assert run_queue.claim(bridge.engine, run_id, lease_owner="one", now=bridge.clock.now())

    run_queue.heartbeat(bridge.engine, run_id, lease_owner="two", log={"steps": [], "calls": [], "totals": []})

    assert runs.get_run_log(bridge.engine, run_id) is None


def test_what_is_tried_again_is_kept_until_it_is_tried_and_each_try_that_failed_is_counted():
    run_log = RunLog(SYSTEM_CLOCK)
    run_log.step("delivering")
    for key, wait_s in (("one", 30.0), ("other", 2.0)):
        run_log.begin_try(key)
        run_log.refused(key, f"{key} failed", wait_s)
    assert run_log.kept()["retry"]["why"] == "other failed"

    run_log.begin_try("other")
    assert run_log.kept()["retry"]["why"] == "one failed"
    run_log.begin_try("one")
    run_log.refused("one", "for good", None)

    assert run_log.kept()["retry"] is None
    assert run_log.kept()["refusals"] == {"delivering": 3}
    again = RunLog.resume(json.loads(json.dumps(run_log.kept())), clock=SYSTEM_CLOCK)
    assert again.kept()["refusals"] == {}
