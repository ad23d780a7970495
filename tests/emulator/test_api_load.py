"""The worker's port under too many connections, readers that take nothing, and requests that are none."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from threading import Event
from typing import Any

import httpx
import pytest

from core.access.roles import LOCAL
from core.api import app, protocol, readiness
from core.bridge import Bridge
from core.syncs import recurring
from tests.stage.api import code_of, new_token, raw, sending, served
from tests.stage.sandbox import POWER, wait_until
from tests.stage.seeds import some

pytestmark = some(3)


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10)


def alone(client: httpx.Client, path: str, **more: Any) -> httpx.Response:
    """Ask by a connection of its own, as monitors do."""
    return httpx.get(f"{client.base_url}{path}", timeout=30, **more)


@contextmanager
def holding(client: httpx.Client, count: int, sent: bytes = b"") -> Generator[list[socket.socket]]:
    """Hold so many connections, each with the beginning of a request."""
    with ExitStack() as held:
        made = list[socket.socket]()
        for _ in range(count):
            made.append(held.enter_context(closing(connect(client))))
            made[-1].sendall(sent)
        yield made


def test_probes_are_answered_however_many_connect(bridge: Bridge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 40)
    with served(bridge) as client:
        by = sending(new_token(bridge))
        for sent in (
            b"",
            b"GET /api/v1/gro",
            b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
        ):
            with holding(client, protocol.MOST_CONNECTIONS + 20, sent) as held:
                assert alone(client, "/healthz").status_code == 200
                assert alone(client, "/readyz").json()["status"] == "not ready"
                assert alone(client, "/api/v1/groups", headers=by).status_code == 200
                assert is_dropped(held[0])
                assert not is_dropped(held[-1])


def test_pipelines_that_all_wait_at_once_are_told_so_and_keep_nobody_out(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 100)
    sync = recurring.add_sync(bridge, LOCAL, POWER)
    with served(bridge) as client:
        by = sending(new_token(bridge))
        run = client.post(f"/api/v1/syncs/{sync.id}/runs", headers=by).json()["id"]
        named = f"Host: localhost\r\nAuthorization: {by['Authorization']}\r\n\r\n"
        ask = f"GET /api/v1/runs/{run}?wait=60 HTTP/1.1\r\n{named}"
        with holding(client, 150, ask.encode()):
            assert alone(client, "/readyz").status_code == 503  # there is no worker here
            assert alone(client, "/healthz").status_code == 200
            # Some of them are being let in, or told that there are too many, for a moment.
            wait_until(lambda: alone(client, f"/api/v1/runs/{run}", headers=by).status_code == 200)
            assert code_of(alone(client, f"/api/v1/runs/{run}?wait=60", headers=by)) == (
                429,
                "too_many_waiting",
            )
            assert alone(client, f"/api/v1/runs/{run}", headers=by).json()["status"] == "queued"


def is_dropped(connection: socket.socket) -> bool:
    """Look whether the other end has gone."""
    looking = select.poll()
    looking.register(connection, select.POLLRDHUP)
    return bool(looking.poll(0))


def takes_another_byte(connection: socket.socket) -> bool:
    """Look whether the other end is there still, however much of its answers is left to be read."""
    try:
        connection.sendall(b"x")
    except ConnectionError:
        return False
    return True


def test_who_takes_no_answer_is_dropped(bridge: Bridge, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "READ_LOOK_EVERY_S", 0.2)
    with served(bridge) as client, closing(connect(client)) as greedy:
        token = new_token(bridge)
        request = f"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        greedy.sendall(request.encode() * 1000)
        wait_until(lambda: not takes_another_byte(greedy))
        assert client.get("/healthz").status_code == 200


def test_numbers_are_read_by_a_few_at_a_time(bridge: Bridge, monkeypatch: pytest.MonkeyPatch):
    begun, going_on = Event(), Event()
    look = readiness.find_troubles

    def hang(bridge: Bridge) -> list[str]:
        begun.set()
        going_on.wait(20)
        return look(bridge)

    monkeypatch.setattr(app, "_MOST_READERS", 0)
    monkeypatch.setattr(readiness, "find_troubles", hang)
    with served(bridge) as client, ThreadPoolExecutor(60) as pool:
        refused = client.get("/metrics")
        looking = [pool.submit(client.get, "/readyz", timeout=30) for _ in range(60)]
        assert begun.wait(20)
        assert client.get("/healthz").status_code == 200
        going_on.set()
        looked = {answer.result().status_code for answer in looking}

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert looked == {503}


def test_what_is_no_request_leaves_no_line_in_the_log(bridge: Bridge, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    odd = (
        b"\x16\x03\x01\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n"[:-4] + b"\x00\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        # Its body is found to be none while it is being answered, or was.
        *(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
            for method in ("GET", "HEAD", "POST")
            for path in ("/healthz", "/nothing", "/readyz", "/api/v1/groups")
        ),
    )
    with served(bridge) as client:
        caplog.clear()
        for each in odd:
            with closing(connect(client)) as connection:
                connection.sendall(each)
                answer = connection.recv(65536)
                assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 200"))
                assert answer.count(b"HTTP/1.1") == 1
        assert client.get("/healthz").status_code == 200
    said = [record.getMessage() for record in caplog.records if record.name.split(".")[0] not in ("httpx", "httpcore")]
    assert [text for text in said if not text.startswith("metrics served")] == []


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.0.0.5:0", "localhost:0"])
def test_who_asks_by_the_address_that_it_serves_at_is_answered(bridge: Bridge, address: str):
    host = address.partition(":")[0]
    with served(bridge, metrics_address=address) as client:
        port = client.base_url.port
        assert httpx.get(f"http://{host}:{port}/healthz").status_code == 200
        stranger = httpx.get(f"http://{host}:{port}/healthz", headers={"Host": f"{host}.example.com"})
        assert stranger.status_code == 400


def test_no_address_is_put_right(bridge: Bridge):
    with served(bridge) as client:
        for path in ("/healthz/", "/metrics/", "//healthz", "/healthz/.", "/healthz;x", "/x/../healthz"):
            assert raw(client, "GET", path, {}) == (404, "Not Found")
