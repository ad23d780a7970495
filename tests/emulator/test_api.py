"""The HTTP API of a worker: what pipelines start, wait for and ask, and who is not let in."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest
from pydantic import SecretStr
from sqlalchemy import event

from core.access import audit_log, tokens
from core.access.roles import LOCAL
from core.api import protocol
from core.api.answers import OPENAPI
from core.bridge import Bridge
from core.sandbox.server import running
from core.syncs import groups, recurring, runs
from core.worker import service
from data.engine import write_session
from data.models import Connection, ConnectionKind, Group, RunFilter, Sync
from tests.stage.api import new_token, sending, served
from tests.stage.clock import FakeClock
from tests.stage.home import Home, connect, copy_home, export
from tests.stage.sandbox import POWER, Sandbox, wait_until

DESCRIPTION: dict[str, Any] = json.loads(OPENAPI.read_text())
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


class Api:
    """A home whose power users were exported as run 1 of sync 1 to group 1, and what asks there with each role."""

    def __init__(self, bridge: Bridge, client: httpx.Client) -> None:
        self.bridge = bridge
        self.client = client
        self.analyst = sending(new_token(bridge, "analyst", name="airflow"))
        self.viewer = sending(new_token(bridge, "viewer", name="reader"))

    def ask(self, method: str, path: str, *, by: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        return self.client.request(method, path, headers=self.analyst if by is None else by, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)


@pytest.fixture(scope="module")
def api(module_sandbox: Sandbox, connected_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Api]:
    """For tests that change nothing which others look at."""
    module_sandbox.reset()
    home = copy_home(connected_template, tmp_path_factory.mktemp("api") / "home")
    with home.bridge() as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        service.once(bridge)
        with served(bridge) as client:
            yield Api(bridge, client)


def conforms(answer: httpx.Response, schema: str) -> Any:
    """Return the document of an answer that is as described."""
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    jsonschema.validate(document, {"$ref": f"#/components/schemas/{schema}", "components": DESCRIPTION["components"]})
    return document


def code_of(answer: httpx.Response) -> tuple[int, str]:
    error = conforms(answer, "Error")["error"]
    assert error["message"]
    assert error["advice"]
    return answer.status_code, error["code"]


def audit_lines(bridge: Bridge) -> list[tuple[str, str, str]]:
    return [(line.who, line.action, line.outcome) for line in audit_log.list_audit(bridge, LOCAL, limit=200)]


# --- the way of a pipeline -----------------------------------------------------------------------------------------


def test_a_run_is_queued_once_waited_for_and_its_members_asked(bridge: Bridge, sandbox: Sandbox):
    sync = recurring.add_sync(bridge, LOCAL, POWER)
    service.once(bridge)
    with served(bridge) as client:
        by = sending(new_token(bridge))
        queued, again = [client.post(f"/api/v1/syncs/{sync.id}/runs", headers=by) for _ in range(2)]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.get, f"{queued.headers['Location']}?wait=30", headers=by, timeout=40)
            service.once(bridge)
            ended = conforms(waiting.result(), "Run")
        member, no_member = next(iter(sandbox.answer(POWER).group)), "i_nobody"
        found = client.get(f"/api/v1/groups/{ended['group_id']}/members/{member}", headers=by)
        missing = client.get(f"/api/v1/groups/{ended['group_id']}/members/{no_member}", headers=by)

    assert (queued.status_code, again.status_code) == (202, 202)
    assert conforms(queued, "Run")["id"] == again.json()["id"]
    assert (queued.json()["status"], queued.json()["actor"], queued.json()["trigger"]) == (
        "queued",
        "token: airflow",
        "manual",
    )
    assert (ended["id"], ended["status"], ended["write"]) == (queued.json()["id"], "succeeded", "none")
    assert [conforms(answer, "Member")["is_member"] for answer in (found, missing)] == [True, False]
    assert (found.json()["member_id"], found.json()["in_doubt"]) == (member, False)
    assert ("token: airflow", "run_now", "done") in audit_lines(bridge)


def test_answers_are_what_the_commands_print(api: Api):
    printed = {}
    home = copy_home(api.bridge.settings.home, api.bridge.settings.home.parent / "commands")
    for name, command in (("syncs", ("syncs", "list")), ("runs", ("runs",)), ("groups", ("groups",))):
        printed[name] = home.run(*command, "--json").json

    assert api.get("/api/v1/syncs").json() == printed["syncs"]
    assert api.get("/api/v1/groups").json() == printed["groups"]
    assert api.get("/api/v1/runs/1").json() == printed["runs"][0]
    for schema, document in (
        ("Sync", printed["syncs"][0]),
        ("Group", printed["groups"][0]),
        ("Run", printed["runs"][0]),
        ("Member", api.get("/api/v1/groups/1/members/x").json()),
    ):
        assert set(DESCRIPTION["components"]["schemas"][schema]["properties"]) == set(document)
    assert api.get("/api/v1/openapi.json").json() == DESCRIPTION
    jsonschema.Draft202012Validator.check_schema({"$defs": DESCRIPTION["components"]["schemas"]})


def test_a_wait_ends_at_its_time_and_needs_no_more_than_it_says(api: Api):
    queued = runs.get_run(api.bridge, LOCAL, recurring.run_now(api.bridge, LOCAL, 1).id or 0)
    try:
        begun_s = time.monotonic()
        waited = api.get(f"/api/v1/runs/{queued.id}?wait=1")
        took_s = time.monotonic() - begun_s
        assert (waited.json()["status"], api.get(f"/api/v1/runs/{queued.id}").json()["status"]) == ("queued", "queued")
        assert 1 <= took_s < 5
    finally:
        runs.cancel_run(api.bridge, LOCAL, queued.id or 0)
    assert api.get(f"/api/v1/runs/{queued.id}?wait=60").json()["status"] == "cancelled"


def test_so_many_may_wait_and_probes_are_answered_all_the_same(bridge: Bridge):
    sync = recurring.add_sync(bridge, LOCAL, POWER)
    run = recurring.run_now(bridge, LOCAL, sync.id or 0)
    with served(bridge) as client, ThreadPoolExecutor(17) as pool:
        by = sending(new_token(bridge))
        ask = (f"/api/v1/runs/{run.id}?wait=60",)
        answers = [pool.submit(client.get, *ask, headers=by, timeout=60) for _ in range(17)]
        wait_until(lambda: any(answer.done() for answer in answers))
        (refused,) = [answer.result() for answer in answers if answer.done()]
        probed = client.get("/healthz").status_code, client.get("/readyz").status_code
        at_once = client.get(f"/api/v1/runs/{run.id}", headers=by)
        runs.cancel_run(bridge, LOCAL, run.id or 0)
        ended = [answer.result() for answer in answers]

    assert code_of(refused) == (429, "too_many_waiting")
    assert refused.headers["Retry-After"] == "5"
    assert probed == (200, 503)  # alive, and without a worker
    assert at_once.json()["status"] == "queued"
    assert sorted(answer.status_code for answer in ended) == [200] * 16 + [429]
    assert {answer.json()["status"] for answer in ended if answer.status_code == 200} == {"cancelled"}


def test_a_token_that_is_revoked_meanwhile_is_not_waited_with(bridge: Bridge):
    sync = recurring.add_sync(bridge, LOCAL, POWER)
    run = recurring.run_now(bridge, LOCAL, sync.id or 0)
    with served(bridge) as client, ThreadPoolExecutor(1) as pool:
        made = tokens.make_token(bridge, LOCAL, "airflow", "viewer")
        new_token(bridge, name="other")
        waiting = pool.submit(client.get, f"/api/v1/runs/{run.id}?wait=60", headers=sending(made.text), timeout=60)
        wait_until(lambda: tokens.list_tokens(bridge, LOCAL)[0].token.last_used_at)
        tokens.revoke_token(bridge, LOCAL, made.token.id or 0)
        refused = waiting.result()

    assert code_of(refused) == (401, "token_refused")
    assert "revoked by local" in refused.json()["error"]["message"]


def test_who_waits_is_answered_when_the_worker_ends(bridge: Bridge):
    sync = recurring.add_sync(bridge, LOCAL, POWER)
    run = recurring.run_now(bridge, LOCAL, sync.id or 0)
    made = tokens.make_token(bridge, LOCAL, "airflow", "viewer")
    with ThreadPoolExecutor(1) as pool:
        with served(bridge) as client:
            address = f"{client.base_url}/api/v1/runs/{run.id}?wait=60"
            waiting = pool.submit(httpx.get, address, headers=sending(made.text), timeout=60)
            wait_until(lambda: tokens.list_tokens(bridge, LOCAL)[0].token.last_used_at)
            begun_s = time.monotonic()
        assert time.monotonic() - begun_s < 4
        assert waiting.result().json()["status"] == "queued"


# --- lists ---------------------------------------------------------------------------------------------------------


def test_lists_come_in_pages_at_the_same_number_of_questions_whatever_their_length(bridge: Bridge):
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        place = Connection(created_at=now, side="destination", kind=ConnectionKind.CSV, name="many", folder="unused")
        session.add(place)
        session.flush()
        for cohort in range(2500):
            name = f"Group {cohort}"
            row = Group(
                created_at=now, destination_id=place.id, project_id=1, cohort_id=cohort, cohort_name=name, name=name
            )
            row.delivered_at = now
            session.add(row)
        session.flush()
        group_id = row.id
        for _ in range(3):
            sync = {"kind": "recurring", "mixpanel_id": place.id, "group_id": group_id, "project_id": 1, "cohort_id": 1}
            session.add(Sync(created_at=now, every_minutes=15, **sync))
    asked = list[str]()

    def count(*arguments: object) -> None:
        asked.append(str(arguments[2]))

    with served(bridge) as client:
        client.headers = httpx.Headers(sending(new_token(bridge)))
        client.get("/api/v1/groups?limit=1")
        event.listen(bridge.engine, "before_cursor_execute", count)
        page, listed, statements = client.get("/api/v1/groups?limit=1000"), list[int](), set[int]()
        while True:
            listed += [group["id"] for group in page.json()]
            statements.add(len(asked))
            asked.clear()
            if "next" not in page.links:
                break
            page = client.get(page.links["next"]["url"])
        first = client.get("/api/v1/syncs?limit=2")
        rest = client.get(first.links["next"]["url"])
        usual = len(client.get("/api/v1/groups").json())
        event.remove(bridge.engine, "before_cursor_execute", count)

    assert len(listed) == len(set(listed)) == 2500
    assert listed == sorted(listed)
    assert (len(first.json()), len(rest.json()), "next" in rest.links, usual) == (2, 1, False, 100)
    assert len(statements) == 1


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v1/groups?limit=0", "limit:"),
        ("/api/v1/groups?limit=1001", "limit:"),
        ("/api/v1/groups?limit=ten", "limit:"),
        ("/api/v1/groups?limit=", "limit:"),
        ("/api/v1/groups?limit=%D9%A1", "limit:"),
        ("/api/v1/groups?cursor=-1", "cursor:"),
        ("/api/v1/groups?cursor=99999999999999999999999", "cursor:"),
        ("/api/v1/groups?limit=1&limit=2", "twice"),
        ("/api/v1/groups?page=2", "a parameter that this address does not take"),
        ("/api/v1/groups?" + "&".join(f"a{n}=1" for n in range(11)), "too many parameters"),
        ("/api/v1/runs/1?wait=61", "wait:"),
        ("/api/v1/runs/1?wait=1.5", "wait:"),
        ("/api/v1/runs/1?wait=-1", "wait:"),
        ("/api/v1/runs/one", "run_id:"),
        ("/api/v1/runs/-1", "run_id:"),
        ("/api/v1/runs/%31", "run_id:"),
        ("/api/v1/groups/1/members/%FF", "member_id:"),
        ("/api/v1/groups/1/members/100%", "member_id:"),
        ("/api/v1/groups/1/members/%00", "Id:"),
        ("/api/v1/groups/1/members/%0A", "Id:"),
        ("/api/v1/groups/1/members/%20", "Id:"),
        ("/api/v1/groups/1/members/" + "x" * 1025, "member_id:"),
    ],
)
def test_what_cannot_be_used_is_named(api: Api, path: str, said: str):
    refused = raw(api.client, "GET", path, api.analyst)

    assert refused[0] == 400
    assert said in json.loads(refused[1])["error"]["message"]


# --- who is in a group ---------------------------------------------------------------------------------------------

ODD_IDS = (
    "i_first", "i_a/b", "i_..", "..", ".", "/", "i_%2F", "i_100%", "i_a?b=c#d", "i_ä€😀", "i_ two  blanks", "i_+plus",
    "i_a\\b", 'i_"q"<b>', "i_;--", "i_a&b", "i_" + "x" * 254, "i_\u00e9", "i_e\u0301",
)  # fmt: skip


DISTINCT = "another-id-of-the-first"


@pytest.fixture(scope="module")
def odd_members(migrated_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Api]:
    """A group of odd ids, exported and delivered as any other."""
    folder = tmp_path_factory.mktemp("odd")
    distinct_ids = [DISTINCT, *(f"profile {number}" for number in range(1, len(ODD_IDS)))]
    profiles = [
        {"$distinct_id": distinct_id, "$properties": {"$apptimize_user_id": odd}}
        for distinct_id, odd in zip(distinct_ids, ODD_IDS, strict=True)
    ]
    (folder / "profiles").write_text("\n".join(json.dumps(profile) for profile in profiles))
    cohort = {"id": 9, "name": "Odd", "description": "", "distinct_ids": distinct_ids}
    (folder / "cohorts").write_text(json.dumps([cohort]))
    with (
        running(folder, profiles=folder / "profiles", cohorts=folder / "cohorts") as server,
        closing(Sandbox(server.url)) as sandbox,
        copy_home(migrated_template, folder / "home").bridge(mixpanel_url=server.url) as bridge,
    ):
        connect(bridge, sandbox)
        assert export(bridge, 9).members == len(ODD_IDS)
        with served(bridge) as client:
            yield Api(bridge, client)


def raw(client: httpx.Client, method: str, target: str, headers: dict[str, str]) -> tuple[int, str]:
    """Send an address as it is, which clients would put right first."""
    sent = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    address = (client.base_url.host, client.base_url.port or 0)
    with closing(socket.create_connection(address, timeout=20)) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{sent}\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


def test_odd_ids_are_asked_for_byte_for_byte(odd_members: Api):
    answers = {
        odd: raw(odd_members.client, "GET", f"/api/v1/groups/1/members/{quote(odd, safe='')}", odd_members.viewer)
        for odd in ODD_IDS
    }

    assert {odd: status for odd, (status, _) in answers.items()} == dict.fromkeys(ODD_IDS, 200)
    told = {odd: json.loads(body) for odd, (_, body) in answers.items()}
    assert {odd: (answer["is_member"], answer["member_id"]) for odd, answer in told.items()} == {
        odd: (True, odd) for odd in ODD_IDS
    }


@pytest.mark.parametrize(
    "other", ["i_FIRST", "i_first ", " i_first", "i_a", "i_a%2Fb", "%", "i_" + "x" * 255, "x" * 300, "𝐢_first"]
)
def test_what_is_like_a_member_is_none(odd_members: Api, other: str):
    answer = odd_members.get(f"/api/v1/groups/1/members/{quote(other, safe='')}")

    assert (answer.status_code, conforms(answer, "Member")["is_member"]) == (200, False)


def test_a_distinct_id_is_no_member_id_and_leads_to_it(odd_members: Api):
    answer = conforms(odd_members.get(f"/api/v1/groups/1/members/{DISTINCT}"), "Member")

    assert (answer["is_member"], answer["reason"], answer["member_id"]) == (False, "other_id", "i_first")


def test_who_is_in_a_group_whose_members_are_lost_is_not_made_up(bridge: Bridge):
    group = groups.find_group(bridge, LOCAL, export(bridge, POWER).cohort_id)
    with served(bridge) as client:
        client.headers = httpx.Headers(sending(new_token(bridge)))
        path = f"/api/v1/groups/{group.id}/members/i_1"
        assert client.get(path).status_code == 200
        bridge.snapshots.path(group.base_snapshot or "").unlink()
        bridge.snapshots.proven.clear()

        assert code_of(client.get(path)) == (503, "storage_failed")
        assert code_of(client.get("/api/v1/groups/99/members/i_1")) == (404, "not_found")


# --- the door ------------------------------------------------------------------------------------------------------


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
        assert code_of(client.get("/api/v1/runs/99999999999999999999")) == (404, "not_found")


def test_a_database_that_cannot_be_read_is_told_as_such(bridge: Bridge):
    with served(bridge) as client:
        client.headers = httpx.Headers(sending(new_token(bridge)))
        bridge.engine.dispose()
        bridge.settings.home.joinpath("cohort_bridge.db").write_bytes(b"no database" * 1000)

        assert code_of(client.get("/api/v1/groups")) == (503, "storage_failed")


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
    for each in (person, known):
        api.get(f"/api/v1/groups/1/members/{quote(each, safe='')}")
    api.get("/api/v1/groups", by=sending(secret[:-1] + "~"))
    api.ask("POST", "/api/v1/syncs/99/runs")
    raw(api.client, "GET", "/api/v1/runs/1\x7f", api.analyst)

    said = "\n".join(
        record.getMessage() + (record.exc_text or "") for record in caplog.records if "http" not in record.name
    )
    assert "token refused" in said
    assert not [text for text in (secret[4:30], "somebody", "forged", known) if text in said]


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
