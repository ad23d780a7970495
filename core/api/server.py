"""The server of health, metrics and the API: in a thread of the worker's, at an address that is its own."""

from __future__ import annotations

import logging
import socket
import threading

import uvicorn

from core.api.app import create_app
from core.api.asked import Places
from core.api.protocol import ImpatientProtocol
from core.bridge import Bridge

log = logging.getLogger(__name__)

_ENDS_WITHIN_S = 5.0


class ApiServer:
    """Health, metrics and the API of one process; `open` as often as it takes, and `close` at the end."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._was_refused = False
        self._places = Places()
        self.port: int | None = None  # while it is open

    def open(self) -> bool:
        """Serve, unless that is off or done already. Returns whether it is; an address in use is no reason to end."""
        at = self._bridge.settings.metrics_at
        if at is None or self._thread is not None:
            return self._thread is not None
        host, port = at
        try:
            listening = _listen(host, port)
        except OSError as exc:
            if not self._was_refused:
                # Another worker of this machine serves the same numbers, or somebody else has the port.
                log.warning("metrics not served address=%s reason=%s", self._bridge.settings.metrics_address, exc)
            self._was_refused = True
            return False
        self._serve(listening, host)
        return True

    def _serve(self, listening: socket.socket, host: str) -> None:
        self.port = listening.getsockname()[1]
        self._places = Places()
        app = create_app(self._bridge, host=host, places=self._places)
        server = self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=ImpatientProtocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                log_level="error",  # a line for each odd request would let anybody fill the log
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=server.run, args=([listening],), name="metrics", daemon=True)
        self._thread.start()
        log.info("metrics served port=%s", self.port)

    def close(self) -> None:
        """Stop serving, within seconds."""
        if self._server and self._thread:
            self._places.closing.set()
            self._server.should_exit = True
            self._thread.join(_ENDS_WITHIN_S)
        self._server = self._thread = self.port = None


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening
