"""Object storage for tests: a server that speaks S3 on loopback, and what goes wrong on the way there."""

from __future__ import annotations

import http.client
import itertools
import select
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

from data.storage.address import S3Address
from data.storage.s3 import Patience, S3Storage

# Its keys are made up; the server looks at none.
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
# A slow answer takes longer than those wait who are in a hurry.
_SLOW_S = 1.1
CALM, BRIEF = Patience(request_s=10, part_s=10, overall_s=5), Patience(request_s=1, part_s=1, overall_s=0.8)
_buckets = itertools.count(1)


@cache
def server_port() -> int:
    """Start the server of this process, once, and return where it listens."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    return server.get_host_and_port()[1]


def make_bucket() -> str:
    """Make a bucket that no other test uses, and return its name."""
    name = f"bucket-{next(_buckets)}"
    request = urllib.request.Request(f"http://127.0.0.1:{server_port()}/{name}", method="PUT")
    urllib.request.urlopen(request).read()
    return name


def put_as_others(bucket: str, keys: Iterable[str]) -> None:
    """Put objects as another program does, under names that ours takes for none."""
    for key in keys:
        url = f"http://127.0.0.1:{server_port()}/{bucket}/{urllib.parse.quote(key)}"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", data=b"of others")).read()


def environ(port: int | None = None) -> dict[str, str]:
    """Return the environment of a process that uses the server, or what stands before it."""
    return KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or server_port()}"}


def use_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process use the server, wherever it opens a bucket."""
    for name, value in environ().items():
        monkeypatch.setenv(name, value)


def storage_at(bucket: str, *, port: int | None = None, prefix: str = "", patience: Patience = CALM) -> S3Storage:
    """Open a bucket, also by way of what stands before the server."""
    address = S3Address(bucket, prefix, f"http://127.0.0.1:{port or server_port()}", plain_http=True)
    return S3Storage(address, patience=patience, background=patience)


class Asked(NamedTuple):
    """A request on its way: a fault counts by itself how often there was one for it."""

    method: str
    path: str


@dataclass
class Faults:
    """What stands before the server and lets things go wrong: `fault` names one for each request, None for none.

    `slow` holds a request for a second, `error` answers 503, `cut` breaks off, `unconfirmed` does it and breaks off,
    `half` breaks off in the middle of the answer, `expired` refuses the credentials, `stale` answers as the last time.
    """

    port: int = 0
    fault: Callable[[Asked], str | None] = field(default=lambda asked: None)
    asked: list[Asked] = field(default_factory=list[Asked])
    answers: dict[str, tuple[int, list[tuple[str, str]], bytes]] = field(
        default_factory=dict[str, tuple[int, list[tuple[str, str]], bytes]]
    )

    def times(self, number: int, name: str, method: str, part: str = "") -> None:
        """Let the next requests of a kind go wrong, so many of them."""
        left = itertools.count()

        def fault(asked: Asked) -> str | None:
            return name if asked.method == method and part in asked.path and next(left) < number else None

        self.fault = fault


_EXPIRED = b'<?xml version="1.0"?><Error><Code>ExpiredToken</Code><Message>ended</Message></Error>'


@contextmanager
def faults() -> Generator[Faults]:
    """Stand before the server while inside."""
    state = Faults()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

        def handle_any(self) -> None:
            asked = Asked(self.command, self.path)
            state.asked.append(asked)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = state.fault(asked)
            if fault == "slow":
                select.select([self.connection], [], [], _SLOW_S)  # until who asked gives up
            if fault in ("cut", "slow"):
                return self._break_off()
            if fault == "error":
                return self._answer(503, [], b"")
            if fault == "expired":
                return self._answer(400, [("Content-Type", "application/xml")], _EXPIRED)
            if fault == "stale" and self.path in state.answers:
                return self._answer(*state.answers[self.path])
            answer = self._pass_on(body)
            if self.command == "GET":
                state.answers.setdefault(self.path, answer)
            if fault == "unconfirmed":
                return self._break_off()
            return self._answer(*answer, half=fault == "half")

        def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            server = http.client.HTTPConnection("127.0.0.1", server_port())
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            content = answer.read()
            server.close()
            left_out = ("transfer-encoding", "connection") + (() if self.command == "HEAD" else ("content-length",))
            return answer.status, [pair for pair in answer.getheaders() if pair[0].lower() not in left_out], content

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, half: bool = False) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if half else content)
            if half:
                self._break_off()

        def _break_off(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    for method in ("GET", "PUT", "HEAD", "DELETE", "POST"):
        setattr(Handler, f"do_{method}", Handler.handle_any)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who asked may be gone
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
