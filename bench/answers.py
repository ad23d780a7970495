"""What the bench's server answers: as Mixpanel, as a cohort-sync endpoint, and to the bench's own controls."""

from __future__ import annotations

import base64
import itertools
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from bench.names import PAGE_SIZE, PROJECT_ID, PROPERTY, RECEIVER, SECRET, TOKEN, USERNAME
from bench.people import MOST_ROWS, Cohort, Version, fingerprint

# What Mixpanel says that a project may ask in an hour.
QUERIES = 60

_ENGAGE = ("/api/query/engage", "/api/2.0/engage")
_LIST = ("/api/query/cohorts/list", "/api/2.0/cohorts/list")
_ACCOUNTS = f"/api/app/projects/{PROJECT_ID}/service-accounts"
_CREDENTIALS = {f"Basic {base64.b64encode(f'{USERNAME}:{SECRET}'.encode()).decode()}", f"Basic {USERNAME}:{SECRET}"}
_ACTIONS = ("members", "add_members", "remove_members")
_MESSAGE_MEMBERS = 1000

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


# --- messages, of which no more is read at once than is needed to answer -------------------------------------------


class PageInfo(msgspec.Struct):
    """Which message of how many it is."""

    total_pages: int
    page_count: int


class Parameters(msgspec.Struct):
    """Of which group, in which session; the members are read once their time is not measured any more."""

    mixpanel_cohort_id: str
    mixpanel_session_id: str
    page_info: PageInfo
    members: msgspec.Raw


class Message(msgspec.Struct):
    """A cohort-sync message."""

    action: str
    parameters: Parameters


class Member(NamedTuple):
    """A member as messages hold it."""

    apptimize_id: str
    distinct_id: str


class Delivery(NamedTuple):
    """All messages of one session, whole."""

    action: str
    pages: list[msgspec.Raw]

    def members(self) -> Iterator[Member]:
        """Read the members out of the messages."""
        for page in self.pages:
            for member in msgspec.json.decode(page):
                yield Member(member[PROPERTY], member["mixpanel_distinct_id"])


class Misdelivered(Exception):
    """The messages contradict what the group held."""


def put_together(deliveries: list[Delivery]) -> dict[str, str]:
    """Return the group that deliveries lead to, one after the other. Raises Misdelivered."""
    group: dict[str, str] = {}
    for delivery in deliveries:
        if delivery.action == "members":
            group = {}
        for member in delivery.members():
            if delivery.action == "remove_members":
                if group.pop(member.apptimize_id, None) is None:
                    raise Misdelivered("one was removed who was no member")
            elif member.apptimize_id in group:
                raise Misdelivered("one was added who was a member")
            else:
                group[member.apptimize_id] = member.distinct_id
    return group


# --- the server's state --------------------------------------------------------------------------------------------


@dataclass
class Counted:
    """What was asked since the counters were last set to zero."""

    requests: int = 0
    pages: int = 0
    messages: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    from_s: float = field(default_factory=time.process_time)

    def as_json(self) -> dict[str, Any]:
        """Return the counters, and what this process has taken meanwhile."""
        own = {"cpu_s": time.process_time() - self.from_s, "peak_mib": _peak_mib()}
        return {name: value for name, value in vars(self).items() if name != "from_s"} | own


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class Bench:
    """Cohorts, sessions, and the groups that arrived."""

    cohorts: dict[int, Cohort]
    latency_s: float = 0.0
    honors: bool = True  # whether a page has as many rows as are asked for
    queries: int = QUERIES
    counted: Counted = field(default_factory=Counted)
    sessions: dict[str, tuple[int, Version]] = field(default_factory=dict)
    staged: dict[str, dict[int, msgspec.Raw]] = field(default_factory=dict)
    delivered: dict[int, list[Delivery]] = field(default_factory=dict)
    kept: dict[int, list[Delivery]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1763900000))

    @property
    def policy(self) -> str:
        """What every answer says of the limits (mixpanel-headless, tests/unit/test_pacer.py, read 2026-11-23)."""
        return f'"project";q={self.queries};w=3600, "project-concurrency";q=5;qu="concurrent-requests"'

    def answer(self, request: Request) -> Answer:
        """Answer as Mixpanel or as a cohort-sync endpoint does, or as the bench's own control."""
        if request.path.startswith("/bench/"):
            return self._control(request.path.removeprefix("/bench/"), request.arguments())
        if request.path == RECEIVER:
            return self._receive(request)
        if unquote(request.headers.get("authorization", "")) not in _CREDENTIALS:
            return _reply(401, {"error": "Invalid service account credentials"})
        if request.path in _ENGAGE:
            return self._engage(request)
        if request.path in _LIST:
            return _reply(200, [_listed(cohort) for cohort in self.cohorts.values()])
        if request.path == _ACCOUNTS:
            own = {"id": 1, "username": USERNAME, "role": "admin", "expires": None, "target_type": "individual"}
            return _reply(200, {"status": "ok", "results": [own]})
        return _reply(404, {"error": "Not found"})

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
            session = f"{next(self._numbers)}-BENCH"
            self.sessions[session] = cohort.id, cohort.now
            total = f',"total":{cohort.now.counts["profiles"]}'
        of, version = self.sessions.get(session, (0, cohort.now))
        if of != cohort.id:
            return _reply(400, {"error": "request for page in uncached query for params"})
        self.counted.pages += 1
        size = self.page_size(asked.get("page_size"))
        head = f'{{"page":{page},"page_size":{size},"session_id":"{session}","status":"ok"{total},"results":['
        parts = [part for chunk in version.rows(page, size) for part in (b",", chunk)]
        return 200, [head.encode(), *parts[1:], b"]}"]

    def page_size(self, asked: Any) -> int:
        """Return how many rows a page has: as many as were asked for, in thousands."""
        size = int(asked or 0) if self.honors else 0
        return min(max(size // PAGE_SIZE, 1) * PAGE_SIZE, MOST_ROWS)

    def _receive(self, request: Request) -> Answer:
        if request.headers.get("apptimizeapitoken") != TOKEN:
            return _reply(401, {"status": "failure", "error": {"message": "unknown token", "code": 401}})
        if request.method == "GET":
            return _reply(200, {"status": "ok"})
        message = msgspec.json.decode(request.body, type=Message)
        action, parameters, members = message.action, message.parameters, message.parameters.members
        self.counted.messages += 1
        if action not in _ACTIONS or bytes(members).count(b'"mixpanel_distinct_id":') > _MESSAGE_MEMBERS:
            error = {"message": "the bench takes at most 1000 members a message", "code": 400}
            return _reply(400, {"action": action, "status": "failure", "error": error})
        pages = self.staged.setdefault(parameters.mixpanel_session_id, {})
        pages[parameters.page_info.page_count] = members
        if len(pages) == parameters.page_info.total_pages:
            self._arrived(int(parameters.mixpanel_cohort_id), Delivery(action, [pages[n] for n in sorted(pages)]))
            del self.staged[parameters.mixpanel_session_id]
        return _reply(200, {"action": action, "status": "success"})

    def _arrived(self, cohort_id: int, delivery: Delivery) -> None:
        earlier = [] if delivery.action == "members" else self.delivered.get(cohort_id, [])
        self.delivered[cohort_id] = [*earlier, delivery]

    # --- the bench's own controls ---

    def _control(self, name: str, asked: dict[str, Any]) -> Answer:
        if name == "reset":
            self._reset(asked)
            return _reply(200, {})
        if name == "keep":
            self.kept = dict(self.delivered)
            return _reply(200, {})
        if name == "zero":
            self.counted = Counted()
            return _reply(200, {})
        if name == "counted":
            return _reply(200, self.counted.as_json())
        cohort = self.cohorts[int(asked["cohort"])]
        if name == "change":
            cohort.percent = int(asked["percent"])
        if name in ("change", "truth"):
            return _reply(200, cohort.now.counts)
        return _reply(200, self._check_group(cohort, asked["write"]))

    def _reset(self, asked: dict[str, Any]) -> None:
        """Begin as at first, or with the groups that were kept."""
        self.latency_s = float(asked.get("latency_ms", 0)) / 1000
        self.honors = asked.get("honors", "1") == "1"
        self.queries = int(asked.get("queries", QUERIES))
        self.staged.clear()
        self.sessions.clear()
        self.delivered = dict(self.kept) if asked.get("groups") == "kept" else {}
        for cohort in self.cohorts.values():
            cohort.percent = 0
        self.counted = Counted()

    def _check_group(self, cohort: Cohort, write: str) -> dict[str, Any]:
        """Compare the group that has arrived with the one that is right after such a write: full, delta or none."""
        right = cohort.now.after_difference if write == "delta" else cohort.now.whole
        try:
            group = put_together(self.delivered.get(cohort.id, []))
        except Misdelivered as exc:
            return {"exact": False, "why": str(exc)}
        return {"exact": fingerprint(group) == right, "why": f"{len(group):,} members instead of {right[0]:,}"}


def _listed(cohort: Cohort) -> dict[str, Any]:
    return {
        "id": cohort.id,
        "project_id": PROJECT_ID,
        "name": cohort.name,
        "description": "",
        "data_group_id": None,
        "count": cohort.now.counts["profiles"],
        "is_visible": 1,
        "created": "2026-11-23 09:00:00",
    }


def _reply(status: int, document: object) -> Answer:
    return status, [json.dumps(document).encode()]
