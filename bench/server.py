"""The server that the bench reads from and delivers to, in a process of its own, on loopback only.

Not uvicorn: a protocol on asyncio's bare transports, which finds out what is asked and sends a page that was encoded
at start, so that what is measured is the client. Every request to Mixpanel's and Apptimize's addresses takes the same
set time, on a timer that is true to the tenth of a millisecond.
"""

from __future__ import annotations

import asyncio
import base64
import json
import selectors
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from bench.people import PAGE_SIZE, PROPERTY, Cohort, make_cohort

PROJECT_ID = 2529987
USERNAME = "bench.1a2b3c.mp-service-account"
SECRET = "bench-secret-0123456789"
TOKEN = "bench-token-0123456789"
SIZES = {100_000: 5167001, 1_000_000: 5167002}

_ENGAGE = ("/api/query/engage", "/api/2.0/engage")
_LIST = ("/api/query/cohorts/list", "/api/2.0/cohorts/list")
_ACCOUNTS = f"/api/app/projects/{PROJECT_ID}/service-accounts"
RECEIVER = "/receiver/cohort-sync"
_CREDENTIALS = {f"Basic {base64.b64encode(f'{USERNAME}:{SECRET}'.encode()).decode()}", f"Basic {USERNAME}:{SECRET}"}
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
# What Mixpanel says of its limits (mixpanel-headless, tests/unit/test_pacer.py, read 2026-11-23).
_POLICY = 'RateLimit-Policy: "project";q=60;w=3600, "project-concurrency";q=5;qu="concurrent-requests"\r\n'

Answer = tuple[int, list[bytes]]


@dataclass
class Request:
    """One request, read whole."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def arguments(self) -> dict[str, Any]:
        """Values of the body over those of the URL; JSON is tried first, then a form."""
        values: dict[str, Any] = dict(parse_qsl(self.query, keep_blank_values=True))
        if self.body[:1] == b"{":
            return values | json.loads(self.body)
        return values | dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass
class Counted:
    """What was asked since the counters were last set to zero."""

    requests: int = 0
    pages: int = 0
    messages: int = 0
    members: int = 0
    in_flight: int = 0
    most_in_flight: int = 0


@dataclass
class Bench:
    """Cohorts, sessions, and the groups that arrived."""

    cohorts: dict[int, Cohort]
    latency_s: float = 0.0
    counted: Counted = field(default_factory=Counted)
    sessions: dict[str, int] = field(default_factory=dict)
    staged: dict[str, dict[int, list[dict[str, str]]]] = field(default_factory=dict)
    groups: dict[int, dict[str, str]] = field(default_factory=dict)

    def answer(self, request: Request) -> Answer:
        """Answer as Mixpanel or as a cohort-sync endpoint does, or as the bench's own control."""
        if request.path.startswith("/bench/"):
            return self._control(request)
        if request.path == RECEIVER:
            return self._receive(request)
        if unquote(request.headers.get("authorization", "")) not in _CREDENTIALS:
            return _reply(401, {"error": "Invalid service account credentials"})
        if request.path in _ENGAGE:
            return self._engage(request)
        if request.path in _LIST:
            return _reply(200, [self._listed(cohort) for cohort in self.cohorts.values()])
        if request.path == _ACCOUNTS:
            own = {"id": 1, "username": USERNAME, "role": "admin", "expires": None, "target_type": "individual"}
            return _reply(200, {"status": "ok", "results": [own]})
        return _reply(404, {"error": "Not found"})

    def _listed(self, cohort: Cohort) -> dict[str, Any]:
        return {
            "id": cohort.id,
            "project_id": PROJECT_ID,
            "name": cohort.name,
            "description": "",
            "data_group_id": None,
            "count": cohort.truth.profiles,
            "is_visible": 1,
            "created": "2026-11-23 09:00:00",
        }

    def _engage(self, request: Request) -> Answer:
        asked = request.arguments()
        cohort_filter = asked.get("filter_by_cohort", "{}")
        cohort_id = (json.loads(cohort_filter) if isinstance(cohort_filter, str) else cohort_filter).get("id")
        properties = asked.get("output_properties", "[]")
        properties = json.loads(properties) if isinstance(properties, str) else properties
        cohort = self.cohorts.get(int(cohort_id or 0))
        # Asked for more, or for people without a profile, another thing would be measured.
        if cohort is None or properties != [PROPERTY] or str(asked.get("include_all_users")).lower() != "false":
            return _reply(400, {"error": "the bench serves one property of the profiles of one of its cohorts"})
        page, session, total = int(asked.get("page") or 0), str(asked.get("session_id") or ""), ""
        if not session:
            session = f"{1763900000 + len(self.sessions)}-BENCH"
            self.sessions[session] = cohort.id
            total = f',"total":{cohort.truth.profiles}'
        elif self.sessions.get(session) != cohort.id:
            return _reply(400, {"error": "request for page in uncached query for params"})
        self.counted.pages += 1
        head = f'{{"page":{page},"page_size":{PAGE_SIZE},"session_id":"{session}","status":"ok"{total},"results":'
        rows = cohort.pages[page] if page < len(cohort.pages) else b"[]"
        return 200, [head.encode(), rows, b"}"]

    def _receive(self, request: Request) -> Answer:
        if request.headers.get("apptimizeapitoken") != TOKEN:
            return _reply(401, {"status": "failure", "error": {"message": "unknown token", "code": 401}})
        if request.method == "GET":
            return _reply(200, {"status": "ok"})
        message = json.loads(request.body)
        action, parameters = message["action"], message["parameters"]
        members, info = parameters["members"], parameters["page_info"]
        self.counted.messages += 1
        self.counted.members += len(members)
        if action != "members" or len(members) > 1000:
            error = {"message": "the bench takes whole groups, 1000 members a message", "code": 400}
            return _reply(400, {"action": action, "status": "failure", "error": error})
        pages = self.staged.setdefault(parameters["mixpanel_session_id"], {})
        pages[info["page_count"]] = members
        if len(pages) == info["total_pages"]:
            arrived = [member for number in sorted(pages) for member in pages[number]]
            self.groups[int(parameters["mixpanel_cohort_id"])] = {
                member["$apptimize_user_id"]: member["mixpanel_distinct_id"] for member in arrived
            }
            del self.staged[parameters["mixpanel_session_id"]]
        return _reply(200, {"action": action, "status": "success"})

    def _control(self, request: Request) -> Answer:
        asked = request.arguments()
        if request.path == "/bench/reset":
            self.latency_s = float(asked["latency_ms"]) / 1000
            self.counted = Counted()
            self.staged.clear()
            self.groups.clear()
            return _reply(200, {})
        if request.path == "/bench/counted":
            return _reply(200, vars(self.counted))
        cohort = self.cohorts[int(asked["cohort"])]
        if request.path == "/bench/truth":
            return _reply(200, cohort.truth.counts())
        group = self.groups.get(cohort.id)
        return _reply(200, {"members": len(group or {}), "exact": group == cohort.truth.group})


def _reply(status: int, document: object) -> Answer:
    return status, [json.dumps(document).encode()]


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
            f"Content-Length: {sum(map(len, parts))}\r\n{_POLICY}{'Connection: close' if closing else ''}"
        )
        head = head.rstrip("\r\n") + "\r\n\r\n"
        self._transport.writelines([head.encode(), *parts])
        if closing:
            self._transport.close()


def serve(sizes: list[int], announce: Callable[[str], None]) -> None:
    """Make the cohorts, listen on a free port of loopback, announce its number, and serve until ended."""
    bench = Bench({SIZES[size]: make_cohort(SIZES[size], f"Bench {size:,}", size) for size in sizes})

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Connection(bench), "127.0.0.1", 0)
        announce(str(server.sockets[0].getsockname()[1]))
        await server.serve_forever()

    # epoll rounds waits up to a whole millisecond, which would make every answer 1 in 50 slower; select does not.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(main())


if __name__ == "__main__":
    serve([int(size) for size in sys.argv[1:]], lambda port: print(port, flush=True))
