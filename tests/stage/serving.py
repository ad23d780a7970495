"""A small application behind the dashboard's own server, on a port of this machine."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def serving(app: ASGIApp, certificate: Path | None = None) -> Generator[int]:
    """Serve an application as Streamlit does, with uvicorn, over TLS if there is a certificate. Gives the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        settings = uvicorn.Config(
            app, lifespan="off", log_level="critical", ws="websockets-sansio", ssl_certfile=certificate
        )
        server = uvicorn.Server(settings)
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def ask(port: int, request: bytes) -> bytes:
    """Send these bytes and return all that is answered, until the server has no more to say."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            head, ended, body = answer.partition(b"\r\n\r\n")
            if ended and (b" 101 " in head or request.startswith(b"HEAD ")):
                break
            announced = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if announced and len(body) >= int(announced[0].partition(b":")[2]):
                break
        return answer
