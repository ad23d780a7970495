"""Sending the outbox: marked first, in order, tried again where it did not arrive, and never sent twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import insert

from core.alerts.ping import DeadMansPing
from core.alerts.sending import AlertSender, watch_senders
from core.bridge import Bridge, open_bridge
from core.settings import Settings
from data import alert_channels, alert_states, leases, outbox
from data.alert_states import Finding
from data.engine import write_session
from data.models import Lease, LeaseKind
from data.outbox import Outcome
from data.outbox_models import AlertMessage, AlertState, Condition, MessageStatus
from tests.stage.alerts import add_channel, list_messages, statuses
from tests.stage.clock import FakeClock
from tests.stage.webhooks import Webhook, webhook

LOW = Finding(Condition.DISK, "critical", {"free_bytes": 1, "total_bytes": 100})
GONE = Finding(Condition.WORKER_GONE, "critical", {"minutes": 5})


@pytest.fixture
def inside(bridge: Bridge, fake_clock: FakeClock) -> Generator[Bridge]:
    """The same home, where addresses of this machine are allowed; its clock stands still."""
    fake_clock.start_s = 1_790_000_000.0
    settings = Settings(home=bridge.settings.home, allow_private_hosts=True, _env_file=None)  # type: ignore[call-arg]
    opened = open_bridge(settings, clock=fake_clock.clock)
    yield opened
    opened.engine.dispose()


def tell(bridge: Bridge, finding: Finding | None, subject: str = "disk") -> None:
    alert_states.settle_found(bridge.engine, {subject: finding}, now=bridge.clock.now())


def send(bridge: Bridge, owner: str = "one") -> int:
    """Send what is due as a worker does; returns how many tries that were."""
    return asyncio.run(AlertSender(bridge, owner).send_all())


def events(hook: Webhook) -> list[tuple[str, str]]:
    return [(posted.json["event"], posted.json["severity"]) for posted in hook.posted]


def test_what_began_and_what_is_over_arrive_once_each_in_order(inside: Bridge, hook: Webhook):
    channel_id = add_channel(inside, hook.url)
    tell(inside, LOW)
    tell(inside, None)

    send(inside)
    send(inside)

    assert events(hook) == [(Condition.DISK, "critical"), (Condition.DISK, "recovered")]
    assert statuses(inside) == ["sent", "sent"]
    channel = alert_channels.get(inside.engine, channel_id)
    assert channel
    assert (channel.checked_at, channel.trouble) == (inside.clock.now(), None)
    assert leases.list_held(inside.engine, LeaseKind.ALERT) == []


def test_what_did_not_arrive_is_tried_again_later_and_what_is_over_waits_for_it(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    tell(inside, LOW)
    hook.status = 503
    send(inside)
    tell(inside, None)
    send(inside)
    waiting = statuses(inside)

    hook.status = 200
    fake_clock.shift_s += 31
    send(inside)

    assert waiting == ["waiting", "waiting"]
    assert statuses(inside) == ["sent", "sent"]
    assert [posted.json["severity"] for posted in hook.posted] == ["critical", "critical", "recovered"]
    assert len({posted.json["id"] for posted in hook.posted}) == 2  # the same message has the same id


def test_a_receiver_that_says_when_to_come_back_is_left_alone_until_then(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    tell(inside, LOW)
    hook.status, hook.answer_headers = 429, {"Retry-After": "600"}
    send(inside)

    hook.status = 200
    fake_clock.shift_s += 590
    early = send(inside)
    fake_clock.shift_s += 11

    assert (early, send(inside)) == (0, 1)


@pytest.mark.parametrize("back_s", [3600, 2 * 3600, 26 * 3600])
def test_a_clock_that_is_set_back_keeps_no_message_waiting_and_sends_none_twice(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock, back_s: int
):
    add_channel(inside, hook.url)
    hook.status = 503
    tell(inside, GONE, "worker")
    send(inside)
    hook.status = 200
    tell(inside, LOW)
    fake_clock.shift_s -= back_s

    send(inside)
    at_once = events(hook)[1:]
    fake_clock.shift_s += 3700
    send(inside)
    fake_clock.shift_s += back_s
    send(inside)

    assert at_once[-1] == (Condition.DISK, "critical")
    assert sorted(events(hook)[1:]) == [(Condition.DISK, "critical"), (Condition.WORKER_GONE, "critical")]


def test_a_message_is_given_up_after_a_day_with_what_ends_it_and_says_why(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    tell(inside, LOW)
    hook.status = 500
    for _ in range(60):
        send(inside)
        fake_clock.shift_s += 1800
    tell(inside, None)
    hook.status = 200
    send(inside)

    assert statuses(inside) == ["given_up", "given_up"]
    first, second = list_messages(inside)
    assert 20 < first.tries < 60
    assert first.why == "It could not be sent within 24 hours. The webhook answered with an error of its own (500)."
    assert second.why == "What it says is over could not be told either."


def test_what_is_refused_is_given_up_at_once(inside: Bridge, hook: Webhook):
    add_channel(inside, hook.url)
    tell(inside, LOW)
    hook.status = 404
    send(inside)

    (message,) = list_messages(inside)
    assert (message.status, message.tries) == (MessageStatus.GIVEN_UP, 1)
    assert outbox.list_lost(inside.engine)[0].message.id == message.id
    outbox.mark_seen(inside.engine, [message.id or 0], by="local")
    assert outbox.list_lost(inside.engine) == []


def test_what_is_sent_and_not_answered_is_undecided_and_not_sent_again(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("core.alerts.sending._WITHIN_S", 0.3)
    add_channel(inside, hook.url)
    tell(inside, LOW)
    hook.status = None
    send(inside)
    fake_clock.shift_s += 3600
    hook.status = 200
    tell(inside, None)
    send(inside)

    # What is over may be told: the other end may know of what began.
    assert statuses(inside) == ["undecided", "sent"]
    assert [posted.json["severity"] for posted in hook.posted] == ["critical", "recovered"]
    assert "is not known" in (list_messages(inside)[0].why or "")


def test_what_a_gateway_passed_on_and_heard_nothing_of_is_not_sent_again(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    tell(inside, LOW)
    hook.status = 504
    send(inside)
    hook.status = 200
    fake_clock.shift_s += 3600
    send(inside)

    assert (len(hook.posted), statuses(inside)) == (1, ["undecided"])


def test_what_waits_for_a_channel_that_is_gone_is_dropped_with_the_reason(inside: Bridge, hook: Webhook):
    removed, off = add_channel(inside, hook.url), add_channel(inside, f"{hook.url}/2")
    tell(inside, LOW)
    alert_channels.remove(inside.engine, removed)
    alert_channels.edit(inside.engine, off, {"enabled": False}, seal_again=inside.vault.seal_again)

    send(inside)
    tell(inside, None)

    assert statuses(inside) == ["dropped", "dropped"]
    assert [message.why for message in list_messages(inside)] == [
        "The channel was removed before it was sent.",
        "The channel was switched off before it was sent.",
    ]
    assert hook.posted == []


def test_a_channel_that_hangs_keeps_no_other_waiting(inside: Bridge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("core.alerts.sending._GRACE_S", 0.1)
    with webhook() as hanging, webhook() as hook:
        hanging.status = None
        add_channel(inside, hanging.url)
        add_channel(inside, hook.url)
        tell(inside, LOW)

        async def send_for_a_while() -> None:
            sender = AlertSender(inside, "one")
            assert await sender.start_due() == 2
            await asyncio.to_thread(hanging.wait)
            await asyncio.to_thread(hook.wait)
            tell(inside, GONE, "worker")
            while len(hook.posted) < 2:
                await sender.start_due()
                await asyncio.sleep(0.02)
            await sender.stop()

        asyncio.run(send_for_a_while())

        assert len(hanging.posted) == 1
    # Stopped while it was on its way, its fate is not known; what waits behind it about another thing waits.
    assert sorted(statuses(inside)) == ["sent", "sent", "undecided", "waiting"]


def test_where_all_is_sent_to_its_end_a_slow_channel_keeps_no_other_waiting(inside: Bridge):
    with webhook() as hanging, webhook() as hook:
        hanging.status = None
        add_channel(inside, hanging.url)
        add_channel(inside, hook.url)
        for number in range(3):
            tell(inside, LOW, f"disk {number}")

        async def send_for_a_while() -> None:
            sender = AlertSender(inside, "one")
            task = asyncio.create_task(sender.send_all())
            for _ in range(3):
                await asyncio.to_thread(hook.wait)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for each in sender._tasks.values():
                each.cancel()
            await sender.stop()

        asyncio.run(send_for_a_while())

        assert (len(hook.posted), len(hanging.posted)) == (3, 1)


def test_what_is_sent_next_is_found_at_once_among_very_many_that_wait(inside: Bridge):
    channels, now = [add_channel(inside, f"https://{name}/") for name in "abc"], inside.clock.now()
    with write_session(inside.engine) as session:
        state = AlertState(subject="disk", condition=Condition.DISK, severity="critical", opened_at=now, changed_at=now)
        session.add(state)
        session.flush()
        values = {"key": "k", "state_id": state.id, "event": "disk_low", "severity": "critical", "facts": {}}
        values |= {"written_at": now, "next_try_at": now, "status": "waiting", "tries": 0}
        rows = [values | {"channel_id": channels[at % 3], "subject": f"disk {at}"} for at in range(9000)]
        session.execute(insert(AlertMessage), rows)

    begun = time.process_time()
    rounds = [outbox.mark_next(inside.engine, lease_owner="one", now=now) for _ in range(2)]
    taken_s = time.process_time() - begun

    assert [[marked.message.id for marked in each] for each in rounds] == [[1, 2, 3], [4, 5, 6]]
    assert outbox.mark_next(inside.engine, lease_owner="one", now=now, busy=channels) == []
    assert taken_s < 1.0  # it grew with the square: 3 s each


def test_two_senders_send_each_message_once(inside: Bridge, hook: Webhook):
    for number in range(4):
        add_channel(inside, f"{hook.url}/{number}")
    tell(inside, LOW)
    tell(inside, GONE, "worker")
    begin = threading.Barrier(2)

    def work(owner: str) -> int:
        begin.wait()
        return send(inside, owner)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(work, ["one", "two"]))

    assert sum(done) == len(hook.posted) == 8
    assert len({posted.json["id"] for posted in hook.posted}) == 8
    assert statuses(inside) == ["sent"] * 8


def test_two_who_find_the_same_at_once_tell_it_once(inside: Bridge):
    add_channel(inside)
    begin = threading.Barrier(4)

    def look(_: int) -> None:
        begin.wait()
        tell(inside, LOW)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look, range(4)))

    assert len(list_messages(inside)) == 1


def mark(bridge: Bridge, owner: str) -> int:
    (marked,) = outbox.mark_next(bridge.engine, lease_owner=owner, now=bridge.clock.now())
    return marked.message.id or 0


def test_a_message_whose_sender_died_is_undecided_and_is_decided_by_a_sender_that_only_slept(
    inside: Bridge, hook: Webhook, fake_clock: FakeClock
):
    add_channel(inside, hook.url)
    tell(inside, LOW)
    number = mark(inside, "sleeper")
    as_of_another_machine(inside)
    watch = watch_senders(inside)
    watch.look()
    fake_clock.ahead_s += 46

    assert (watch.look(), statuses(inside), send(inside)) == (1, ["undecided"], 0)

    record(inside, number, owner="another")
    not_theirs = statuses(inside)
    record(inside, number, owner="sleeper")

    assert (not_theirs, statuses(inside)) == (["undecided"], ["sent"])


def record(bridge: Bridge, number: int, *, owner: str) -> None:
    outbox.record(bridge.engine, number, Outcome(MessageStatus.SENT), lease_owner=owner, now=bridge.clock.now())


def as_of_another_machine(bridge: Bridge) -> None:
    with write_session(bridge.engine) as session:
        for lease in leases.list_held(bridge.engine, LeaseKind.ALERT):
            session.get_one(Lease, (lease.kind, lease.key)).machine = "another"


def test_a_sender_that_is_stopped_before_it_sent_leaves_the_message_to_the_next(
    inside: Bridge, hook: Webhook, monkeypatch: pytest.MonkeyPatch
):
    add_channel(inside, hook.url)
    tell(inside, LOW)
    marking, go_on = threading.Event(), threading.Event()
    real = outbox.mark_next

    def slowly(*args: Any, **kwargs: Any) -> Any:
        marked = real(*args, **kwargs)
        marking.set()
        go_on.wait(10)
        return marked

    async def stop_half_way() -> None:
        monkeypatch.setattr(outbox, "mark_next", slowly)
        task = asyncio.create_task(AlertSender(inside, "one").serve())
        await asyncio.to_thread(marking.wait)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(task, return_exceptions=True)
        monkeypatch.setattr(outbox, "mark_next", real)

    asyncio.run(stop_half_way())

    assert statuses(inside) == ["waiting"]
    assert (send(inside), len(hook.posted)) == (1, 1)


def test_a_key_that_is_lost_keeps_messages_waiting_and_sends_none(inside: Bridge, hook: Webhook):
    channel_id = add_channel(inside, hook.url)
    with write_session(inside.engine) as session:
        from data.alert_models import AlertChannel

        session.get_one(AlertChannel, channel_id).address = "sealed with another key"
    tell(inside, LOW)

    send(inside)

    (message,) = list_messages(inside)
    assert message.status == MessageStatus.WAITING
    assert "secret key" in (message.why or "")


# --- the ping ------------------------------------------------------------------------------------------------------


def ping(bridge: Bridge, *, ticks: int = 1) -> None:
    async def tick() -> None:
        pinger = DeadMansPing(bridge)
        for _ in range(ticks):
            pinger.note_tick()
            await pinger.wait()

    asyncio.run(tick())


def test_the_ping_is_asked_once_a_minute_and_its_address_is_in_no_log(
    bridge: Bridge, hook: Webhook, caplog: pytest.LogCaptureFixture
):
    settings = {"home": bridge.settings.home, "ping_url": hook.url, "_env_file": None}
    allowed = open_bridge(Settings(allow_private_hosts=True, **settings))
    refused = open_bridge(Settings(**settings | {"ping_url": hook.url.replace("http:", "https:")}))
    try:
        ping(allowed, ticks=3)
        ping(refused, ticks=3)
    finally:
        allowed.engine.dispose()
        refused.engine.dispose()

    assert hook.asked == ["/alerts/s3cret-path"]
    assert caplog.text.count("ping not accepted") == 1
    assert "leads to a private address" in caplog.text
    assert "s3cret-path" not in caplog.text


def test_a_failed_ping_is_logged_once_for_each_change(
    inside: Bridge, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, fake_clock: FakeClock
):
    caplog.set_level("INFO")
    with webhook() as gone:
        url = gone.url
    settings = Settings(home=inside.settings.home, allow_private_hosts=True, ping_url=url, _env_file=None)  # type: ignore[call-arg]
    opened = open_bridge(settings, clock=fake_clock.clock)

    async def tick() -> None:
        pinger = DeadMansPing(opened)
        for _ in range(3):
            pinger.note_tick()
            await pinger.wait()
            fake_clock.ahead_s += 61

    asyncio.run(tick())
    opened.engine.dispose()

    assert caplog.text.count("ping not accepted") == 1
