"""Whatever a vendor answers, in any call: a right group, or an error with advice. Nothing hangs, nothing grows."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections.destinations import connect_endpoint
from core.connections.mixpanel_connection import connect_mixpanel
from core.errors import CohortBridgeError
from core.moments import replace_moments
from core.vendors.cohort_sync import test_endpoint as ask_endpoint
from core.vendors.http import connect_http
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_ingestion import Ingestion
from core.vendors.mixpanel_project import Project
from core.vendors.practice import is_sandbox
from core.vendors.receiver import Receiver
from core.vendors.retry import RetryPlan
from data.models import Member, Run, RunStatus
from tests.faults.conftest import Tally
from tests.faults.odd_answers import ODD_ANSWERS, OddAnswer
from tests.faults.population import list_unfinished
from tests.stage import oracle
from tests.stage.clock import FakeClock
from tests.stage.home import PRACTICE, copy_home, export, group_row
from tests.stage.hostile import Asked, Hostile, answer, hostile_server
from tests.stage.seeds import SEEDS

COHORT, PAGE_SIZE, PROFILES = 901, 5, 12
MOST_MEMORY = 300 * 2**20
ANY_ANSWER = settings(
    max_examples=2000 * SEEDS or 20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
ROWS = [
    {"$distinct_id": f"u-{number}", "$properties": {"$apptimize_user_id": f"i_{number}"}} for number in range(PROFILES)
]
LISTED = [{"id": 900, "name": "Other", "count": 1}, {"id": COHORT, "name": "Odd", "count": PROFILES, "is_visible": 1}]
ACCOUNTS = {"status": "ok", "results": [{"username": PRACTICE.username, "role": "admin", "expires": None}]}
TAKEN = {"code": 200, "num_records_imported": 2, "status": "OK"}


@dataclass
class Vendors:
    """Both vendors at one address: right answers, but for the call that is to be odd."""

    server: Hostile
    call: str = ""
    odd: OddAnswer | None = None
    struck: int = 0
    pages: dict[int, bytes] = field(default_factory=dict[int, bytes])
    too_far: list[int] = field(default_factory=list[int])
    group: list[dict[str, str]] | None = None

    def __post_init__(self) -> None:
        self.server.reply = self._reply

    def become(self, call: str, odd: OddAnswer | None) -> None:
        self.call, self.odd, self.struck = call, odd, 0
        self.pages.clear()
        self.too_far.clear()

    def _reply(self, asked: Asked) -> Iterable[bytes]:
        call, right = self._right(asked)
        odd = self.odd if call == self.call else None
        if odd and self.struck < odd.strikes:
            self.struck += 1
        else:
            odd = None
        if call in ("first page", "next page"):
            self.pages[asked.page] = json.dumps(right).encode() if odd is None else odd.body(right)
        return answer(right) if odd is None else odd.pieces(right)

    def _right(self, asked: Asked) -> tuple[str, Any]:
        if asked.path.startswith("/hook"):
            return self._take_message(asked) if asked.method == "POST" else ("test", {})
        if asked.path.startswith("/api/query/cohorts"):
            return "list", LISTED
        if asked.path.startswith("/api/query/engage"):
            return ("next page" if asked.page else "first page"), self._page(asked.page)
        if asked.path.startswith("/api/app"):
            return "account", ACCOUNTS
        if asked.path.startswith("/sandbox"):
            return "practice", {"id_merge": "original"}
        return ("alias" if asked.path.startswith("/import") else "set"), TAKEN

    def _page(self, page: int) -> dict[str, Any]:
        rows = ROWS[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
        right = {"results": rows, "page": page, "page_size": PAGE_SIZE, "session_id": "s", "status": "ok"}
        if page == 0:
            self.pages.clear()
            return {**right, "total": PROFILES}
        if page > _last_announced(self.pages[0]) + 1:
            self.too_far.append(page)
        return right

    def _take_message(self, asked: Asked) -> tuple[str, Any]:
        message = json.loads(asked.body)
        assert message["action"] == "members"
        self.group = message["parameters"]["members"]
        return "message", {"action": "members", "status": "success"}

    def expected_group(self) -> set[tuple[str, str]]:
        """Return what the pages that were sent last make of the group."""
        rows = [row for _, body in sorted(self.pages.items()) for row in json.loads(body)["results"]]
        return set(oracle.answer([_plain(row) for row in rows if _has_distinct_id(row)]).group.items())

    def delivered_group(self) -> set[tuple[str, str]]:
        return {(member["$apptimize_user_id"], member["mixpanel_distinct_id"]) for member in self.group or []}


def _last_announced(first_page: bytes) -> int:
    """Return the last page that a first one announces; after one that announces nothing none may be asked for."""
    try:
        first = json.loads(first_page)
        return int(first["total"]) // int(first["page_size"])
    except (ValueError, TypeError, KeyError, OverflowError, ZeroDivisionError):
        return -1


def _has_distinct_id(row: Any) -> bool:
    id = row.get("$distinct_id") if isinstance(row, dict) else None
    return not isinstance(id, bool) and (isinstance(id, int) or (isinstance(id, str) and id != "" and _is_text(id)))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    properties = row.get("$properties")
    return {"$distinct_id": row["$distinct_id"], "$properties": properties if isinstance(properties, dict) else {}}


def _is_text(id: str) -> bool:
    return not re.search("[\ud800-\udfff]", id)


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    with hostile_server() as server:
        yield Vendors(server)


@pytest.fixture
def odd_bridge(vendors: Vendors, migrated_template: Path, tmp_path: Path, fake_clock: FakeClock) -> Generator[Bridge]:
    """A home that is connected to both, and has delivered the group."""
    home = copy_home(migrated_template, tmp_path / "odd")
    url = vendors.server.url
    with home.bridge(clock=fake_clock.clock, mixpanel_url=url, allow_private_hosts=True) as bridge:
        vendors.become("", None)
        connect_mixpanel(bridge, LOCAL, PRACTICE)
        connect_endpoint(bridge, LOCAL, url=f"{url}/hook", token=SecretStr("token"))
        assert export(bridge, COHORT).status == RunStatus.SUCCEEDED
        yield bridge


@pytest.fixture
def bounded_memory() -> Generator[None]:
    """Check this process's peak of memory, server and all, against what it had before, where the system tells it."""
    if not Path("/proc/self/clear_refs").exists():
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    yield
    assert _memory("VmHWM") - before < MOST_MEMORY


def _memory(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


def assert_advice(message: str | None, advice: str | None) -> None:
    assert message
    assert advice
    assert len(message) < 400
    assert replace_moments(message, str).isprintable(), "but for the blanks of a moment of ours"
    assert "not foresee" not in message


def assert_right_or_an_error(bridge: Bridge, vendors: Vendors, run: Run, before: Any) -> None:
    if run.status == RunStatus.SUCCEEDED:
        assert vendors.delivered_group() == vendors.expected_group()
        assert not group_row(bridge, COHORT).in_doubt
        return
    assert run.status in (RunStatus.FAILED, RunStatus.HELD)
    assert_advice(run.error_message, run.error_advice)
    if not group_row(bridge, COHORT).in_doubt:
        assert vendors.group == before


@ANY_ANSWER
@given(call=st.sampled_from(("list", "first page", "next page", "message")), odd=ODD_ANSWERS)
@pytest.mark.usefixtures("bounded_memory")
def test_whatever_is_answered_an_export_ends_in_a_right_group_or_an_error_with_advice(
    odd_bridge: Bridge, vendors: Vendors, fake_clock: FakeClock, ran: Tally, call: str, odd: OddAnswer
):
    fake_clock.shift_s += 86_400  # another day: neither its queries nor the list of cohorts are those of before
    before = vendors.group
    vendors.become(call, odd)

    run = export(odd_bridge, COHORT, full=True)

    event(f"{call}: {run.error_code or run.status}")
    ran("odd answers")
    assert_right_or_an_error(odd_bridge, vendors, run, before)
    assert vendors.too_far == []
    assert list_unfinished(odd_bridge) == []


@pytest.mark.parametrize("status", [400, 404])
def test_a_cohort_that_is_listed_is_not_called_unknown_for_a_refusal_of_its_pages(
    odd_bridge: Bridge, vendors: Vendors, fake_clock: FakeClock, status: int
):
    fake_clock.shift_s += 86_400
    refused = OddAnswer("whole", "", status, headers={}, field="", value=None, at=0, strikes=99)
    vendors.become("first page", refused)

    run = export(odd_bridge, COHORT, full=True)

    assert run.error_code == "mixpanel_refused"
    assert f"({status})" in (run.error_message or "")


# --- calls outside exports -----------------------------------------------------------------------------------------


class Unlimited:
    """A budget that always has a query left."""

    def spend(self) -> int:
        return 1

    def give_back(self, entry: int) -> None:
        """Take it back."""

    def learn(self, limit: object) -> None:
        """Let it pass."""


async def still_ours() -> None:
    """The lease is ours."""


TWO_TRIES = RetryPlan(attempts=2, over_s=0.01)
MEMBERS = [Member("i_1", "u-1"), Member("i_2", "u-2")]


def client(http: httpx.AsyncClient, url: str) -> Mixpanel:
    return Mixpanel(http, Project(url, 7, PRACTICE.username, "secret"), Unlimited(), retry=TWO_TRIES)


def ingestion(http: httpx.AsyncClient, url: str) -> Ingestion:
    return Ingestion(http, Project(url, 7, "user", "secret"), "token", still_ours, retry=TWO_TRIES)


CALLS: dict[str, Callable[[httpx.AsyncClient, str], Awaitable[Any]]] = {
    "account": lambda http, url: client(http, url).account(),
    "first page": lambda http, url: client(http, url).profiles(["u-1"], "$apptimize_user_id"),
    "set": lambda http, url: ingestion(http, url).set_ids(MEMBERS, "$apptimize_user_id"),
    "alias": lambda http, url: ingestion(http, url).alias(MEMBERS, at_s=1_795_000_000),
    "practice": is_sandbox,
    "test": lambda http, url: ask_endpoint(http, Receiver(f"{url}/hook", "token")),
}


def error_of(call: str, url: str) -> CohortBridgeError | None:
    """Make a call; return the error that it ends with, None for none. One that is not ours fails the test."""

    async def make() -> None:
        async with connect_http() as http:
            await CALLS[call](http, url)

    try:
        asyncio.run(make())
    except CohortBridgeError as exc:
        return exc
    return None


@ANY_ANSWER
@given(call=st.sampled_from(sorted(CALLS)), odd=ODD_ANSWERS)
@pytest.mark.usefixtures("bounded_memory")
def test_whatever_is_answered_outside_an_export_is_taken_or_an_error_with_advice(
    vendors: Vendors, ran: Tally, call: str, odd: OddAnswer
):
    vendors.become(call, odd)

    error = error_of(call, vendors.server.url)

    event(f"{call}: {error.code if error else 'taken'}")
    ran("odd answers")
    if error:
        assert_advice(error.message, error.advice)
