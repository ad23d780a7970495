"""Every fault, seen from the client's side."""

import json
import socket
from typing import Any

import httpx
import pytest

POWER = 5167402


def spent(client: Any) -> int:
    return client.get("/sandbox/api/project").json()["queries_spent"]


@pytest.mark.parametrize(
    ("name", "text", "limits"),
    [
        ("rate_limit_hour", "This request exceeded the rate limit (61/60", '"project";r=0;t=3600'),
        (
            "rate_limit_concurrency",
            "This request exceeded the concurrency limit (6/5",
            '"project-concurrency";r=0;t=10',
        ),
        ("load_shedding", "Query rate limit exceeded for project_id: 3713224.", None),
    ],
)
def test_a_rate_limit_is_answered_in_mixpanels_words(client: Any, name: str, text: str, limits: str | None):
    client.fault(name, times=1)

    answer = client.engage(POWER)

    assert answer.status_code == 429
    assert text in answer.json()["error"]
    assert (limits is None) == ("RateLimit" not in answer.headers) == ("RateLimit-Policy" not in answer.headers)
    assert limits is None or limits in answer.headers["RateLimit"]
    assert spent(client) == 0
    assert client.engage(POWER).status_code == 200


def test_a_server_error_counts_and_an_unauthorized_answer_does_not(client: Any):
    client.fault("unauthorized", times=1)
    client.fault("server_error", times=1, after=1)

    assert [client.engage(POWER).status_code for _ in range(3)] == [401, 500, 200]
    assert spent(client) == 2


def test_cut_off_json_has_good_headers_and_half_a_body(client: Any):
    client.fault("cut_off_json", times=1)

    answer = client.engage(POWER)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert len(answer.content) == int(answer.headers["content-length"])
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_connection_lost_in_the_answer_breaks_the_body(client: Any):
    client.fault("cut_off_body", times=1)

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        client.engage(POWER)


def test_html_comes_with_two_hundred(client: Any):
    client.fault("html_200", times=1)

    answer = client.engage(POWER)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_a_slow_answer_takes_its_seconds(client: Any):
    client.fault("slow", times=1, seconds=0.3)

    assert client.engage(POWER).elapsed.total_seconds() >= 0.3


@pytest.mark.parametrize(("name", "counted"), [("reset_before", 0), ("reset_after", 1)])
def test_a_reset_is_a_real_one_before_or_after_the_work(client: Any, name: str, counted: int):
    client.fault(name, times=1)

    with pytest.raises(httpx.ReadError):
        client.engage(POWER)

    assert spent(client) == counted
    assert client.engage(POWER).status_code == 200


def test_a_client_that_is_gone_before_its_connection_is_reset_leaves_no_traceback(
    start: Any, caplog: pytest.LogCaptureFixture
):
    with start() as client:
        client.fault("slow", seconds=60, target="apptimize")
        client.delete("/sandbox/api/requests")
        with socket.create_connection((client.base_url.host, client.base_url.port)) as killed:
            killed.sendall(b"POST /apptimize/cohort-sync HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
            while not client.requests()["requests"]:
                pass
        client.requests()  # answered after the other connection's end was seen
    # The sandbox stopped, which resets what it was about to answer.
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize(("name", "arrives"), [("reset_before", set()), ("reset_after", {"i_2"})])
def test_a_message_is_lost_before_or_after_it_was_taken(fresh: Any, name: str, arrives: set[str]):
    fresh.message("members", [])
    fresh.fault(name, times=1, target="apptimize")

    with pytest.raises(httpx.ReadError):
        fresh.message("members", ["i_2"], session="s-2")

    assert fresh.members() == arrives
    assert fresh.message("members", ["i_2"], session="s-2").status_code == 200
    assert fresh.members() == {"i_2"}


def test_pages_are_repeated_short_or_forgotten(client: Any):
    first = client.engage(POWER).json()
    session = {"session_id": first["session_id"]}
    client.fault("page_repeated", page=1)
    client.fault("page_rows_missing", page=2, rows=5)

    repeated = client.engage(POWER, page=1, **session).json()
    short = client.engage(POWER, page=2, **session).json()

    assert repeated["results"] == first["results"]
    assert len(short["results"]) == first["total"] - 2000 - 5
    client.delete("/sandbox/api/faults")
    client.fault("session_forgotten", times=1)
    forgotten = client.engage(POWER, page=1, **session)
    assert forgotten.json()["error"] == "request for page in uncached query for params"
    assert client.engage(POWER, page=1, **session).status_code == 400


def test_the_total_is_wrong_by_as_much_as_asked(client: Any):
    right = client.engage(POWER).json()["total"]
    client.fault("total_wrong", by=-4)

    assert client.engage(POWER).json()["total"] == right - 4


def test_messages_can_fail_in_every_way(fresh: Any):
    fresh.message("members", ["i_1"])
    answers = {}
    for name in ("apptimize_failure_200", "server_error", "unauthorized", "load_shedding", "html_200"):
        fresh.fault(name, times=1, target="apptimize")
        answers[name] = fresh.message("members", ["i_2"], session="s-2")

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "apptimize_failure_200": 200, "server_error": 500, "unauthorized": 401, "load_shedding": 429, "html_200": 200,
    }  # fmt: skip
    assert answers["apptimize_failure_200"].json()["status"] == "failure"
    assert answers["load_shedding"].headers["Retry-After"] == "2"
    assert fresh.members() == {"i_1"}


def test_a_fault_waits_for_its_turn_and_its_target(client: Any):
    client.fault("server_error", after=1, times=2, target="mixpanel")

    assert client.message("members", []).status_code == 200
    assert [client.cohorts().status_code for _ in range(4)] == [200, 500, 500, 200]
    listed = client.get("/sandbox/api/faults").json()["faults"]["server_error"]
    assert (listed["seen"], listed["struck"], listed["active"]) == (4, 2, False)
    assert "Used up" in client.get("/sandbox/faults").text


def test_the_app_and_ingestion_apis_fail_only_when_named(client: Any):
    client.fault("server_error")
    assert client.get("/api/app/me").status_code == 200

    client.fault("server_error", target="app")
    assert client.get("/api/app/me").json() == {"status": "error", "error": "Internal server error"}
    client.fault("server_error", target="ingestion")
    assert client.update({"$distinct_id": "x", "$set": {}}).status_code == 500


def test_a_fault_of_one_api_alone_strikes_it_without_being_told(client: Any):
    client.post("/sandbox/faults", data={"fault": "records_refused", "act": "on", "times": "1"})

    answers = [client.update({"$distinct_id": "x", "$set": {}}, strict=1, verbose=1).json() for _ in range(2)]

    assert client.get("/sandbox/api/faults").json()["faults"]["records_refused"]["struck"] == 1
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    "body",
    [{"nonsense": {}}, *({"slow": bad} for bad in ({"colour": 1}, {"seconds": "x"}, {"times": -1}, {"target": "x"}))],
)
def test_a_fault_that_does_not_exist_is_refused(client: Any, body: dict[str, Any]):
    answer = client.put("/sandbox/api/faults", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]


def test_faults_are_switched_off_one_by_one_or_all(client: Any):
    client.fault("slow")
    client.fault("server_error")
    client.put("/sandbox/api/faults", json={"slow": None})
    assert list(client.get("/sandbox/api/faults").json()["faults"]) == ["server_error"]

    client.delete("/sandbox/api/faults")
    assert client.get("/sandbox/api/faults").json()["faults"] == {}
