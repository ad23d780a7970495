"""The bench's server: what it serves, and what it takes for right, agree with the rules of matching."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import bench as package
from bench import steps
from bench.answers import Bench, Request
from bench.names import PROPERTY, RECEIVER, TOKEN
from bench.people import Cohort, Version, make_cohort
from tests.stage import oracle

SIZE, BLOCK, COHORT = 6000, 3000, 77


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return make_cohort(COHORT, "Made up", BLOCK, (1, 50))


@pytest.mark.parametrize("path", sorted(Path(package.__path__[0]).glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_what_measures_the_product_knows_its_present_modules(path: Path):
    importlib.import_module(f"bench.{path.stem}")


def test_every_step_of_a_read_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(steps, "PROFILES", 2000)
    took = steps.measure(steps.make_pages(1000, tmp_path), tmp_path)
    assert list(took) == ["decode", "match", "fingerprint", "collect", "tally", "sort", "compare"]
    assert all(seconds > 0 for seconds in took.values())


def rows(version: Version, page: int, page_size: int) -> list[dict[str, Any]]:
    return json.loads(b"[" + b",".join(version.rows(page, page_size)) + b"]")


def group(version: Version) -> dict[str, str]:
    return oracle.answer(rows(version, 0, BLOCK)).group


@pytest.mark.parametrize("percent", [0, 1, 50])
def test_a_version_counts_what_the_rules_count(cohort: Cohort, percent: int):
    version, first = cohort.versions[percent], group(cohort.versions[0])
    right = oracle.answer(rows(version, 0, BLOCK))
    changes = {"added": len(right.group.keys() - first.keys()), "removed": len(first.keys() - right.group.keys())}
    assert version.counts == right.counts | changes
    assert bool(changes["added"] and changes["removed"]) == bool(percent)


def test_blocks_of_people_have_no_id_in_common():
    version = make_cohort(COHORT, "Made up", SIZE, block=BLOCK).now
    served = rows(version, 0, SIZE)
    assert version.counts == oracle.answer(served).counts | {"added": 0, "removed": 0}
    assert len({row["$distinct_id"] for row in served}) == SIZE


def test_pages_of_any_size_hold_the_same_rows_in_the_same_order():
    version = make_cohort(COHORT, "Made up", SIZE, block=BLOCK).now
    whole = rows(version, 0, SIZE)
    for page_size in (1000, 2000, 4000):
        pages = [rows(version, page, page_size) for page in range(-(-SIZE // page_size) + 1)]
        assert [row for page in pages for row in page] == whole
        assert pages[-1] == []


def test_a_page_has_the_size_that_is_asked_for_where_the_server_honors_it(cohort: Cohort):
    bench = Bench({COHORT: cohort})
    assert [bench.page_size(asked) for asked in (None, "10000", "250", "90000")] == [1000, 10_000, 1000, 50_000]
    bench.honors = False
    assert bench.page_size("10000") == 1000


# --- what the receiver takes for right -----------------------------------------------------------------------------


def send(bench: Bench, action: str, members: Mapping[str, str]) -> None:
    """Send members in messages of 1,000, the last message first."""
    listed = [{"mixpanel_distinct_id": distinct_id, PROPERTY: own} for own, distinct_id in members.items()]
    pages = [listed[start : start + 1000] for start in range(0, max(len(listed), 1), 1000)]
    for number, page in reversed(list(enumerate(pages, 1))):
        parameters = {
            "mixpanel_cohort_id": str(COHORT),
            "mixpanel_session_id": action,
            "page_info": {"total_pages": len(pages), "page_count": number},
            "members": page,
        }
        body = json.dumps({"action": action, "parameters": parameters}, separators=(",", ":")).encode()
        status, _ = bench.answer(Request("POST", RECEIVER, "", {"apptimizeapitoken": TOKEN}, body))
        assert status == 200


def is_exact(bench: Bench, write: str) -> bool:
    _, parts = bench.answer(Request("GET", "/bench/group", f"cohort={COHORT}&write={write}", {}, b""))
    return json.loads(b"".join(parts))["exact"]


@pytest.fixture
def bench(cohort: Cohort) -> Bench:
    """A server whose receiver has been given the whole first version."""
    cohort.percent = 0
    bench = Bench({COHORT: cohort})
    send(bench, "members", group(cohort.now))
    return bench


def test_a_whole_group_is_right(bench: Bench):
    assert is_exact(bench, "full")
    assert is_exact(bench, "none")


@pytest.mark.parametrize("percent", [1, 50])
def test_a_difference_leads_to_the_group_of_the_changed_cohort(bench: Bench, cohort: Cohort, percent: int):
    first, later = group(cohort.versions[0]), group(cohort.versions[percent])
    cohort.percent = percent
    assert not is_exact(bench, "delta")
    send(bench, "remove_members", {own: first[own] for own in first.keys() - later.keys()})
    send(bench, "add_members", {own: later[own] for own in later.keys() - first.keys()})
    assert is_exact(bench, "delta")
    send(bench, "members", later)
    assert is_exact(bench, "full")


def test_a_group_with_one_wrong_member_is_wrong(bench: Bench, cohort: Cohort):
    own, distinct_id = next(iter(group(cohort.now).items()))
    send(bench, "remove_members", {own: distinct_id})
    assert not is_exact(bench, "full")
    send(bench, "add_members", {own: "another"})
    assert not is_exact(bench, "full")


@pytest.mark.parametrize("action", ["add_members", "remove_members"])
def test_a_difference_that_contradicts_the_group_is_wrong(bench: Bench, cohort: Cohort, action: str):
    members = group(cohort.now) if action == "add_members" else {"i_nobody": "nobody"}
    send(bench, action, members)
    assert not is_exact(bench, "full")
