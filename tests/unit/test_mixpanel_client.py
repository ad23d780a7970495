"""The Mixpanel client spends whichever budget it is handed: no database is needed to ask a project, but to share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pytest

from core.bridge import Bridge
from core.connections import cohort_list
from core.errors import CohortRefused, NoQuerySlot, RateLimited
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_project import Project
from core.vendors.query_budget import QueryLimit
from core.vendors.retry import RetryPlan
from tests.stage.clock import FakeClock
from tests.stage.sandbox import NOON

PROJECT = Project("https://mixpanel.example", 7, "account", "secret")
POLICY = {"RateLimit-Policy": '"project";q=40;w=3600'}
PAGE = {"results": [], "page": 0, "page_size": 1000, "total": 0, "session_id": "s", "status": "ok"}

Answer = Callable[[httpx.Request], httpx.Response]


@dataclass
class Purse:
    """A budget in a list: so many queries, and what became of them."""

    left: int = 10
    entries: list[int] = field(default_factory=list[int])
    limits: list[QueryLimit] = field(default_factory=list[QueryLimit])

    def spend(self) -> int:
        if not self.left:
            raise NoQuerySlot("None is left.", next_at=datetime(2026, 11, 23, tzinfo=UTC))
        self.left -= 1
        self.entries.append(len(self.entries))
        return self.entries[-1]

    def give_back(self, entry: int) -> None:
        self.left += 1
        self.entries.remove(entry)

    def learn(self, limit: QueryLimit) -> None:
        self.limits.append(limit)


def ask(purse: Purse, answer: Answer) -> Mixpanel:
    """Ask for a list of cohorts, the first page of one and the page after it; return the client."""

    async def run() -> Mixpanel:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            client = Mixpanel(http, PROJECT, purse, retry=RetryPlan(attempts=2, over_s=0.01))
            await client.list_cohorts()
            await client.first_page(9, "$user_id")
            await client.next_page(9, "$user_id", session_id="s", number=1)
            return client

    return asyncio.run(run())


def answered(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers=POLICY, json=[] if request.url.path.endswith("/list") else PAGE)


def test_the_list_and_a_first_page_cost_a_query_each_and_further_pages_none():
    purse = Purse()

    client = ask(purse, answered)

    assert (purse.left, client.queries, client.requests) == (8, 2, 3)


def test_the_limit_is_told_once_as_long_as_it_stays_the_same():
    purse = Purse()

    ask(purse, answered)

    assert purse.limits == [QueryLimit(40, 3600)]


def test_nothing_is_sent_without_a_query_left():
    sent = list[httpx.Request]()

    with pytest.raises(NoQuerySlot):
        ask(Purse(left=0), lambda request: sent.append(request) or answered(request))

    assert sent == []


def test_a_refusal_that_mixpanel_does_not_count_is_given_back():
    purse = Purse()
    headers = {"RateLimit": '"project";r=0;t=60'}

    with pytest.raises(RateLimited) as caught:
        ask(purse, lambda _: httpx.Response(429, headers=headers))

    assert (caught.value.kind, purse.left) == ("hour", 10)


def test_a_cohort_that_is_gone_costs_its_query_all_the_same():
    purse = Purse()

    with pytest.raises(CohortRefused, match="refused to read cohort 9"):
        ask(purse, lambda request: answered(request) if request.url.path.endswith("/list") else httpx.Response(404))

    assert purse.left == 8


HOUR = "This request exceeded the rate limit (61/60 queries running in the last hour). For more information, see"
CONCURRENCY = "This request exceeded the concurrency limit (6/5 queries running concurrently)."


@pytest.mark.parametrize(
    ("headers", "text", "kind"),
    [
        ({"RateLimit": '"project";r=0;t=3600, "project-concurrency";r=3'}, "", "hour"),
        ({"RateLimit": '"project"; r=0; t=3600'}, "", "hour"),
        ({"RateLimit": '"project" ;r = 0'}, CONCURRENCY, "hour"),
        ({"RateLimit": '"project";r=12, "project-concurrency"; r=0; t=10'}, "", "concurrency"),
        ({"RateLimit": '"project";r=12, "project-concurrency";r=0'}, HOUR, "concurrency"),
        ({}, HOUR, "hour"),
        ({}, CONCURRENCY, "concurrency"),
        ({"RateLimit": "?"}, HOUR, "hour"),
        ({}, "Query rate limit exceeded.", "load"),
        ({"RateLimit": '"project";r=-0'}, "", "load"),
    ],
)
def test_a_429_is_the_hours_by_its_headers_or_by_its_text(headers: dict[str, str], text: str, kind: str):
    with pytest.raises(RateLimited) as caught:
        ask(Purse(), lambda _: httpx.Response(429, headers=headers, json={"error": text}))

    assert caught.value.kind == kind


def test_a_list_of_cohorts_is_as_old_as_the_question_however_long_the_answer_takes(
    bridge: Bridge, fake_clock: FakeClock
):
    """A cohort that was made meanwhile may not be in it: whoever looks for that one asks again."""
    fake_clock.start_s = NOON
    asked_at = bridge.clock.now()

    def answer_late(request: httpx.Request) -> httpx.Response:
        fake_clock.shift_s += 30
        return answered(request)

    async def refresh() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer_late)) as http:
            client = Mixpanel(http, PROJECT, Purse(), retry=RetryPlan(attempts=2, over_s=0.01))
            await cohort_list.refresh(bridge, client, PROJECT.key)

    asyncio.run(refresh())

    assert bridge.clock.now() > asked_at
    assert cohort_list.read_at(bridge, PROJECT.key) == asked_at
