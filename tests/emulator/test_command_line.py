"""The command line to the letter of its contract: what it prints, where, and how it ends."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from core.access.roles import LOCAL
from core.connections import destinations
from core.errors import GroupTaken
from core.sandbox import people
from core.syncs import groups, one_time
from core.syncs.runs import list_runs
from data.models import RunStatus
from tests.stage.home import Done, Home, connect, export
from tests.stage.sandbox import (
    COMPANIES,
    EVERYONE,
    IMPORTED,
    LATER_S,
    POWER,
    PROJECT,
    SPENDERS,
    TESTERS,
    WEB,
    Sandbox,
    wait_until,
)
from tests.stage.seeds import LONG, few, some

pytestmark = some(12)

RUN = {
    "id": int, "sync_id": int, "cohort_id": int, "cohort_name": str, "group_name": str, "destination": str,
    "trigger": str, "actor": str, "dry_run": bool, "status": str, "write": str | None,
    "started_at": str | None, "finished_at": str | None,
    "profiles": int, "members": int, "duplicates": int, "unmatched": int, "invalid": int, "unprefixed": int,
    "added": int, "removed": int, "unchanged": int, "queries": int, "requests": int, "messages": int,
    "error": dict | None,
}  # fmt: skip
COHORT = {
    "id": int, "name": str, "description": str, "count": int, "created": str, "is_visible": bool, "exportable": bool,
    "reason": str | None,
}  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def check_form(document: dict[str, Any], form: dict[str, Any]) -> None:
    """All that the contract promises is there, of the type it says; more may be added."""
    assert set(form) <= set(document)
    for name, kind in form.items():
        assert isinstance(document[name], kind), name


def check_failure(done: Done, code: int, *words: str) -> None:
    """One sentence and the advice on standard error, and nothing else there."""
    assert done.code == code
    assert len(done.err.splitlines()) == 1
    assert all(word in done.err for word in words), done.err


# --- JSON ----------------------------------------------------------------------------------------------------------


def test_a_run_has_the_promised_form_wherever_it_is_shown(sandbox: Sandbox, home: Home):
    exported = home.run("export", str(POWER), "--json")

    shown, listed, of_sync, groups = home.run_all(
        ("run", "show", "1", "--json"), ("runs", "--json"), ("runs", "--sync", "1", "--json"), ("groups", "--json")
    )

    run = exported.json
    check_form(run, RUN)
    assert (run["trigger"], run["actor"], run["status"], run["write"]) == ("cli", "local", "succeeded", "full")
    assert (run["cohort_id"], run["cohort_name"], run["group_name"]) == (POWER, "Power users", "Power users")
    assert (run["destination"], run["dry_run"], run["error"]) == ("default", False, None)
    assert TIME.fullmatch(run["started_at"])
    assert TIME.fullmatch(run["finished_at"])
    assert (shown.json, listed.json, of_sync.json) == (run, [run], [run])
    assert [group["members"] for group in groups.json] == [run["members"]]
    assert groups.json[0]["last_run_id"] == run["id"]
    assert {done.err for done in (exported, shown, listed, of_sync, groups)} == {""}


def test_cohorts_are_listed_with_what_can_be_exported(sandbox: Sandbox, home: Home):
    done = home.run("cohorts", "--json")

    assert (done.code, done.err) == (0, "")
    for cohort in done.json:
        check_form(cohort, COHORT)
    listed = {cohort["id"]: cohort for cohort in done.json}
    assert list(listed) == list(range(EVERYONE, IMPORTED + 1))
    assert [id for id, cohort in listed.items() if not cohort["exportable"]] == [COMPANIES]
    assert listed[COMPANIES]["reason"]
    assert [id for id, cohort in listed.items() if not cohort["is_visible"]] == [TESTERS]
    assert listed[SPENDERS]["name"] == '"Big <b>spenders</b>" & Käufer 東京'


@few(3)
@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        (("export", "twelve", "--json"), 2, None),
        (("export", "--json"), 2, None),
        (("export", str(POWER), "--json", "--colour"), 2, None),
        (("export", str(POWER), "--to", "nowhere", "--json"), 1, None),
        (("runs", "--limit", "none", "--json"), 2, []),
        (("run", "show", "77", "--json"), 1, None),
        (("run", "cancel", "77", "--json"), 1, None),
    ],
)
def test_a_failure_without_a_run_prints_null_or_an_empty_list(
    sandbox: Sandbox, home: Home, arguments: tuple[str, ...], code: int, printed: Any
):
    done = home.run(*arguments)

    assert (done.code, done.json) == (code, printed)
    assert done.err.strip()


@pytest.mark.parametrize("number", [99_999_999_999, 10**30])
def test_a_number_that_is_no_run_or_sync_however_large_is_said_to_be_none(home: Home, number: int):
    acts = [("run", act) for act in ("show", "apply", "discard", "undo", "cancel")]
    acts += [("syncs", act) for act in ("pause", "resume", "remove", "run")]
    tried = home.run_all(*((*act, str(number)) for act in acts))

    for (what, _), done in zip(acts, tried, strict=True):
        kind = "run" if what == "run" else "(recurring )?sync"
        assert (done.code, done.out) == (1, "")
        assert re.match(f"There is no {kind} {number}[.]", done.err), done.err


@LONG
def test_a_run_that_failed_is_printed_with_its_error(sandbox: Sandbox, home: Home):
    sandbox.fault("unauthorized", target="apptimize")

    done = home.run("export", str(POWER), "--json")

    check_form(done.json, RUN)
    assert done.json["status"] == "failed"
    assert list(done.json["error"]) == ["code", "message", "advice"]
    assert done.json["error"]["code"] == "apptimize_unauthorized"
    check_failure(done, 1, done.json["error"]["message"], done.json["error"]["advice"])


def test_a_run_that_is_held_ends_with_one(sandbox: Sandbox, home: Home):
    sandbox.fault("total_wrong", by=3)

    done = home.run("export", str(POWER), "--json")

    assert (done.json["status"], done.json["error"]["code"]) == ("held", "held_total")
    profiles = len(sandbox.raw(POWER))
    check_failure(done, 1, f"{profiles:,}", f"{profiles + 3:,}")


# --- for people ----------------------------------------------------------------------------------------------------


def test_a_held_run_says_how_it_is_decided_and_afterwards_what_became_of_it(sandbox: Sandbox, home: Home):
    sandbox.fault("total_wrong", by=3)

    first = home.run("export", str(IMPORTED))
    second = home.run("export", str(IMPORTED))

    assert "python -m core run apply 1" in first.err
    assert "python -m core run discard 2" in second.err
    assert "apply it once" not in (superseded := home.run("run", "show", "1").out)
    assert "Run 2 has taken its place." in superseded
    assert home.run("run", "show", "1", "--json").json["superseded_by_run_id"] == 2
    home.run("run", "discard", "2")
    assert "Run 2: discarded." in home.run("run", "show", "2").out
    assert "discarded" in home.run("runs").out


def test_why_a_held_run_is_let_through_is_kept_with_it(sandbox: Sandbox, home: Home):
    sandbox.fault("total_wrong", by=3)
    assert home.run("export", str(IMPORTED), "--json").json["status"] == "held"

    refused = home.run("run", "apply", "1", "--note", "x" * 301)
    home.run("run", "apply", "1", "--note", "They moved the cohort", "--json")

    check_failure(refused, 2, "Note: at most 300 characters.")
    shown = home.run("run", "show", "1", "--json").json
    assert (shown["decision"], shown["decision_note"], shown["began_writing"], shown["applied_run_id"]) == (
        "applied", "They moved the cohort", False, 2
    )  # fmt: skip
    assert home.run("run", "show", "2", "--json").json["held_run_id"] == 1
    told = "Applied by local. Note: “They moved the cohort”"
    assert f"{told} Run 2 followed." in home.run("run", "show", "1").out
    assert f"Follows run 1, which was held. {told}" in home.run("run", "show", "2").out


def test_without_json_people_read_tables_and_sentences(sandbox: Sandbox, home: Home):
    exported = home.run("export", str(SPENDERS))
    cohorts, runs, groups, show = home.run_all(("cohorts",), ("runs",), ("groups",), ("run", "show", "1"))

    counts = sandbox.answer(SPENDERS).counts
    assert (exported.code, exported.err) == (0, "")
    assert "Run 1: succeeded." in exported.out
    assert (
        f"{counts['profiles']:,} profiles = {counts['members']:,} members + {counts['duplicates']:,} duplicates + "
        f"{counts['unmatched']:,} unmatched + {counts['invalid']:,} invalid"
    ) in exported.out
    assert show.out == exported.out
    name = '"Big <b>spenders</b>" & Käufer 東京'
    assert all(name in done.out for done in (cohorts, runs, groups))
    assert re.search(rf"{COMPANIES} .*not users", cohorts.out)
    assert re.search(rf"{TESTERS} .*hidden", cohorts.out)


@LONG
def test_a_terminal_sees_progress_on_standard_error_alone(sandbox: Sandbox, home: Home):
    sandbox.fault("slow", target="mixpanel", seconds=1.3, page=1)
    terminal, far_end = pty.openpty()

    process = home.start("export", str(POWER), "--json", env={"TERM": "xterm"}, stderr=far_end)
    os.close(far_end)
    shown = read_to_the_end(terminal)
    out, _ = process.communicate(timeout=40)

    assert json.loads(out)["status"] == "succeeded"
    assert "Reading" in shown
    assert "of 2,4" in shown


def read_to_the_end(terminal: int) -> str:
    shown = b""
    with suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as screen:  # EIO: the other end was closed
        while part := screen.read(65536):
            shown += part
    return shown.decode()


def test_a_reader_that_stops_reading_is_no_reason_for_a_traceback(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        export(bridge, EVERYONE)
    process = home.start("groups", "members", str(EVERYONE))
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()

    process.wait(20)

    assert process.stderr
    assert process.stderr.read() == ""
    process.stderr.close()


# --- connecting ----------------------------------------------------------------------------------------------------


@LONG
def test_both_sides_are_connected_from_the_terminal(sandbox: Sandbox, empty_home: Home, tmp_path: Path):
    home = empty_home
    home.env = {
        "COHORT_BRIDGE_MIXPANEL_URL": sandbox.url,
        "COHORT_BRIDGE_MIXPANEL_SECRET": people.ADMIN_SECRET,
        "COHORT_BRIDGE_APPTIMIZE_TOKEN": sandbox.token,
    }
    mixpanel = home.run(
        "connect", "mixpanel", "--username", people.ADMIN_USERNAME, "--project-id", PROJECT, "--region", "eu"
    )  # fmt: skip
    apptimize = home.run("connect", "apptimize", "--endpoint", sandbox.endpoint)
    csv = home.run("connect", "csv", "--folder", str(tmp_path / "groups"))
    home.env = {}

    exported = home.run("export", str(WEB), "--to", "default")

    assert {done.code for done in (mixpanel, apptimize, csv, exported)} == {0}
    assert {done.err for done in (mixpanel, apptimize, csv, exported)} == {""}
    assert "practice sandbox" in mixpanel.out
    assert "practice sandbox" in apptimize.out
    assert sandbox.group(WEB) == sandbox.answer(WEB).group


@pytest.mark.sqlite_file
def test_no_secret_is_ever_printed_or_kept_in_clear(sandbox: Sandbox, home: Home):
    token = base64.b64encode(f"{people.ADMIN_USERNAME}:{people.ADMIN_SECRET}".encode()).decode()
    secrets = (people.ADMIN_SECRET, sandbox.token, token)
    debug = {"COHORT_BRIDGE_LOG_LEVEL": "DEBUG"}
    with home.bridge(mixpanel_url=sandbox.url) as bridge:  # open all the while: the WAL is there to look into
        connect(bridge, sandbox)
        home.run("export", str(POWER), env=debug)
        sandbox.fault("server_error", target="apptimize")
        home.run("export", str(POWER), "--json", env=debug)
        sandbox.fault("cut_off_json", target="mixpanel")
        home.run("export", str(POWER), env=debug)
        one_time.start_export(bridge, LOCAL, WEB)
        home.run("worker", "--once", env=debug)

        kept = {file.name: file.read_bytes() for file in home.path.rglob("*") if file.is_file()}

    assert "cohort_bridge.db-wal" in kept
    assert "secret.key" in kept
    assert not [name for name, content in kept.items() if any(secret.encode() in content for secret in secrets)]
    assert not [text for text in home.said if any(secret in text for secret in secrets)]
    profile = sandbox.raw(POWER)[0]["$properties"]
    assert not [name for name, content in kept.items() if profile["$email"].encode() in content]


# --- options of an export ------------------------------------------------------------------------------------------


@LONG
def test_a_group_can_have_a_name_of_its_own(sandbox: Sandbox, home: Home):
    done = home.run("export", str(POWER), "--group", "Stammkunden 東京", "--full", "--json")

    assert (done.code, done.json["group_name"], done.json["write"]) == (0, "Stammkunden 東京", "full")
    assert done.json["cohort_name"] == "Power users"
    assert sandbox.group_name(POWER) == "Stammkunden 東京"
    assert sandbox.group(POWER) == sandbox.answer(POWER).group


def test_a_second_name_for_the_same_cohort_is_refused(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        export(bridge, WEB, group="First")
    sandbox.forget_requests()

    done = home.run("export", str(WEB), "--group", "Second", "--json")

    check_failure(done, 1, "already has the group First")
    assert done.json is None
    assert (sandbox.messages(), sandbox.group_name(WEB)) == ([], "First")


def test_the_name_of_another_cohorts_group_is_refused(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        export(bridge, POWER)

        with pytest.raises(GroupTaken, match=f"fed by cohort {POWER}"):
            export(bridge, WEB, group="Power users")

    assert sandbox.group(WEB) is None


def test_the_name_is_still_refused_when_it_comes_from_the_cohort_itself(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        export(bridge, WEB, group="Power users")

        with pytest.raises(GroupTaken, match=f"fed by cohort {WEB}"):
            export(bridge, POWER)

    assert sandbox.group(POWER) is None


@LONG
def test_the_destination_is_chosen_by_name_when_there_are_several(sandbox: Sandbox, home: Home, tmp_path: Path):
    with home.bridge() as bridge:
        destinations.connect_csv(bridge, LOCAL, folder=str(tmp_path / "groups"))

    unsaid, said = home.run_all(
        ("export", str(WEB), "--json"),
        ("export", str(WEB), "--to", "csv", "--json"),
    )

    check_failure(unsaid, 2, "choose one of", "default", "csv", "--to")
    assert unsaid.json is None
    assert (said.code, said.json["destination"], said.json["messages"]) == (0, "csv", 0)
    assert [file.read_bytes() for file in (tmp_path / "groups").iterdir()] == [sandbox.answer(WEB).csv]
    assert sandbox.messages() == []


@LONG
def test_a_dry_run_compares_and_writes_nothing(sandbox: Sandbox, home: Home, tmp_path: Path):
    with home.bridge() as bridge:
        destinations.connect_csv(bridge, LOCAL, folder=str(tmp_path / "groups"))
        export(bridge, POWER, to="default")
    before = sandbox.answer(POWER).group
    snapshots = sorted((home.path / "snapshots").iterdir())
    sandbox.at(LATER_S)
    sandbox.forget_requests()
    expected = sandbox.answer(POWER)

    done, to_file = home.run_all(
        ("export", str(POWER), "--to", "default", "--dry-run", "--json"),
        ("export", str(POWER), "--to", "csv", "--dry-run", "--json"),
    )

    assert (done.code, done.json["dry_run"], done.json["status"]) == (0, True, "succeeded")
    assert {name: done.json[name] for name in expected.counts} == expected.counts
    assert done.json["added"] == len(expected.group.keys() - before.keys())
    assert done.json["removed"] == len(before.keys() - expected.group.keys())
    assert (to_file.code, to_file.json["added"]) == (0, len(expected.group))
    assert (sandbox.messages(), sandbox.group(POWER)) == ([], before)
    assert list((tmp_path / "groups").iterdir()) == []
    assert sorted((home.path / "snapshots").iterdir()) == snapshots
    with home.bridge() as bridge:
        assert [group.members for group in groups.list_groups(bridge, LOCAL)] == [len(before)]


def test_wait_waits_for_the_slot_and_says_until_when(sandbox: Sandbox, home: Home):
    sandbox.limit(hourly_limit=7200)  # one query's share of the hour is half a second
    sandbox.fault("rate_limit_hour", times=1, path="engage")

    done = home.run("export", str(WEB), "--wait", "--json")

    assert (done.code, done.json["status"], done.json["error"]) == (0, "succeeded", None)
    assert re.fullmatch(
        r"All 7200 Mixpanel queries .*next slot opens at \d{4}-\d\d-\d\d\u00a0\d\d:\d\d:\d\d\u00a0UTC\.\n", done.err
    )
    assert sandbox.group(WEB) == sandbox.answer(WEB).group


# --- runs ----------------------------------------------------------------------------------------------------------


@LONG
def test_runs_are_listed_newest_first_and_not_more_than_asked(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        for cohort in (WEB, TESTERS, WEB):
            export(bridge, cohort)

    done = home.run("runs", "--limit", "2", "--json")

    assert [(run["id"], run["cohort_id"]) for run in done.json] == [(3, WEB), (2, TESTERS)]


def test_a_queued_run_is_cancelled_at_once(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        one_time.start_export(bridge, LOCAL, WEB)

    done = home.run("run", "cancel", "1", "--json")
    again = home.run("run", "cancel", "1")

    assert (done.code, done.json["status"], done.json["trigger"]) == (0, "cancelled", "manual")
    check_failure(again, 2, "has ended already")
    assert sandbox.asked("engage") == []


def test_a_waiting_export_is_cancelled_from_another_terminal(sandbox: Sandbox, home: Home):
    sandbox.limit(hourly_limit=1)
    waiting = home.begin("export", str(WEB), "--wait", "--json")
    wait_until(lambda: "\n" in waiting.err.read_text())
    said = waiting.err.read_text()

    cancel = home.run("run", "cancel", "1", "--json")
    done = home.finish(waiting)

    assert "the next slot opens at" in said
    assert (cancel.code, cancel.json["status"]) == (0, "waiting")
    assert (done.code, done.json["status"], done.json["error"]["code"]) == (1, "cancelled", "cancelled")
    assert sandbox.group(WEB) is None


# --- the worker ----------------------------------------------------------------------------------------------------


def test_a_worker_told_to_work_once_does_what_is_queued_and_ends(sandbox: Sandbox, home: Home):
    sandbox.fault("unauthorized", times=1, target="apptimize")
    with home.bridge() as bridge:
        for cohort in (WEB, TESTERS, SPENDERS):
            one_time.start_export(bridge, LOCAL, cohort)

        done = home.run("worker", "--once")

        runs = list_runs(bridge, LOCAL)
    assert (done.code, done.out) == (0, "")
    assert sorted(run.status for run in runs) == ["failed", "succeeded", "succeeded"]
    for run in runs:
        expected = sandbox.answer(run.cohort_id).group if run.status == RunStatus.SUCCEEDED else None
        assert sandbox.group(run.cohort_id) == expected


def test_a_worker_with_nothing_to_do_once_ends_at_once(home: Home):
    done = home.run("worker", "--once", within_s=10)

    assert (done.code, done.out) == (0, "")


@LONG
def test_a_sync_is_edited_from_the_terminal_and_found_by_its_tags(sandbox: Sandbox, home: Home):
    def told(done: Done) -> tuple[object, ...]:
        return tuple(done.json[name] for name in ("every_minutes", "max_shrink", "tags"))

    added = home.run("syncs", "add", str(POWER), "--every", "60", "--tag", "launch", "--tag", "beta", "--json")
    assert told(added) == (60, None, ["beta", "launch"])
    number = str(added.json["id"])

    once = home.run("export", str(WEB), "--json").json["sync_id"]
    assert "There is no recurring sync" in home.run("syncs", "edit", str(once), "--max-shrink", "40").err
    assert told(home.run("syncs", "edit", number, "--max-shrink", "40", "--json")) == (60, 40, ["beta", "launch"])
    assert told(home.run("syncs", "edit", number, "--every", "30", "--tag", "beta", "--json")) == (30, 40, ["beta"])
    assert [sync["id"] for sync in home.run("syncs", "list", "--tag", "beta", "--json").json] == [added.json["id"]]
    assert home.run("syncs", "list", "--tag", "launch", "--json").json == []
    assert "beta" in home.run("syncs", "list").out
    assert told(home.run("syncs", "edit", number, "--no-max-shrink", "--no-tags", "--json")) == (30, None, [])
    assert told(home.run("syncs", "edit", number, "--max-shrink", "20", "--json")) == (30, 20, [])
    assert told(home.run("syncs", "edit", number, "--no-brake", "--json")) == (30, None, [])  # its earlier name
    shown = home.run("syncs", "edit", "--help").out
    assert "--no-max-shrink" in shown
    assert "--no-brake" not in shown

    for wrong, field in (
        (("--every", "7"), "Interval"),
        (("--max-shrink", "140"), "Shrink limit"),
        (("--no-max-shrink", "--max-shrink", "1"), "Shrink limit"),
        (("--no-brake", "--max-shrink", "1"), "Shrink limit"),
        (("--no-tags", "--tag", "x"), "Tags"),
        (("--tag", "x" * 500), "Tag"),
    ):
        done = home.run("syncs", "edit", number, *wrong, "--json")
        assert (done.code, field in done.err) == (2, True), done.err
    assert home.run("syncs", "edit", "999", "--every", "15").code == 1

    # The end of a pause is read back as it was written: in the zone of the schedule.
    home.run("syncs", "edit", number, "--at", "weekdays at 08:00 Asia/Kathmandu")
    paused = home.run("syncs", "pause", number, "--until", "Monday 08:00")
    assert re.search(r"is paused until \d{4}-\d\d-\d\d 08:00 Asia/Kathmandu\.", paused.out)
