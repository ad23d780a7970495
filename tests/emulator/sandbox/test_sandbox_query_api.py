"""Mixpanel's Query and App API as the sandbox answers them."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from core.sandbox import people
from tests.stage.sandbox import wait_until
from tests.stage.seeds import some

pytestmark = some(30)

EVERYONE, POWER, EXACT, EMPTY, HIDDEN, GROUPS, NAMED, NO_IDS, TRIAL, ODD = range(5167401, 5167411)
POLICY = '"project";q=60;w=3600, "project-concurrency";q=5;qu="concurrent-requests"'
UNCACHED = "request for page in uncached query for params"
ACCOUNTS = {account.username: (account.username, account.secret) for account in people.ACCOUNTS}


def ids(answer: httpx.Response) -> list[Any]:
    return [row["$distinct_id"] for row in answer.json()["results"]]


# Cohorts


@pytest.mark.parametrize("path", ["/api/query/cohorts/list", "/api/2.0/cohorts/list"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_cohorts_come_as_a_bare_array_under_both_spellings(client: Any, method: str, path: str):
    cohorts = client.request(method, path, params={"project_id": people.PROJECT_ID}).json()

    assert len(cohorts) == 10
    assert [row["id"] for row in cohorts if row["is_visible"] == 0] == [HIDDEN]
    assert [row["id"] for row in cohorts if row["data_group_id"] is not None] == [GROUPS]
    assert cohorts[6]["name"] == '"Big <b>spenders</b>" & Käufer 東京'


# Engage


def test_the_first_page_alone_tells_the_total(client: Any):
    first = client.engage(POWER).json()
    second = client.engage(POWER, page=1, session_id=first["session_id"]).json()

    assert first["page_size"] == len(first["results"]) == 1000
    assert first["total"] == len(client.oracle(POWER)) > 2000
    assert "total" not in second
    assert second["session_id"] == first["session_id"]
    assert second["page"] == 1


@pytest.mark.parametrize("cohort", [EVERYONE, POWER, EXACT, EMPTY, NAMED, ODD])
def test_a_cohort_read_by_the_documented_algorithm_is_the_oracles(client: Any, cohort: int):
    assert client.read_all(cohort) == client.oracle(cohort)


def test_an_exact_multiple_of_the_page_size_costs_one_more_empty_page(client: Any):
    client.read_all(EXACT)

    assert [entry["page"] for entry in client.requests()["requests"]] == [0, 1, 2]


def test_a_page_beyond_the_last_is_empty(client: Any):
    session = client.engage(HIDDEN).json()["session_id"]

    assert ids(client.engage(HIDDEN, page=7, session_id=session)) == []


def test_a_cohort_is_frozen_for_its_session(client: Any):
    before = client.oracle(POWER)
    session = client.engage(POWER).json()["session_id"]
    client.at(7200)

    rest = [row for page in (1, 2) for row in client.engage(POWER, page=page, session_id=session).json()["results"]]

    assert rest == before[1000:]
    assert client.oracle(POWER) != before


def test_pages_may_be_fetched_all_at_once(client: Any):
    first = client.engage(EVERYONE, page_size=500).json()
    pages = range(1, -(-first["total"] // 500))

    with ThreadPoolExecutor(5) as pool:
        rest = pool.map(
            lambda page: client.engage(EVERYONE, page_size=500, page=page, session_id=first["session_id"]).json(), pages
        )
        rows = first["results"] + [row for answer in rest for row in answer["results"]]

    assert rows == client.oracle(EVERYONE)
    assert 1 <= client.requests()["max_in_flight"] <= 5


def test_the_page_size_asked_for_is_honoured(client: Any):
    answer = client.engage(EVERYONE, page_size=50_000).json()

    assert answer["page_size"] == 50_000
    assert len(answer["results"]) == answer["total"] == len(client.oracle(EVERYONE))
    assert client.engage(EVERYONE, page_size=90_000).json()["page_size"] == 50_000
    assert client.engage(EVERYONE, page_size="many").status_code == 400


def test_users_without_a_profile_come_unless_they_are_declined(client: Any):
    everyone = client.engage(TRIAL, include_all_users="true").json()
    by_default = client.post(
        "/api/query/engage",
        params={"project_id": people.PROJECT_ID},
        data={"filter_by_cohort": json.dumps({"id": TRIAL})},
    ).json()
    profiles = client.engage(TRIAL).json()

    assert everyone["total"] == by_default["total"] == profiles["total"] + 120
    assert everyone["results"][-1]["$properties"] == {}


def test_only_the_properties_asked_for_are_sent(client: Any):
    rows = client.engage(POWER, output_properties='["$apptimize_user_id", "plan"]').json()["results"]

    assert {name for row in rows for name in row["$properties"]} == {"$apptimize_user_id", "plan"}


@pytest.mark.parametrize(
    "request_of",
    [
        {"method": "POST", "data": {"filter_by_cohort": '{"id": 5167405}', "include_all_users": "false"}},
        {"method": "POST", "json": {"filter_by_cohort": '{"id": 5167405}', "include_all_users": False}},
        {"method": "POST", "json": {"filter_by_cohort": {"id": 5167405}, "include_all_users": False}},
        {"method": "GET", "params": {"filter_by_cohort": '{"id": 5167405}', "include_all_users": "false"}},
    ],
)
@pytest.mark.parametrize("path", ["/api/query/engage", "/api/2.0/engage", "/api/query/engage/"])
def test_all_four_encodings_that_clients_use_are_understood(client: Any, path: str, request_of: dict[str, Any]):
    params = {"project_id": people.PROJECT_ID, **request_of.get("params", {})}

    answer = client.request(**{**request_of, "url": path, "params": params})

    assert answer.json()["total"] == 42


def test_body_values_override_those_of_the_address(client: Any):
    params = {"project_id": people.PROJECT_ID, "filter_by_cohort": '{"id": 5167401}'}

    answer = client.post("/api/query/engage", params=params, data={"filter_by_cohort": '{"id": 5167405}'})

    assert answer.json()["total"] == 42


def test_distinct_ids_select_by_any_id_of_a_user(client: Any):
    assert ids(client.engage(distinct_id="i_10005")) == ["user-10005"]
    assert ids(client.engage(distinct_ids='["user-10005", "i_10005", "user-10009", "nobody"]')) == [
        "user-10005",
        "user-10009",
    ]
    assert ids(client.engage(NO_IDS, distinct_id="user-10005")) == []


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"filter_by_cohort": "nonsense"}, 400, "filter_by_cohort must be"),
        ({"filter_by_cohort": '{"id": 1}', "behaviors": "[1]"}, 400, "mutually exclusive"),
        ({"filter_by_cohort": '{"id": 1}'}, 404, "Cohort not found"),
        ({"filter_by_cohort": f'{{"id": {GROUPS}}}'}, 404, "Missing Datagroup"),
        ({"output_properties": "nonsense"}, 400, "output_properties must be"),
        ({"distinct_ids": "nonsense"}, 400, "distinct_ids must be"),
        ({"page": "1"}, 400, "session_id is required"),
        ({"page": "-1"}, 400, "page must be"),
        ({"page": "1", "session_id": "1-AB"}, 400, UNCACHED),
    ],
)
def test_bad_arguments_get_an_error_and_its_request(client: Any, fields: dict[str, str], status: int, text: str):
    answer = client.engage(**fields)

    assert answer.status_code == status
    assert text in answer.json()["error"]
    assert answer.json()["request"].endswith(f"/api/query/engage?project_id={people.PROJECT_ID}")
    assert answer.headers["RateLimit-Policy"] == POLICY


@pytest.mark.parametrize(
    "changed",
    [{"output_properties": '["plan"]'}, {"include_all_users": "true"}, {"page_size": 500}, {"cohort_id": EVERYONE}],
)
def test_a_page_with_other_arguments_belongs_to_no_session(client: Any, changed: dict[str, Any]):
    session = client.engage(POWER).json()["session_id"]

    answer = client.engage(**{"cohort_id": POWER, "page": 1, "session_id": session, **changed})

    assert (answer.status_code, answer.json()["error"]) == (400, UNCACHED)


# Credentials and roles


def test_credentials_are_taken_base64_or_plain(client: Any):
    plain = f"{people.ADMIN_USERNAME}:{people.ADMIN_SECRET}"

    for value in (plain, base64.b64encode(plain.encode()).decode()):
        answer = httpx.get(client.base_url.join("/api/app/me"), headers={"Authorization": f"Basic {value}"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "auth",
    [("nobody", "nothing"), (people.ADMIN_USERNAME, "wrong"), ACCOUNTS[people.EXPIRED_USERNAME], ("", "")],
)
def test_bad_and_expired_credentials_are_unauthorized_and_not_counted(client: Any, auth: tuple[str, str]):
    for answer in (client.cohorts(auth=auth), client.get("/api/app/me", auth=auth)):
        assert answer.status_code == 401
        assert answer.json()["error"] == "Unable to authenticate request"
    assert client.get("/api/app/me", auth=auth).json()["status"] == "error"
    assert client.get("/sandbox/api/project").json()["queries_spent"] == 0


def test_a_project_id_is_needed_and_must_be_ones_own(client: Any):
    assert client.post("/api/query/cohorts/list").status_code == 400
    assert client.post("/api/query/cohorts/list", params={"project_id": 1}).status_code == 403
    assert client.get("/api/app/projects/1/service-accounts").status_code == 403


def test_the_projects_secret_names_the_project_by_itself_and_is_for_queries_only(client: Any):
    for value in (f"{people.PROJECT_SECRET}:", people.PROJECT_SECRET):
        headers = {"Authorization": f"Basic {base64.b64encode(value.encode()).decode()}"}
        asked = {"filter_by_cohort": json.dumps({"id": POWER}), "include_all_users": "false"}
        answer = httpx.get(client.base_url.join("/api/2.0/engage"), headers=headers, params=asked)
        assert answer.json()["total"] == len(client.oracle(POWER))
        assert httpx.get(client.base_url.join("/api/app/me"), headers=headers).status_code == 401

    with_password = (people.PROJECT_SECRET, "more")
    assert client.cohorts(auth=with_password).status_code == 401
    other = client.post("/api/query/cohorts/list", params={"project_id": 1}, auth=(people.PROJECT_SECRET, ""))
    assert other.status_code == 403


def test_a_consumer_may_not_export_cohorts(client: Any):
    client.auth = ACCOUNTS[people.CONSUMER_USERNAME]
    assert client.engage(POWER).status_code == 403

    client.auth = ACCOUNTS[people.ANALYST_USERNAME]
    assert client.engage(POWER).status_code == 200


def test_the_service_account_list_tells_the_role_and_the_highest_wins(client: Any):
    path = f"/api/app/projects/{people.PROJECT_ID}/service-accounts"
    listed = client.get(path).json()

    roles = [row["role"] for row in listed["results"] if row["username"] == people.TEAM_USERNAME]
    assert (listed["status"], roles) == ("ok", ["analyst", "admin"])
    # The one in a team may list, so the team's role counts.
    statuses = {name: client.get(path, auth=ACCOUNTS[name]).status_code for name in ACCOUNTS}
    assert statuses == {
        people.OWNER_USERNAME: 200,
        people.ADMIN_USERNAME: 200,
        people.ANALYST_USERNAME: 403,
        people.CONSUMER_USERNAME: 403,
        people.TEAM_USERNAME: 200,
        people.EXPIRED_USERNAME: 401,
    }
    refused = client.get(path, auth=ACCOUNTS[people.ANALYST_USERNAME]).json()
    assert refused["status"] == "error"


def test_me_tells_projects_and_the_role_in_them(client: Any):
    me = client.get("/api/app/me").json()["results"]

    assert me["projects"][str(people.PROJECT_ID)]["role"]["name"] == "admin"
    assert me["workspaces"][str(people.WORKSPACE_ID)]["is_global"] is True


# Limits


def test_the_sixty_first_query_of_an_hour_is_refused_in_mixpanels_words(client: Any):
    for _ in range(60):
        assert client.cohorts().status_code == 200

    answer = client.cohorts()

    assert answer.status_code == 429
    assert answer.json() == {
        "request": f"{client.base_url}/api/query/cohorts/list?project_id=3713224",
        "error": "Query rate limit exceeded for project_id: 3713224. This request exceeded the rate limit "
        "(61/60 queries running in the last hour). For more information, please consult our documentation at "
        "https://help.mixpanel.com/hc/en-us/articles/115004602563-Rate-Limits-for-Export-API-Endpoints",
    }
    wait = int(answer.headers["Retry-After"])
    assert 3500 < wait <= 3600
    assert answer.headers["RateLimit"] == f'"project";r=0;t={wait}, "project-concurrency";r=5'
    assert answer.headers["RateLimit-Policy"] == POLICY


def test_the_hour_rolls_and_refusals_do_not_count(client: Any):
    client.settings(hourly_limit=2)
    statuses = [client.cohorts().status_code for _ in range(4)]
    client.at(3601)

    assert statuses == [200, 200, 429, 429]
    assert client.cohorts().status_code == 200


def test_session_pages_and_the_app_api_are_free_and_errors_count(client: Any):
    client.settings(hourly_limit=3)
    session = client.engage(POWER).json()["session_id"]
    for page in (1, 2, 3, 1, 2):
        assert client.engage(POWER, page=page, session_id=session).status_code == 200
    assert client.get("/api/app/me").status_code == 200
    assert client.engage(1).status_code == 404

    report = client.requests()
    assert report["counted_queries"] == client.get("/sandbox/api/project").json()["queries_spent"] == 2
    assert client.cohorts().headers["RateLimit"] == '"project";r=0, "project-concurrency";r=5'
    assert client.engage(POWER).status_code == 429


def test_the_sixth_query_at_a_time_is_refused(client: Any):
    client.settings(concurrent_limit=2)
    client.fault("slow", seconds=0.4)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: client.engage(HIDDEN), range(3)))

    assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"].endswith(
        "This request exceeded the concurrency limit (3/2 queries running concurrently)."
    )
    assert refused.headers["RateLimit"].endswith('"project-concurrency";r=0;t=10')
    assert client.requests()["max_in_flight"] == 3


def test_queries_are_forgotten_while_they_are_answered(client: Any):
    client.fault("slow", seconds=1, times=1)
    client.delete("/sandbox/api/requests")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.engage, HIDDEN)
        wait_until(lambda: client.requests()["requests"])

        client.delete("/sandbox/api/requests", params={"queries": 1})
        meanwhile = client.cohorts().headers["RateLimit"]

    assert slow.result().status_code == 200
    assert meanwhile == '"project";r=59, "project-concurrency";r=5'
    assert client.get("/sandbox/api/project").json()["queries_spent"] == 1


# The published descriptions


@pytest.fixture(scope="session")
def contracts(shared_folder: Path) -> Any:
    folder = shared_folder / "contracts"
    if not folder.exists():
        pytest.skip("the OpenAPI files are not beside this checkout")

    def check(name: str, path: str, method: str, answer: httpx.Response) -> None:
        spec = yaml.safe_load((folder / name).read_text())
        response = spec["paths"][path][method]["responses"][str(answer.status_code)]
        if "$ref" in response:
            response = spec["components"]["responses"][response["$ref"].rpartition("/")[2]]
        schema = next(iter(response["content"].values()))["schema"]
        value = answer.json()
        if path == "/engage":
            # The file says integer; every real id that a connector's tests recorded is text.
            schema["properties"]["results"]["items"]["properties"]["$distinct_id"]["type"] = ["integer", "string"]
        if name == "service-accounts.yaml":
            # The file says text; an account that never expires has null.
            spec["components"]["schemas"]["ServiceAccountRead"]["properties"]["expires"]["type"] = ["string", "null"]
        jsonschema.validate(value, {**schema, "components": spec["components"]}, jsonschema.Draft202012Validator)

    return check


def test_answers_are_as_the_openapi_files_describe_them(fresh: Any, contracts: Any):
    contracts("query.yaml", "/cohorts/list", "post", fresh.cohorts())
    contracts("query.yaml", "/engage", "post", fresh.engage(EVERYONE))
    contracts("query.yaml", "/engage", "post", fresh.engage(ODD))
    fresh.track("Opened", distinct_id="a", screen="Home")
    top = fresh.get("/api/query/events/properties/top", params={"project_id": people.PROJECT_ID, "event": "Opened"})
    assert top.json()["screen"] == {"count": 1}
    contracts("query.yaml", "/events/properties/top", "get", top)
    path, listed = "/projects/{projectId}/service-accounts", f"/api/app/projects/{people.PROJECT_ID}/service-accounts"
    contracts("service-accounts.yaml", path, "get", fresh.get(listed))
    contracts("service-accounts.yaml", path, "get", fresh.get(listed, auth=ACCOUNTS[people.ANALYST_USERNAME]))
    contracts("service-accounts.yaml", path, "get", fresh.get(listed, auth=("no", "one")))
    contracts("ingestion.yaml", "/engage#profile-set", "post", fresh.update({"$distinct_id": "x", "$set": {}}))
    events = [{"event": "A", "properties": {"time": 1, "$insert_id": "i", "distinct_id": "d"}}, {"event": "B"}]
    for batch in (events[:1], events):
        answer = fresh.post("/import", params={"project_id": people.PROJECT_ID, "strict": 1}, json=batch)
        contracts("ingestion.yaml", "/import", "post", answer)
    wrong = fresh.post("/import", params={"project_id": people.PROJECT_ID}, json=events, auth=("no", "one"))
    contracts("ingestion.yaml", "/import", "post", wrong)
