"""The practice project's people and cohorts."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.sandbox import people
from core.sandbox.server import create_app, running
from core.sandbox.store import SandboxError
from tests.emulator.sandbox.conftest import Client

EVERYONE, POWER, EXACT, EMPTY, HIDDEN, GROUPS, NAMED, NO_IDS, TRIAL, ODD = range(5167401, 5167411)


def test_the_same_seed_makes_the_same_people_every_time():
    again = people.generate.__wrapped__("original")

    assert again.people == people.generate("original").people
    assert list(again.cohorts) == list(range(5167401, 5167411))


def test_there_are_some_six_thousand_profiles_and_users_without_one():
    everyone = people.generate("original").people.values()

    assert 5900 < sum(person.properties is not None for person in everyone) < 6300
    assert sum(person.properties is None for person in everyone) == 300
    assert any(isinstance(person.distinct_id, int) for person in everyone)
    assert any(person.properties is not None and "$last_seen" not in person.properties for person in everyone)


def test_every_kind_of_odd_id_is_in_the_imported_cohort(client: Any):
    values = [row["$properties"].get("$apptimize_user_id", "missing") for row in client.oracle(ODD)]

    kinds = Counter(type(value) for value in values)
    assert {type(None), bool, list, dict, int, float, str} <= set(kinds)
    assert "missing" in values
    assert 10**21 in values
    assert 12.5 in values
    assert "i_broken\ud800" in values
    assert any(isinstance(value, str) and len(value) > 256 for value in values)
    assert any(isinstance(value, str) and "\n" in value for value in values)
    assert any(isinstance(value, str) and not value.strip() for value in values)
    assert Counter(value for value in values if isinstance(value, str))["i_twin-3"] == 2


def test_a_lone_surrogate_is_sent_as_an_escape(client: Any):
    assert rb"i_broken\ud800" in client.engage(ODD).content


def test_no_one_in_the_web_cohort_has_a_usable_id(client: Any):
    values = [row["$properties"].get("$apptimize_user_id") for row in client.oracle(NO_IDS)]

    assert len(values) > 100
    assert all(value in (None, False) or not value.strip() for value in values)


def test_the_exact_cohort_always_has_two_thousand_and_the_empty_one_no_one(client: Any):
    for shift in (0, 301, 7000, 90_000):
        client.at(shift)
        assert len(client.oracle(EXACT)) == 2000
        assert client.oracle(EMPTY, include_all_users=True) == []


def test_within_any_quarter_of_an_hour_a_few_people_come_and_a_few_go(client: Any):
    for start in (0, 137, 5000):
        for cohort in (EVERYONE, POWER, EXACT, NAMED, NO_IDS, TRIAL):
            client.at(start)
            before = {row["$distinct_id"] for row in client.oracle(cohort)}
            client.at(start + 900)
            after = {row["$distinct_id"] for row in client.oracle(cohort)}
            assert 1 <= len(after - before) <= 40, (cohort, start)
            assert 1 <= len(before - after) <= 40, (cohort, start)


def test_two_cohorts_never_change(client: Any):
    before = [client.oracle(cohort) for cohort in (HIDDEN, ODD)]
    client.at(86_400)

    assert [client.oracle(cohort) for cohort in (HIDDEN, ODD)] == before


def test_with_simplified_merge_people_carry_their_user_id_or_a_device_id(fresh: Any):
    fresh.settings(id_merge="simplified")

    for row in fresh.oracle(POWER):
        user_id = row["$properties"].get("$user_id")
        if user_id is None:
            assert row["$distinct_id"].startswith("$device:")
        else:
            assert str(row["$distinct_id"]) == user_id


def test_people_of_your_own_are_served_and_edited(start: Any, tmp_path: Path):
    profiles, cohorts = tmp_path / "people.jsonl", tmp_path / "cohorts.json"
    profiles.write_text(
        '{"$distinct_id": "u-1", "$properties": {"$apptimize_user_id": "i_1"}}\n\n'
        '{"$distinct_id": 2, "$properties": {}}\n'
    )
    cohorts.write_text('[{"id": 9, "name": "Mine", "description": "", "distinct_ids": ["u-1", 2, "ghost"]}]')

    with start(profiles=profiles, cohorts=cohorts) as client:
        assert [row["count"] for row in client.cohorts().json()] == [3]
        assert [row["$distinct_id"] for row in client.engage(9).json()["results"]] == ["u-1", 2]
        client.update({"$distinct_id": "u-1", "$set": {"plan": "pro"}})
        assert client.engage(9).json()["results"][0]["$properties"]["plan"] == "pro"
        client.at(86_400)
        assert len(client.oracle(9)) == 2


def test_the_cdnow_customers_load_whole(start: Any, shared_folder: Path):
    folder = shared_folder / "data" / "cdnow"
    if not folder.exists():
        pytest.skip("the CDNOW files are not beside this checkout")
    expected = json.loads((folder / "cohorts.json").read_text())

    with start(profiles=folder / "profiles.jsonl", cohorts=folder / "cohorts.json") as client:
        for cohort in expected:
            read = client.read_all(cohort["id"], page_size=5000)
            assert sorted(row["$distinct_id"] for row in read) == sorted(cohort["distinct_ids"])


@pytest.mark.parametrize(
    ("line", "cohorts", "problem"),
    [
        ("{", "[]", "people.jsonl, line 2: not JSON"),
        ("[]", "[]", "people.jsonl, line 2: an object with"),
        ('{"$distinct_id": true, "$properties": {}}', "[]", "people.jsonl, line 2: .distinct_id must be"),
        ('{"$distinct_id": "a", "$properties": {}}', "[]", "people.jsonl, line 2: the distinct id 'a' was there"),
        ("", "{}", "cohorts.json, line 1: a list"),
        ("", "[\n{]", "cohorts.json, line 2: not JSON"),
        ("", '[{"id": 1}]', "cohorts.json, cohort 1: id must be"),
        ("", '[{"id": 1, "name": "x", "distinct_ids": [null]}]', "cohorts.json, cohort 1: a distinct id must"),
    ],
)
def test_a_file_that_is_not_of_the_form_is_refused_with_file_and_line(
    line: str, cohorts: str, problem: str, tmp_path: Path
):
    (tmp_path / "people.jsonl").write_text('{"$distinct_id": "a", "$properties": {}}\n' + line)
    (tmp_path / "cohorts.json").write_text(cohorts)

    with pytest.raises(SandboxError, match=problem):
        create_app(tmp_path, profiles=tmp_path / "people.jsonl", cohorts=tmp_path / "cohorts.json")


def test_missing_and_half_given_files_are_refused(tmp_path: Path):
    with pytest.raises(SandboxError, match="cannot be read"):
        create_app(tmp_path, profiles=tmp_path / "none.jsonl", cohorts=tmp_path / "none.json")
    with pytest.raises(SandboxError, match="both files"):
        create_app(tmp_path, profiles=tmp_path / "none.jsonl")


def test_a_cohort_can_be_made_renamed_filled_and_deleted_by_a_test(tmp_path: Path):
    address = "/sandbox/api/cohorts/77"
    with running(tmp_path) as server, Client(server.url) as client:
        two = sorted(row["$distinct_id"] for row in client.oracle(HIDDEN)[:2])
        client.put(address, json={"name": "Ours", "distinct_ids": two}).raise_for_status()
        client.put(address, json={"name": "Still ours"}).raise_for_status()
        refused = [client.put(address, json=body).status_code for body in ({"distinct_ids": "all"}, {"name": 7})]
        unknown = client.put("/sandbox/api/cohorts/78", json={"distinct_ids": []}).status_code
        client.delete(f"/sandbox/api/cohorts/{HIDDEN}").raise_for_status()

    with running(tmp_path) as server, Client(server.url) as client:  # it remembers over a restart
        names = {row["id"]: row["name"] for row in client.cohorts().json()}
        members = [row["$distinct_id"] for row in client.oracle(77)]

    assert (refused, unknown) == ([400, 400], 404)
    assert names[77] == "Still ours"
    assert HIDDEN not in names
    assert sorted(members) == two
