"""Machines whose clocks are off do what all others do: times come from the database's clock, which tests move here."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlmodel import col, select, update

from core.access import people
from core.access.roles import LOCAL
from core.api.metrics import CurrentState
from core.api.readiness import Readiness, look
from core.bridge import Bridge, open_bridge
from core.connections.query_budget import budget_for
from core.errors import NoQuerySlot
from core.reports import overview
from core.reports.clocks import list_clocks_off
from core.syncs import queueing
from core.worker import retention, service
from data.database_clock import DatabaseClock
from data.engine import read_session, write_session
from data.models import AuditEntry, Connection, Group, Run, RunStatus, Sync, SyncKind
from tests.stage.clock import FakeClock

# A name of ours that stands before the server's own.
_MOVABLE = (
    "CREATE SCHEMA moved",
    "CREATE TABLE moved.by (seconds float)",
    "INSERT INTO moved.by VALUES (0)",
    "CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
    "'SELECT pg_catalog.clock_timestamp() + seconds * interval ''1 second'' FROM moved.by'",
)
PROJECT = "mixpanel.com/1"


@dataclass
class Hosts:
    """Two machines at one database: one whose clock is right, and one whose clock is off."""

    right: Bridge
    off: Bridge
    clocks: tuple[FakeClock, FakeClock]

    def __iter__(self) -> Generator[Bridge]:
        yield from (self.right, self.off)

    def pass_s(self, seconds: float) -> None:
        """Let time pass everywhere."""
        for clock in self.clocks:
            clock.shift_s += seconds
        with write_session(self.right.engine) as session:
            session.connection().execute(text("UPDATE moved.by SET seconds = seconds + :s"), {"s": seconds})
        for bridge in self:
            with read_session(bridge.engine) as session:
                session.connection().execute(text("SELECT 1"))


@pytest.fixture
def hosts(bridge: Bridge) -> Generator[Hosts]:
    with write_session(bridge.engine) as session:
        for statement in _MOVABLE:
            session.connection().execute(text(statement))
        name = bridge.engine.url.database
        session.connection().execute(text(f"ALTER DATABASE {name} SET search_path = moved, pg_catalog, public"))
    bridge.engine.dispose()
    clocks = FakeClock(), FakeClock()
    right, off = (open_bridge(bridge.settings, clock=clock.of_host) for clock in clocks)
    yield Hosts(right, off, clocks)
    right.engine.dispose()
    off.engine.dispose()


@pytest.fixture
def sync(hosts: Hosts) -> Sync:
    """A sync of 15 minutes that is due now."""
    now = hosts.right.clock.now()
    with write_session(hosts.right.engine) as session:
        mixpanel = Connection(side="mixpanel", kind="mixpanel", name="default", project_id=1, created_at=now)
        receiver = Connection(side="apptimize", kind="endpoint", name="default", created_at=now)
        session.add_all([mixpanel, receiver])
        session.flush()
        group = Group(destination_id=receiver.id, project_id=1, cohort_id=7, name="g", cohort_name="g", created_at=now)
        session.add(group)
        session.flush()
        sync = Sync(
            created_at=now, kind=SyncKind.RECURRING, mixpanel_id=mixpanel.id, group_id=group.id, project_id=1,
            cohort_id=7, every_minutes=15, next_run_at=now,
        )  # fmt: skip
        session.add(sync)
    return sync


def end_runs(bridge: Bridge) -> None:
    with write_session(bridge.engine) as session:
        session.exec(update(Run).values(status=RunStatus.SUCCEEDED, finished_at=bridge.clock.now()))


@pytest.mark.parametrize("ahead_s", [900, -900])
def test_a_host_that_is_off_by_15_minutes_queues_what_is_due_and_no_more(hosts: Hosts, sync: Sync, ahead_s: int):
    hosts.clocks[1].shift_s += ahead_s
    queued = 0
    for _ in range(60):
        for bridge in hosts:
            queued += queueing.queue_due(bridge.engine, now=bridge.clock.now())
            end_runs(bridge)
        hosts.pass_s(60)

    assert queued in (4, 5)  # the first is due at once, and the others at a second of their own in each slot


@pytest.mark.parametrize("ahead_s", [600, -600])
def test_a_host_that_is_off_by_10_minutes_spends_no_query_that_is_not_there(hosts: Hosts, ahead_s: int):
    hosts.clocks[1].shift_s += ahead_s
    spent = list[float]()
    for minute in range(0, 64, 4):
        for bridge in hosts:
            for _ in range(5):
                try:
                    budget_for(bridge, PROJECT).spend()
                    spent.append(minute)
                except NoQuerySlot:
                    break
        hosts.pass_s(240)

    assert len([minute for minute in spent if minute < 60]) == 60
    assert len([minute for minute in spent if minute >= 60]) == 10


def test_what_is_kept_and_which_day_it_is_are_not_for_a_host_to_say(hosts: Hosts, sync: Sync):
    now = hosts.right.clock.now()
    with write_session(hosts.right.engine) as session:
        session.add(
            Run(
                sync_id=sync.id,
                group_id=sync.group_id,
                cohort_id=7,
                cohort_name="g",
                group_name="g",
                destination="default",
                trigger="manual",
                actor="a",
                queued_at=now,
                started_at=now,
                finished_at=now,
                status=RunStatus.SUCCEEDED,
                members=5,
            )  # fmt: skip
        )
    hosts.clocks[1].shift_s += timedelta(days=200).total_seconds()

    assert retention.forget_old_runs(hosts.off) == 0
    assert overview.trends(hosts.off, LOCAL) == overview.trends(hosts.right, LOCAL) == {sync.group_id: [5]}


def test_lines_of_the_audit_log_follow_each_other_whoever_writes_them(hosts: Hosts):
    hosts.clocks[1].shift_s += 900
    for number in range(4):
        for side, bridge in enumerate(hosts):
            people.add_person(bridge, LOCAL, f"p{number}-{side}@example.com")

    with read_session(hosts.right.engine) as session:
        times = list(session.exec(select(AuditEntry.at).order_by(col(AuditEntry.number))).all())
    assert len(times) == 8
    assert times == sorted(times)
    assert times[-1] - times[0] < timedelta(minutes=10)


def test_overview_readiness_and_numbers_tell_of_a_clock_that_is_off(hosts: Hosts):
    service.Worker(hosts.right).sign_on()
    assert look(hosts.right) == Readiness([])
    hosts.clocks[1].shift_s += 900

    assert list_clocks_off(hosts.right, LOCAL) == []
    told = list_clocks_off(hosts.off, LOCAL)
    assert ["15 minutes ahead of the database server's" in clock.message for clock in told] == [True]
    readiness = look(hosts.off)
    assert not readiness.troubles
    assert "network (NTP)" in readiness.warnings[0]
    values = {family.name: family.samples[0].value for family in CurrentState(hosts.off).collect() if family.samples}
    assert 890 < values["cohort_bridge_clock_ahead_seconds"] < 960


def test_every_host_tells_of_a_worker_whose_clock_is_off(hosts: Hosts, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("core.leases.lease.socket.gethostname", lambda: "other-machine")
    worker = service.Worker(hosts.off)
    monkeypatch.undo()
    hosts.clocks[1].shift_s -= 3600
    worker.sign_on()

    assert [clock.message for clock in list_clocks_off(hosts.right, LOCAL)] == [
        "The clock of other-machine is 60 minutes behind the database server's."
    ]


def test_between_two_looks_the_time_that_passed_here_is_added(hosts: Hosts):
    passed = 0.0
    clock = DatabaseClock(lambda: passed)
    with hosts.right.engine.connect() as connection:
        clock.look(connection.connection.driver_connection)
    before = clock.now()
    passed += 7200  # a machine that slept has counted it

    assert clock.now() - before == timedelta(hours=2)
    assert abs(before - datetime.fromtimestamp(time.time(), UTC)) < timedelta(seconds=30)


def test_a_look_during_which_the_process_was_frozen_is_taken_again(hosts: Hosts):
    steady_s = iter([0.0, 600.0, 600.0, 600.01, 600.01])
    clock = DatabaseClock(lambda: next(steady_s))

    with hosts.right.engine.connect() as connection:
        clock.look(connection.connection.driver_connection)

    assert abs(clock.now() - datetime.fromtimestamp(time.time(), UTC)) < timedelta(seconds=30)


def test_of_a_server_that_always_answers_late_the_quickest_answer_counts(hosts: Hosts):
    steady_s = iter([0.0, 60.0, 60.0, 64.0, 64.0, 164.0, 164.0])
    clock = DatabaseClock(lambda: next(steady_s))

    with hosts.right.engine.connect() as connection:
        clock.look(connection.connection.driver_connection)

    # It was read between 60 and 64.
    assert abs(clock.now() - datetime.fromtimestamp(time.time(), UTC) - timedelta(seconds=102)) < timedelta(seconds=30)
