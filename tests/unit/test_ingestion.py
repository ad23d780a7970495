"""Mixpanel's Ingestion API: what is sent, and that no answer is believed further than it goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.errors import VendorAuthFailed, VendorSurprise, VendorUnavailable
from core.vendors.mixpanel_ingestion import Ingestion, Refusals, ingestion_url
from core.vendors.mixpanel_project import REGIONS, Project
from core.vendors.retry import RetryPlan
from data.models import Member

ROWS = [Member(f"i_{number}", f"u{number}") for number in range(10)]
OK = {"code": 200, "status": "OK"}
Answer = Callable[[httpx.Request, list[Any]], httpx.Response]


async def still_mine() -> None:
    """The lease is ours."""


def send(
    answer: Callable[[httpx.Request, list[Any]], httpx.Response],
    rows: list[Member] = ROWS,
    *,
    alias: bool = False,
) -> Refusals:
    """Set the ids, or alias them, against a server that answers so."""

    async def main() -> Refusals:
        transport = httpx.MockTransport(lambda request: answer(request, json.loads(request.content)))
        async with httpx.AsyncClient(transport=transport) as http:
            project = Project("https://eu.mixpanel.com", 77, "user", "secret")
            client = Ingestion(http, project, "token", still_mine, retry=RetryPlan(attempts=2, over_s=0.01))
            if alias:
                return await client.alias(rows, at_s=1_795_000_000)
            return await client.set_ids(rows, "$apptimize_user_id")

    return asyncio.run(main())


def told(http_status: int, /, **body: Any) -> Answer:
    return lambda _, __: httpx.Response(http_status, json=body)


def test_profiles_are_set_as_the_vendor_documents_it():
    asked = list[httpx.Request]()

    def answer(request: httpx.Request, _: list[Any]) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=OK | {"num_records_imported": 1})

    assert send(answer, [Member("i_1", "käufer")]) == {}
    assert str(asked[0].url) == "https://api-eu.mixpanel.com/engage?strict=1&ip=0&verbose=1"
    assert json.loads(asked[0].content) == [
        {"$token": "token", "$distinct_id": "käufer", "$set": {"$apptimize_user_id": "i_1"}}
    ]
    assert "authorization" not in asked[0].headers


def test_an_alias_is_the_same_event_whenever_it_is_sent_again():
    asked = list[Any]()

    def answer(request: httpx.Request, events: list[Any]) -> httpx.Response:
        assert request.url.path == "/import"
        assert request.headers["authorization"].startswith("Basic ")
        asked.append(events)
        return httpx.Response(200, json=OK | {"num_records_imported": len(events)})

    for _ in range(2):
        send(answer, [Member("i_1", "u1")], alias=True)

    assert asked[0] == asked[1]
    properties = asked[0][0]["properties"]
    assert (asked[0][0]["event"], properties["distinct_id"], properties["alias"]) == ("$create_alias", "u1", "i_1")
    assert len(properties["$insert_id"]) == 32


@pytest.mark.parametrize("region", REGIONS)
def test_each_region_takes_profiles_at_its_own_host(region: str):
    host = {"us": "api", "eu": "api-eu", "in": "api-in"}[region]
    assert ingestion_url(REGIONS[region]) == f"https://{host}.mixpanel.com"
    assert ingestion_url("http://127.0.0.1:8600") == "http://127.0.0.1:8600"


def test_refused_records_are_told_by_their_place():
    failed = [{"index": 3, "message": "too odd"}, {"index": 7, "field": "$set"}]
    refused = send(told(400, code=400, error="some failed", failed_records=failed, num_records_imported=8))

    assert refused == {3: "too odd", 7: "Mixpanel refused it."}


def refuse_some_without_saying_which(bad: set[str], sent: list[int]) -> Callable[..., httpx.Response]:
    """Answer as a live probe of the vendor saw it: failed records as mere texts."""

    def answer(_: httpx.Request, updates: list[Any]) -> httpx.Response:
        sent.append(len(updates))
        wrong = [update["$distinct_id"] for update in updates if update["$distinct_id"] in bad]
        if not wrong:
            return httpx.Response(200, json=OK | {"num_records_imported": len(updates)})
        failed = [f"record of {distinct_id} failed" for distinct_id in wrong]
        return httpx.Response(400, json={"code": 400, "error": failed[0], "failed_records": failed})

    return answer


def test_where_it_is_not_said_which_records_failed_they_are_found_by_halves():
    rows, sent = [Member(f"i_{number}", f"u{number}") for number in range(2000)], list[int]()

    refused = send(refuse_some_without_saying_which({"u77", "u1999"}, sent), rows)

    assert refused == {77: "record of u77 failed", 1999: "record of u1999 failed"}
    assert len(sent) < 50


def test_a_batch_of_which_everything_is_refused_does_not_cost_a_request_a_row():
    rows, sent = [Member(f"i_{number}", f"u{number}") for number in range(2000)], list[int]()

    refused = send(refuse_some_without_saying_which({member.distinct_id for member in rows}, sent), rows)

    assert refused.keys() == set(range(2000)), "none is told as written"
    assert len(sent) < 250


@pytest.mark.parametrize(
    "body",
    [
        {"status": 0, "error": "none was taken"},
        OK | {"num_records_imported": 9},
        {"code": 200, "status": "OK", "error": "but it failed"},
        {"code": 200, "status": "error", "error": None},
        {"code": 200, "status": "Bad Request"},
        {"code": 400, "status": "OK"},
        {"status": 1, "error": ["but it failed"]},
        {"status": True},
        {"error": None},
        OK | {"failed_records": {"index": 1}},
        OK | {"num_records_imported": None, "num_good_events": 9},
        {"code": 400, "failed_records": [{"index": 99, "message": "beyond"}]},
        {"code": 400, "failed_records": [{"index": 1, "message": "one"}], "num_records_imported": 3},
    ],
)
def test_an_answer_that_does_not_add_up_is_asked_about_again_and_never_believed(body: dict[str, Any]):
    assert send(told(200, **body)).keys() == set(range(10))


def test_a_reason_is_one_short_line_whatever_the_vendor_says():
    refused = send(told(200, status=0, error="no\x1b[2J\n" + "x" * 5000, code=int("9" * 3000)), ROWS[:1])

    assert len(refused[0] or "") <= 200
    assert (refused[0] or "").isprintable()


@pytest.mark.parametrize("status", [200, 401])
def test_a_token_that_is_not_accepted_is_said_so_whatever_the_status(status: int):
    with pytest.raises(VendorAuthFailed, match="the project token"):
        send(told(status, code=401, error="Invalid credentials", status="Unauthorized"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda *_: httpx.Response(503), VendorUnavailable),
        (lambda *_: httpx.Response(429, headers={"Retry-After": "0"}), VendorUnavailable),
        (lambda *_: httpx.Response(200, text="<html>Sign in to Wi-Fi"), VendorSurprise),
        (lambda *_: httpx.Response(200, text="1"), VendorSurprise),
    ],
)
def test_what_proves_nothing_is_a_failure(answer: Any, error: type[Exception]):
    with pytest.raises(error):
        send(answer)


def test_a_request_stays_below_a_megabyte_however_long_the_ids_are():
    sizes = list[tuple[int, int]]()

    def answer(request: httpx.Request, updates: list[Any]) -> httpx.Response:
        sizes.append((len(updates), len(request.content)))
        return httpx.Response(200, json=OK)

    send(answer, [Member(f"i_{number:0200}", f"{number:01000}") for number in range(2000)])

    assert sum(count for count, _ in sizes) == 2000
    assert max(size for _, size in sizes) < 1_000_000


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_passing_failure_that_only_the_body_tells_is_tried_again(code: int):
    answers = [httpx.Response(200, json={"code": code, "error": "later"}), httpx.Response(200, json=OK)]

    assert send(lambda _, __: answers.pop(0)) == {}
    assert answers == []
