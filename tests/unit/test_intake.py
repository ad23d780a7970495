"""What comes in from either vendor: bounded in bytes and in time, and one error with advice whatever it holds."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import (
    CohortBridgeError,
    SettingsError,
    VendorAuthFailed,
    VendorError,
    VendorRefused,
    VendorSurprise,
    VendorUnavailable,
)
from core.vendors import http as clients
from core.vendors import mixpanel
from core.vendors.cohort_sync import EndpointDelivery
from core.vendors.delivery import Target
from core.vendors.http import connect_http
from core.vendors.intake import Bounds
from core.vendors.mixpanel import Mixpanel
from core.vendors.mixpanel_ingestion import Ingestion
from core.vendors.mixpanel_project import Project
from core.vendors.practice import is_sandbox
from core.vendors.query_budget import QueryLimit
from core.vendors.receiver import Receiver
from core.vendors.retry import RetryPlan
from data.models import Member
from tests.stage.certificates import make_certificate
from tests.stage.hostile import (
    MEGABYTE,
    Hostile,
    answer,
    bomb,
    endless,
    endless_members,
    head,
    hostile_server,
    nested,
)
from tests.stage.members import ListedMembers
from tests.stage.seeds import few, some

pytestmark = some(60)

ONE_TRY = RetryPlan(attempts=1, over_s=0.1)
MEMBERS = [Member("i_1", "u-1"), Member("i_2", "u-2")]
SHORT = Bounds(4 * MEGABYTE, 0.3)
PACKED = gzip.compress(b'{"results": [], "status": "ok"}')
CONFIRMED = {"action": "members", "status": "success"}


class Unlimited:
    """A budget that always has a query left."""

    def spend(self) -> int:
        return 1

    def give_back(self, entry: int) -> None:
        """Take it back."""

    def learn(self, limit: QueryLimit) -> None:
        """Let it pass."""


async def still_ours() -> None:
    """The lease is ours."""


def client(http: httpx.AsyncClient, url: str) -> Mixpanel:
    return Mixpanel(http, Project(url, 7, "user", "secret"), Unlimited(), retry=ONE_TRY)


def ingestion(http: httpx.AsyncClient, url: str) -> Ingestion:
    return Ingestion(http, Project(url, 7, "user", "secret"), "token", still_ours, retry=ONE_TRY)


def endpoint(http: httpx.AsyncClient, url: str) -> EndpointDelivery:
    return EndpointDelivery(http, Receiver(f"{url}/hook", "token"), still_ours, retry=ONE_TRY)


async def message(delivery: EndpointDelivery) -> None:
    await delivery.overwrite(Target(1, 2, "c", "g"), ListedMembers([MEMBERS]), members=2)


Call = Callable[[httpx.AsyncClient, str], Awaitable[Any]]
MIXPANEL_CALLS: dict[str, Call] = {
    "list": lambda http, url: client(http, url).list_cohorts(),
    "account": lambda http, url: client(http, url).account(),
    "first page": lambda http, url: client(http, url).first_page(9, "$user_id"),
    "next page": lambda http, url: client(http, url).next_page(9, "$user_id", session_id="s", number=1),
    "profiles": lambda http, url: client(http, url).profiles(["u-1"], "$user_id"),
    "set": lambda http, url: ingestion(http, url).set_ids(MEMBERS, "$user_id"),
    "alias": lambda http, url: ingestion(http, url).alias(MEMBERS, at_s=1_795_000_000),
}
CALLS = MIXPANEL_CALLS | {"message": lambda http, url: message(endpoint(http, url))}

each_call = pytest.mark.parametrize("name", CALLS)


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with hostile_server() as server:
        yield server


def make(call: Call, hostile: Hostile, reply: Iterable[bytes]) -> Any:
    """Make a call of the product's against a server that answers so."""
    hostile.reply = lambda _: reply

    async def run() -> Any:
        async with connect_http() as http:
            return await call(http, hostile.url)

    return asyncio.run(run())


def error_of(do: Callable[[], Any]) -> CohortBridgeError | None:
    """Return the error that something ends with, None for none; one that is not ours fails the test."""
    try:
        do()
    except CohortBridgeError as exc:
        return exc
    return None


@contextmanager
def memory_of_at_most(most_bytes: int) -> Generator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most_bytes


def test_a_request_searches_no_folder_for_a_module(hostile: Hostile, monkeypatch: pytest.MonkeyPatch):
    searched = list[str]()

    class Searches:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            searched.append(name)

    async def ask(http: httpx.AsyncClient, url: str) -> None:
        await message(endpoint(http, url))  # imports what it needs
        monkeypatch.setattr(sys, "meta_path", [Searches, *sys.meta_path])
        await message(endpoint(http, url))

    make(ask, hostile, answer(json.dumps(CONFIRMED).encode()))

    assert searched == []


# --- bytes ---------------------------------------------------------------------------------------------------------


@few(9)
@pytest.mark.parametrize("sent", [endless, bomb, endless_members])
@each_call
def test_an_answer_without_an_end_is_that_calls_error(hostile: Hostile, name: str, sent: Callable[[], Iterable[bytes]]):
    with pytest.raises(VendorSurprise) as caught, memory_of_at_most(30 * MEGABYTE):
        make(CALLS[name], hostile, sent())

    assert caught.value.code.endswith("_unreadable_answer")
    assert caught.value.advice
    assert hostile.sent_bytes < 20 * MEGABYTE


@pytest.mark.parametrize("sent", [endless, bomb])
@each_call
def test_a_refusal_that_says_very_much_is_still_that_refusal(
    hostile: Hostile, name: str, sent: Callable[[int], Iterable[bytes]]
):
    with pytest.raises(VendorAuthFailed):
        make(CALLS[name], hostile, sent(401))

    assert hostile.sent_bytes < 8 * MEGABYTE


def test_the_sandbox_is_not_looked_for_in_an_answer_without_an_end(hostile: Hostile):
    assert make(is_sandbox, hostile, endless()) is False
    assert hostile.sent_bytes < 8 * MEGABYTE


def test_a_packed_answer_is_unpacked(hostile: Hostile):
    body = gzip.compress(b'{"results": [{"$distinct_id": "u-1"}], "page": 0, "total": 1, "status": "ok"}')

    page = make(MIXPANEL_CALLS["first page"], hostile, answer(body, Content_Encoding="gzip"))

    assert page.distinct_ids == ["u-1"]


def test_parts_that_were_packed_one_by_one_are_unpacked(hostile: Hostile):
    body = gzip.compress(b'{"results": []') + gzip.compress(b', "total": 5, "status": "ok"}')

    page = make(MIXPANEL_CALLS["first page"], hostile, answer(body, Content_Encoding="gzip"))

    assert page.total == 5


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (PACKED[:-4], "gzip"),
        (PACKED + b"more", "gzip"),
        (b'{"results": [], "status": "ok"}', "gzip"),
        (b'{"results": [], "status": "ok"}', "br"),
        (b'{"results": [], "status": "ok"}', "gzip, gzip"),
    ],
    ids=["cut off", "more after it", "not packed", "another packing", "packed twice"],
)
def test_an_answer_that_cannot_be_unpacked_whole_is_not_believed(hostile: Hostile, body: bytes, encoding: str):
    with pytest.raises(VendorSurprise):
        make(MIXPANEL_CALLS["first page"], hostile, answer(body, Content_Encoding=encoding))


def test_a_page_may_be_as_large_as_the_pages_that_were_asked_for(hostile: Hostile):
    rows = [{"$distinct_id": f"u-{number}", "$properties": {"$user_id": "x" * 250}} for number in range(30_000)]
    whole = answer({"results": rows, "page": 0, "total": 30_000, "status": "ok"})

    page = make(lambda http, url: client(http, url).first_page(9, "$user_id", page_size=30_000), hostile, whole)

    assert len(page.distinct_ids) == 30_000
    with pytest.raises(VendorSurprise):
        make(MIXPANEL_CALLS["first page"], hostile, whole)


# --- time ----------------------------------------------------------------------------------------------------------


def shortened(name: str, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a call of which the answer must be there within a moment."""
    monkeypatch.setattr(mixpanel, "_QUERY_TIMEOUT_S", SHORT.within_s)
    monkeypatch.setattr(mixpanel, "_APP_TIMEOUT_S", SHORT.within_s)

    async def call(http: httpx.AsyncClient, url: str) -> Any:
        if name == "message":
            delivery = endpoint(http, url)
            delivery.bounds = SHORT
            return await message(delivery)
        if name in ("set", "alias"):
            sent = ingestion(http, url)
            sent.bounds = SHORT
            return await (sent.set_ids(MEMBERS, "$user_id") if name == "set" else sent.alias(MEMBERS, at_s=1))
        return await CALLS[name](http, url)

    return call


@few(3)
@each_call
def test_an_answer_that_arrives_byte_by_byte_has_an_end_of_its_own(
    hostile: Hostile, name: str, monkeypatch: pytest.MonkeyPatch
):
    slow = hostile.drip([head(), *[b" "] * 10_000], every_s=0.02)

    with pytest.raises(VendorUnavailable, match="did not answer in time") as caught:
        make(shortened(name, monkeypatch), hostile, slow)

    assert caught.value.code.endswith("_unreachable")


@few(3)
@each_call
def test_a_head_that_arrives_byte_by_byte_has_one_too(hostile: Hostile, name: str, monkeypatch: pytest.MonkeyPatch):
    whole = head(**{f"X-{number}": "y" for number in range(2000)})
    slow = hostile.drip([bytes([byte]) for byte in whole], every_s=0.02)

    with pytest.raises(VendorUnavailable, match="did not answer in time"):
        make(shortened(name, monkeypatch), hostile, slow)


def test_an_endpoint_has_two_minutes_for_its_answer():
    assert EndpointDelivery(httpx.AsyncClient(), Receiver(""), still_ours).bounds.within_s == 120


# --- whatever it holds ---------------------------------------------------------------------------------------------


ODD = {
    "deep list": nested(),
    "deep object": nested(open_='{"a":', close="}")[:-100_000] + b"1" + b"}" * 100_000,
    "deep in a page": b'{"results": [{"$distinct_id": ' + nested() + b"}]}",
    "deep in a property": b'{"results": [{"$properties": {"$user_id": ' + nested() + b"}}]}",
    "deep in an error": b'{"status": "failure", "error": ' + nested() + b"}",
    "digits": b'{"results": [], "total": ' + b"9" * 100_000 + b"}",
    "code of digits": b'{"status": "failure", "code": 1' + b"0" * 5000 + b', "error": {"code": 1' + b"0" * 5000 + b"}}",
    "infinity": b'{"results": [], "total": Infinity, "code": NaN, "status": -Infinity}',
    "half a character": b'{"results": [], "status": "\xff"}',
    "half of a pair": b'{"results": [], "status": "\\ud800", "error": "\\udfff"}',
    "nothing": b"",
    "null": b"null",
    "number": b"7",
    "list of odd things": b'[null, 1, "x", [], {}, true]',
    "odd fields": b'{"results": {}, "status": [], "error": {"code": []}, "code": {}, "failed_records": {}}',
    "odd rows": b'{"results": [null, 1, [], "x"], "failed_records": [[], 1, {"index": -1}, {"index": true}]}',
}


@few(9)
@pytest.mark.parametrize("status", [200, 400, 404, 500])
@each_call
def test_whatever_an_answer_holds_it_is_taken_or_an_error_with_advice(hostile: Hostile, name: str, status: int):
    errors = {odd: error_of(partial(make, CALLS[name], hostile, answer(body, status))) for odd, body in ODD.items()}

    assert [odd for odd, error in errors.items() if error and not (error.advice and len(error.message) < 300)] == []


@pytest.mark.parametrize("odd", ["deep list", "deep object", "deep in an error"])
def test_a_nested_answer_of_an_endpoint_confirms_nothing(hostile: Hostile, odd: str):
    with pytest.raises(VendorSurprise, match="did not confirm"):
        make(CALLS["message"], hostile, answer(ODD[odd]))


def test_cookies_are_neither_kept_nor_sent_back(hostile: Hostile):
    async def ask_twice(http: httpx.AsyncClient, url: str) -> None:
        for _ in range(2):
            await message(endpoint(http, url))

    make(ask_twice, hostile, answer(CONFIRMED, Set_Cookie="a=b; Max-Age=999"))

    assert [asked.fields.get("cookie") for asked in hostile.asked] == [None, None]


# --- statuses ------------------------------------------------------------------------------------------------------


@few(9)
@pytest.mark.parametrize("status", [408, 409, 421, 423, 425, 429, 503])
@each_call
def test_what_may_pass_is_tried_again(hostile: Hostile, name: str, status: int):
    with pytest.raises(VendorUnavailable) as caught:
        make(CALLS[name], hostile, answer({"error": "later"}, status))

    assert (caught.value.status, caught.value.pauses) == (status, False)


@pytest.mark.parametrize("code", [408, 409, 421, 423, 425, 429, 503, "503"])
def test_a_failure_that_only_the_body_tells_may_pass_too(hostile: Hostile, code: int | str):
    said = {"action": "members", "status": "failure", "error": {"code": code}}

    with pytest.raises(VendorUnavailable) as caught:
        make(CALLS["message"], hostile, answer(said))

    assert caught.value.status == int(code)


@pytest.mark.parametrize(
    "error", ['{"code": 1' + "0" * 3000 + "}", '{"code": -1}', '{"code": true}', "{}", "null", '"x"']
)
def test_a_failure_with_a_code_that_is_none_is_an_error_of_the_endpoints_own(hostile: Hostile, error: str):
    said = f'{{"action": "members", "status": "failure", "error": {error}}}'.encode()

    with pytest.raises(VendorError) as caught:
        make(CALLS["message"], hostile, answer(said))

    assert caught.value.retryable
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("error", [{"message": "no room", "code": 507}, "no room", ["x"]])
def test_a_success_with_an_error_beside_it_confirms_nothing(hostile: Hostile, error: Any):
    with pytest.raises(VendorUnavailable):
        make(CALLS["message"], hostile, answer(CONFIRMED | {"error": error}))


@pytest.mark.parametrize("error", [None, "", {}])
def test_an_error_that_is_none_does_not_speak_against_a_success(hostile: Hostile, error: Any):
    make(CALLS["message"], hostile, answer(CONFIRMED | {"error": error}))


# --- other places --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "region"),
    [
        ("https://eu.mixpanel.com/api/query/engage", "eu"),
        ("https://api-in.mixpanel.com/engage", "in"),
        ("//mixpanel.com/", "us"),
    ],
)
@pytest.mark.parametrize("name", MIXPANEL_CALLS)
def test_a_redirect_to_another_regions_host_names_the_region(hostile: Hostile, name: str, location: str, region: str):
    with pytest.raises(VendorRefused, match=f"region {region}") as caught:
        make(CALLS[name], hostile, answer(b"", 307, Location=location))

    assert region in caught.value.advice


@pytest.mark.parametrize("location", ["https://login.example/", "/elsewhere", "x" * 3000])
@pytest.mark.parametrize("name", MIXPANEL_CALLS)
def test_any_other_redirect_is_called_that(hostile: Hostile, name: str, location: str):
    with pytest.raises(VendorSurprise) as caught:
        make(CALLS[name], hostile, answer(b"", 302, Location=location))

    assert "leads elsewhere (302)" in caught.value.message
    assert location not in caught.value.message + caught.value.advice


@each_call
def test_a_certificate_that_is_not_trusted_is_called_that(name: str, tmp_path: Path):
    with hostile_server(make_certificate(tmp_path, "mixpanel.com")) as hostile:
        with pytest.raises(VendorError, match=r"certificate of .* is not trusted") as caught:
            make(CALLS[name], hostile, [])

    assert "SSL_CERT_FILE" in caught.value.advice
    assert caught.value.code.endswith("_untrusted_certificate")


def test_certificates_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))

    with pytest.raises(SettingsError, match="SSL_CERT_FILE"):
        clients.load_trusted.__wrapped__()


@pytest.mark.parametrize("address", ["foo://proxy", "http://proxy:port"])
def test_a_proxy_that_is_none_is_named(hostile: Hostile, monkeypatch: pytest.MonkeyPatch, address: str):
    monkeypatch.setenv("HTTPS_PROXY", address)

    with pytest.raises(SettingsError, match="proxy") as caught:
        make(MIXPANEL_CALLS["list"], hostile, [])

    assert "HTTPS_PROXY" in caught.value.advice
