"""Alerts whose sender is killed around the sending: each is sent once or shown as undecided, never twice."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from core.access.roles import LOCAL
from core.alerts import listing
from core.bridge import Bridge
from data import alert_states
from data.alert_states import Finding
from data.outbox_models import Condition
from tests.faults import process
from tests.faults.conftest import Tally
from tests.faults.process import Kill
from tests.stage.alerts import add_channel, list_messages, statuses
from tests.stage.home import Home
from tests.stage.sandbox import wait_until
from tests.stage.seeds import LONG, SEEDS
from tests.stage.webhooks import Webhook, webhook

INSIDE = {"COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS": "1"}
# Where a kill comes, and what is known of the message then.
POINTS = {
    Kill("mark_alert", "before"): "sent",
    Kill("mark_alert", "after"): "sent",  # marked in a transaction that was not committed
    Kill("send_alert", "before"): "undecided",
    Kill("send_alert", "after"): "undecided",
    Kill("record_alert", "before"): "undecided",
    Kill("record_alert", "after"): "sent",
}


@pytest.fixture
def hook() -> Generator[Webhook]:
    with webhook() as there:
        yield there


def tell(bridge: Bridge, number: int) -> None:
    """Write a message about something that no worker looks at."""
    finding = Finding(Condition.DISK, "critical", {"free_bytes": 1, "total_bytes": 100})
    alert_states.settle_found(bridge.engine, {f"stage {number}": finding}, now=bridge.clock.now())


def count_arrived(hook: Webhook) -> dict[str, int]:
    ids = [posted.json["id"] for posted in hook.posted]
    return {each: ids.count(each) for each in ids}


@LONG
@pytest.mark.parametrize("kill", POINTS, ids=str)
def test_a_message_is_sent_once_or_shown_as_undecided_wherever_its_sender_is_killed(
    home: Home, bridge: Bridge, hook: Webhook, kill: Kill, ran: Tally
):
    add_channel(bridge, hook.url)
    tell(bridge, 1)

    killed = process.run(home, "worker", "--once", kill=kill, env=INSIDE)
    assert process.run(home, "worker", "--once", env=INSIDE) == 0
    tell(bridge, 2)
    assert process.run(home, "worker", "--once", env=INSIDE) == 0

    assert killed == -9
    assert statuses(bridge) == [POINTS[kill], "sent"]
    first = list_messages(bridge)[0]
    arrived = count_arrived(hook)
    assert max(arrived.values()) == 1
    assert arrived.get(first.key, 0) == (0 if (kill.step, kill.when) == ("send_alert", "before") else 1)
    lost = [message.id for message in listing.list_lost_messages(bridge, LOCAL)]
    assert lost == ([first.id] if POINTS[kill] == "undecided" else [])
    ran("senders of alerts that were killed")


@LONG
def test_workers_that_are_killed_time_and_again_send_no_message_twice(
    home: Home, bridge: Bridge, hook: Webhook, ran: Tally
):
    add_channel(bridge, hook.url)
    kills = [*POINTS] * SEEDS
    steady = process.start(home, "worker", env=INSIDE)
    try:
        for number, kill in enumerate(kills):
            other = process.start(home, "worker", kill=kill, env=INSIDE)
            for part in range(3):
                tell(bridge, 10 * number + part)
            wait_until(lambda: not {"waiting", "sending"} & set(statuses(bridge)), within_s=30)
            other.kill()
            other.join()
        wait_until(lambda: not {"waiting", "sending"} & set(statuses(bridge)), within_s=60)
    finally:
        process.stop(steady)

    arrived = count_arrived(hook)
    assert max(arrived.values()) == 1
    for message in list_messages(bridge):
        assert message.status in ("sent", "undecided")
        assert message.status == "undecided" or arrived[message.key] == 1
    ran("messages of alerts", len(list_messages(bridge)))
