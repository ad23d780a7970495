"""Recurring syncs: each group equals its cohort after every run, and only what changed is sent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from core.access import audit_log
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import BudgetTooSmall
from core.rules import due_times
from core.syncs import cohorts, held_runs, listing, recurring, runs, undo
from core.syncs.runs import list_runs
from core.worker import service
from data.models import Run, RunStatus, SyncState
from tests.stage.clock import BothClocks
from tests.stage.home import export
from tests.stage.sandbox import IMPORTED, POWER, SPENDERS, TRIAL, Sandbox
from tests.stage.seeds import SEEDS, few


def work(bridge: Bridge) -> None:
    asyncio.run(service.Worker(bridge).once())


def last(bridge: Bridge) -> Run:
    return runs.list_runs(bridge, LOCAL, limit=1)[0]


@few(1)
def test_three_syncs_over_two_hours_send_the_differences_and_keep_each_group_equal_to_its_cohort(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    cohorts = (POWER, SPENDERS, TRIAL)
    for cohort in cohorts:
        recurring.add_sync(bridge, LOCAL, cohort)
    work(bridge)
    before = {cohort: sandbox.group(cohort) or {} for cohort in cohorts}

    rounds, minutes = (8, 15) if SEEDS else (3, 40)
    for _ in range(rounds):
        clock.pass_minutes(minutes)
        sandbox.forget_requests()
        work(bridge)

        for cohort in cohorts:
            now = sandbox.group(cohort) or {}
            assert now == sandbox.answer(cohort).group
            sent = [message for message in sandbox.messages() if message["cohort_id"] == str(cohort)]
            changed = len(now.keys() ^ before[cohort].keys())
            assert sum(message["members"] for message in sent) == changed
            assert {message["action"] for message in sent} <= {"add_members", "remove_members"}
            before[cohort] = now

    runs = list_runs(bridge, LOCAL, limit=100)
    assert len(runs) == 3 * (rounds + 1)
    assert {run.status for run in runs} == {RunStatus.SUCCEEDED}


def test_a_quiet_interval_sends_nothing_and_says_that_it_looked(bridge: Bridge, sandbox: Sandbox, clock: BothClocks):
    recurring.add_sync(bridge, LOCAL, IMPORTED)
    work(bridge)
    clock.pass_minutes(15)
    sandbox.forget_requests()

    work(bridge)

    assert sandbox.messages() == []
    assert (last(bridge).status, last(bridge).write) == (RunStatus.SUCCEEDED, "none")


def test_a_day_after_the_last_overwrite_the_whole_group_is_written_again(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    recurring.add_sync(bridge, LOCAL, IMPORTED)
    work(bridge)
    sandbox.fill(IMPORTED, {"i_by_hand": "x"})
    clock.pass_minutes(24 * 60)

    work(bridge)

    assert last(bridge).write == "full"
    assert sandbox.group(IMPORTED) == sandbox.answer(IMPORTED).group


def test_missed_slots_are_run_once(bridge: Bridge, sandbox: Sandbox, clock: BothClocks):
    recurring.add_sync(bridge, LOCAL, TRIAL)
    work(bridge)
    clock.pass_minutes(50)

    work(bridge)
    work(bridge)

    assert len(runs.list_runs(bridge, LOCAL)) == 2
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


def test_a_one_time_export_between_two_runs_of_a_sync_moves_the_base_of_both(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    recurring.add_sync(bridge, LOCAL, TRIAL)
    work(bridge)
    clock.pass_minutes(5)
    export(bridge, TRIAL)
    clock.pass_minutes(10)

    work(bridge)

    assert last(bridge).write == "delta"
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


def test_members_that_a_failed_delivery_added_and_that_left_since_are_gone_after_the_next_run(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    recurring.add_sync(bridge, LOCAL, TRIAL)
    work(bridge)
    clock.pass_minutes(15)
    sandbox.fault("reset_after", target="apptimize", after=1)
    work(bridge)
    failed = last(bridge)
    sandbox.clear_faults()
    clock.pass_minutes(6 * 60)

    work(bridge)

    assert failed.status == RunStatus.FAILED
    assert last(bridge).write == "full"
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


def test_a_refusal_pauses_the_sync_with_its_cause_until_it_is_resumed(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    sync = recurring.add_sync(bridge, LOCAL, TRIAL)
    sandbox.fault("unauthorized", target="apptimize")
    work(bridge)
    paused = listing.get_sync(bridge, LOCAL, sync.id or 0).sync
    sandbox.clear_faults()

    recurring.resume_sync(bridge, LOCAL, sync.id or 0)
    work(bridge)

    assert paused.state == SyncState.PAUSED
    assert "Tokens page" in (paused.paused_reason or "")
    lines = [(line.who, line.action, line.subject) for line in audit_log.list_audit(bridge, LOCAL)]
    assert lines[0][:2] == ("local", "resume_sync")
    assert lines[1] == ("worker", "pause_sync", f"sync {paused.id}")
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


def test_the_shrink_limit_holds_a_run_that_would_remove_too_many_until_it_is_applied_once(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    recurring.add_sync(bridge, LOCAL, TRIAL, max_shrink=0)
    work(bridge)
    before = sandbox.group(TRIAL)
    clock.pass_minutes(30)
    work(bridge)
    held = last(bridge)
    held_group = sandbox.group(TRIAL)

    held_runs.apply_held(bridge, LOCAL, held.id or 0)
    work(bridge)

    assert held.status == RunStatus.HELD
    assert held.removed > 0
    assert held_group == before
    assert last(bridge).status == RunStatus.SUCCEEDED
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group


def test_undo_puts_the_group_back_and_pauses_the_sync(bridge: Bridge, sandbox: Sandbox, clock: BothClocks):
    sync = recurring.add_sync(bridge, LOCAL, TRIAL)
    work(bridge)
    first, before = last(bridge), sandbox.group(TRIAL)
    clock.pass_minutes(60)
    work(bridge)

    undo.undo_to(bridge, LOCAL, first.id or 0)
    work(bridge)
    clock.pass_minutes(60)
    work(bridge)

    assert last(bridge).trigger == "undo"
    assert sandbox.group(TRIAL) == before
    assert listing.get_sync(bridge, LOCAL, sync.id or 0).sync.state == SyncState.PAUSED


def test_slots_are_on_a_steady_grid_of_their_own_whatever_the_time():
    start = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)  # clocks go forward in Europe this night

    slots = [due_times.next_slot(7, 15, after=start + timedelta(minutes=minutes)) for minutes in range(0, 240, 15)]

    assert {later - earlier for earlier, later in zip(slots, slots[1:], strict=False)} == {timedelta(minutes=15)}


def test_a_sync_that_does_not_fit_the_budget_is_refused_with_an_interval_that_fits(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    sandbox.limit(hourly_limit=10)
    cohorts.list_cohorts(bridge, LOCAL)  # learns the limit
    recurring.add_sync(bridge, LOCAL, TRIAL)

    with pytest.raises(BudgetTooSmall) as caught:
        recurring.add_sync(bridge, LOCAL, POWER)

    assert caught.value.advice == "It fits every 30 minutes."
