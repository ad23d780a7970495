"""Alerts through a real worker: one message for a sync that fails twelve times, and one when it recovers."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.syncs import recurring, runs
from data import alert_states
from data.alert_states import Finding
from data.models import Run, RunFilter, RunStatus
from data.outbox_models import Condition, MessageStatus
from tests.stage.alerts import add_channel, list_messages, statuses
from tests.stage.home import Home
from tests.stage.sandbox import POWER, Sandbox, wait_until
from tests.stage.seeds import LONG
from tests.stage.webhooks import Webhook, webhook

INSIDE = {"COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS": "1", "COHORT_BRIDGE_DASHBOARD_URL": "https://bridge.example.com"}


@pytest.fixture
def hook() -> Generator[Webhook]:
    with webhook() as there:
        yield there


def list_ended(bridge: Bridge) -> list[Run]:
    ended = (RunStatus.FAILED, RunStatus.SUCCEEDED, RunStatus.HELD, RunStatus.CANCELLED)
    return runs.list_runs(bridge, LOCAL, RunFilter(statuses=ended), limit=50)


def run_and_wait(bridge: Bridge, sync_id: int) -> None:
    """Have the worker do one more run."""
    before = len(list_ended(bridge))
    recurring.run_now(bridge, LOCAL, sync_id)
    wait_until(lambda: len(list_ended(bridge)) > before)


@LONG
def test_a_sync_that_fails_twelve_times_is_told_once_and_once_when_it_recovers(
    sandbox: Sandbox, home: Home, hook: Webhook
):
    sandbox.fault("server_error", target="apptimize")
    with home.bridge() as bridge:
        add_channel(bridge, hook.url, warnings=False)
        sync_id = recurring.add_sync(bridge, LOCAL, POWER).id or 0
        worker = home.begin("worker", env=INSIDE)
        try:
            wait_until(lambda: list_ended(bridge))
            while len(list_ended(bridge)) < 12:
                run_and_wait(bridge, sync_id)
            hook.wait()
            failing = [posted.json for posted in hook.posted]
            sandbox.clear_faults()
            run_and_wait(bridge, sync_id)
            hook.wait()
            run_and_wait(bridge, sync_id)
            wait_until(lambda: statuses(bridge) == [MessageStatus.SENT] * 2)
        finally:
            worker.terminate()
            done = home.finish(worker)

        assert [run.status for run in list_ended(bridge)] == ["succeeded"] * 2 + ["failed"] * 12
        third = list_ended(bridge)[-3]
        assert [(each["event"], each["severity"], each["title"]) for each in failing] == [
            ("sync_failing", "critical", "Failing: Power users")
        ]
        assert failing[0]["lines"][0].startswith("3 runs in a row failed for the group Power users at default.")
        assert failing[0]["lines"][1:] == [third.error_message, third.error_advice]
        assert failing[0]["link"] == f"https://bridge.example.com/history?run={third.id}"
        assert [posted.json["severity"] for posted in hook.posted] == ["critical", "recovered"]
        assert hook.posted[1].json["lines"][0].startswith("A run has succeeded: the group Power users at default")
        assert "s3cret-path" not in done.out + done.err
        assert_no_ids(sandbox, bridge)


def assert_no_ids(sandbox: Sandbox, bridge: Bridge) -> None:
    kept = "".join(str(message.facts) + str(message.why) for message in list_messages(bridge))
    members = sandbox.answer(POWER).group
    assert members
    assert not [one for pair in members.items() for one in pair if len(one) > 5 and one in kept]


@LONG
def test_a_worker_that_does_what_is_due_once_also_sends_what_waits(sandbox: Sandbox, home: Home, hook: Webhook):
    sandbox.fault("unauthorized", target="apptimize")
    with home.bridge() as bridge:
        add_channel(bridge, hook.url, warnings=False)
        recurring.add_sync(bridge, LOCAL, POWER)

        home.run("worker", "--once", env=INSIDE | {"COHORT_BRIDGE_PING_URL": f"{hook.url}/ping"})

    assert [posted.json["title"] for posted in hook.posted] == ["Paused: Power users"]
    assert hook.asked == ["/alerts/s3cret-path/ping"]


def test_a_worker_whose_message_hangs_ends_within_seconds_and_the_message_is_undecided(
    sandbox: Sandbox, home: Home, hook: Webhook
):
    hook.status = None
    with home.bridge() as bridge:
        add_channel(bridge, hook.url)
        low = Finding(Condition.DISK, "critical", {"free_bytes": 1, "total_bytes": 100})
        alert_states.settle_found(bridge.engine, {"stage": low}, now=bridge.clock.now())
        worker = home.begin("worker", env=INSIDE)
        hook.wait()

        worker.terminate()
        home.finish(worker, within_s=10)

        assert statuses(bridge) == [MessageStatus.UNDECIDED]
    assert len(hook.posted) == 1
