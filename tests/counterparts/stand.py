"""The sandbox in Mixpanel's place: for readers that take an address, and for those that know only `mixpanel.com`.

The latter are told of a proxy and of a certificate by the environment, as they would be in an office: the proxy leads
every connection to `mixpanel.com` to this machine and refuses all others, so nothing that a reader does leaves it.
"""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from starlette.types import ASGIApp, Receive, Scope, Send

from core.sandbox import people
from core.sandbox.server import create_app
from tests.stage.certificates import make_certificate
from tests.stage.sandbox import NOON, Sandbox
from tests.stage.serving import serving

MIXPANEL = "mixpanel.com"


@dataclass(frozen=True)
class Stand:
    """Where the sandbox is, by each of its ways."""

    sandbox: Sandbox
    tls_port: int
    proxy: str
    certificate: Path

    def environment(self) -> dict[str, str]:
        """Return what leads a reader here: its own variables, and those that HTTP libraries share."""
        trusted = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        proxied = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
        return {
            "COUNTERPART_URL": self.sandbox.url,
            "COUNTERPART_TLS_PORT": str(self.tls_port),
            "COUNTERPART_USERNAME": people.ADMIN_USERNAME,
            "COUNTERPART_SECRET": people.ADMIN_SECRET,
            "COUNTERPART_PROJECT": str(people.PROJECT_ID),
            "COUNTERPART_PROJECT_SECRET": people.PROJECT_SECRET,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **dict.fromkeys(trusted, str(self.certificate)),
            **dict.fromkeys(proxied, self.proxy),
        }


@contextmanager
def standing(folder: Path) -> Generator[Stand]:
    """Serve a sandbox whose clock stands still, so that membership is the same for every reader."""
    app = create_app(folder, clock=lambda: NOON)
    certificate = make_certificate(folder, MIXPANEL)
    with (
        closing(app.state.sandbox.store),
        serving(app) as port,
        serving(_Named(app), certificate) as tls_port,
        _proxying(tls_port) as proxy_port,
        closing(Sandbox(f"http://127.0.0.1:{port}")) as sandbox,
    ):
        yield Stand(sandbox, tls_port, f"http://127.0.0.1:{proxy_port}", certificate)


class _Named:
    """Answers under Mixpanel's name; the sandbox itself knows only names of this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = (b"host", MIXPANEL.encode())
        if named in scope.get("headers", ()):
            headers = [(b"host", b"127.0.0.1") if header == named else header for header in scope["headers"]]
            scope = {**scope, "headers": headers}
        await self.app(scope, receive, send)


@contextmanager
def _proxying(tls_port: int) -> Generator[int]:
    class Tunnel(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked = self.rfile.readline().split()[:2]
            while self.rfile.readline().strip():
                pass
            if asked != [b"CONNECT", f"{MIXPANEL}:443".encode()]:
                self.wfile.write(b"HTTP/1.1 403 Not a counterpart's address\r\nContent-Length: 0\r\n\r\n")
                return
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", tls_port)) as server:
                back = Thread(target=_pump, args=(server, self.connection))
                back.start()
                _pump(self.connection, server)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as proxy:
        proxy.daemon_threads = True
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy.server_address[1]
        finally:
            proxy.shutdown()
            thread.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # whichever side goes away ends the tunnel
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
