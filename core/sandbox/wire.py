"""Requests and answers of the sandbox: reading, recording, and the simulated failures of either."""

import asyncio
import base64
import binascii
import json
import socket
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl
from weakref import WeakValueDictionary

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from core.sandbox.faults import Faults

MAX_BODY_BYTES = 64 * 2**20


class Refused(Exception):
    """Stop here and answer this."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class Call:
    """One request, read whole; `note` is what the request log keeps of it."""

    method: str
    path: str
    url: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    faults: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    note: dict[str, Any] = field(default_factory=dict[str, Any])
    query_number: int = 0  # of a query that counts, where it is under way

    def arguments(self) -> dict[str, Any]:
        """Return body values over URL values; JSON is tried first, then a form.

        mixpanel-headless states that it mirrors the server's order so (_internal/pacer.py, read 2026-11-23).
        """
        return {**self.query, **_read_object(self.body)}

    def credentials(self) -> tuple[str, str] | None:
        """Return user and secret; Mixpanel takes them base64 or plain (reference/service-accounts, read 2026-11-23)."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        value = value.strip()
        if ":" not in value:
            try:
                value = base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
        user, _, secret = value.partition(":")
        return user, secret


def _read_object(body: bytes) -> dict[str, Any]:
    """Return the object that a JSON or form body holds; anything else counts as empty."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    return as_object(value) or {}


def as_object(value: Any) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any] | None:
    return cast("list[Any]", value) if isinstance(value, list) else None


def unzip(body: bytes, limit: int) -> bytes:
    """Inflate a gzip body up to one byte past the limit, so that a bomb stays small."""
    try:
        return zlib.decompressobj(wbits=31).decompress(body, limit + 1)
    except zlib.error as error:
        raise Refused(400, "the body is not gzip") from error


def reply(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer JSON, in ASCII: lone surrogates go out as escapes, as Mixpanel sends them."""
    return Response(json.dumps(data, separators=(",", ":")), status, headers, "application/json")


class ResettableProtocol(H11Protocol):
    """Uvicorn's HTTP/1.1, whose open connections can be found by the client's address."""

    transports: WeakValueDictionary[tuple[str, int], asyncio.Transport] = WeakValueDictionary()

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self.transports[transport.get_extra_info("peername")[:2]] = transport


class ConnectionReset(Response):
    """No answer at all: the client sees its connection reset, after `sent` bytes of a body or before the first."""

    def __init__(self, cut: Response | None = None) -> None:
        super().__init__(status_code=599)
        self.cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.cut:
            await send({"type": "http.response.start", "status": self.cut.status_code, "headers": self.cut.raw_headers})
            body = bytes(self.cut.body)
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        transport = ResettableProtocol.transports.get(tuple(scope["client"]))
        # A client that went away meanwhile has closed it already.
        if transport and not transport.is_closing():
            # Linger 0 turns the close into a TCP reset. Half an answer must leave before it, so there it stays a close.
            if not self.cut:
                linger = struct.pack("ii", 1, 0)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.abort()
            else:
                transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass


class RequestLog:
    """What was asked since the last reset, so that a test can prove what was sent and what was not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self.entries: deque[dict[str, Any]] = deque(maxlen=50_000)
            self.in_flight: dict[str, int] = {}
            self.most_in_flight: dict[str, int] = {}

    def begin(self, kind: str, call: Call) -> None:
        call.note |= {"at": time.time(), "kind": kind, "method": call.method, "path": call.path, "status": None}
        with self._lock:
            self.entries.append(call.note)
            self.in_flight[kind] = self.in_flight.get(kind, 0) + 1
            self.most_in_flight[kind] = max(self.in_flight[kind], self.most_in_flight.get(kind, 0))

    def end(self, kind: str, call: Call, status: int | None) -> None:
        with self._lock:
            call.note |= {"status": status, "seconds": round(time.time() - call.note["at"], 4)}
            self.in_flight[kind] = max(0, self.in_flight.get(kind, 0) - 1)

    def report(self) -> dict[str, Any]:
        with self._lock:
            entries = [dict(entry) for entry in self.entries]
            most = dict(self.most_in_flight)
        return {
            "requests": entries,
            "max_in_flight": most.get("engage", 0),
            "max_messages_in_flight": most.get("cohort-sync", 0),
            "counted_queries": sum(bool(entry.get("counted")) for entry in entries),
        }


@dataclass(frozen=True)
class Service:
    """How one vendor endpoint answers: `admit` may refuse at once, `work` answers, `settle` counts it."""

    target: str
    kind: str
    work: Callable[[Call], Response]
    admit: Callable[[Call], Response | None] = lambda _: None
    settle: Callable[[Call, Response | None], None] = lambda _, __: None
    describe: Callable[[Call], dict[str, Any]] = lambda _: {}


async def exchange(service: Service, request: Request, faults: Faults, log: RequestLog) -> Response:
    """Answer one vendor request, with the faults that are switched on."""
    body = await request.body()
    call = Call(request.method, request.url.path, str(request.url), dict(request.query_params), request.headers, body)
    call.note |= service.describe(call)
    call.faults = faults.take(service.target, call.method, call.path, call.note)
    if call.faults:
        call.note["faults"] = sorted(call.faults)
    log.begin(service.kind, call)
    status: int | None = None
    try:
        response = await _perform(service, call, faults)
        if not isinstance(response, ConnectionReset):
            status = response.status_code
        return response
    finally:
        log.end(service.kind, call, status)


async def _perform(service: Service, call: Call, faults: Faults) -> Response:
    if "reset_before" in call.faults:
        return ConnectionReset()
    response: Response | None = await run_in_threadpool(service.admit, call)
    if response is None:
        response = await _admitted(service, call, faults)
    if "reset_after" in call.faults:
        return ConnectionReset()
    if "cut_off_body" in call.faults:
        return ConnectionReset(cut=response)
    if "cut_off_json" in call.faults:
        text = bytes(response.body)
        return Response(text[: len(text) // 2], response.status_code, _without_length(response), "application/json")
    return response


async def _admitted(service: Service, call: Call, faults: Faults) -> Response:
    response = None
    try:
        if (slow := call.faults.get("slow")) and not await faults.pause(slow["seconds"]):
            return ConnectionReset()
        if "html_200" in call.faults:
            text = "<!doctype html><title>Sign in to Wi-Fi</title><p>Welcome!"
            return (response := Response(text, media_type="text/html"))
        return (response := await run_in_threadpool(service.work, call))
    finally:
        await run_in_threadpool(service.settle, call, response)


def _without_length(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
