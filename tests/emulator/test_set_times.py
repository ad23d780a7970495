"""Set times and pauses with an end, done by a worker: once at each time, and never twice, whatever happened between."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from core.access import audit_log
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import BudgetTooSmall, SettingsError
from core.rules import due_times
from core.rules.schedules import parse
from core.syncs import cohorts, listing, recurring, runs, settings, undo
from core.worker import service
from data import alert_states
from data.engine import write_session
from data.models import Schedule, Sync, SyncState
from tests.stage.clock import BothClocks
from tests.stage.sandbox import IMPORTED, POWER, SPENDERS, TRIAL, Sandbox
from tests.stage.seeds import some

pytestmark = some(4)


def work(bridge: Bridge) -> None:
    asyncio.run(service.Worker(bridge).once())


def sync_now(bridge: Bridge, sync_id: int) -> Sync:
    return listing.get_sync(bridge, LOCAL, sync_id).sync


def count_runs(bridge: Bridge) -> int:
    return len(runs.list_runs(bridge, LOCAL, limit=100))


def at(bridge: Bridge, hours: float) -> datetime:
    return bridge.clock.now() + timedelta(hours=hours)


def clock_text(at: datetime) -> str:
    return f"{at:%H:%M}"


def test_a_sync_runs_at_its_times_and_once_for_those_it_missed(bridge: Bridge, sandbox: Sandbox, clock: BothClocks):
    first, second = at(bridge, 2), at(bridge, 3)
    text = f"daily at {clock_text(first)} and {clock_text(second)} UTC"
    sync_id = recurring.add_sync(bridge, LOCAL, TRIAL, schedule=parse(text)).id or 0
    work(bridge)
    assert sync_now(bridge, sync_id).next_run_at == first
    clock.pass_minutes(119)
    work(bridge)
    assert count_runs(bridge) == 1

    clock.pass_minutes(1)
    work(bridge)
    work(bridge)

    assert count_runs(bridge) == 2
    assert sync_now(bridge, sync_id).next_run_at == second
    # The worker is down over several of its times.
    clock.pass_minutes(30 * 60)
    work(bridge)
    work(bridge)
    assert count_runs(bridge) == 3
    assert sandbox.group(TRIAL) == sandbox.answer(TRIAL).group
    assert sync_now(bridge, sync_id).next_run_at == first + timedelta(days=2)


def test_syncs_with_the_same_time_all_run_and_what_does_not_fit_into_its_hour_is_refused(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    schedule = parse(f"daily at {clock_text(at(bridge, 1))} UTC")
    for cohort in (POWER, SPENDERS, TRIAL):
        recurring.add_sync(bridge, LOCAL, cohort, schedule=schedule)
    work(bridge)
    clock.pass_minutes(60)
    work(bridge)
    assert count_runs(bridge) == 6
    for cohort in (POWER, SPENDERS, TRIAL):
        assert sandbox.group(cohort) == sandbox.answer(cohort).group
    sandbox.limit(hourly_limit=6)
    cohorts.list_cohorts(bridge, LOCAL)
    with pytest.raises(BudgetTooSmall, match="one more at these times does not fit"):
        recurring.add_sync(bridge, LOCAL, IMPORTED, schedule=schedule)


def test_a_clock_that_was_set_back_plans_a_schedule_again_without_a_run(bridge: Bridge, clock: BothClocks):
    first = at(bridge, 1)
    sync_id = recurring.add_sync(bridge, LOCAL, TRIAL, schedule=parse(f"daily at {clock_text(first)} UTC")).id or 0
    clock.pass_minutes(90)
    work(bridge)
    assert sync_now(bridge, sync_id).next_run_at == first + timedelta(days=1)

    clock.pass_minutes(-60)
    work(bridge)

    assert count_runs(bridge) == 1
    assert sync_now(bridge, sync_id).next_run_at == first


def test_other_times_count_from_now_and_an_interval_takes_their_place(bridge: Bridge, clock: BothClocks):
    sync_id = recurring.add_sync(bridge, LOCAL, TRIAL, every_minutes=1440).id or 0
    work(bridge)
    soon = at(bridge, 5)
    schedule = parse(f"daily at {clock_text(soon)} UTC")

    changed = settings.edit_sync(bridge, LOCAL, sync_id, schedule=schedule, max_shrink=None)
    assert (changed.every_minutes, changed.timing, changed.next_run_at) == (None, schedule, soon)
    changed = settings.edit_sync(bridge, LOCAL, sync_id, every_minutes=15, max_shrink=None)

    assert (changed.every_minutes, changed.cron, changed.zone) == (15, None, None)
    with pytest.raises(SettingsError):
        settings.edit_sync(bridge, LOCAL, sync_id, schedule=Schedule("*/5 * * * *", "UTC"), max_shrink=None)


def test_a_schedule_whose_zone_is_gone_pauses_its_sync_and_no_other(bridge: Bridge, clock: BothClocks):
    lost = recurring.add_sync(bridge, LOCAL, TRIAL, schedule=parse("daily at 08:00 UTC")).id or 0
    recurring.add_sync(bridge, LOCAL, SPENDERS)
    with write_session(bridge.engine) as session:
        session.get_one(Sync, lost).zone = "Europe/Nowhere"

    work(bridge)

    assert sync_now(bridge, lost).state == SyncState.PAUSED
    assert "Time zone: “Europe/Nowhere” is not known on this machine." in (sync_now(bridge, lost).paused_reason or "")
    assert count_runs(bridge) == 1


# --- pauses with an end --------------------------------------------------------------------------------------------


def test_a_worker_resumes_a_sync_at_the_end_of_its_pause(bridge: Bridge, sandbox: Sandbox, clock: BothClocks):
    sync_id = recurring.add_sync(bridge, LOCAL, TRIAL).id or 0
    work(bridge)
    end = at(bridge, 2)
    recurring.pause_sync(bridge, LOCAL, sync_id, until=end)
    clock.pass_minutes(119)
    work(bridge)
    assert (sync_now(bridge, sync_id).state, count_runs(bridge)) == (SyncState.PAUSED, 1)

    clock.pass_minutes(1)
    work(bridge)

    sync = sync_now(bridge, sync_id)
    assert (sync.state, sync.paused_until, sync.paused_reason) == (SyncState.ACTIVE, None, None)
    assert count_runs(bridge) == 2
    view = listing.get_sync(bridge, LOCAL, sync_id)
    assert not due_times.is_late(view.sync, view.group, bridge.clock.now())
    (entry,) = [each for each in audit_log.list_audit(bridge, LOCAL) if each.action == "resume_sync"]
    assert entry.who == "worker"


def test_pausing_again_replaces_the_end_and_resuming_clears_it(bridge: Bridge, clock: BothClocks):
    sync_id = recurring.add_sync(bridge, LOCAL, TRIAL).id or 0
    recurring.pause_sync(bridge, LOCAL, sync_id, until=at(bridge, 2))
    assert recurring.pause_sync(bridge, LOCAL, sync_id, until=at(bridge, 3)).paused_until == at(bridge, 3)
    assert recurring.resume_sync(bridge, LOCAL, sync_id).paused_until is None
    recurring.pause_sync(bridge, LOCAL, sync_id, until=at(bridge, 2))
    assert recurring.pause_sync(bridge, LOCAL, sync_id).paused_until is None
    for passed in (bridge.clock.now(), at(bridge, -1), at(bridge, 24 * 400)):
        with pytest.raises(SettingsError, match="^Until: "):
            recurring.pause_sync(bridge, LOCAL, sync_id, until=passed)

    clock.pass_minutes(600)
    work(bridge)

    assert sync_now(bridge, sync_id).state == SyncState.PAUSED


def test_a_sync_for_which_there_is_no_room_any_more_stays_paused_and_says_so(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    sandbox.limit(hourly_limit=10)
    cohorts.list_cohorts(bridge, LOCAL)  # learns the limit
    sync_id = recurring.add_sync(bridge, LOCAL, TRIAL).id or 0
    recurring.pause_sync(bridge, LOCAL, sync_id, until=at(bridge, 1))
    recurring.add_sync(bridge, LOCAL, POWER)  # takes the room
    clock.pass_minutes(61)

    work(bridge)

    sync = sync_now(bridge, sync_id)
    assert (sync.state, sync.paused_until) == (SyncState.PAUSED, None)
    assert "Its pause ended at" in (sync.paused_reason or "")
    assert "queries an hour" in (sync.paused_reason or "")
    (told,) = [each for each in alert_states.list_open(bridge.engine) if each.sync_id == sync_id]
    assert (told.severity, told.facts["cause"]) == ("critical", sync.paused_reason)
    with pytest.raises(BudgetTooSmall):
        recurring.resume_sync(bridge, LOCAL, sync_id)


def test_a_group_that_is_rolled_back_stays_so_after_the_end_of_a_pause(
    bridge: Bridge, sandbox: Sandbox, clock: BothClocks
):
    sync_id = recurring.add_sync(bridge, LOCAL, TRIAL).id or 0
    work(bridge)
    first = runs.list_runs(bridge, LOCAL, limit=1)[0]
    recurring.pause_sync(bridge, LOCAL, sync_id, until=at(bridge, 1))
    undo.undo_to(bridge, LOCAL, first.id or 0)

    clock.pass_minutes(120)
    work(bridge)

    sync = sync_now(bridge, sync_id)
    assert (sync.state, sync.paused_until) == (SyncState.PAUSED, None)
