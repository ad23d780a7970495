"""Apptimize ids set by hand: a file is checked, confirmed and written, with an outcome for every row."""

from __future__ import annotations

import asyncio
import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlmodel import select

from core.access.roles import LOCAL, Actor, Role
from core.associate import actions, job, running
from core.associate.retrying import retry_text
from core.bridge import Bridge
from core.cli.associate import association_as_json
from core.connections import lookup, mixpanel_connection
from core.errors import NotAllowed, NotConnected, SettingsError
from core.leases import lease
from core.reports import user_lookup
from core.sandbox import people
from core.vendors.http import connect_http
from core.worker import service
from data import associations
from data.engine import write_session
from data.models import Association, Connection, ImportStage
from tests.emulator.test_match import experiment, list_events
from tests.stage.home import PRACTICE, Home, connect, export
from tests.stage.sandbox import TESTERS, WEB, Sandbox
from tests.stage.seeds import few, some

pytestmark = some(14)

HEADER = b"distinct_id,apptimize_id\n"


@pytest.fixture
def token_home(home: Home) -> Home:
    """A home whose Mixpanel connection has the project token."""
    with home.bridge() as bridge:
        enter_token(bridge)
    return home


@pytest.fixture
def bridge(token_home: Home) -> Iterator[Bridge]:
    with token_home.bridge() as opened:
        yield opened


def enter_token(bridge: Bridge, token: str = people.PROJECT_TOKEN) -> None:
    connection = lookup.find_mixpanel(bridge)
    assert connection.id is not None
    mixpanel_connection.set_project_token(bridge, LOCAL, connection.id, SecretStr(token))


def do(bridge: Bridge, number: int | None, lease_owner: str) -> Association:
    assert number is not None
    return asyncio.run(running.carry_out_here(bridge, number, lease_owner=lease_owner))


def check(bridge: Bridge, content: bytes, *, prefix: str | None = None) -> Association:
    """Have a file checked as the command line does, in this process."""
    lease_owner = lease.new_lease_owner()
    association = actions.start_association(
        bridge, LOCAL, io.BytesIO(content), source="users.csv", prefix=prefix, lease_owner=lease_owner
    )
    return do(bridge, association.id, lease_owner)


def write(bridge: Bridge, content: bytes, *, prefix: str | None = None) -> Association:
    """Have a file checked and written."""
    association, lease_owner = check(bridge, content, prefix=prefix), lease.new_lease_owner()
    assert association.id is not None
    actions.confirm_association(bridge, LOCAL, association.id, lease_owner=lease_owner)
    return do(bridge, association.id, lease_owner)


def outcomes(bridge: Bridge, association: Association) -> dict[int, dict[str, str]]:
    """Read the outcomes as a spreadsheet does, by row."""
    assert association.id is not None
    text = "".join(actions.association_outcomes(bridge, LOCAL, association.id)).removeprefix("\ufeff")
    return {int(row["row"]): row for row in csv.DictReader(io.StringIO(text))}


def rows(*pairs: tuple[str, str]) -> bytes:
    return HEADER + "".join(f"{distinct_id},{apptimize_id}\n" for distinct_id, apptimize_id in pairs).encode()


def get_property(sandbox: Sandbox, distinct_id: str, name: str = "$apptimize_user_id") -> Any:
    response = sandbox.get(f"/sandbox/api/people/{distinct_id}")
    return (response.json()["properties"] or {}).get(name) if response.status_code == 200 else None


def ingested(sandbox: Sandbox, path: str) -> list[dict[str, Any]]:
    return [request for request in sandbox.asked("ingestion") if request["path"] == path]


def test_rows_are_written_aliased_and_found_in_the_next_export(sandbox: Sandbox, bridge: Bridge):
    unmatched = [
        str(row["$distinct_id"])
        for row in sandbox.raw(WEB)
        if row["$properties"].get("$apptimize_user_id", None) is None and not str(row["$distinct_id"]).isdecimal()
    ][:3]
    export(bridge, WEB)
    content = rows(
        *[(distinct_id, f"i_hand-{number}") for number, distinct_id in enumerate(unmatched)], ("unheard-of", "a_hand-9")
    )

    checked = check(bridge, content)
    assert (checked.stage, checked.rows, checked.writable, checked.problems) == ("checked", 4, 4, {})
    assert checked.effects == {"new": 3, "unseen": 1}
    assert get_property(sandbox, unmatched[0]) is None, "nothing is written before it is confirmed"
    done = write(bridge, content)

    assert (done.stage, done.written, done.refused, done.looked_up, done.found) == ("done", 4, 0, 4, 4)
    assert {row["outcome"] for row in outcomes(bridge, done).values()} == {"written"}
    assert [get_property(sandbox, distinct_id) for distinct_id in unmatched] == ["i_hand-0", "i_hand-1", "i_hand-2"]
    (profiles,), (aliases,) = ingested(sandbox, "/engage"), ingested(sandbox, "/import")
    assert profiles["status"] == aliases["status"] == 200
    assert sandbox.get("/sandbox/api/people/i_hand-0").json()["distinct_id"] == unmatched[0]
    run = export(bridge, WEB)
    assert {"i_hand-0", "i_hand-1", "i_hand-2"} <= (sandbox.group(WEB) or {}).keys()
    assert run.members == len(sandbox.group(WEB) or {})


def test_an_experiment_event_belongs_to_the_user_who_was_associated_by_hand_or_by_a_file(
    sandbox: Sandbox, bridge: Bridge
):
    lease_owner = lease.new_lease_owner()
    association = actions.associate_one(
        bridge, LOCAL, distinct_id="by-hand", apptimize_id="i_event-1", lease_owner=lease_owner
    )
    assert association.id is not None
    do(bridge, association.id, lease_owner)
    actions.confirm_association(bridge, LOCAL, association.id, lease_owner=lease_owner)
    assert do(bridge, association.id, lease_owner).written == 1
    assert write(bridge, rows(("by-file", "i_event-2"), ("by-file-2", "a_event-3"))).written == 2

    for id in ("i_event-1", "i_event-2", "a_event-3"):
        experiment(sandbox, id)

    for user in ("by-hand", "by-file", "by-file-2"):
        assert list_events(sandbox, user) == ["Experiment Started"]


def test_in_a_simplified_project_no_alias_is_sent(sandbox: Sandbox, empty_home: Home):
    sandbox.put("/sandbox/api/project", json={"id_merge": "simplified"}).raise_for_status()
    try:
        with empty_home.bridge(mixpanel_url=sandbox.url) as bridge:
            connect(bridge, sandbox, replace(PRACTICE, id_merge="simplified"))
            enter_token(bridge)

            done = write(bridge, rows(("simple-user", "i_simple-1")))

            assert (done.stage, done.written, done.aliases) == ("done", 1, False)
            assert get_property(sandbox, "simple-user") == "i_simple-1"
            assert ingested(sandbox, "/import") == []
    finally:
        sandbox.put("/sandbox/api/project", json={"id_merge": "original"}).raise_for_status()


BAD_ROWS = {
    "encoding": b"caf\xe9,i_1",
    "quotes": b'"never closed,i_2',
    "columns": b"one,two,three",
    "no_distinct_id": b",i_3",
    "no_apptimize_id": b"blank,   ",
    "too_long": b"long," + b"i_" + b"x" * 5000,
    "formula": b"formula,=1+1",
    "swapped": b"i_swapped,user-77",
    "unprefixed": b"bare,4815",
    "control_character": b"control,i_\x07",
    "spaces": b"spaces, i_5",
    "not_an_id": b"undefined,i_6",
}


def test_every_kind_of_bad_row_gets_an_answer_and_none_is_written(sandbox: Sandbox, bridge: Bridge):
    bad = list(BAD_ROWS.values())
    together = [b"twice,i_10", b"twice,i_10", b"torn,i_11", b"torn,i_12", b"first,i_13", b"second,i_13"]
    good = [b'"quoted, with ""comma""",i_20', "käufer-東京,a_21".encode(), b"plain,i_22\r"]
    content = codecs.BOM_UTF8 + HEADER + b"\n".join([*bad, b"", *together, *good])

    checked = check(bridge, content)

    assert ingested(sandbox, "/engage") == [], "nothing is written before it is confirmed"
    assert (checked.rows, checked.writable) == (len(bad) + len(together) + len(good), 4)
    assert checked.problems == dict.fromkeys(BAD_ROWS, 1) | {"repeated": 1, "conflict": 2, "shared": 2}
    done = write(bridge, content)

    told = outcomes(bridge, done)
    assert [told[2 + number]["reason"] != "" for number in range(len(bad))] == [True] * len(bad)
    assert Counter(row["outcome"] for row in told.values()) == {"written": 4, "not written": checked.rows - 4}
    assert [told[row]["distinct_id"] for row in sorted(told)[-3:]] == ['quoted, with "comma"', "käufer-東京", "plain"]
    assert not any(cell.startswith("=") for row in told.values() for cell in row.values())
    assert get_property(sandbox, "plain") == "i_22"
    assert [get_property(sandbox, distinct_id) for distinct_id in ("torn", "first", "second", "bare")] == [None] * 4


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the column distinct_id is missing"),
        (b"distinct_id\nu1\n", "the column apptimize_id is missing"),
        (b"distinct_id,apptimize_id,$distinct_id\n", "the column distinct_id is there twice"),
        (HEADER, "no row below the header"),
        ("distinct_id,apptimize_id\nu,i_1\n".encode("utf-16"), "UTF-16"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8"),
        (b'"distinct_id,apptimize_id\nu,i_1\n', "is missing"),
    ],
)
def test_a_file_that_cannot_be_used_at_all_fails_with_a_sentence(bridge: Bridge, content: bytes, sentence: str):
    association = check(bridge, content)

    assert (association.stage, association.error_code) == ("failed", "bad_input")
    assert sentence in (association.error_message or "")


def test_a_file_of_swapped_columns_writes_nothing_and_a_swapped_header_is_no_matter(sandbox: Sandbox, bridge: Bridge):
    swapped = check(bridge, rows(("i_1", "user-1"), ("a_2", "user-2")))
    assert (swapped.writable, swapped.problems) == (0, {"swapped": 2})
    assert swapped.id is not None
    with pytest.raises(SettingsError, match="no row can be written"):
        actions.confirm_association(bridge, LOCAL, swapped.id)

    turned = write(bridge, b"apptimize_id;note;distinct_id\ni_turned-1;x;turned-1\n")

    assert (turned.written, get_property(sandbox, "turned-1")) == (1, "i_turned-1")


@few(1)
@pytest.mark.parametrize(("prefix", "expected"), [("i_", "i_700"), ("a_", "a_700"), ("", "700")])
def test_a_missing_prefix_is_given_to_the_ids_that_lack_it(
    sandbox: Sandbox, bridge: Bridge, prefix: str, expected: str
):
    name = f"prefix-{prefix}"
    content = rows((name, "700"), (f"{name}-other", f"i_701{prefix}"))
    assert check(bridge, content).problems == {"unprefixed": 1}

    done = write(bridge, content, prefix=prefix)

    assert (done.written, get_property(sandbox, name)) == (2, expected)
    assert get_property(sandbox, f"{name}-other") == f"i_701{prefix}"


def test_ids_that_become_alike_by_their_prefix_are_seen(bridge: Bridge):
    content = rows(("u1", "800"), ("u2", "i_800"), ("u3", "i_801"))

    assert check(bridge, content, prefix="i_").problems == {"shared": 2}


def test_what_a_row_changes_is_told_before_it_is_confirmed(sandbox: Sandbox, bridge: Bridge):
    members = (export(bridge, WEB), sandbox.group(WEB))[1]
    others = (export(bridge, TESTERS), sandbox.group(TESTERS))[1] or {}
    assert members is not None
    (id, user), (_, other_user) = list(others.items())[:2]

    association = check(bridge, rows((user, id), (other_user, "i_brand-new"), ("nobody-yet", list(others)[2])))

    assert association.effects == {"same": 1, "changed": 1, "unseen": 1, "taken": 1}


def test_a_refused_row_is_told_with_the_reason_and_the_others_are_written(sandbox: Sandbox, bridge: Bridge):
    sandbox.fault("records_refused", target="ingestion", path="/engage", rows=3, times=1)

    done = write(bridge, rows(*[(f"part-{number}", f"i_part-{number}") for number in range(10)]))

    told = outcomes(bridge, done)
    assert (done.stage, done.written, done.refused) == ("done", 7, 3)
    assert [row["outcome"] for row in told.values()] == ["refused"] * 3 + ["written"] * 7
    assert told[2]["reason"] == "the record was refused"
    assert get_property(sandbox, "part-0") is None
    assert get_property(sandbox, "part-9") == "i_part-9"


def test_two_hundred_with_a_failure_in_its_body_is_a_failure(sandbox: Sandbox, bridge: Bridge):
    sandbox.fault("failure_200", target="ingestion", path="/engage")

    done = write(bridge, rows(("silent-1", "i_silent-1"), ("silent-2", "i_silent-2")))

    assert (done.written, done.refused, get_property(sandbox, "silent-1")) == (0, 2, None)
    assert {row["outcome"] for row in outcomes(bridge, done).values()} == {"refused"}


def test_passing_failures_are_retried_and_a_lasting_one_can_be_gone_on_from(sandbox: Sandbox, bridge: Bridge):
    sandbox.fault("server_error", target="ingestion", times=2)
    assert write(bridge, rows(("retried", "i_retried"))).written == 1
    sandbox.fault("server_error", target="ingestion")

    failed = write(bridge, rows(("later", "i_later")))

    assert (failed.stage, failed.error_code, failed.written) == ("failed", "mixpanel_unavailable", 0)
    assert [row["outcome"] for row in outcomes(bridge, failed).values()] == ["not confirmed"]
    sandbox.clear_faults()
    lease_owner = lease.new_lease_owner()
    assert failed.id is not None
    actions.resume_association(bridge, LOCAL, failed.id, lease_owner=lease_owner)
    done = do(bridge, failed.id, lease_owner)
    assert (done.stage, done.written, get_property(sandbox, "later")) == ("done", 1, "i_later")


def test_writing_that_waits_to_try_again_says_why_and_when(sandbox: Sandbox, token_home: Home):
    sandbox.fault("server_error", target="ingestion", times=1)
    told = dict[str, Any]()
    with token_home.bridge(retry_over_s=30) as bridge:  # the first wait is a fifteenth of it
        association, lease_owner = check(bridge, rows(("patient", "i_patient"))), lease.new_lease_owner()
        actions.confirm_association(bridge, LOCAL, association.id or 0, lease_owner=lease_owner)

        def watch(now: Association) -> None:
            if text := retry_text(now):
                told[text] = association_as_json(now)

        done = asyncio.run(running.carry_out_here(bridge, association.id or 0, lease_owner=lease_owner, watch=watch))

    text, as_json = next(iter(told.items()))
    assert text.endswith("1 try has failed.")
    assert "It is tried again" in text
    assert (as_json["error"], as_json["retry"]["code"]) == (None, "retrying")
    assert (done.stage, done.written, done.error_code, retry_text(done)) == ("done", 1, None, "")
    assert "retry" not in association_as_json(done)


def test_rows_whose_answer_was_lost_are_not_told_as_never_sent(sandbox: Sandbox, bridge: Bridge):
    sandbox.fault("reset_after", target="ingestion", path="/engage")

    failed = write(bridge, rows(("lost-answer", "i_lost-answer")))

    assert (failed.stage, get_property(sandbox, "lost-answer")) == ("failed", "i_lost-answer")
    assert [row["outcome"] for row in outcomes(bridge, failed).values()] == ["not confirmed"]


def test_a_token_of_another_project_shows_when_what_was_written_is_looked_up(sandbox: Sandbox, bridge: Bridge):
    enter_token(bridge, "a-token-of-another-project")

    done = write(bridge, rows(("astray", "i_astray")))

    assert (done.written, done.looked_up, done.found) == (1, 1, 0)


def test_without_a_project_token_nothing_can_be_confirmed(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        association = check(bridge, rows(("no-token", "i_no-token")))
        assert association.id is not None

        with pytest.raises(NotConnected, match="no project token"):
            actions.confirm_association(bridge, LOCAL, association.id)


def test_a_viewer_may_not_associate(bridge: Bridge):
    with pytest.raises(NotAllowed):
        actions.start_association(bridge, Actor("Vera", Role.VIEWER), io.BytesIO(rows(("u", "i_1"))))


def test_a_worker_checks_what_was_queued_and_writes_what_was_confirmed(sandbox: Sandbox, bridge: Bridge):
    association = actions.start_association(bridge, LOCAL, io.BytesIO(rows(("queued", "i_queued"))), source="q.csv")
    assert association.id is not None
    service.once(bridge)
    assert actions.get_association(bridge, LOCAL, association.id).stage == ImportStage.CHECKED
    actions.confirm_association(bridge, LOCAL, association.id)
    service.once(bridge)

    done = actions.get_association(bridge, LOCAL, association.id)
    assert (done.stage, done.confirmed_by, get_property(sandbox, "queued")) == ("done", "local", "i_queued")
    who = user_lookup.look_up_user(bridge, LOCAL, "queued")
    assert (who.apptimize_ids, [associated.id for associated, _ in who.associated]) == (["i_queued"], [done.id])


def test_a_cancelled_association_tells_what_was_not_reached(bridge: Bridge):
    association = check(bridge, rows(("stopped", "i_stopped")))
    assert association.id is not None

    actions.cancel_association(bridge, LOCAL, association.id)

    assert [row["outcome"] for row in outcomes(bridge, association).values()] == ["not reached"]


def test_the_command_line_checks_writes_and_tells(sandbox: Sandbox, token_home: Home, tmp_path: Path):
    file, out = tmp_path / "users.csv", tmp_path / "outcomes.csv"
    file.write_bytes(rows(("cli-1", "i_cli-1"), ("cli-2", "77"), ("cli-3", "i_cli-3")))

    dry = token_home.run("associate", "--file", str(file), "--dry-run", "--json")
    assert (dry.code, dry.err) == (0, "")
    assert (dry.json["stage"], dry.json["writable"], dry.json["problems"]) == ("checked", 2, {"unprefixed": 1})
    assert get_property(sandbox, "cli-1") is None

    done = token_home.run("associate", "--file", str(file), "--prefix", "a_", "--out", str(out), "--json")
    assert (done.code, done.json["stage"], done.json["written"], done.json["error"]) == (0, "done", 3, None)
    assert [get_property(sandbox, f"cli-{number}") for number in (1, 2, 3)] == ["i_cli-1", "a_77", "i_cli-3"]
    assert out.read_text(encoding="utf-8-sig").count("written") == 3

    bad = token_home.run("associate", "--file", str(tmp_path / "missing.csv"), "--json")
    assert (bad.code, bad.json) == (2, None)
    assert "cannot be read" in bad.err
    file.write_bytes(b"a,b\n1,2\n")
    bad = token_home.run("associate", "--file", str(file), "--json")
    assert (bad.code, bad.json["error"]["code"]) == (1, "bad_input")
    assert json.dumps(bad.json)


def test_rows_whose_users_an_alias_would_mix_up_are_not_written(sandbox: Sandbox, bridge: Bridge):
    done = write(bridge, rows(("zed", "i_zed"), ("bystander", "i_bystander"), ("i_zed", "i_other")))

    assert (done.problems, done.written, get_property(sandbox, "zed")) == ({"crossed": 2}, 1, None)


def test_nothing_is_written_that_was_not_seen(sandbox: Sandbox, bridge: Bridge):
    seen = check(bridge, rows(("seen", "i_seen"), ("unseen", "4711")))
    assert seen.id is not None
    actions.choose_prefix(bridge, LOCAL, seen.id, "a_", lease_owner="colleague")
    do(bridge, seen.id, "colleague")

    with pytest.raises(SettingsError, match="checked again meanwhile"):
        actions.confirm_association(bridge, LOCAL, seen.id, seen=seen)

    assert actions.get_association(bridge, LOCAL, seen.id).stage == ImportStage.CHECKED


def change_connection(bridge: Bridge, **values: Any) -> None:
    with write_session(bridge.engine) as session:
        connection = session.exec(select(Connection).where(Connection.side == "mixpanel")).one()
        for name, value in values.items():
            setattr(connection, name, value)
        session.add(connection)


@few(1)
@pytest.mark.parametrize("values", [{"id_merge": "simplified"}, {"match_property": "other_id"}])
def test_what_was_checked_for_another_way_of_matching_is_not_written(
    sandbox: Sandbox, bridge: Bridge, values: dict[str, str]
):
    stale, late = check(bridge, rows(("stale", "i_stale"))), check(bridge, rows(("late", "i_late")))
    assert stale.id is not None
    assert late.id is not None
    actions.confirm_association(bridge, LOCAL, late.id, lease_owner="me")
    change_connection(bridge, **values)

    with pytest.raises(SettingsError, match="changed after the rows were checked") as told:
        actions.confirm_association(bridge, LOCAL, stale.id)

    assert told.value.advice == "Start with the file again."
    assert do(bridge, late.id, "me").stage == ImportStage.FAILED
    assert ingested(sandbox, "/engage") == []


async def write_and_then(bridge: Bridge, number: int, happens: Callable[[], object]) -> Association:
    """Write what was confirmed; something happens when the first batch was taken."""

    async def answered(answer: httpx.Response) -> None:
        if answer.request.url.path == "/import":
            http.event_hooks = {}
            happens()

    async with connect_http() as http:
        http.event_hooks = {"response": [answered]}
        assert associations.claim(bridge.engine, number, lease_owner="me", now=bridge.clock.now())
        return await job.AssociationJob(bridge, number, lease_owner="me", http=http).run()


def test_writing_stops_after_its_batch_when_the_connection_is_removed_or_someone_cancels(
    sandbox: Sandbox, bridge: Bridge
):
    association = check(bridge, rows(*[(f"many-{number}", f"i_many-{number}") for number in range(4001)]))
    assert association.id is not None
    actions.confirm_association(bridge, LOCAL, association.id, lease_owner="me")

    done = asyncio.run(write_and_then(bridge, association.id, partial(change_connection, bridge, removed=True)))
    assert (done.stage, done.error_code, done.written) == (ImportStage.FAILED, "not_connected", 2000)

    change_connection(bridge, removed=False)
    actions.resume_association(bridge, LOCAL, association.id, lease_owner="me")
    done = asyncio.run(
        write_and_then(bridge, association.id, partial(actions.cancel_association, bridge, LOCAL, association.id))
    )
    assert (done.stage, done.written) == (ImportStage.CANCELLED, 4000)


def test_a_cancelling_that_the_heartbeat_finds_as_well_is_recorded_once(sandbox: Sandbox, bridge: Bridge):
    """The outcomes take longer to save than two heartbeats: the second comes when the batch has told already."""
    quick = replace(bridge, lease_times=replace(bridge.lease_times, heartbeat_s=0.05))
    association = check(quick, rows(*[(f"many-{number}", f"i_many-{number}") for number in range(4001)]))
    assert association.id is not None
    actions.confirm_association(quick, LOCAL, association.id, lease_owner="me")

    done = asyncio.run(
        write_and_then(quick, association.id, partial(actions.cancel_association, quick, LOCAL, association.id))
    )

    # A heartbeat may find it while the last of the answer is read: then nothing is known of the batch.
    assert (done.stage, done.written) in ((ImportStage.CANCELLED, 2000), (ImportStage.CANCELLED, 0))


def test_a_batch_of_which_nothing_is_known_is_told_as_not_confirmed_and_nothing_is_sent_after_it(
    sandbox: Sandbox, bridge: Bridge
):
    sandbox.fault("failure_200", target="ingestion", path="/engage")

    failed = write(bridge, rows(*[(f"dark-{number}", f"i_dark-{number}") for number in range(2001)]))

    assert (failed.stage, failed.error_code, failed.written) == (ImportStage.FAILED, "batch_refused", 0)
    told = Counter(row["outcome"] for row in outcomes(bridge, failed).values())
    assert (told["not reached"], told["refused"]) == (1, failed.refused)
    assert told["not confirmed"] == 2000 - failed.refused > 1000
