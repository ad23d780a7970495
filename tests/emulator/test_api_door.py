"""The door of the HTTP API: whom it opens for, and what is sent there that is no honest question."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from core.access import tokens
from core.access.roles import LOCAL
from core.api import protocol
from core.bridge import Bridge
from core.syncs import groups, recurring, runs
from data.models import RunFilter
from tests.stage.api import (
    Api,
    audit_lines,
    code_of,
    new_token,
    raw,
    sending,
    served,
)
from tests.stage.clock import FakeClock
from tests.stage.home import Home
from tests.stage.sandbox import POWER
from tests.stage.seeds import some

pytestmark = some(15)

METRICS_TOKEN = "a-token-of-some-length"
# Every address, one that is there each.
ADDRESSES = (
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v1/syncs"),
    ("POST", "/api/v1/syncs/1/runs"),
    ("GET", "/api/v1/runs/1"),
    ("GET", "/api/v1/groups"),
    ("GET", "/api/v1/groups/1/members/i_1"),
)


def test_while_no_token_counts_it_is_as_if_nothing_were_there(bridge: Bridge, fake_clock: FakeClock):
    def looks_like_nothing(client: httpx.Client, headers: dict[str, str]) -> None:
        for method, path in (*ADDRESSES, ("DELETE", "/api/v1/groups"), ("OPTIONS", "/api/v1/runs/1"), ("GET", "/api/")):
            there, nowhere = (client.request(method, at, headers=headers) for at in (path, "/nothing"))
            assert (there.status_code, there.content) == (nowhere.status_code, nowhere.content) == (404, b"Not Found")
            assert there.headers.keys() == nowhere.headers.keys()

    with served(bridge, metrics_token=SecretStr(METRICS_TOKEN)) as client:
        looks_like_nothing(client, {})
        made = tokens.make_token(bridge, LOCAL, "airflow", "analyst", days=1)
        assert client.get("/api/v1/groups").status_code == 401
        assert client.get("/api/v1/groups", headers=sending(made.text)).status_code == 200
        fake_clock.shift_s += 24 * 3600
        looks_like_nothing(client, sending(made.text))
        looks_like_nothing(client, sending(METRICS_TOKEN))
        tokens.revoke_token(bridge, LOCAL, made.token.id or 0)
        second = tokens.make_token(bridge, LOCAL, "airflow", "analyst")
        assert code_of(client.get("/api/v1/groups", headers=sending(made.text))) == (401, "token_refused")
        tokens.revoke_token(bridge, LOCAL, second.token.id or 0)
        looks_like_nothing(client, sending(second.text))


def odd_authorizations(token: str) -> Iterator[list[tuple[str, str]]]:
    yield []
    yield [("Authorization", "Bearer")]
    yield [("Authorization", f"Basic {token}")]
    yield [("Authorization", token)]
    yield [("Authorization", f"Bearer {token}x")]
    yield [("Authorization", f"Bearer {token[:-1]}")]
    yield [("Authorization", f"Bearer {token.upper()}")]
    yield [("Authorization", f"Bearer {token} {token}")]
    yield [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    yield [("X-Api-Key", token)]
    yield [("Cookie", f"token={token}")]


def test_only_a_token_in_its_header_opens_any_address(api: Api):
    token = api.analyst["Authorization"].removeprefix("Bearer ")
    for headers in odd_authorizations(token):
        for method, path in ADDRESSES[:1] if headers else ADDRESSES:
            refused = api.client.request(method, path, headers=headers)
            assert code_of(refused) == (401, "token_refused")
            assert refused.headers["WWW-Authenticate"].startswith("Bearer")
            assert token not in refused.text
    assert api.client.get(f"/api/v1/groups?token={token}").status_code == 401
    assert api.get("/api/v1/groups", by={"Authorization": f"bearer {token}"}).status_code == 200


def test_the_two_kinds_of_tokens_do_not_open_each_others_door(bridge: Bridge):
    with served(bridge, metrics_token=SecretStr(METRICS_TOKEN)) as client:
        token = new_token(bridge)

        assert client.get("/metrics", headers=sending(token)).status_code == 401
        assert client.get("/readyz", headers=sending(token)).json() == {"status": "not ready"}
        assert client.get("/api/v1/groups", headers=sending(METRICS_TOKEN)).status_code == 401
        assert client.get("/metrics", headers=sending(METRICS_TOKEN)).status_code == 200


def test_a_viewer_reads_and_an_analyst_queues(api: Api):
    refused = api.ask("POST", "/api/v1/syncs/1/runs", by=api.viewer)

    assert code_of(refused) == (403, "not_allowed")
    assert "token: reader has the role viewer" in refused.json()["error"]["message"]
    assert ("token: reader", "run_now", "refused") in audit_lines(api.bridge)
    for method, path in ADDRESSES:
        if method == "GET":
            assert api.ask(method, path, by=api.viewer).status_code == 200
    assert len(runs.list_runs(api.bridge, LOCAL, RunFilter(statuses=("queued",)))) == 0


def test_a_sync_that_was_removed_is_a_conflict_and_one_that_never_was_is_not_there(bridge: Bridge):
    sync = recurring.add_sync(bridge, LOCAL, POWER)
    recurring.remove_sync(bridge, LOCAL, sync.id or 0)
    with served(bridge) as client:
        client.headers = httpx.Headers(sending(new_token(bridge)))

        assert code_of(client.post(f"/api/v1/syncs/{sync.id}/runs")) == (409, "sync_removed")
        assert code_of(client.post("/api/v1/syncs/99/runs")) == (404, "not_found")
        assert code_of(client.get("/api/v1/runs/99")) == (404, "not_found")
        for number in (2**31, 2**63 - 1, 2**63, 10**20 - 1):
            assert code_of(client.get(f"/api/v1/runs/{number}")) == (404, "not_found")
        for zeros, nines in ((20, 30), (20, 5000), (5000, 1)):
            padded = "0" * zeros + "9" * nines
            assert code_of(client.get(f"/api/v1/runs/{padded}")) == (404, "not_found")
            assert code_of(client.post(f"/api/v1/syncs/{padded}/runs")) == (404, "not_found")


@pytest.mark.sqlite_file
def test_a_database_that_cannot_be_read_is_told_as_such(bridge: Bridge):
    with served(bridge) as client:
        client.headers = httpx.Headers(sending(new_token(bridge)))
        bridge.engine.dispose()
        bridge.settings.home.joinpath("cohort_bridge.db").write_bytes(b"no database" * 1000)

        for headers in ({}, {"Authorization": "Bearer nothing"}):
            refused = client.get("/api/v1/groups", headers=headers)
            assert code_of(refused) == (503, "storage_failed")
            assert refused.json()["error"]["message"] == "The database cannot be used."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/v1/syncs/1/runs", "POST"),
        ("PUT", "/api/v1/groups", "GET, HEAD"),
        ("OPTIONS", "/api/v1/runs/1", "GET, HEAD"),
        ("DELETE", "/api/v1/groups/1/members/i_1", "GET, HEAD"),
        ("BREW", "/api/v1/groups", "GET, HEAD"),
    ],
)
def test_a_method_that_an_address_does_not_take_is_refused(api: Api, method: str, path: str, allowed: str):
    refused = api.ask(method, path)

    assert code_of(refused) == (405, "method_not_allowed")
    assert refused.headers["Allow"] == allowed


def test_an_answer_without_its_body_is_as_with_it(api: Api):
    whole, head = api.get("/api/v1/groups"), api.ask("HEAD", "/api/v1/groups")

    assert (head.status_code, head.content, head.headers["content-length"]) == (
        200,
        b"",
        whole.headers["content-length"],
    )


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1",
        "/api/v1/",
        "/api/v1/groups/",
        "/api/v1//groups",
        "//api/v1/groups",
        "/api/v1/groups/1",
        "/api/v1/groups/1/members/",
        "/api/v1/groups/1/members/a/b",
        "/api/v1/groups%2F1%2Fmembers%2Fx",
        "/api/v1/x/../groups",
        "/api/v1/groups/1/members/x/../../../runs/1",
        "/api/v1/x/%2e%2e/groups",
        "/healthz/../api/v1/groups",
        "/%61pi/v1/groups",
        "/api/V1/groups",
        "/api/v1/groups;x",
        "/api/v1/groups%00",
        "/api/v1/groups%0d%0aX: y",
        "http://localhost/api/v1/groups",
    ],
)
def test_an_address_is_what_was_sent_and_nothing_that_it_could_be_made_to(api: Api, path: str):
    status, body = raw(api.client, "GET", path, api.analyst)

    assert status in (400, 404), body
    assert "Power" not in body


def test_another_sites_name_and_its_pages_are_not_answered(api: Api):
    by = {**api.analyst, "Host": "evil.example"}
    assert api.ask("POST", "/api/v1/syncs/1/runs", by=by).status_code == 400
    from_page = {**api.analyst, "Origin": "http://localhost:8501"}
    answer = api.ask("GET", "/api/v1/groups", by=from_page)
    asked_first = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = api.ask("OPTIONS", "/api/v1/syncs/1/runs", by=asked_first)
    assert preflight.status_code == 401
    for each in (answer, preflight):
        assert not [name for name in each.headers if name.startswith("access-control")]
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")


# --- what is sent too much, too slowly, too often ------------------------------------------------------------------


def test_a_body_is_not_needed_and_a_long_one_not_taken(bridge: Bridge):
    sync = recurring.add_sync(bridge, LOCAL, POWER)

    def parts() -> Iterator[bytes]:
        yield from [b"x" * 512] * 3

    with served(bridge) as client:
        client.headers = httpx.Headers(sending(new_token(bridge)))
        path = f"/api/v1/syncs/{sync.id}/runs"

        assert client.post(path, json={}).status_code == 202
        for body in (b"x" * 1025, parts()):
            refused = client.post(path, content=body)
            assert code_of(refused) == (413, "body_too_large")
            assert refused.headers["connection"] == "close"
        strange = client.post(path, content=b"x" * 5000, headers=sending("nothing"))
        assert (strange.status_code, strange.headers["connection"]) == (401, "close")
        assert client.get(path.removesuffix("/1/runs")).status_code == 200


def test_what_is_sent_slowly_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "SENT_WITHIN_S", 0.3)
    address = (api.client.base_url.host, api.client.base_url.port or 0)
    begun = (
        b"",
        b"GET /api/v1/gro",
        b"POST /api/v1/syncs/1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1",
    )

    for part in begun:
        with closing(socket.create_connection(address, timeout=10)) as slow:
            slow.sendall(part)
            begun_s = time.monotonic()
            try:
                while slow.recv(65536):
                    pass
            except ConnectionResetError:
                pass
            assert time.monotonic() - begun_s < 5
    assert api.client.get("/healthz").status_code == 200


def test_tokens_can_be_tried_so_often_and_those_that_counted_go_on(bridge: Bridge, fake_clock: FakeClock):
    with served(bridge) as client:
        counted = sending(new_token(bridge))
        assert client.get("/api/v1/groups", headers=counted).status_code == 200
        tried = [client.get("/api/v1/groups", headers=sending(f"cbr_{n:043d}")) for n in range(25)]
        fresh = sending(new_token(bridge, name="fresh"))
        too_soon = client.get("/api/v1/groups", headers=fresh)
        goes_on = client.get("/api/v1/groups", headers=counted)
        without = client.get("/api/v1/groups")
        fake_clock.ahead_s += int(too_soon.headers["Retry-After"])
        in_time = client.get("/api/v1/groups", headers=fresh)

    assert [answer.status_code for answer in tried] == [401] * 20 + [429] * 5
    assert code_of(too_soon) == (429, "too_many_tries")
    assert (goes_on.status_code, without.status_code, in_time.status_code) == (200, 401, 200)
    assert audit_lines(bridge).count(("unknown token", "use_token", "refused")) == 1


def test_a_token_that_counted_before_is_let_through_by_the_next_worker_too(bridge: Bridge):
    counted = sending(new_token(bridge))
    with served(bridge) as client:
        assert client.get("/api/v1/groups", headers=counted).status_code == 200
    with served(bridge) as client:
        tried = [client.get("/api/v1/groups", headers=sending("nothing")).status_code for _ in range(21)]
        assert client.get("/api/v1/groups", headers=counted).status_code == 200
    assert tried == [401] * 20 + [429]


def test_a_token_that_was_revoked_is_told_in_the_audit_log_and_stands_in_nobodys_way(bridge: Bridge):
    made = tokens.make_token(bridge, LOCAL, "old", "viewer")
    tokens.revoke_token(bridge, LOCAL, made.token.id or 0)
    with served(bridge) as client:
        other = sending(new_token(bridge))
        tried = [client.get("/api/v1/groups", headers=sending(made.text)).status_code for _ in range(22)]

        assert tried == [401] * 20 + [429] * 2
        assert client.get("/api/v1/groups", headers=other).status_code == 200
    assert audit_lines(bridge).count(("token: old", "use_token", "refused")) == 1


def test_no_log_holds_a_token_or_an_id_of_a_person(api: Api, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    secret, person = api.analyst["Authorization"].removeprefix("Bearer "), "i_somebody\nforged line"
    known = next(iter(api.bridge.snapshots.iterate(groups.get_base(api.bridge, 1))))[0].apptimize_id
    caplog.clear()
    with served(api.bridge) as client:  # which has noted no refusal yet: those of a minute are noted once
        for each in (person, known):
            client.get(f"/api/v1/groups/1/members/{quote(each, safe='')}", headers=api.analyst)
        client.get("/api/v1/groups", headers=sending(secret[:-1] + "~"))
        client.post("/api/v1/syncs/99/runs", headers=api.analyst)
        raw(client, "GET", "/api/v1/runs/1\x7f", api.analyst)

    said = "\n".join(
        record.getMessage() + (record.exc_text or "") for record in caplog.records if "http" not in record.name
    )
    assert "token refused" in said
    assert not [text for text in (secret[4:30], "somebody", "forged", known) if text in said]


@pytest.mark.sqlite_file
def test_a_backup_holds_no_token_and_a_restored_home_takes_none(home: Home, bridge: Bridge):
    text = new_token(bridge)
    file = home.path.parent / "backup.tar"
    assert home.run("backup", str(file)).code == 0
    other = Home(home.path.parent / "other")

    done = other.run("restore", str(file))

    assert "Every token for pipelines is revoked" in done.out
    assert text[4:40].encode() not in file.read_bytes()
    with other.bridge() as restored, served(restored) as client:
        assert client.get("/api/v1/groups", headers=sending(text)).status_code == 404
        new_token(restored)
        refused = client.get("/api/v1/groups", headers=sending(text))
        assert code_of(refused) == (401, "token_refused")
        assert "restored" in refused.json()["error"]["message"]
    with home.bridge() as present, served(present) as client:
        assert client.get("/api/v1/groups", headers=sending(text)).status_code == 200
