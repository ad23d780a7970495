"""A webhook on a port of this machine: it keeps what it is sent, and answers as it is told to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


class Posted(NamedTuple):
    """One message as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What it holds."""
        return json.loads(self.body)


class Webhook:
    """What arrived, in order, and what the next messages are answered: a status and headers, or nothing at all.

    `arrived` is released once for each message that was taken in whole, before it is answered; a message that is to be
    answered by nothing is held until `let_go` is set, and then cut off.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/alerts/s3cret-path"
        self.port = port
        self.posted = list[Posted]()
        self.asked = list[str]()  # the paths of requests that only ask
        self.arrived = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.status: int | None = 200
        self.answer_headers = dict[str, str]()

    def reset(self) -> None:
        """Forget what arrived, and accept what comes."""
        self.posted.clear()
        self.asked.clear()
        self.status, self.answer_headers = 200, {}
        self.let_go.clear()

    def wait(self, *, within_s: float = 20.0) -> Posted:
        """Wait for one more message."""
        assert self.arrived.acquire(timeout=within_s), "no message arrived"
        return self.posted[-1]


@contextmanager
def webhook(certificate: Path | None = None) -> Generator[Webhook]:
    """Serve a webhook for as long as this lasts, over TLS if there is a certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            kept.posted.append(Posted(self.path, dict(self.headers), body))
            kept.arrived.release()
            if kept.status is None:
                kept.let_go.wait(60)
                self.close_connection = True
                return
            self.send_response(kept.status)
            for name, value in {"Content-Length": "0", **kept.answer_headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            kept.asked.append(self.path)
            self.send_response(kept.status or 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    kept = Webhook(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kept
    finally:
        kept.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
