"""Profile updates, events and identities as the sandbox takes them in."""

import base64
import gzip
import json
from typing import Any

import pytest

from core.sandbox import people

POWER = 5167402
VISITOR = "0f1e2d3c-4b5a-4678-9abc-def012345678"


def import_events(client: Any, *events: dict[str, Any], **options: Any) -> Any:
    params = {"strict": 1, "project_id": people.PROJECT_ID}
    return client.post("/import", **{"params": params, "json": list(events), **options})


def event(name: str = "Opened", **properties: Any) -> dict[str, Any]:
    return {"event": name, "properties": {"time": 1795000000, "$insert_id": "i-1", "distinct_id": "a", **properties}}


# Profiles


def test_every_verb_changes_the_profile_as_documented(fresh: Any):
    fresh.update(
        {"$distinct_id": "new-1", "$set": {"plan": "free", "seats": 2, "tags": ["a"], "old": 1}},
        {"$distinct_id": "new-1", "$set_once": {"plan": "pro", "first": "yes"}},
        {"$distinct_id": "new-1", "$add": {"seats": 3, "coins": -1, "plan": 1}},
        {"$distinct_id": "new-1", "$append": {"tags": "a"}, "$union": {"cities": ["x", "y"]}},
        {"$distinct_id": "new-1", "$union": {"cities": ["y", "z"]}},
        {"$distinct_id": "new-1", "$remove": {"tags": "a"}, "$unset": ["old"]},
    )

    assert fresh.person("new-1")["properties"] == {
        "plan": "free", "seats": 5, "tags": ["a"], "first": "yes", "coins": -1, "cities": ["x", "y", "z"],
    }  # fmt: skip


def test_a_new_profile_joins_everyone_and_a_deleted_one_leaves(fresh: Any):
    fresh.update({"$distinct_id": "new-1", "$set": {}})
    assert "new-1" in {row["$distinct_id"] for row in fresh.oracle(5167401)}

    fresh.update({"$distinct_id": "new-1", "$delete": None})
    assert "new-1" not in {row["$distinct_id"] for row in fresh.oracle(5167401)}


def test_a_member_whose_profile_is_deleted_stays_as_an_anonymous_one(fresh: Any):
    member = str(fresh.oracle(5167405)[0]["$distinct_id"])
    fresh.update({"$distinct_id": member, "$delete": None})

    assert len(fresh.oracle(5167405)) == 41
    assert len(fresh.oracle(5167405, include_all_users=True)) == 42


def test_a_running_session_keeps_the_profiles_it_had(fresh: Any):
    before = fresh.oracle(POWER)
    session = fresh.engage(POWER).json()["session_id"]
    late = str(before[1500]["$distinct_id"])
    fresh.update({"$distinct_id": late, "$set": {"plan": "changed"}})

    assert fresh.engage(POWER, page=1, session_id=session).json()["results"] == before[1000:2000]


def test_a_change_of_plan_changes_the_membership_at_once(fresh: Any):
    fresh.update({"$distinct_id": "new-1", "$set": {"plan": "trial"}})
    assert "new-1" in {row["$distinct_id"] for row in fresh.oracle(5167409)}

    fresh.update({"$distinct_id": "new-1", "$set": {"plan": "pro"}})
    assert "new-1" not in {row["$distinct_id"] for row in fresh.oracle(5167409)}


@pytest.mark.parametrize("encode", [str, lambda text: base64.b64encode(text.encode()).decode()])
def test_updates_come_as_a_form_too(client: Any, encode: Any):
    update = json.dumps({"$token": people.PROJECT_TOKEN, "$distinct_id": "form-1", "$set": {"way": "form"}})

    assert client.post("/engage", data={"data": encode(update)}).text == "1"
    assert client.person("form-1")["properties"] == {"way": "form"}


def test_two_hundred_is_answered_even_when_validation_failed(client: Any):
    wrong = {"$distinct_id": "", "$set": {}}

    assert (client.update(wrong).status_code, client.update(wrong).text) == (200, "0")
    assert client.update(wrong, verbose=1).json() == {"status": 0, "error": "$distinct_id is missing or not text"}
    assert client.update({"$distinct_id": "x", "$set": {}}, wrong, verbose=1).json() == {"status": 1, "error": None}
    strict = client.update({"$distinct_id": "x", "$set": {}}, wrong, {"$distinct_id": "x"}, strict=1).json()
    assert (strict["code"], strict["num_records_imported"]) == (400, 1)
    assert [record["index"] for record in strict["failed_records"]] == [1, 2]


def test_one_does_not_prove_that_the_token_is_valid(client: Any):
    assert client.update({"$token": "nobody's", "$distinct_id": "lost", "$set": {}}).text == "1"
    assert client.get("/sandbox/api/people/lost").status_code == 404


def test_a_request_takes_two_thousand_updates_and_a_mebibyte(client: Any):
    assert client.update(*[{"$distinct_id": "x", "$set": {}}] * 2000).text == "1"
    assert client.update(*[{"$distinct_id": "x", "$set": {}}] * 2001).status_code == 413
    assert client.update({"$distinct_id": "x", "$set": {"a": "x" * 2**20}}).status_code == 413


def test_a_callback_is_called_only_by_a_plain_name(client: Any):
    update = {"$distinct_id": "x", "$set": {}}

    assert client.update(update, callback="done").text == "done(1);"
    assert client.update(update, callback="alert(1)//").text == "1"


# Auto-alias


def test_setting_the_apptimize_id_makes_it_an_alias_of_the_user(fresh: Any):
    fresh.track("Saw variant", distinct_id="i_77", variant="B")
    fresh.update({"$distinct_id": "ann", "$set": {"$apptimize_user_id": "i_77"}})
    fresh.track("Converted", distinct_id="i_77")

    person = fresh.person("i_77")
    assert (person["distinct_id"], person["aliases"]) == ("ann", ["i_77"])
    assert [event["event"] for event in person["events"]] == ["Saw variant", "Converted"]


def test_an_update_under_the_alias_reaches_the_user_whose_id_stays(fresh: Any):
    fresh.update({"$distinct_id": "i_10005", "$set": {"seen": "yes"}})

    assert fresh.person("i_10005")["properties"]["seen"] == "yes"
    row = fresh.engage(distinct_id="i_10005").json()["results"][0]
    assert row["$distinct_id"] == "user-10005"


def test_an_alias_stays_with_the_first_user_that_had_it(fresh: Any):
    fresh.update({"$distinct_id": "ann", "$set": {"$apptimize_user_id": "i_77"}})
    fresh.update({"$distinct_id": "bob", "$set": {"$apptimize_user_id": "i_77"}})

    assert fresh.person("i_77")["distinct_id"] == "ann"


def test_simplified_merge_has_no_aliases(fresh: Any):
    fresh.update({"$distinct_id": "ann", "$set": {"$apptimize_user_id": "i_77"}})
    fresh.update({"$distinct_id": "ann", "$unset": ["$apptimize_user_id"]})
    fresh.settings(id_merge="simplified")
    fresh.update({"$distinct_id": "ann", "$set": {"$apptimize_user_id": "i_77"}})

    assert fresh.get("/sandbox/api/people/i_77").status_code == 404


# Identity events


def test_an_alias_event_links_and_a_used_alias_fails_in_silence(fresh: Any):
    assert fresh.track("$create_alias", distinct_id="ann", alias="ann@shop").json() == {"status": 1, "error": None}
    assert fresh.track("$create_alias", distinct_id="bob", alias="ann@shop").json() == {"status": 1, "error": None}

    assert fresh.person("ann@shop")["distinct_id"] == "ann"
    assert fresh.person("bob")["events"][0]["failure_reason"] == "errAliasAlreadyExists"


@pytest.mark.parametrize(
    ("visitor", "failure"),
    [("ann", "errSameIDs"), ("visitor-1", "errAnonDistinctIdNonGUIDForm"), (VISITOR, None)],
)
def test_identify_links_a_visitor_or_fails_in_silence(fresh: Any, visitor: str, failure: str | None):
    fresh.update({"$distinct_id": "ann", "$set": {"plan": "pro"}}, {"$distinct_id": visitor, "$set": {"source": "ad"}})

    answer = fresh.track("$identify", **{"$identified_id": "ann", "$anon_id": visitor})

    assert answer.json()["status"] == 1
    assert fresh.person("ann")["events"][0].get("failure_reason") == failure
    if failure is None:
        assert fresh.person(VISITOR)["distinct_id"] == "ann"
        assert fresh.person("ann")["properties"] == {"plan": "pro", "source": "ad"}
        fresh.track("$identify", **{"$identified_id": "bob", "$anon_id": VISITOR})
        assert fresh.person("bob")["events"][0]["failure_reason"] == "errAnonDistinctIdAssignedAlready"


def test_merge_makes_two_users_one(fresh: Any):
    merge = {"event": "$merge", "properties": {"$distinct_ids": ["user-10005", "user-10009"]}}

    assert import_events(fresh, merge).json()["code"] == 200

    assert fresh.person("user-10009")["distinct_id"] == "user-10005"
    assert fresh.person("i_10009")["distinct_id"] == "user-10005"
    members = [row["$distinct_id"] for row in fresh.oracle(5167401)]
    assert "user-10009" not in members
    assert len(members) == len(set(members))


def test_a_cluster_holds_five_hundred_ids(fresh: Any):
    for start in (0, 300):
        rows = [
            {"event": "$create_alias", "properties": {"distinct_id": "ann", "alias": f"alias-{n}"}}
            for n in range(start, start + 300)
        ]
        import_events(fresh, *rows)

    person = fresh.person("ann")
    assert len(person["aliases"]) == 499
    assert person["events"][-1]["failure_reason"] == "errManyIDs"


def test_simplified_merge_rejects_identity_events_and_links_devices(fresh: Any):
    fresh.settings(id_merge="simplified")
    refused = import_events(fresh, {"event": "$merge", "properties": {"$distinct_ids": ["a", "b"]}}).json()
    fresh.update({"$distinct_id": "$device:d1", "$set": {"lost": "yes"}})
    import_events(fresh, event(distinct_id="x", **{"$device_id": "d1", "$user_id": "ann"}))
    import_events(fresh, event(distinct_id="x", **{"$device_id": "d1", "$user_id": "bob"}))

    assert refused["code"] == 400
    assert refused["failed_records"][0]["message"] == (
        "identity events are not allowed when project is using simplified identity management"
    )
    assert fresh.person("$device:d1")["distinct_id"] == "ann"
    assert fresh.person("$device:d1")["properties"] is None


# Import


def test_import_takes_json_gzip_and_lines(client: Any):
    body = gzip.compress(json.dumps([event()]).encode())
    lines = "\n".join(json.dumps(event()) for _ in range(3))

    assert import_events(client, event(), event()).json() == {"code": 200, "num_records_imported": 2, "status": "OK"}
    zipped = import_events(client, json=None, content=body, headers={"Content-Encoding": "gzip"})
    assert zipped.json()["num_records_imported"] == 1
    ndjson = import_events(client, json=None, content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert ndjson.json()["num_records_imported"] == 3


def test_import_names_every_record_that_fails_and_keeps_the_rest(client: Any):
    answer = import_events(client, event(), event(time="yesterday"), {"event": 1})

    assert answer.status_code == 400
    assert answer.json()["num_records_imported"] == 1
    assert [(row["index"], row["field"]) for row in answer.json()["failed_records"]] == [
        (1, "properties.time"),
        (2, "event"),
    ]


def test_import_refuses_strangers_and_what_is_too_large(client: Any):
    bomb = gzip.compress(b"[" + b" " * 5_000_000 + b"]")

    assert import_events(client, event(), auth=("no", "one")).json() == {
        "code": 401, "error": "Invalid credentials", "status": "Unauthorized",
    }  # fmt: skip
    large = import_events(client, json=None, content=bomb, headers={"Content-Encoding": "gzip"})
    assert (large.status_code, large.json()["error"]) == (413, "request exceeds max limit of 2097152 bytes")
    assert import_events(client, *[event()] * 2001).status_code == 413
    assert import_events(client, json=None, content=b"{").status_code == 400
    assert import_events(client, json=None, content=b"x", headers={"Content-Encoding": "gzip"}).status_code == 400
