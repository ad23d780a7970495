"""The endpoint for cohort-sync messages, and the groups that it fills."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest


def test_the_token_decides(fresh: Any):
    token = fresh.post("/sandbox/api/tokens", json={"name": "x"}).json()["token"]

    def status(method: str, *values: str) -> int:
        headers = {"ApptimizeApiToken": values[0]} if values else {}
        return fresh.request(method, "/apptimize/cohort-sync", headers=headers).status_code

    assert (status("GET"), status("GET", "wrong"), status("GET", token)) == (401, 401, 200)
    assert (status("POST"), status("POST", "wrong"), status("POST", token)) == (401, 401, 400)


def test_a_failure_comes_in_the_documented_envelope(fresh: Any):
    answer = fresh.post("/apptimize/cohort-sync", json={"action": "members"})

    assert answer.status_code == 401
    assert answer.json() == {
        "action": "members",
        "status": "failure",
        "error": {"message": "The access token is missing or not valid", "code": 401},
    }


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
def test_a_full_copy_appears_when_its_last_page_arrives_in_whatever_order(client: Any, order: tuple[int, ...]):
    cohort = {"mixpanel_cohort_id": f"8{''.join(map(str, order))}"}
    client.message("members", ["i_old"], session="s-0", **cohort)

    for page in order[:2]:
        client.message("members", [f"i_{page}"], page=page, total=3, **cohort)
        assert client.members(cohort["mixpanel_cohort_id"]) == {"i_old"}
    answer = client.message("members", [f"i_{order[2]}"], page=order[2], total=3, **cohort)

    assert answer.json() == {"action": "members", "status": "success"}
    assert client.members(cohort["mixpanel_cohort_id"]) == {"i_1", "i_2", "i_3"}


def test_pages_that_arrive_four_at_a_time_and_twice_make_one_group(fresh: Any):
    fresh.message("members", [], session="s-0")
    pages = [page for page in range(1, 31) for _ in (1, 2)]

    def send(page: int) -> int:
        rows = [f"i_{page}-{number}" for number in range(1000)]
        return fresh.message("members", rows, page=page, total=30).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(send, pages)) == {200}
    assert len(fresh.members()) == 30_000
    assert fresh.requests()["max_messages_in_flight"] <= 4


def test_a_late_page_of_a_finished_session_changes_nothing(fresh: Any):
    fresh.message("members", ["i_1", "i_2"], session="s-1")
    fresh.message("members", ["i_3"], session="s-2")
    fresh.message("remove_members", ["i_3"], session="s-3")

    assert fresh.message("members", ["i_1", "i_2"], session="s-1").status_code == 200
    assert fresh.message("members", ["i_3"], session="s-2").status_code == 200
    assert fresh.members() == set()


def test_an_unfinished_session_does_not_disturb_the_next(fresh: Any):
    fresh.message("members", ["i_lost"], page=1, total=2, session="s-1")
    fresh.message("members", ["i_1"], session="s-2")

    assert fresh.members() == {"i_1"}


def test_adding_and_removing_are_idempotent(fresh: Any):
    fresh.message("members", ["i_1", "i_2"])
    for _ in range(2):
        fresh.message("add_members", ["i_2", "i_3"], session="s-2")
        fresh.message("remove_members", ["i_1", "i_9"], session="s-2")

    assert fresh.members() == {"i_2", "i_3"}
    group = fresh.get("/sandbox/api/groups/3713224/5167402").json()
    assert (group["members"]["i_3"], group["messages"]) == ("d-i_3", 5)


def test_an_empty_copy_makes_an_empty_group(fresh: Any):
    fresh.message("members", [])

    assert fresh.members() == set()


def test_there_is_no_group_before_its_first_copy_and_after_it_is_deleted(fresh: Any):
    assert fresh.message("add_members", ["i_1"]).status_code == 404
    fresh.message("members", ["i_1"])
    fresh.delete("/sandbox/api/groups/3713224/5167402")

    assert fresh.message("remove_members", ["i_1"]).json()["error"]["code"] == 404
    assert fresh.get("/sandbox/api/groups/3713224/5167402").status_code == 404


def test_a_group_follows_the_name_of_its_cohort_and_projects_keep_apart(fresh: Any):
    fresh.message("members", ["i_1"])
    fresh.message("members", ["i_2"], mixpanel_project_id="2")
    fresh.message("add_members", [], session="s-2", mixpanel_cohort_name="Renamed")

    assert fresh.get("/sandbox/api/groups/3713224/5167402").json()["name"] == "Renamed"
    assert fresh.get("/sandbox/api/groups/2/5167402").json()["name"] == "Power users"


def test_numbers_may_be_text_and_unknown_fields_are_tolerated_and_recorded(fresh: Any):
    member = {"mixpanel_distinct_id": "d-1", "$apptimize_user_id": "i_1", "email": "a@example.com"}

    answer = fresh.message("members", [member], page="1", total="1", mixpanel_project_id=3713224, extra=1)

    assert answer.status_code == 200
    assert fresh.members() == {"i_1"}
    entry = fresh.requests()["requests"][-1]
    assert entry["member_keys"] == ["$apptimize_user_id", "email", "mixpanel_distinct_id"]
    assert "extra" in entry["parameter_keys"]
    assert "a@example.com" not in str(fresh.requests())


def test_members_without_a_usable_id_are_counted_and_excluded(fresh: Any):
    rows = [{"mixpanel_distinct_id": "d"}, {"$apptimize_user_id": ""}, {"$apptimize_user_id": 7}, "i_1"]

    assert fresh.message("members", rows).status_code == 200
    assert fresh.members() == {"i_1"}
    assert fresh.requests()["requests"][-1]["unusable"] == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"action": "replace"},
        {"members": [f"i_{n}" for n in range(1001)]},
        {"members": ["i_1", 7]},
        {"page": 0},
        {"page": 2},
        {"page": "one"},
        {"total": True},
        {"mixpanel_cohort_id": None},
        {"session": ""},
    ],
)
def test_a_malformed_message_is_refused_and_changes_nothing(client: Any, changed: dict[str, Any]):
    client.message("members", ["i_1"], session="s-1")

    answer = client.message(**{"action": "members", "members": ["i_2"], "session": "s-bad", **changed})

    assert answer.status_code == 400
    assert (answer.json()["status"], answer.json()["error"]["code"]) == ("failure", 400)
    assert client.members() == {"i_1"}


def test_a_body_that_is_not_json_and_a_changed_page_count_are_refused(fresh: Any):
    fresh.message("members", ["i_1"], page=1, total=3)

    assert fresh.message("members", ["i_2"], page=2, total=4).status_code == 400
    headers = {"ApptimizeApiToken": fresh.token}
    for body in (b"{", b"[]", b'"members"', b'{"action": "members", "parameters": []}'):
        answer: httpx.Response = fresh.post("/apptimize/cohort-sync", headers=headers, content=body)
        assert (answer.status_code, answer.json()["status"]) == (400, "failure")


def test_each_workspace_keeps_its_own_groups_at_the_one_address(fresh: Any):
    fresh.message("members", ["i_1"])
    fresh.token = fresh.post("/sandbox/api/tokens", json={"name": "Theirs", "workspace": "EU & more"}).json()["token"]
    assert fresh.message("add_members", ["i_2"]).json()["error"]["code"] == 404
    fresh.message("members", ["i_2"])

    assert fresh.members() == {"i_1"}
    theirs = {"workspace": "EU & more"}
    path = "/groups/3713224/5167402"
    assert set(fresh.get(f"/sandbox/api{path}", params=theirs).json()["members"]) == {"i_2"}
    assert f"/apptimize{path}?workspace=EU%20%26%20more" in fresh.get("/apptimize/groups").text
    assert "i_2" in fresh.get(f"/apptimize{path}", params=theirs).text
    assert fresh.delete(f"/sandbox/api{path}", params=theirs).status_code == 200
    assert fresh.members() == {"i_1"}
