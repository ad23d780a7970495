"""Who is in a group and who is not: the funnel of every practice cohort, who was excluded, and one user's history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import lookup
from core.connections.mixpanel_connection import change_match_setting
from core.reports import match_funnel, members, user_lookup
from core.sandbox import people
from core.syncs import one_time, recurring, runs, settings
from data.engine import read_session
from data.models import Group
from tests.stage import oracle
from tests.stage.home import PRACTICE, Home, connect, export, newest_run
from tests.stage.sandbox import IMPORTED, LATER_S, POWER, USER_COHORTS, WEB, Sandbox
from tests.stage.seeds import LONG, SEEDS, few, some

pytestmark = some(7)


@pytest.fixture
def simplified(sandbox: Sandbox, empty_home: Home) -> Iterator[Home]:
    """A home that is connected to the practice project while it merges ids the simplified way."""
    sandbox.put("/sandbox/api/project", json={"id_merge": "simplified"}).raise_for_status()
    with empty_home.bridge(mixpanel_url=sandbox.url) as bridge:
        connect(bridge, sandbox, replace(PRACTICE, id_merge="simplified"))
    yield empty_home
    sandbox.put("/sandbox/api/project", json={"id_merge": "original"}).raise_for_status()


def count_independently(sandbox: Sandbox, cohort: int, *, simplified: bool) -> dict[str, Any]:
    """Count the funnel from the raw profiles, and from nothing that the product has worked out."""
    raw = sandbox.raw(cohort)
    all_profiles = sandbox.get(f"/sandbox/api/cohorts/{cohort}/profiles", params={"include_all_users": "true"}).json()
    answer = oracle.simplified_answer(raw) if simplified else oracle.answer(raw)
    starts = Counter(id[:2] for id in answer.group)
    prefixed = starts["i_"] + starts["a_"]
    return {
        "in_cohort": len(all_profiles),
        "with_profile": len(raw),
        "with_id": len(raw) - answer.unmatched,
        "valid": len(raw) - answer.unmatched - answer.invalid,
        "distinct": len(answer.group),
        "prefixed": len(answer.group) if simplified else prefixed,
        "unmatched": answer.unmatched,
        "invalid": answer.invalid,
        "duplicates": answer.duplicates,
        "unprefixed": 0 if simplified else len(answer.group) - prefixed,
        "identified": 0 if simplified else starts["i_"],
        "anonymous": 0 if simplified else starts["a_"],
    }


def check_funnel(funnel: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {name: funnel[name] for name in expected} == expected
    assert funnel["in_cohort"] >= funnel["with_profile"] == funnel["with_id"] + funnel["unmatched"]
    assert funnel["with_id"] == funnel["valid"] + funnel["invalid"]
    assert funnel["valid"] == funnel["distinct"] + funnel["duplicates"]
    assert funnel["distinct"] == funnel["prefixed"] + funnel["unprefixed"]
    assert sum(funnel["reasons"].values()) == funnel["invalid"]


@few(1)
def test_the_funnel_of_every_cohort_equals_an_independent_count(sandbox: Sandbox, home: Home):
    cohorts = list(USER_COHORTS)[:: 1 if SEEDS else 3]
    expected = {cohort: count_independently(sandbox, cohort, simplified=False) for cohort in cohorts}

    for cohort in cohorts:
        done = home.run("match", str(cohort), "--json")

        assert (done.code, done.err) == (0, "")
        check_funnel(done.json, expected[cohort])
        assert (done.json["id_merge"], done.json["match_property"]) == ("original", "$apptimize_user_id")
        assert sandbox.group(cohort) is None, "nothing is written"


@LONG
def test_the_funnel_of_every_cohort_of_a_simplified_project_equals_an_independent_count(
    sandbox: Sandbox, simplified: Home
):
    for cohort in USER_COHORTS:
        expected = count_independently(sandbox, cohort, simplified=True)

        done = simplified.run("match", str(cohort), "--json")

        check_funnel(done.json, expected)
        assert done.json["match_property"] == "$user_id"


def test_an_id_of_which_nothing_is_seen_is_invalid_for_a_reason_of_its_own(sandbox: Sandbox, home: Home):
    (first, second), ids = [str(row["$distinct_id"]) for row in sandbox.raw(WEB)[:2]], ["\u200b\ufeff", "i_\u200b"]
    before = {str(row["$distinct_id"]): row["$properties"] for row in sandbox.raw(WEB)}
    set_ids(sandbox, {first: ids[0], second: ids[1]})
    try:
        exported, match = home.run("export", str(WEB), "--json"), home.run("match", str(WEB), "--last", "--json")
        expected = oracle.answer(sandbox.raw(WEB))
    finally:
        set_ids(sandbox, {user: before[user].get("$apptimize_user_id") for user in (first, second)})

    assert match.json["reasons"]["invisible"] == 1
    assert (exported.json["status"], exported.json["invalid"]) == ("succeeded", expected.invalid)
    assert (sandbox.group(WEB) or {}).keys() == expected.group.keys()
    assert "i_\u200b" in expected.group, "byte for byte, where there is something to be seen"


def set_ids(sandbox: Sandbox, ids: dict[str, str | None]) -> None:
    """Set the Apptimize ids of profiles as an app does; None takes one away."""
    name, token = "$apptimize_user_id", people.PROJECT_TOKEN
    updates: list[dict[str, Any]] = [
        {"$token": token, "$distinct_id": user, **({"$unset": [name]} if id is None else {"$set": {name: id}})}
        for user, id in ids.items()
    ]
    sandbox.post("/engage", json=updates).raise_for_status()


def test_the_profiles_excluded_are_those_that_the_counts_speak_of(sandbox: Sandbox, home: Home):
    raw = {str(row["$distinct_id"]): row["$properties"].get("$apptimize_user_id") for row in sandbox.raw(IMPORTED)}
    answer = oracle.answer(sandbox.raw(IMPORTED))
    with home.bridge() as bridge:
        run = export(bridge, IMPORTED)
        assert run.id is not None

        rows = match_funnel.excluded(bridge, LOCAL, run.id, limit=1000).rows

        reasons = Counter(reason for reason, _, _ in rows)
        assert reasons["unmatched"] == answer.unmatched
        assert reasons["duplicate"] == answer.duplicates
        assert sum(reasons.values()) == answer.unmatched + answer.invalid + answer.duplicates
        assert {distinct_id for _, distinct_id, _ in rows} == raw.keys() - set(answer.group.values())
        assert {distinct_id for reason, distinct_id, _ in rows if reason == "unmatched"} == {
            distinct_id for distinct_id, value in raw.items() if value is None
        }
        assert all(raw[distinct_id] == id for reason, distinct_id, id in rows if reason == "duplicate")
        page = match_funnel.excluded(bridge, LOCAL, run.id, reasons=["duplicate"], search="TWIN-3")
        assert (page.total, [id for _, _, id in page.rows]) == (1, ["i_twin-3"])


def test_of_a_cohort_the_latest_reading_alone_keeps_who_was_excluded(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        first = export(bridge, IMPORTED)
        other = export(bridge, WEB)
        second = export(bridge, IMPORTED)

        kept = {run.id: run.excluded for run, _ in match_funnel.latest_reads(bridge, LOCAL)}
        files = {path.stem for path in bridge.snapshots.folder.glob("excluded-*")}

    assert kept.keys() == {other.id, second.id}
    assert files == set(kept.values())
    assert first.excluded not in files


@LONG
def test_a_dry_run_from_the_terminal_writes_nothing_but_its_row(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        export(bridge, POWER)
        sandbox.at(LATER_S)
        started = one_time.start_export(bridge, LOCAL, POWER, dry_run=True)  # a preview, as the browser starts it
        assert home.run("worker", "--once").code == 0
        preview = runs.get_run(bridge, LOCAL, started.id or 0)
        before = look(home)

        done, match = home.run("export", str(POWER), "--dry-run"), home.run("match", str(POWER), "--json")

        after, run = look(home), newest_run(bridge)
        excluded = match_funnel.excluded(bridge, LOCAL, preview.id or 0)
        changes = members.find_changes(bridge, LOCAL, preview.id or 0, "added")

    assert (done.code, match.code) == (0, 0)
    assert after == before
    assert "an export, or a preview in the browser, keeps that" in done.out
    assert (run.snapshot, run.difference, run.excluded) == (None, None, None)
    assert (run.added, changes.total) == (preview.added, preview.added), "what the preview keeps stays"
    assert run.profiles - run.members == excluded.total > 0


def look(home: Home) -> dict[str, tuple[int, int]]:
    """Return the home's files, each with its identity and time, but those of the database and of its audit log."""
    files = (path for path in home.path.rglob("*") if not path.name.startswith(("cohort_bridge.db", "audit.")))
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files if path.is_file()}


def test_the_download_of_profiles_excluded_is_safe_to_open_in_a_spreadsheet(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        change_match_setting(bridge, LOCAL, mixpanel_id(bridge), match_property="nothing", expects_prefix=None)
        run = export(bridge, IMPORTED)
        assert run.id is not None
        lines = list(match_funnel.excluded_csv(bridge, LOCAL, run.id))

    assert lines[0] == "\ufeffreason,distinct_id,apptimize_id\r\n"
    assert len(lines) == 1 + run.profiles
    assert not any(line.startswith(("=", "+", "@")) for line in lines)


def mixpanel_id(bridge: Bridge) -> int:
    connection = lookup.find_mixpanel(bridge)
    assert connection.id is not None
    return connection.id


def test_another_match_property_leads_to_a_full_overwrite_and_a_sync_may_have_its_own(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        sync = recurring.add_sync(bridge, LOCAL, WEB)
        export(bridge, WEB)
        assert export(bridge, WEB).write == "none"

        assert sync.id is not None
        settings.change_sync_matching(bridge, LOCAL, sync.id, match_property="$user_id", expects_prefix=False)
        run = export(bridge, WEB)

        assert (run.write, run.matched_by, run.unprefixed) == ("full", "original:$user_id", 0)
        assert sandbox.group(WEB) == {
            str(row["$properties"]["$user_id"]): str(row["$distinct_id"]) for row in sandbox.raw(WEB)
        }
        other = export(bridge, POWER)
        assert other.matched_by == "original:$apptimize_user_id"
        settings.change_sync_matching(bridge, LOCAL, sync.id)
        assert export(bridge, WEB).matched_by == "original:$apptimize_user_id"


def test_a_prefix_that_is_not_expected_is_not_missed(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        assert export(bridge, IMPORTED).unprefixed > 0
        change_match_setting(bridge, LOCAL, mixpanel_id(bridge), match_property="", expects_prefix=False)

        run = export(bridge, IMPORTED)

    assert (run.unprefixed, run.write) == (0, "none")


def test_a_user_is_looked_up_by_either_id_with_groups_and_since_when(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        first = export(bridge, POWER)
        before = sandbox.answer(POWER).group
        sandbox.at(LATER_S)
        second = export(bridge, POWER)
        after = sandbox.answer(POWER).group
        unchanged = sorted(before.keys() & after.keys())[0]
        joined = sorted(after.keys() - before.keys())[0]
        left = sorted(before.keys() - after.keys())[0]

        for id in (unchanged, after[unchanged]):
            (group,) = user_lookup.look_up_user(bridge, LOCAL, id).groups
            assert (group.is_member, group.run_id, group.since) == (True, first.id, first.finished_at)
        (group,) = user_lookup.look_up_user(bridge, LOCAL, joined).groups
        assert (group.is_member, group.run_id) == (True, second.id)
        for id in (left, before[left]):  # no reading knows them any more, but what removed them does
            told = user_lookup.look_up_user(bridge, LOCAL, id)
            (group,) = told.groups
            assert (group.is_member, group.reason, group.since) == (False, "removed", second.finished_at)
            assert (told.distinct_ids, told.apptimize_ids) == ([before[left]], [left])


def test_who_and_a_membership_history_agree_on_a_group_that_was_written_again_after_its_file_was_lost(
    sandbox: Sandbox, home: Home
):
    with home.bridge() as bridge:
        first = export(bridge, POWER)
        began = sandbox.answer(POWER).group
        sandbox.at(LATER_S)
        export(bridge, POWER)
        member = sorted(began.keys() & sandbox.answer(POWER).group.keys())[0]
        with read_session(bridge.engine) as session:
            group = session.exec(select(Group)).one()
        assert group.base_snapshot
        bridge.snapshots.remove(group.base_snapshot)
        second = export(bridge, POWER)
        assert second.write == "full"

        (answer,) = user_lookup.look_up_user(bridge, LOCAL, member).groups
        (history,) = user_lookup.look_up_user(bridge, LOCAL, member).histories
        (stay,) = history.memberships

    assert (answer.since, answer.run_id) == (stay.since, stay.since_run) == (first.finished_at, first.id)


def test_why_a_user_is_missing_is_told(sandbox: Sandbox, home: Home):
    twins = {str(row["$distinct_id"]): row for row in sandbox.raw(IMPORTED)}
    by_value: dict[str, list[str]] = {}
    for distinct_id, row in twins.items():
        by_value.setdefault(str(row["$properties"].get("$apptimize_user_id")), []).append(distinct_id)
    smaller, larger = sorted(by_value["i_twin-3"], key=str.encode)
    with home.bridge() as bridge:
        export(bridge, IMPORTED)

        user = user_lookup.look_up_user(bridge, LOCAL, larger)
        assert set(user.distinct_ids) == {smaller, larger}
        assert user.apptimize_ids == ["i_twin-3"]
        assert (user.groups[0].is_member, user.groups[0].reason, user.groups[0].instead) == (
            True,
            "duplicate",
            smaller,
        )
        (blank,) = user_lookup.look_up_user(bridge, LOCAL, by_value[""][0]).groups
        assert (blank.is_member, blank.reason) == (False, "blank")
        unknown = user_lookup.look_up_user(bridge, LOCAL, "nobody-at-all")
        assert (unknown.is_known, [group.is_member for group in unknown.groups]) == (False, [False])

    done = home.run("who", larger, "--json")
    assert (done.code, done.json["groups"][0]["instead"]) == (0, smaller)
    done = home.run("who", "nobody-at-all", "--json")
    assert (done.code, done.json["distinct_ids"]) == (1, [])
    assert "Export" in done.err
    done = home.run("who", f"{larger}\u200b", "--json")
    assert (done.code, done.json["distinct_ids"]) == (1, [])
    assert "It holds an invisible character" in done.err


def test_the_match_of_a_cohort_that_was_not_read_says_what_to_do(sandbox: Sandbox, home: Home):
    done = home.run("match", str(POWER), "--last", "--json")

    assert (done.code, done.json) == (1, None)
    assert "Omit --last" in done.err


def test_an_experiment_event_under_the_apptimize_id_belongs_to_the_user_whose_sdk_set_it(sandbox: Sandbox):
    update = {"$token": people.PROJECT_TOKEN, "$distinct_id": "sdk-user", "$set": {"$apptimize_user_id": "i_sdk-77"}}
    sandbox.post("/engage", json=[update]).raise_for_status()

    experiment(sandbox, "i_sdk-77")

    assert list_events(sandbox, "sdk-user") == ["Experiment Started"]


def experiment(sandbox: Sandbox, apptimize_id: str) -> None:
    """Send an event as Apptimize does: under the id that it knows the user by."""
    properties = {"token": people.PROJECT_TOKEN, "distinct_id": apptimize_id, "Experiment name": "Blue button"}
    event = {"event": "Experiment Started", "properties": properties}
    assert sandbox.post("/track", params={"verbose": 1}, json=[event]).json()["status"] == 1


def list_events(sandbox: Sandbox, distinct_id: str) -> list[str]:
    profile = sandbox.get(f"/sandbox/api/people/{distinct_id}").raise_for_status().json()
    return [event["event"] for event in profile["events"] if not event["event"].startswith("$")]


def test_a_run_that_was_held_because_profiles_were_missing_is_no_read(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        whole = export(bridge, POWER)
        sandbox.fault("total_wrong", target="mixpanel")
        torn = export(bridge, POWER)
        sandbox.clear_faults()
        assert (torn.status, torn.error_code) == ("held", "held_total")

        assert [run.id for run, _ in match_funnel.latest_reads(bridge, LOCAL)] == [whole.id]
        assert [run.id for run in match_funnel.list_reads(bridge, LOCAL, people.PROJECT_ID, POWER)] == [whole.id]
