"""A group equals its cohort: every practice cohort, the odd ones included, over both ways of delivery."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.connections import destinations
from tests.stage import oracle
from tests.stage.home import PRACTICE, Home, connect, export, get_counts
from tests.stage.sandbox import (
    EVERYONE,
    IMPORTED,
    LATER_S,
    NEWSLETTER,
    POWER,
    PROJECT,
    REFUND,
    SPENDERS,
    USER_COHORTS,
    WEB,
    Sandbox,
)
from tests.stage.seeds import few, some

pytestmark = some(8)


@few(4)
@pytest.mark.parametrize("cohort", USER_COHORTS)
def test_an_export_ends_with_the_group_equal_to_the_cohort(sandbox: Sandbox, home: Home, cohort: int):
    expected = sandbox.answer(cohort)

    done = home.run("export", str(cohort), "--json")

    assert (done.code, done.err) == (0, "")
    run = done.json
    assert sandbox.group(cohort) == expected.group
    assert {name: run[name] for name in expected.counts} == expected.counts
    assert run["profiles"] == run["members"] + run["duplicates"] + run["unmatched"] + run["invalid"]
    assert (run["added"], run["removed"], run["unchanged"]) == (len(expected.group), 0, 0)
    check_what_was_asked(sandbox, cohort)
    check_what_was_delivered(sandbox, members=len(expected.group))
    assert run["requests"] == len(sandbox.asked("engage")) + len(sandbox.asked("cohorts"))
    assert run["messages"] == len(sandbox.messages())


def check_what_was_asked(sandbox: Sandbox, cohort: int) -> None:
    """Users with a profile, and of their profile the one property that they are matched by."""
    pages = sandbox.asked("engage")
    arguments = {
        "project_id": PROJECT,
        "filter_by_cohort": f'{{"id": {cohort}}}',
        "include_all_users": "false",
        "output_properties": '["$apptimize_user_id"]',
    }
    assert all(page["arguments"] == arguments for page in pages)
    assert len({page["session_id"] for page in pages if page["page"]}) <= 1


def check_what_was_delivered(sandbox: Sandbox, *, members: int) -> None:
    """All pages of one session, counted from 1, at most 1000 members each, and of a member the two ids."""
    messages = sandbox.messages()
    total = max(1, -(-members // 1000))
    assert sorted(message["page_count"] for message in messages) == list(range(1, total + 1))
    assert {message["total_pages"] for message in messages} == {total}
    assert {message["action"] for message in messages} == {"members"}
    assert len({message["session_id"] for message in messages}) == 1
    assert max(message["members"] for message in messages) <= 1000
    assert sum(message["members"] for message in messages) == members
    keys = ["$apptimize_user_id", "mixpanel_distinct_id"]
    assert all(message["member_keys"] == (keys if message["members"] else []) for message in messages)
    assert {message["unusable"] for message in messages} == {0}


def test_only_the_list_of_cohorts_and_first_pages_count_as_queries(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        runs = [export(bridge, cohort) for cohort in (POWER, NEWSLETTER)]

    counted = [
        (request["kind"], request.get("page")) for request in sandbox.log()["requests"] if request.get("counted")
    ]
    assert counted == [("cohorts", None), ("engage", 0), ("engage", 0)]
    assert [run.queries for run in runs] == [2, 1]


def test_a_cohort_of_whole_pages_is_read_to_the_empty_page_that_ends_it(sandbox: Sandbox, home: Home):
    assert len(sandbox.raw(NEWSLETTER)) == 2000
    with home.bridge() as bridge:
        export(bridge, NEWSLETTER)

    pages = sandbox.asked("engage")
    assert sorted(page["page"] for page in pages) == [0, 1, 2]
    assert len({page["session_id"] for page in pages if page["page"]}) == 1


def test_an_empty_cohort_is_one_message_without_members(sandbox: Sandbox, home: Home):
    sandbox.fill(REFUND, {"i_gone": "u-gone"})
    sandbox.forget_requests()
    with home.bridge() as bridge:
        run = export(bridge, REFUND)

    assert [(message["page_count"], message["total_pages"], message["members"]) for message in sandbox.messages()] == [
        (1, 1, 0)
    ]
    assert sandbox.group(REFUND) == {}
    assert (run.status, run.members) == ("succeeded", 0)


def test_at_most_five_requests_and_four_messages_are_in_flight(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", seconds=0.03)
    expected = sandbox.answer(EVERYONE)
    with home.bridge(page_size=100) as bridge:
        export(bridge, EVERYONE)

    log = sandbox.log()
    assert log["max_in_flight"] == 5
    assert 2 <= log["max_messages_in_flight"] <= 4
    assert sandbox.group(EVERYONE) == expected.group


def test_messages_can_be_sent_one_at_a_time(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", seconds=0.03, target="apptimize")
    with home.bridge(messages_in_flight=1) as bridge:
        export(bridge, EVERYONE)

    assert sandbox.log()["max_messages_in_flight"] == 1
    numbers = [message["page_count"] for message in sandbox.messages()]
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))


def test_a_later_export_overwrites_with_those_who_are_in_now(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        export(bridge, POWER)
        before = sandbox.answer(POWER).group
        sandbox.at(LATER_S)
        after = sandbox.answer(POWER).group

        run = export(bridge, POWER)

    assert before != after
    assert sandbox.group(POWER) == after
    changes = (len(after.keys() - before.keys()), len(before.keys() - after.keys()), len(after.keys() & before.keys()))
    assert (run.added, run.removed, run.unchanged) == changes
    assert min(changes) > 0


@few(3)
@pytest.mark.parametrize("cohort", USER_COHORTS)
def test_the_csv_holds_the_header_and_the_ids_byte_for_byte(sandbox: Sandbox, home: Home, tmp_path: Path, cohort: int):
    with home.bridge() as bridge:
        destinations.connect_csv(bridge, LOCAL, folder=str(tmp_path / "groups"))

        run = export(bridge, cohort, to="csv")

    files = list((tmp_path / "groups").iterdir())
    assert [file.read_bytes() for file in files] == [sandbox.answer(cohort).csv]
    assert files[0].name.endswith(f"-{cohort}.csv")
    assert (run.status, run.messages, sandbox.messages()) == ("succeeded", 0, [])


@pytest.mark.parametrize("cohort", [IMPORTED, SPENDERS])
def test_the_command_line_prints_the_same_file_of_a_group(sandbox: Sandbox, home: Home, tmp_path: Path, cohort: int):
    out = tmp_path / "members.csv"
    with home.bridge() as bridge:
        export(bridge, cohort)

    printed, written = home.run_all(
        ("groups", "members", str(cohort)), ("groups", "members", str(cohort), "--out", str(out))
    )

    assert printed.out.encode() == sandbox.answer(cohort).csv == out.read_bytes()
    assert (printed.code, printed.err, written.code, written.out) == (0, "", 0, "")


@few(1)
@pytest.mark.parametrize("cohort", [EVERYONE, IMPORTED, WEB])
def test_a_simplified_project_is_matched_by_user_id(sandbox: Sandbox, empty_home: Home, cohort: int):
    sandbox.put("/sandbox/api/project", json={"id_merge": "simplified"}).raise_for_status()
    try:
        with empty_home.bridge(mixpanel_url=sandbox.url) as bridge:
            form = replace(PRACTICE, id_merge="simplified")
            connect(bridge, sandbox, form)
            expected = oracle.simplified_answer(sandbox.raw(cohort))

            run = export(bridge, cohort)

        assert sandbox.group(cohort) == expected.group
        assert get_counts(run) == {**expected.counts, "unprefixed": 0}
        assert all(page["arguments"]["output_properties"] == '["$user_id"]' for page in sandbox.asked("engage"))
    finally:
        sandbox.put("/sandbox/api/project", json={"id_merge": "original"}).raise_for_status()
