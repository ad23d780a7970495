"""The server that the bench reads from and delivers to, in a process of its own, on loopback only.

Not uvicorn: a protocol on asyncio's bare transports, which finds out what is asked and sends rows that were encoded at
start, so that what is measured is the client. Every request to Mixpanel's and Apptimize's addresses takes the same set
time, on a timer that is true to the tenth of a millisecond.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.answers import Bench, Request
from bench.names import MANY, MANY_SIZE, SIZES
from bench.people import Cohort, make_cohort

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, each answered after the set time."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._held = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        """Send each answer at once, however small its last packet is."""
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=2**24)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the way back."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Collect until a request is whole."""
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._held[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            whole = end + 4 + int(headers.get("content-length", "0"))
            if len(self._held) < whole:
                return
            method, target, _ = first.split(" ", 2)
            path, _, query = target.partition("?")
            request = Request(method, path.rstrip("/"), query, headers, bytes(self._held[end + 4 : whole]))
            del self._held[:whole]
            self._take(request)

    def _take(self, request: Request) -> None:
        bench = self._bench
        if request.path.startswith("/bench/"):
            self._send(request, *bench.answer(request))
            return
        bench.counted.requests += 1
        bench.counted.in_flight += 1
        bench.counted.most_in_flight = max(bench.counted.most_in_flight, bench.counted.in_flight)
        if bench.latency_s:
            asyncio.get_running_loop().call_later(bench.latency_s, self._respond, request)
        else:
            self._respond(request)

    def _respond(self, request: Request) -> None:
        answer = self._bench.answer(request)
        self._bench.counted.in_flight -= 1
        self._send(request, *answer)

    def _send(self, request: Request, status: int, parts: list[bytes]) -> None:
        if self._transport is None:
            return
        closing = request.headers.get("connection", "").lower() == "close"
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {sum(map(len, parts))}\r\nRateLimit-Policy: {self._bench.policy}\r\n"
            f"{'Connection: close' if closing else 'Connection: keep-alive'}\r\n\r\n"
        )
        self._transport.writelines([head.encode(), *parts])
        if closing:
            self._transport.close()


def make_cohorts(asked: Sequence[str]) -> Iterator[Cohort]:
    """Make what was asked for: `1000000+1+50`, a size and how much of it changes in percent, or `300x`, so many."""
    for text in asked:
        if text.endswith("x"):
            yield from (make_cohort(MANY + n, f"Small {n}", MANY_SIZE) for n in range(1, int(text[:-1]) + 1))
        else:
            size, *changes = map(int, text.split("+"))
            yield make_cohort(SIZES[size], f"Bench {size:,}", size, changes)


def serve(cohorts: Iterator[Cohort], announce: Callable[[str], None]) -> None:
    """Listen on a free port of loopback, announce its number, and serve until ended."""
    bench = Bench({cohort.id: cohort for cohort in cohorts})

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Connection(bench), "127.0.0.1", 0)
        announce(str(server.sockets[0].getsockname()[1]))
        await server.serve_forever()

    # epoll rounds waits up to a whole millisecond, which would make every answer 1 in 50 slower; select does not.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(main())


if __name__ == "__main__":
    serve(make_cohorts(sys.argv[1:]), lambda port: print(port, flush=True))
