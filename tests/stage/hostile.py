"""A server that answers with whatever bytes a test likes, however many, however slowly."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qsl

MEGABYTE = 2**20


@dataclass(frozen=True)
class Asked:
    """One request, read whole."""

    method: str
    path: str
    fields: dict[str, str]
    body: bytes

    @property
    def page(self) -> int:
        """The page of profiles that is asked for."""
        return int(dict(parse_qsl(self.body.decode())).get("page", 0))


Reply = Callable[[Asked], Iterable[bytes]]


@dataclass
class Hostile:
    """Answers each request with the pieces of `reply`, and counts what it sent of them."""

    url: str
    reply: Reply = lambda _: answer(b"{}")
    asked: list[Asked] = field(default_factory=list[Asked])
    sent_bytes: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def drip(self, pieces: Iterable[bytes], *, every_s: float) -> Iterator[bytes]:
        """Send piece after piece, each after a pause, until the server stops."""
        for piece in pieces:
            yield piece
            if self.stopped.wait(every_s):
                return


def head(status: int = 200, **fields: str) -> bytes:
    """Begin an answer; its end is that of the connection, unless a field says otherwise."""
    lines = [f"HTTP/1.1 {status} Said", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(body: bytes | Any, status: int = 200, **fields: str) -> list[bytes]:
    """Answer whole, as JSON unless bytes are given."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [head(status, Content_Length=str(len(text)), **fields), text]


def endless(status: int = 200) -> Iterator[bytes]:
    """Answer a list of nothing that does not end."""
    yield head(status)
    yield b"["
    while True:
        yield b"0," * 32_768


def bomb(status: int = 200) -> list[bytes]:
    """Answer a hundred kilobytes that unpack to a thousand times as much."""
    packed = _pack_blanks(100 * MEGABYTE)
    return [head(status, Content_Encoding="gzip", Content_Length=str(len(packed))), packed]


@cache
def _pack_blanks(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    blanks = b" " * MEGABYTE
    return b"".join(packer.compress(blanks) for _ in range(size // MEGABYTE)) + packer.flush()


def endless_members(status: int = 200) -> Iterator[bytes]:
    """Answer packed nothing, again and again: it unpacks to no byte at all."""
    yield head(status, Content_Encoding="gzip")
    nothing = gzip.compress(b"") * 1000
    while True:
        yield nothing


def nested(depth: int = 100_000, *, open_: str = "[", close: str = "]") -> bytes:
    """Nest brackets in brackets."""
    return (open_ * depth + close * depth).encode()


class _Handler(StreamRequestHandler):
    server: _Server
    timeout = 10

    def handle(self) -> None:
        with suppress(OSError):  # who asked has heard enough
            asked = self._read()
            self.server.hostile.asked.append(asked)
            for piece in self.server.hostile.reply(asked):
                self.wfile.write(piece)
                self.server.hostile.sent_bytes += len(piece)

    def _read(self) -> Asked:
        method, path, _ = self.rfile.readline().decode().split(" ", 2)
        fields = dict[str, str]()
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return Asked(method, path, fields, self.rfile.read(int(fields.get("content-length", 0))))


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    hostile: Hostile


@contextmanager
def hostile_server(certificate: Path | None = None) -> Generator[Hostile]:
    """Serve from threads while inside: over TLS where there is a certificate."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.hostile = Hostile(f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}")
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.hostile
        finally:
            server.hostile.stopped.set()
            server.shutdown()
            thread.join(5)
