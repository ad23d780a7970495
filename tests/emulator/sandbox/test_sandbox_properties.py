"""The names of properties, which other readers of Mixpanel ask for before they read."""

from collections import Counter
from typing import Any

import pytest

from core.sandbox import people

PROJECT = {"project_id": people.PROJECT_ID}
EVERYONE = 5167401
PREFIXES = ["/api/query", "/api/2.0"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_properties_of_profiles_come_with_count_and_type(client: Any, prefix: str):
    profiles = [person.properties for person in people.generate().people.values() if person.properties is not None]
    counts = Counter(name for profile in profiles for name, value in profile.items() if value is not None)

    answer = client.get(f"{prefix}/engage/properties", params={**PROJECT, "limit": 2000}).json()

    assert answer["status"] == "ok"
    listed = answer["results"]
    assert {name: facts["count"] for name, facts in listed.items()} == counts
    assert {name: facts["type"] for name, facts in listed.items()} == {
        "$name": "string", "$email": "string", "$city": "string", "plan": "string", "orders": "number",
        "spent": "number", "$user_id": "string", "$last_seen": "datetime", "$apptimize_user_id": "string",
    }  # fmt: skip
    assert list(listed)[-1] == min(counts, key=lambda name: counts[name])


def test_no_more_properties_come_than_asked_for(client: Any):
    path = "/api/2.0/engage/properties"

    assert len(client.get(path, params={**PROJECT, "limit": 3}).json()["results"]) == 3
    for limit in ("0", "-1", "some", "1.5"):
        answer = client.get(path, params={**PROJECT, "limit": limit})
        assert (answer.status_code, answer.json()["error"]) == (400, "limit must be a positive integer")


def test_a_new_property_is_listed_with_the_type_that_most_profiles_give_it(fresh: Any):
    values: list[Any] = [{"a": 1}, {"b": 2}, [1]]
    updates = [{"$distinct_id": f"p-{number}", "$set": {"tags": value}} for number, value in enumerate(values)]
    fresh.update(*updates, {"$distinct_id": "p-0", "$set": {"beta": True}})

    listed = fresh.get("/api/query/engage/properties", params=PROJECT).json()["results"]

    assert listed["tags"] == {"count": 3, "type": "object"}
    assert listed["beta"] == {"count": 1, "type": "boolean"}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_properties_of_events_come_with_their_count_the_top_ten_unless_said_otherwise(fresh: Any, prefix: str):
    path = f"{prefix}/events/properties/top"
    assert fresh.get(path, params={**PROJECT, "limit": 2000}).json() == {}
    many = {f"p{number}": number for number in range(12)}
    fresh.track("Opened", distinct_id="a", screen="Home", **many)
    fresh.track("Opened", distinct_id="b", screen="Shop")
    fresh.track("Bought", distinct_id="b", price=3, screen=None)

    every = fresh.get(path, params={**PROJECT, "limit": 2000}).json()
    opened = fresh.get(path, params={**PROJECT, "limit": 2000, "event": "Opened"}).json()

    assert (every["distinct_id"], every["screen"], every["price"]) == ({"count": 3}, {"count": 2}, {"count": 1})
    assert list(every)[0] == "distinct_id"
    assert "token" not in every
    assert (opened["distinct_id"], "price" in opened) == ({"count": 2}, False)
    assert len(fresh.get(path, params={**PROJECT, "event": "Opened"}).json()) == 10
    assert fresh.get(path, params={**PROJECT, "event": "Never"}).json() == {}


@pytest.mark.parametrize("path", ["/api/2.0/engage/properties", "/api/query/events/properties/top"])
def test_they_are_queries_like_any_other(client: Any, path: str):
    assert client.get(path, params=PROJECT, auth=("no", "one")).status_code == 401
    assert client.get(path).status_code == 400
    assert client.get(path, params={**PROJECT, "limit": 0}).status_code == 400
    assert client.get("/sandbox/api/project").json()["queries_spent"] == 1
    client.settings(hourly_limit=1)

    limited = client.get(path, params=PROJECT)

    assert limited.status_code == 429
    assert "RateLimit" in limited.headers
    assert [entry["kind"] for entry in client.requests()["requests"]] == ["properties"] * 4
