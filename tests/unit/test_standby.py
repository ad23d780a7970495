"""A worker that is gone: the process of the dashboard tells of it, and sends what waits, until one is back."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from core.access.roles import LOCAL
from core.alerts import standby
from core.alerts.standby import Standby
from core.bridge import Bridge, open_bridge
from core.leases import workers as worker_rows
from core.settings import Settings
from data import alert_states, workers
from data.alert_states import Finding
from data.engine import write_session
from data.models import Group, Run, Sync, SyncKind
from data.outbox_models import Condition
from tests.stage.alerts import add_channel, list_open, told
from tests.stage.clock import FakeClock
from tests.stage.webhooks import Webhook

GONE = Condition.WORKER_GONE


@pytest.fixture
def inside(group_with_runs: list[Run], bridge: Bridge, fake_clock: FakeClock) -> Generator[Bridge]:
    """A home with a recurring sync that is due in an hour and nothing queued; addresses of this machine are allowed."""
    fake_clock.start_s = 1_790_000_000.0
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        group = session.get_one(Group, group_with_runs[0].group_id)
        for run in group_with_runs:
            session.delete(session.get_one(Run, run.id))
        session.add(
            Sync(
                kind=SyncKind.RECURRING, mixpanel_id=1, group_id=group.id or 0, project_id=1, cohort_id=7,
                every_minutes=1440, created_at=now, next_run_at=now + timedelta(hours=1),
            )
        )  # fmt: skip
    settings = Settings(home=bridge.settings.home, allow_private_hosts=True, _env_file=None)  # type: ignore[call-arg]
    opened = open_bridge(settings, clock=fake_clock.clock)
    yield opened
    opened.engine.dispose()


def be_there(bridge: Bridge) -> None:
    workers.sign_on(bridge.engine, "worker", started_at=bridge.clock.now(), now=bridge.clock.now())


def pass_minutes(standing: Standby, fake_clock: FakeClock, minutes: int) -> None:
    """Let time pass, with two looks a minute."""
    for _ in range(2 * minutes):
        fake_clock.shift_s += 30
        fake_clock.ahead_s += 30
        asyncio.run(standing.look())


def test_a_worker_that_is_gone_for_minutes_is_told_once_and_once_that_one_is_back(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    standing = Standby(inside)
    be_there(inside)
    pass_minutes(standing, fake_clock, 5)
    early = told(inside)
    pass_minutes(standing, fake_clock, 20)
    sent = [posted.json["title"] for posted in hook.posted]
    be_there(inside)
    pass_minutes(standing, fake_clock, 1)

    assert early == []
    assert sent == ["Not running: the worker of Cohort Bridge"]
    assert told(inside) == [(GONE, "critical"), (GONE, "recovered")]
    assert len(hook.posted) == 1  # the worker that is back sends what is over


def test_a_worker_that_left_in_order_and_does_not_come_back_is_told_of_as_well(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    standing = Standby(inside)
    be_there(inside)
    pass_minutes(standing, fake_clock, 1)
    workers.sign_off(inside.engine, "worker")

    pass_minutes(standing, fake_clock, 6)

    assert told(inside) == [(GONE, "critical")]


@pytest.mark.parametrize("set_s", [-3600, 3600])
def test_a_worker_that_ends_when_the_clock_is_set_is_missed_as_soon_and_one_that_works_is_not(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock, set_s: int
):
    add_channel(inside, hook.url)
    standing = Standby(inside)
    be_there(inside)
    pass_minutes(standing, fake_clock, 1)
    fake_clock.shift_s += set_s
    for _ in range(10):
        be_there(inside)
        pass_minutes(standing, fake_clock, 1)
    early = told(inside)
    fake_clock.shift_s -= set_s
    is_up = worker_rows.worker_is_up(inside, LOCAL)

    pass_minutes(standing, fake_clock, 6)

    assert early == []
    assert not is_up
    assert told(inside) == [(GONE, "critical")]


def test_a_worker_that_comes_late_ends_what_was_told_and_is_missed_again_the_next_time(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    standing = Standby(inside)
    fake_clock.shift_s += 3 * 3600
    pass_minutes(standing, fake_clock, 6)

    come_once(inside, fake_clock)
    pass_minutes(standing, fake_clock, 10)
    after_one = told(inside)
    fake_clock.shift_s += 30 * 3600
    pass_minutes(standing, fake_clock, 6)

    assert after_one == [(GONE, "critical"), (GONE, "recovered")]
    assert told(inside) == [*after_one, (GONE, "critical")]


def come_once(bridge: Bridge, fake_clock: FakeClock) -> None:
    """Come as `worker --once` does, which leaves nothing due for a day."""
    workers.note_visit(bridge.engine, now=bridge.clock.now())
    with write_session(bridge.engine) as session:
        for sync in session.exec(select(Sync).where(Sync.kind == SyncKind.RECURRING)).all():
            sync.next_run_at = bridge.clock.now() + timedelta(days=1)
            session.add(sync)


def test_where_a_worker_only_comes_now_and_then_nobody_misses_it_before_an_hour(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    standing = Standby(inside)

    pass_minutes(standing, fake_clock, 30)
    fake_clock.shift_s += 80 * 60
    pass_minutes(standing, fake_clock, 5)
    early = told(inside)
    pass_minutes(standing, fake_clock, 10)

    assert early == []
    assert told(inside) == [(GONE, "critical")]


def test_what_waits_is_sent_while_no_worker_is_there_and_nothing_is_missed_without_work(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    with write_session(inside.engine) as session:
        for sync in session.exec(select(Sync).where(Sync.kind == SyncKind.RECURRING)).all():
            session.get_one(Sync, sync.id).next_run_at = None
            session.get_one(Sync, sync.id).state = "paused"
    low = Finding(Condition.DISK, "critical", {"free_bytes": 1, "total_bytes": 100})
    alert_states.settle_found(inside.engine, {"disk": low}, now=inside.clock.now())
    standing = Standby(inside)

    pass_minutes(standing, fake_clock, 6)

    assert [posted.json["event"] for posted in hook.posted] == [Condition.DISK]
    assert [alert.condition for alert in list_open(inside)] == [Condition.DISK]
    assert not worker_rows.worker_is_up(inside, LOCAL)


@pytest.mark.sqlite_file
def test_a_home_that_is_not_there_yet_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(standby, "_LOOK_EVERY_S", 0.01)
    settings = Settings(home=tmp_path / "none", _env_file=None)  # type: ignore[call-arg]

    async def look_for_a_while() -> None:
        task = asyncio.create_task(standby.serve(settings))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(look_for_a_while())

    assert not settings.home.exists()
