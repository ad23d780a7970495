"""The HTTP API of a worker: what pipelines start, wait for and ask."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx
import jsonschema
import pytest
from sqlalchemy import event

from core.access import tokens
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.sandbox.server import running
from core.syncs import groups, recurring, runs
from core.worker import service
from data.engine import write_session
from data.models import Connection, ConnectionKind, Group, Sync
from tests.stage.api import (
    DESCRIPTION,
    Api,
    audit_lines,
    code_of,
    conforms,
    new_token,
    raw,
    sending,
    served,
)
from tests.stage.home import connect, copy_home, export
from tests.stage.sandbox import POWER, Sandbox, wait_until
from tests.stage.seeds import some

pytestmark = some(20)

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
    assert refused.json()["error"]["message"] == "This token was revoked."  # by whom is nothing for a thief


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
        ("/api/v1/groups?cursor=" + "0" * 20 + "9" * 30, "cursor:"),
        ("/api/v1/groups?cursor=" + "0" * 20 + "9" * 5000, "cursor:"),
        ("/api/v1/runs/1?wait=" + "0" * 20 + "9" * 30, "wait:"),
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

        assert code_of(client.get(path)) == (503, "storage_failed")
        assert code_of(client.get("/api/v1/groups/99/members/i_1")) == (404, "not_found")
