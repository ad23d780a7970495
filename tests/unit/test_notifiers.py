"""One message to a channel: accepted, refused, to be tried again, or sent with an unknown fate."""

from __future__ import annotations

import asyncio
import socket

import pytest

from core.errors import SettingsError
from core.vendors import notifiers
from core.vendors.notifiers import WEBHOOK, NotifyError, NotifyFailed, NotifyRefused, NotifyUndecided
from tests.stage.webhooks import Webhook
from tests.unit.test_notices import NOTICE


def send(address: str, *, allow_private: bool = True, within_s: float = 10.0) -> None:
    asyncio.run(notifiers.notify(WEBHOOK, address, NOTICE, allow_private=allow_private, within_s=within_s))


def test_a_webhook_is_sent_the_json_that_is_documented(hook: Webhook):
    send(hook.url)

    assert len(hook.posted) == 1
    assert hook.posted[0].headers["Content-Type"] == "application/json"
    assert hook.posted[0].headers["Idempotency-Key"] == NOTICE.id
    assert hook.posted[0].json == {
        "version": 1,
        "id": "3f1c",
        "event": "sync_failing",
        "severity": "critical",
        "at": "2026-11-26T12:00:00Z",
        "title": "Sync failing: Buyers",
        "lines": ["Mixpanel did not answer.", "Nothing to correct: try again in a few minutes."],
        "link": "https://bridge.example/export/syncs?sync=3",
        "text": "Sync failing: Buyers\nMixpanel did not answer.\nNothing to correct: try again in a few minutes.\n"
        "https://bridge.example/export/syncs?sync=3",
    }


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, NotifyRefused), (401, NotifyRefused), (404, NotifyRefused), (302, NotifyRefused), (307, NotifyRefused),
     (408, NotifyFailed), (429, NotifyFailed), (500, NotifyFailed), (503, NotifyFailed)],
)  # fmt: skip
def test_what_an_answer_means(hook: Webhook, status: int, error: type[NotifyError]):
    hook.status, hook.answer_headers = status, {"Location": hook.url, "Retry-After": "7"}

    with pytest.raises(error) as raised:
        send(hook.url)

    assert len(hook.posted) == 1  # a redirect is not followed
    assert "s3cret-path" not in f"{raised.value.message} {raised.value.advice}"
    assert getattr(raised.value, "retry_after_s", 7) == 7


def test_where_nothing_answers_it_is_tried_again():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound, and not listening: connections are refused
        with pytest.raises(NotifyFailed):
            send(f"http://127.0.0.1:{listener.getsockname()[1]}/x")


def test_sent_without_an_answer_its_fate_is_not_known(hook: Webhook):
    hook.status = None

    with pytest.raises(NotifyUndecided):
        send(hook.url, within_s=0.3)

    hook.let_go.set()  # from now on it hangs up
    with pytest.raises(NotifyUndecided):
        send(hook.url)


def test_nothing_is_sent_inside_the_house_unless_that_is_allowed(hook: Webhook):
    with pytest.raises(NotifyRefused, match="nothing may be sent to"):
        send(hook.url, allow_private=False)
    with pytest.raises(NotifyRefused, match="nothing may be sent to"):
        send(hook.url.replace("http:", "https:"), allow_private=False)
    assert hook.posted == []


@pytest.mark.parametrize(
    "address",
    ["https://127.0.0.1/x", "https://localhost/x", "https://[::1]/x", "https://169.254.169.254/latest", "https://2130706433",
     "http://example.com/x", "https://u:p@example.com", "https://", "ftp://example.com", "example.com", "file:///etc/passwd"],
)  # fmt: skip
def test_an_address_of_the_inside_or_of_another_kind_is_refused_when_it_is_entered(address: str):
    with pytest.raises(SettingsError, match="^Address: "):
        asyncio.run(notifiers.identify(address, allow_private=False))


def test_of_a_webhook_the_host_alone_is_shown(hook: Webhook):
    place = asyncio.run(notifiers.identify(hook.url, allow_private=True))

    assert place == (WEBHOOK, f"127.0.0.1:{hook.port}")
