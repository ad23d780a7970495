"""What is told, and when: once of what is not well, once when it is over, in the transaction of what it tells of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from core.access.roles import LOCAL
from core.alerts import watching
from core.alerts.listing import list_open_alerts
from core.alerts.wording import notice_of
from core.bridge import Bridge
from core.connections.project import project_key
from core.connections.removal import remove_connection
from core.moments import moment_text
from core.syncs import recurring
from data import (
    account_alerts,
    alert_states,
    connections,
    leases,
    outbox,
    query_budget,
    run_decisions,
    run_queue,
    run_records,
    sync_pauses,
    syncs,
    workers,
)
from data.audit.scope import Scope
from data.connections import AccountCheck
from data.engine import read_session, write_session
from data.failure import Failure
from data.models import Connection, Group, LeaseKind, Run, RunStatus, Sync, SyncKind, SyncState
from data.outbox_models import RECOVERED, AlertMessage, Condition
from data.run_outcome import Pause, RunOutcome
from data.run_queue import Recovery, RunRequest, new_run
from data.syncs import Placed, SyncPlace, SyncSettings
from tests.stage.alerts import add_channel, list_messages, list_open, told
from tests.stage.clock import FakeClock

FAILING, HELD, PAUSED, LATE = Condition.FAILING, Condition.HELD, Condition.PAUSED, Condition.LATE
HOUR_S, MINUTE_S = 3600.0, 60.0
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DOWN = Failure("mixpanel_unreachable", "Mixpanel does not answer.", "Wait, then look again.")


@pytest.fixture
def sync(group_with_runs: list[Run], bridge: Bridge, fake_clock: FakeClock) -> Sync:
    """A recurring sync of the group, on time, beside the one-time one; the clock stands still."""
    fake_clock.start_s = 1_790_000_000.0
    now, first = bridge.clock.now(), group_with_runs[0]
    with write_session(bridge.engine) as session:
        group, once = session.get_one(Group, first.group_id), session.get_one(Sync, first.sync_id)
        group.verified_at = group.created_at = now
        added = Sync(
            kind=SyncKind.RECURRING, mixpanel_id=once.mixpanel_id, group_id=first.group_id, project_id=1, cohort_id=7,
            every_minutes=15, tags=["growth"], created_at=now, next_run_at=now + timedelta(minutes=15),
        )  # fmt: skip
        session.add_all([group, added])
    return added


def scope(bridge: Bridge) -> Scope:
    return Scope("worker", "test", bridge.settings.audit_head, bridge.clock.now)


def start(bridge: Bridge, sync: Sync, *, dry_run: bool = False) -> int:
    """Begin a run of a sync."""
    with write_session(bridge.engine) as session:
        request = RunRequest("schedule", "schedule", dry_run=dry_run)
        run = new_run(sync, session.get_one(Group, sync.group_id), request, destination="csv", now=bridge.clock.now())
        session.add(run)
    assert run.id is not None
    assert run_queue.claim(bridge.engine, run.id, lease_owner="one", now=bridge.clock.now())
    return run.id


def end(bridge: Bridge, sync: Sync, status: RunStatus, failure: Failure | None = None, **outcome: Any) -> int:
    """Do a run of a sync, up to this end."""
    run_id = start(bridge, sync, dry_run=outcome.pop("dry_run", False))
    failure = failure or (None if status == RunStatus.SUCCEEDED else DOWN)
    ended = RunOutcome(status, finished_at=bridge.clock.now(), failure=failure, **outcome)
    assert run_records.record(bridge.engine, run_id, ended, lease_owner="one")
    return run_id


def fail(bridge: Bridge, sync: Sync, times: int) -> None:
    for _ in range(times):
        end(bridge, sync, RunStatus.FAILED)


def look(bridge: Bridge) -> None:
    """Look as a worker does that began long ago."""
    watching.look(bridge, since=bridge.clock.now() - timedelta(days=1))


def resume(bridge: Bridge, sync: Sync) -> None:
    """Resume as `resume_sync` does, whose check of the project's queries needs a whole connection."""
    sync_pauses.resume(bridge.engine, [sync.id or 0], check_room=lambda *_: None, now=bridge.clock.now())


# --- runs ----------------------------------------------------------------------------------------------------------


def test_a_sync_that_fails_twelve_times_is_told_once_at_the_third_and_once_when_it_recovers(bridge: Bridge, sync: Sync):
    add_channel(bridge)

    fail(bridge, sync, 2)
    early = told(bridge)
    fail(bridge, sync, 10)
    failing = told(bridge)
    end(bridge, sync, RunStatus.SUCCEEDED)
    end(bridge, sync, RunStatus.SUCCEEDED)

    assert early == []
    assert failing == [(FAILING, "critical")]
    assert told(bridge) == [(FAILING, "critical"), (FAILING, "recovered")]
    assert list_open(bridge) == []


def test_a_message_names_the_group_the_cause_what_to_do_and_where_to_look(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    fail(bridge, sync, 3)

    (message,) = list_messages(bridge)
    linked = notice_of(message, dashboard_url="https://bridge.example.com/tools")
    plain = notice_of(message, dashboard_url=None)

    assert linked.title == "Failing: Payers"
    assert linked.lines[0].startswith("3 runs in a row failed for the group Payers at csv.")
    assert linked.lines[1:] == (DOWN.message, DOWN.advice)
    assert linked.link == f"https://bridge.example.com/tools/history?run={message.facts['run_id']}"
    assert (plain.link, plain.lines[-1]) == (None, f"In Cohort Bridge: History > run {message.facts['run_id']}.")


def test_after_how_many_failures_a_sync_is_failing_can_be_set(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    alert_states.set_failing_after(bridge.engine, 1)

    fail(bridge, sync, 1)

    assert told(bridge) == [(FAILING, "critical")]


def test_runs_that_were_cancelled_or_only_previews_neither_end_a_row_of_failures_nor_go_on_with_it(
    bridge: Bridge, sync: Sync
):
    add_channel(bridge)
    fail(bridge, sync, 2)

    end(bridge, sync, RunStatus.CANCELLED)
    end(bridge, sync, RunStatus.FAILED, dry_run=True)
    end(bridge, sync, RunStatus.SUCCEEDED, dry_run=True)
    early = told(bridge)
    fail(bridge, sync, 1)

    assert early == []
    assert told(bridge) == [(FAILING, "critical")]


def test_a_rollback_that_ends_later_says_nothing_of_the_sync(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    fail(bridge, sync, 3)
    rollback = start(bridge, sync)
    with write_session(bridge.engine) as session:
        session.get_one(Run, rollback).restore_snapshot = "run-1.parquet"

    ended = RunOutcome(RunStatus.SUCCEEDED, finished_at=bridge.clock.now())
    assert run_records.record(bridge.engine, rollback, ended, lease_owner="one")
    after_it = told(bridge)
    with read_session(bridge.engine) as session:
        failures = alert_states.count_failures(session, sync.group_id)

    assert (after_it, failures) == ([(FAILING, "critical")], 3)


def test_runs_whose_process_died_count_as_failures(bridge: Bridge, sync: Sync):
    add_channel(bridge)

    for _ in range(3):
        run_id = start(bridge, sync)
        (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN, keys=[str(run_id)])
        run_queue.interrupt(bridge.engine, lease, recover=lambda _: Recovery(DOWN, None), now=bridge.clock.now())

    assert told(bridge) == [(FAILING, "critical")]


def test_what_is_held_is_told_once_until_a_run_succeeds(bridge: Bridge, sync: Sync):
    add_channel(bridge)

    end(bridge, sync, RunStatus.HELD)
    end(bridge, sync, RunStatus.HELD)
    fail(bridge, sync, 3)
    end(bridge, sync, RunStatus.SUCCEEDED)

    assert told(bridge) == [(HELD, "critical"), (HELD, "recovered")]


def test_a_failing_sync_that_is_held_asks_something_else_of_a_person_and_recovers_once(bridge: Bridge, sync: Sync):
    add_channel(bridge)

    fail(bridge, sync, 3)
    end(bridge, sync, RunStatus.HELD)
    end(bridge, sync, RunStatus.SUCCEEDED)

    assert told(bridge) == [(FAILING, "critical"), (HELD, "critical"), (HELD, "recovered")]


def test_a_run_that_pauses_its_sync_tells_of_that_alone_and_who_resumes_it_ends_it(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    alert_states.set_failing_after(bridge.engine, 1)

    end(bridge, sync, RunStatus.FAILED, pause=Pause("Apptimize refused the token.", scope(bridge)))
    resume(bridge, sync)
    failing = told(bridge)
    end(bridge, sync, RunStatus.SUCCEEDED)

    # Its last run has failed: that it was resumed does not make it well, and is no news either.
    assert failing == [(PAUSED, "critical")]
    assert told(bridge) == [(PAUSED, "critical"), (FAILING, "recovered")]
    assert list_messages(bridge)[0].facts["cause"] == "Apptimize refused the token."


def test_what_a_person_pauses_is_a_warning_and_over_when_it_is_resumed(bridge: Bridge, sync: Sync):
    critical, both = add_channel(bridge, "https://critical/", warnings=False), add_channel(bridge)

    recurring.pause_sync(bridge, LOCAL, sync.id or 0)
    resume(bridge, sync)

    assert told(bridge, critical) == []
    assert told(bridge, both) == [(PAUSED, "warning"), (PAUSED, "recovered")]


def test_who_paused_a_sync_is_no_cause_to_be_corrected(bridge: Bridge, sync: Sync):
    add_channel(bridge)

    recurring.pause_sync(bridge, LOCAL, sync.id or 0)
    resume(bridge, sync)
    recurring.pause_sync(bridge, LOCAL, sync.id or 0, until=bridge.clock.now() + timedelta(days=3))

    without_end, _, with_end = (notice_of(each, dashboard_url="https://x").lines for each in list_messages(bridge))
    assert without_end[1:] == ("Paused by local.", "Resume the sync when the group is to follow its cohort again.")
    assert with_end[1:] == ("Paused by local.", "A worker resumes it then.")


def test_a_pause_that_is_given_another_end_is_shown_with_it_and_told_once(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    now, number = bridge.clock.now(), sync.id or 0
    recurring.pause_sync(bridge, LOCAL, number, until=now + timedelta(days=1))
    shown = [list_open_alerts(bridge, LOCAL)[0].text]

    recurring.pause_sync(bridge, LOCAL, number, until=now + timedelta(days=2))
    shown.append(list_open_alerts(bridge, LOCAL)[0].text)
    recurring.pause_sync(bridge, LOCAL, number)
    shown.append(list_open_alerts(bridge, LOCAL)[0].text)

    expected = [f"until {moment_text(now + timedelta(days=days))}" for days in (1, 2)]
    assert [expected[0] in shown[0], expected[1] in shown[1], "until" in shown[2]] == [True, True, False]
    assert told(bridge) == [(PAUSED, "warning")]


@pytest.mark.parametrize(
    ("lasted", "said"),
    [
        (timedelta(seconds=29), None),
        (timedelta(seconds=90), "2 minutes"),
        (timedelta(hours=1, minutes=59), "119 minutes"),
        (timedelta(hours=2, minutes=40), "3 hours"),
        (timedelta(days=2, hours=21), "3 days"),
    ],
)
def test_how_long_something_lasted_is_told_to_the_nearest_unit(lasted: timedelta, said: str | None):
    facts = {"minutes": 5, "opened_at": NOW.isoformat()}
    over = AlertMessage(
        key="k", state_id=1, channel_id=1, subject="s", event=Condition.WORKER_GONE, severity=RECOVERED, facts=facts,
        written_at=NOW + lasted, next_try_at=NOW,
    )  # fmt: skip

    (line, _) = notice_of(over, dashboard_url=None).lines

    assert (f"It was not well for {said}." in line, "not well" in line) == (said is not None, said is not None)


def test_every_way_to_pause_a_sync_tells_of_it(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    with write_session(bridge.engine) as session:
        once = session.exec(select(Sync).where(Sync.kind == SyncKind.ONE_TIME)).one()
    run_id = end(bridge, once, RunStatus.SUCCEEDED)
    with write_session(bridge.engine) as session:
        session.get_one(Run, run_id).snapshot = "kept"

    run_decisions_roll_back(bridge, run_id)
    resume(bridge, sync)
    with read_session(bridge.engine) as session:
        destination = session.exec(select(Connection.id).where(Connection.name == "csv")).one()
    remove_connection(bridge, LOCAL, destination or 0)

    assert told(bridge) == [(PAUSED, "warning"), (PAUSED, "recovered"), (PAUSED, "warning")]


def test_a_pause_with_an_end_that_something_else_takes_the_place_of_is_shown_as_that(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    recurring.pause_sync(bridge, LOCAL, sync.id or 0, until=bridge.clock.now() + timedelta(days=1))
    with read_session(bridge.engine) as session:
        destination = session.exec(select(Connection.id).where(Connection.name == "csv")).one()

    remove_connection(bridge, LOCAL, destination or 0)

    [shown] = list_open_alerts(bridge, LOCAL)
    assert "until" not in shown.text
    assert told(bridge) == [(PAUSED, "warning"), (PAUSED, "warning")]
    assert "csv" in notice_of(list_messages(bridge)[-1], dashboard_url="https://x").lines[1]
    with read_session(bridge.engine) as session:
        assert session.get_one(Sync, sync.id).next_run_at is None


def run_decisions_roll_back(bridge: Bridge, run_id: int) -> None:
    run_decisions.roll_back(
        bridge.engine, run_id, actor="local", reason="Rolled back.", is_kept=bool, now=bridge.clock.now()
    )


def test_a_sync_that_is_declared_as_paused_is_a_persons_doing(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    (mixpanel, folder), now = connections.list_connections(bridge.engine), bridge.clock.now()

    def arrange(_: Group | None) -> Placed:
        group = Group(
            destination_id=folder.id or 0, project_id=1, cohort_id=8, cohort_name="New", name="New", created_at=now
        )
        return Placed(group, "New", "New")

    syncs.add_recurring(
        bridge.engine,
        SyncPlace(mixpanel, folder, 8),
        SyncSettings(15, None),
        actor="local",
        arrange=arrange,
        check_room=lambda *_: None,
        paused_reason="Declared as paused.",
        now=now,
    )
    look(bridge)

    assert told(bridge) == [(PAUSED, "warning")]


def test_a_sync_that_is_removed_is_told_to_who_was_told_of_it(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    fail(bridge, sync, 3)
    late_comer = add_channel(bridge, "https://later/")

    recurring.remove_sync(bridge, LOCAL, sync.id or 0)

    assert told(bridge) == [(FAILING, "critical"), (FAILING, "recovered")]
    assert told(bridge, late_comer) == []
    over = notice_of(list_messages(bridge)[-1], dashboard_url=None)
    assert "removed" in over.lines[0]
    assert over.title.startswith("Removed: ")


def test_what_is_not_recorded_is_not_told_and_what_is_not_told_is_not_recorded(
    bridge: Bridge, sync: Sync, monkeypatch: pytest.MonkeyPatch
):
    add_channel(bridge)
    fail(bridge, sync, 2)
    run_id = start(bridge, sync)

    def break_off(*_: object, **__: object) -> None:
        raise RuntimeError("as if the process ended here")

    ended = RunOutcome(RunStatus.FAILED, finished_at=bridge.clock.now(), failure=DOWN)
    monkeypatch.setattr(alert_states, "_write", break_off)
    with pytest.raises(RuntimeError):
        run_records.record(bridge.engine, run_id, ended, lease_owner="one")

    with read_session(bridge.engine) as session:
        assert session.get_one(Run, run_id).status == RunStatus.RUNNING
    assert (told(bridge), list_open(bridge)) == ([], [])


# --- channels ------------------------------------------------------------------------------------------------------


def test_a_channel_is_told_of_the_syncs_and_tags_that_it_wants(bridge: Bridge, sync: Sync):
    own = add_channel(bridge, "https://own/", all_syncs=False, sync_ids=[sync.id])
    tagged = add_channel(bridge, "https://tagged/", all_syncs=False, tags=["growth", "other"])
    add_channel(bridge, "https://others/", all_syncs=False, sync_ids=[999], tags=["other"])
    add_channel(bridge, "https://off/", enabled=False)

    fail(bridge, sync, 3)

    assert [message.channel_id for message in list_messages(bridge)] == [own, tagged]


def test_what_concerns_no_single_sync_is_told_to_every_channel(bridge: Bridge, sync: Sync):
    add_channel(bridge, "https://others/", all_syncs=False, sync_ids=[999])
    finding = alert_states.Finding(Condition.WORKER_GONE, "critical", {"minutes": 5})

    alert_states.settle_found(bridge.engine, {"worker": finding}, now=bridge.clock.now())
    alert_states.settle_found(bridge.engine, {"worker": finding}, now=bridge.clock.now())
    workers.sign_on(bridge.engine, "one", started_at=bridge.clock.now(), now=bridge.clock.now())

    assert told(bridge) == [(Condition.WORKER_GONE, "critical"), (Condition.WORKER_GONE, "recovered")]


# --- what is found by looking --------------------------------------------------------------------------------------


def test_a_late_group_is_told_once_with_the_cause_and_not_again_as_failing(
    bridge: Bridge, sync: Sync, fake_clock: FakeClock
):
    add_channel(bridge)
    fail(bridge, sync, 1)
    fake_clock.shift_s += 32 * MINUTE_S
    look(bridge)
    early = told(bridge)

    fake_clock.shift_s += 2 * MINUTE_S
    look(bridge)
    look(bridge)
    on_screen = list_open_alerts(bridge, LOCAL)[0].text
    fail(bridge, sync, 11)
    end(bridge, sync, RunStatus.SUCCEEDED)

    assert early == []
    assert on_screen.endswith(f"The latest run says: {DOWN.message} {DOWN.advice}")
    assert told(bridge) == [(LATE, "critical"), (LATE, "recovered")]
    assert DOWN.message in notice_of(list_messages(bridge)[0], dashboard_url=None).lines


def test_a_worker_that_has_just_begun_does_first_what_is_due(bridge: Bridge, sync: Sync, fake_clock: FakeClock):
    add_channel(bridge)
    fake_clock.shift_s += 48 * HOUR_S

    watching.look(bridge, since=bridge.clock.now() - timedelta(minutes=9))

    assert told(bridge) == []


@pytest.mark.parametrize("jump_s", [HOUR_S, 7 * 24 * HOUR_S])
def test_a_worker_that_slept_or_whose_clock_was_set_calls_nothing_late_before_it_did_what_is_due(
    bridge: Bridge, sync: Sync, fake_clock: FakeClock, jump_s: float
):
    add_channel(bridge)
    watching_ = watching.Watching(bridge)
    look_for_minutes(watching_, fake_clock, 20)
    fake_clock.shift_s += jump_s
    look_for_minutes(watching_, fake_clock, 9)
    at_once = told(bridge)
    look_for_minutes(watching_, fake_clock, 2)

    assert at_once == []
    assert told(bridge) == [(LATE, "critical")]


def test_late_groups_are_told_also_where_workers_die_time_and_again(bridge: Bridge, sync: Sync, fake_clock: FakeClock):
    add_channel(bridge)
    for number in range(11):
        workers.sign_on(bridge.engine, f"w{number}", started_at=bridge.clock.now(), now=bridge.clock.now())
        look_for_minutes(watching.Watching(bridge), fake_clock, 3)
    on_time = told(bridge)
    for number in range(11, 13):
        workers.sign_on(bridge.engine, f"w{number}", started_at=bridge.clock.now(), now=bridge.clock.now())
        look_for_minutes(watching.Watching(bridge), fake_clock, 3)

    assert (on_time, told(bridge)) == ([], [(LATE, "critical")])


def test_a_worker_that_comes_after_a_week_does_first_what_is_due(bridge: Bridge, sync: Sync, fake_clock: FakeClock):
    add_channel(bridge)
    workers.sign_on(bridge.engine, "old", started_at=bridge.clock.now(), now=bridge.clock.now())
    fake_clock.shift_s += 7 * 24 * HOUR_S
    workers.sign_on(bridge.engine, "new", started_at=bridge.clock.now(), now=bridge.clock.now())

    watching_ = watching.Watching(bridge)
    look_for_minutes(watching_, fake_clock, 9)

    assert told(bridge) == []


def look_for_minutes(watching_: watching.Watching, fake_clock: FakeClock, minutes: int) -> None:
    for _ in range(minutes):
        watching_.look()
        fake_clock.shift_s += MINUTE_S


def test_a_group_whose_sync_was_paused_for_days_is_not_late_when_it_is_resumed(
    bridge: Bridge, sync: Sync, fake_clock: FakeClock
):
    add_channel(bridge)
    recurring.pause_sync(bridge, LOCAL, sync.id or 0)
    fake_clock.shift_s += 48 * HOUR_S
    look(bridge)
    resume(bridge, sync)
    look(bridge)
    at_once = told(bridge)

    fake_clock.shift_s += 34 * MINUTE_S
    look(bridge)

    assert at_once == [(PAUSED, "warning"), (PAUSED, "recovered")]
    assert told(bridge)[2:] == [(LATE, "critical")]


def test_a_sync_is_on_time_again_with_a_longer_interval(bridge: Bridge, sync: Sync, fake_clock: FakeClock):
    add_channel(bridge)
    fake_clock.shift_s += 40 * MINUTE_S
    look(bridge)
    with write_session(bridge.engine) as session:
        session.get_one(Sync, sync.id).every_minutes = 1440

    look(bridge)

    assert told(bridge) == [(LATE, "critical"), (LATE, "recovered")]


def test_a_pause_that_nobody_told_of_is_found(bridge: Bridge, sync: Sync):
    with write_session(bridge.engine) as session:
        changed = session.get_one(Sync, sync.id)
        changed.state, changed.paused_reason = SyncState.PAUSED, "As a database of an earlier version has it."
    add_channel(bridge)

    look(bridge)
    look(bridge)

    assert told(bridge) == [(PAUSED, "critical")]


def account_check(bridge: Bridge, **reported: Any) -> None:
    (connection,) = connections.list_side(bridge.engine, "mixpanel")
    check = AccountCheck(**reported)
    connections.record_account_check(bridge.engine, connection, check, scope=scope(bridge), now=bridge.clock.now())


def test_an_account_that_lost_its_role_is_told_and_that_it_has_it_again(bridge: Bridge, sync: Sync):
    add_channel(bridge)

    account_check(bridge, trouble="It is not an admin any more.", answered=True)
    account_check(bridge, trouble="It is not an admin any more.", answered=True)
    account_check(bridge, trouble=None, answered=True)

    refused = Condition.CONNECTION_REFUSED
    assert told(bridge) == [(refused, "critical"), (refused, "recovered")]


def test_an_account_that_expires_soon_is_told_two_weeks_before(bridge: Bridge, sync: Sync, fake_clock: FakeClock):
    add_channel(bridge)
    expires_at = bridge.clock.now() + account_alerts.EXPIRES_SOON + timedelta(hours=1)
    account_check(bridge, trouble=None, answered=True, expires_at=expires_at)
    look(bridge)
    early = told(bridge)

    fake_clock.shift_s += 2 * HOUR_S
    look(bridge)

    assert early == []
    assert (Condition.CONNECTION_EXPIRES, "warning") in told(bridge)
    account_check(bridge, trouble=None, answered=True, expires_at=expires_at + timedelta(days=90))
    assert (Condition.CONNECTION_EXPIRES, "recovered") in told(bridge)


def test_a_budget_that_cannot_hold_the_schedule_is_told(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    look(bridge)
    early = told(bridge)

    query_budget.keep_limit(bridge.engine, get_key(bridge), queries=3, window_s=3600)
    look(bridge)
    query_budget.keep_limit(bridge.engine, get_key(bridge), queries=60, window_s=3600)
    look(bridge)

    assert early == []
    assert told(bridge) == [(Condition.BUDGET, "warning"), (Condition.BUDGET, "recovered")]


def get_key(bridge: Bridge) -> str:
    (connection,) = connections.list_side(bridge.engine, "mixpanel")
    return project_key(connection)


def test_a_disk_that_is_low_is_told_once_and_has_room_again_only_a_little_above(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
):
    add_channel(bridge)

    for free in (11, 9, 11, 9, 13, 9):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: type("", (), {"free": free, "total": 100}))
        look(bridge)

    low = Condition.DISK
    assert told(bridge) == [(low, "critical"), (low, "recovered"), (low, "critical")]


def test_no_run_that_is_well_asks_the_database_more_than_once_about_alerts(bridge: Bridge, sync: Sync):
    asked = list[str]()
    run_id = start(bridge, sync)
    listen = bridge.engine, "before_cursor_execute", lambda *args: asked.append(args[2])
    event.listen(*listen)
    ended = RunOutcome(RunStatus.SUCCEEDED, finished_at=bridge.clock.now())
    run_records.record(bridge.engine, run_id, ended, lease_owner="one")
    event.remove(*listen)

    assert sum("alert_state" in statement for statement in asked) == 1


# --- what is kept --------------------------------------------------------------------------------------------------


def test_what_is_long_over_is_forgotten_with_its_messages(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    fail(bridge, sync, 3)
    end(bridge, sync, RunStatus.SUCCEEDED)
    fail(bridge, sync, 3)
    later = bridge.clock.now() + timedelta(days=1)

    waiting = outbox.forget_old(bridge.engine, before=later, limit=10)
    with write_session(bridge.engine) as session:
        outbox.settle_restored(session, now=bridge.clock.now())

    assert waiting == 0  # its messages are to be sent still
    assert outbox.forget_old(bridge.engine, before=later, limit=10) == 1
    assert told(bridge) == [(FAILING, "critical")]


def test_a_restored_home_tells_nothing_again_and_nothing_as_over(bridge: Bridge, sync: Sync):
    add_channel(bridge)
    fail(bridge, sync, 3)
    with write_session(bridge.engine) as session:
        outbox.settle_restored(session, now=bridge.clock.now())

    fail(bridge, sync, 3)
    end(bridge, sync, RunStatus.SUCCEEDED)

    assert [message.status for message in list_messages(bridge)] == ["dropped"]
    fail(bridge, sync, 3)
    assert told(bridge)[1:] == [(FAILING, "critical")]
