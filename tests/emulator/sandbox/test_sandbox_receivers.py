"""Receivers other than Apptimize: how each is signed in to, what it makes of messages, and how it answers."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from core.sandbox.receivers import KINDS
from tests.stage.receivers import Receiver
from tests.stage.sandbox import PROJECT, Sandbox

COHORT = 5167402
ADDING = [name for name, kind in KINDS.items() if not kind.replaces]
REPLACING = [name for name, kind in KINDS.items() if kind.replaces]


@pytest.fixture(scope="module")
def module_stage(shared_url: str) -> Iterator[Sandbox]:
    with closing(Sandbox(shared_url)) as sandbox:
        yield sandbox


@pytest.fixture
def stage(module_stage: Sandbox) -> Sandbox:
    module_stage.clear_faults()
    module_stage.forget_requests()
    return module_stage


def error(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json().get("error", {}).get("code")


def is_unauthorized(answer: httpx.Response, kind: str) -> bool:
    """Whether it is a 401 as the kind answers it: one knows no envelope for that."""
    if kind == "only-adds":
        return answer.status_code == 401 and list(answer.json()) == ["detail"]
    return error(answer) == (401, 401) and answer.json()["action"] == "members"


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_each_kind_is_there_and_takes_messages_from_whoever_signs_in(stage: Sandbox, kind: str):
    listed = {facts["name"]: facts for facts in stage.get("/sandbox/api/receivers").json()["receivers"]}
    receiver = Receiver(stage, listed[kind])

    answer = receiver.send("members", ["p-1", "p-2"], cohort=COHORT)

    assert answer.json() == {"action": "members", "status": "success"}
    assert answer.status_code == KINDS[kind].success
    assert receiver.members(COHORT) == {"p-1": "p-1", "p-2": "p-2"}
    assert listed[kind]["url"].startswith(f"{stage.url}/receivers/{kind}")


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("bearer", {"headers": {"Authorization": "Bearer wrong"}}),
        ("bearer", {"auth": ("practice-bearer", "wrong")}),
        ("bearer", {}),
        ("own-header", {"headers": {"X-Receiver-Key": "wrong"}}),
        ("own-header", {}),
    ],
)
def test_a_token_or_a_header_that_is_not_the_receivers_is_401(stage: Sandbox, kind: str, given: dict[str, Any]):
    receiver = stage.receiver(kind)

    assert error(stage.post(receiver.url, json={"action": "members"}, **given)) == (401, 401)


def test_the_header_and_the_sign_in_can_be_chosen(stage: Sandbox):
    own = stage.receiver("own-header", header="X-Our-Key")
    adding = stage.receiver("only-adds", sign_in="header", header="X-Our-Key", key="crm id")

    assert error(stage.post(own.url, json={}, headers={"X-Receiver-Key": own.secret})) == (401, 401)
    for receiver in (own, adding):
        assert receiver.send("members", ["p-1"], cohort=COHORT).status_code == 200
        assert stage.post(receiver.url, json={}, headers={"x-our-key": receiver.secret}).status_code == 400


def test_one_with_a_secret_in_its_address_fails_with_201_and_without_a_code(stage: Sandbox):
    receiver = stage.receiver("secret-path")
    message = {"action": "members", "parameters": {}}
    wrong = receiver.url.removesuffix(receiver.secret)

    answers = [stage.post(url, json=message) for url in (receiver.url, f"{wrong}other", wrong.rstrip("/"))]

    for answer in answers:
        body = answer.json()
        assert (answer.status_code, body["action"], body["status"]) == (201, "members", "failure")
        assert (body["error"].keys(), body["error"]["provider"]) == ({"message", "provider"}, 400)
    receiver.fault("receiver_failure_200")
    failed = receiver.send("members", ["p-1"], cohort=COHORT)
    assert (failed.status_code, failed.json()["error"]["provider"]) == (201, 500)
    assert receiver.members(COHORT) is None


def test_one_with_a_secret_in_its_address_makes_a_cohort_for_whoever_is_added_and_passes_over_who_has_no_id(
    stage: Sandbox,
):
    receiver = stage.receiver("secret-path", key="crm id")

    removed = receiver.send("remove_members", ["p-1"], cohort=COHORT)
    assert (removed.status_code, removed.json()) == (201, {"action": "remove_members", "status": "success"})
    assert receiver.members(COHORT) is None
    assert receiver.send("add_members", ["p-1", {"mixpanel_distinct_id": "d-2"}], cohort=COHORT).status_code == 201

    assert receiver.members(COHORT) == {"p-1": "p-1"}
    assert receiver.messages()[-1]["unusable"] == 1


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.sign_in == "basic"])
def test_basic_takes_its_own_user_name_and_password_alone(stage: Sandbox, kind: str):
    receiver = stage.receiver(kind)
    other = stage.receiver(kind)
    body = {"action": "members", "parameters": {}}
    wrong = [
        {},
        {"auth": (receiver.username, "wrong")},
        {"auth": ("somebody", receiver.secret)},
        {"auth": (other.username, other.secret)},
        {"headers": {"Authorization": f"Bearer {receiver.secret}"}},
        {"headers": {"ApptimizeApiToken": stage.token}},
    ]

    for given in wrong:
        assert is_unauthorized(stage.post(receiver.url, json=body, **given), kind)
    assert error(receiver.send("members", [7], cohort=COHORT)) == (400, 400)


@pytest.mark.parametrize("kind", REPLACING)
def test_a_copy_replaces_once_all_of_its_pages_have_arrived(stage: Sandbox, kind: str):
    receiver = stage.receiver(kind)
    receiver.send("members", ["old"], cohort=COHORT)
    copy = {"cohort": COHORT, "mixpanel_session_id": "s-1"}

    receiver.send("members", ["p-1"], page_info={"total_pages": 2, "page_count": 2}, **copy)
    before = receiver.members(COHORT)
    receiver.send("members", ["p-2"], page_info={"total_pages": 2, "page_count": 1}, **copy)

    assert before == {"old": "old"}
    assert receiver.members(COHORT) == {"p-1": "p-1", "p-2": "p-2"}


@pytest.mark.parametrize("kind", ADDING)
def test_one_that_only_adds_takes_each_page_at_once_and_removes_nobody_but_who_is_named(stage: Sandbox, kind: str):
    receiver = stage.receiver(kind)
    receiver.send("members", ["old", "p-0"], cohort=COHORT)

    receiver.send("members", ["p-1"], cohort=COHORT, page_info={"total_pages": 2, "page_count": 1})
    receiver.send("members", [], cohort=COHORT)
    receiver.send("add_members", ["p-2"], cohort=COHORT)
    receiver.send("remove_members", ["old", "never there"], cohort=COHORT)

    assert set(receiver.members(COHORT) or {}) == {"p-0", "p-1", "p-2"}


def test_an_unknown_cohort_is_404_for_adding_and_removing_until_members_makes_it(stage: Sandbox):
    receiver = stage.receiver("only-adds")

    assert error(receiver.send("add_members", ["p-1"], cohort=COHORT)) == (404, 404)
    assert error(receiver.send("remove_members", ["p-1"], cohort=COHORT)) == (404, 404)
    receiver.send("members", [], cohort=COHORT)
    assert receiver.members(COHORT) == {}
    assert receiver.send("add_members", ["p-1"], cohort=COHORT).status_code == 200
    receiver.forget(COHORT)
    answer = receiver.send("remove_members", ["p-1"], cohort=COHORT)
    assert answer.status_code == answer.json()["error"]["code"] == 404
    assert (answer.json()["action"], answer.json()["status"]) == ("remove_members", "failure")
    assert receiver.members(COHORT) is None


def test_one_that_only_adds_does_not_look_at_pages_or_sessions(stage: Sandbox):
    receiver = stage.receiver("only-adds")

    answer = receiver.send("members", ["p-1"], cohort=COHORT, page_info=None, mixpanel_session_id="")

    assert answer.status_code == 200
    assert set(receiver.members(COHORT) or {}) == {"p-1"}


@pytest.mark.parametrize("kind", KINDS)
def test_receivers_and_apptimize_hold_apart_what_they_are_sent(stage: Sandbox, kind: str):
    first, second = stage.receiver(kind), stage.receiver(kind)

    first.send("members", ["p-1"], cohort=COHORT)
    first.send("members", ["p-2"], cohort=COHORT, mixpanel_project_id="2")

    assert set(first.members(COHORT) or {}) == {"p-1"}
    assert set(first.members(COHORT, project="2") or {}) == {"p-2"}
    assert second.members(COHORT) is None
    assert stage.group(COHORT) is None


def test_people_are_told_apart_by_the_key_of_ones_choice_and_two_who_share_it_are_one(stage: Sandbox):
    receiver = stage.receiver("replaces", key="crm id")
    twins = [{"mixpanel_distinct_id": distinct, "crm id": "c-1"} for distinct in ("d-1", "d-2")]

    receiver.send("members", [*twins, {"mixpanel_distinct_id": "d-3", "crm id": "c-3"}], cohort=COHORT)
    assert receiver.members(COHORT) == {"c-1": "d-2", "c-3": "d-3"}
    receiver.send("remove_members", twins[:1], cohort=COHORT)

    assert receiver.members(COHORT) == {"c-3": "d-3"}


def test_by_the_distinct_id_two_who_share_another_id_are_two(stage: Sandbox):
    receiver = stage.receiver("only-adds")
    twins = [{"mixpanel_distinct_id": distinct, "$apptimize_user_id": "i_1"} for distinct in ("d-1", "d-2")]

    receiver.send("members", twins, cohort=COHORT)

    assert receiver.members(COHORT) == {"d-1": "d-1", "d-2": "d-2"}


@pytest.mark.parametrize(
    "odd", [{}, {"crm id": ""}, {"crm id": "  "}, {"crm id": None}, {"crm id": 7}, {"$apptimize_user_id": "i_1"}]
)
def test_a_member_without_the_key_is_refused_with_the_whole_message(stage: Sandbox, odd: dict[str, Any]):
    receiver = stage.receiver("replaces", key="crm id")

    answer = receiver.send("members", ["p-1", {"mixpanel_distinct_id": "d-2", **odd}], cohort=COHORT)

    assert error(answer) == (400, 400)
    assert "crm id" in answer.json()["error"]["message"]
    assert receiver.members(COHORT) is None


def test_one_that_only_adds_trims_white_space_around_ids(stage: Sandbox):
    receiver = stage.receiver("only-adds")

    receiver.send("members", ["p-1", " p-1\t", "\u00a0p-2"], cohort=COHORT)

    assert set(receiver.members(COHORT) or {}) == {"p-1", "p-2"}


def test_one_that_only_adds_refuses_a_message_with_an_id_of_more_than_1024_bytes(stage: Sandbox):
    receiver = stage.receiver("only-adds")

    assert error(receiver.send("members", ["é" * 512], cohort=COHORT)) == (200, None)
    assert error(receiver.send("members", ["p-1", "é" * 513], cohort=COHORT)) == (400, 400)
    assert receiver.members(COHORT) == {"é" * 512: "é" * 512}


@pytest.mark.parametrize("kind", KINDS)
def test_only_messages_are_taken_and_only_at_the_receivers_own_address(stage: Sandbox, kind: str):
    receiver = stage.receiver(kind)
    credentials = receiver.credentials()

    assert stage.get(receiver.url, **credentials).status_code == 405
    assert stage.post(f"{stage.url}/receivers/nobody", json={}, **credentials).status_code == 404
    if receiver.sign_in != "path":
        assert stage.post(f"{receiver.url}/more", json={}, **credentials).status_code == 404


@pytest.mark.parametrize(
    ("name", "answered"),
    [
        ("load_shedding", (429, 429)),
        ("server_error", (500, 500)),
        ("receiver_failure_200", (200, 500)),
        ("cohort_in_deletion", (404, 404)),
    ],
)
def test_a_fault_strikes_the_receiver_it_is_meant_for_and_nothing_is_taken(
    stage: Sandbox, name: str, answered: tuple[int, int]
):
    receiver, other = stage.receiver("only-adds"), stage.receiver("only-adds")
    receiver.fault(name, after=1, times=1)

    answers = [receiver.send("members", [id], cohort=COHORT) for id in ("p-1", "p-2", "p-3")]

    assert other.send("members", ["p-1"], cohort=COHORT).status_code == 200
    assert [error(answer) for answer in answers] == [(200, None), answered, (200, None)]
    assert answers[1].json()["status"] == "failure"
    assert set(receiver.members(COHORT) or {}) == {"p-1", "p-3"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_can_shut_whoever_signs_in_out(stage: Sandbox, kind: str):
    receiver = stage.receiver(kind)
    receiver.fault("unauthorized", times=1)

    assert is_unauthorized(receiver.send("members", ["p-1"], cohort=COHORT), kind)
    assert receiver.send("members", ["p-1"], cohort=COHORT).status_code == KINDS[kind].success


@pytest.mark.parametrize(("name", "arrives"), [("reset_before", {"p-1"}), ("reset_after", {"p-1", "p-2"})])
def test_the_connection_is_cut_after_so_many_messages(stage: Sandbox, name: str, arrives: set[str]):
    receiver = stage.receiver("only-adds")
    receiver.fault(name, after=1)

    receiver.send("members", ["p-1"], cohort=COHORT)
    with pytest.raises(httpx.ReadError):
        receiver.send("members", ["p-2"], cohort=COHORT)

    assert set(receiver.members(COHORT) or {}) == arrives


def test_a_fault_that_names_nobody_leaves_receivers_alone_unless_it_is_theirs(stage: Sandbox):
    receiver = stage.receiver("only-adds")
    stage.fault("server_error")
    assert receiver.send("members", [], cohort=COHORT).status_code == 200

    stage.fault("cohort_in_deletion")
    assert receiver.send("members", [], cohort=COHORT).status_code == 404


def test_what_arrived_is_noted_with_names_and_without_people_or_secrets(stage: Sandbox):
    receiver = stage.receiver("replaces", key="crm id")
    receiver.send(
        "members", [{"mixpanel_distinct_id": "d-1", "crm id": "c-1", "email": "a@example.com"}], cohort=COHORT
    )

    (message,) = receiver.messages()

    assert (message["member_keys"], message["unusable"]) == (["crm id", "email", "mixpanel_distinct_id"], 0)
    assert "authorization" in message["header_names"]
    for private in ("c-1", "a@example.com", receiver.secret):
        assert private not in str(message)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "other"},
        {"kind": "replaces", "colour": 1},
        {"kind": "replaces", "sign_in": "oauth"},
        {"kind": "replaces", "key": ""},
        {"kind": "replaces", "key": 7},
        {"kind": "replaces", "header": "X Key"},
        {"kind": "replaces", "replaces": "yes"},
    ],
)
def test_a_receiver_that_cannot_be_is_refused(stage: Sandbox, given: dict[str, Any]):
    answer = stage.post("/sandbox/api/receivers", json=given)

    assert answer.status_code == 400
    assert answer.json()["error"]


def test_receivers_and_what_they_hold_survive_a_restart(start: Any):
    with start() as client, closing(Sandbox(str(client.base_url))) as stage:
        made = stage.receiver("replaces", key="crm id", sign_in="bearer")
        made.send("members", ["p-1"], cohort=COHORT)
        listed = [facts["name"] for facts in stage.get("/sandbox/api/receivers").json()["receivers"]]

    with start() as client, closing(Sandbox(str(client.base_url))) as stage:
        again = {facts["name"]: facts for facts in stage.get("/sandbox/api/receivers").json()["receivers"]}
        assert list(again) == listed
        receiver = Receiver(stage, again[made.name])
        receiver.send("add_members", ["p-2"], cohort=COHORT)
        assert (receiver.secret, set(receiver.members(COHORT) or {})) == (made.secret, {"p-1", "p-2"})


def test_the_page_tells_how_each_is_connected_and_what_it_holds(stage: Sandbox):
    receiver = stage.receiver("replaces", key="crm <id>")
    receiver.send("members", ["p-1", "p-2"], cohort=COHORT, mixpanel_cohort_name="Ours <i>")

    page = stage.get("/sandbox/receivers").text

    for fact in (receiver.url, receiver.username, receiver.secret, "crm &lt;id&gt;", "Ours &lt;i&gt;"):
        assert fact in page
    members = f"/sandbox/receivers/{receiver.name}/{PROJECT}/{COHORT}"
    assert members in page
    assert "p-2" in stage.get(members).text
    assert "p-1" not in stage.get(members, params={"q": "p-2"}).text
    assert stage.get(f"/sandbox/receivers/{receiver.name}/{PROJECT}/1").status_code == 404
