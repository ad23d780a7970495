"""Destinations that know people by another id than Apptimize's: the receiver holds exactly the cohort by that id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from core.access.roles import LOCAL
from core.associate.target import known_profiles
from core.bridge import Bridge
from core.connections import destinations
from core.errors import SettingsError
from core.reports import match_funnel, members, overview, user_lookup
from core.sandbox import people
from core.syncs import groups, listing, recurring, runs, settings, undo
from core.worker import service
from data.models import RunStatus
from tests.stage import oracle
from tests.stage.home import Home, copy_home, export, get_counts, newest_run
from tests.stage.receivers import BY_USER_ID, DISTINCT_ONLY, Receiver, connect
from tests.stage.sandbox import IMPORTED, LATER_S, REFUND, TRIAL, WEB, Sandbox
from tests.stage.seeds import some

pytestmark = some(5)


def know_by(bridge: Bridge, connection_id: int, receiver: Receiver, **known_by: str) -> None:
    """Let a receiver that is connected know people by another id."""
    options = {"member_id": "", **known_by, "member_key": receiver.key}
    destinations.change_receiver(bridge, LOCAL, connection_id, **options)


def by_distinct_id(sandbox: Sandbox, cohort: int) -> dict[str, str]:
    return {str(row["$distinct_id"]): str(row["$distinct_id"]) for row in sandbox.raw(cohort)}


def none_left(profiles: int) -> dict[str, int]:
    return {"profiles": profiles, "members": profiles} | dict.fromkeys(
        ("duplicates", "unmatched", "invalid", "unprefixed"), 0
    )


@pytest.mark.parametrize("cohort", [IMPORTED, WEB, REFUND])
def test_by_distinct_id_every_profile_is_a_member_once(sandbox: Sandbox, bridge: Bridge, cohort: int):
    receiver, expected = sandbox.receiver("bearer"), by_distinct_id(sandbox, cohort)
    connect(bridge, receiver, **DISTINCT_ONLY)

    run = export(bridge, cohort, to=receiver.name)

    assert (run.status, receiver.members(cohort)) == ("succeeded", expected)
    assert get_counts(run) == none_left(len(expected))
    assert {page["arguments"]["output_properties"] for page in sandbox.asked("engage")} == {'["$distinct_id"]'}
    assert {tuple(message["member_keys"]) for message in receiver.messages() if message["members"]} <= {
        ("mixpanel_distinct_id",)
    }


def test_by_another_property_the_receiver_holds_its_usable_values(sandbox: Sandbox, bridge: Bridge):
    receiver, expected = sandbox.receiver("replaces"), oracle.answer(sandbox.raw(IMPORTED), "$user_id")
    connect(bridge, receiver, **BY_USER_ID)

    run = export(bridge, IMPORTED, to=receiver.name)

    assert (run.status, receiver.members(IMPORTED)) == ("succeeded", expected.group)
    assert get_counts(run) == {**expected.counts, "unprefixed": 0}
    assert expected.unmatched > 0
    assert {page["arguments"]["output_properties"] for page in sandbox.asked("engage")} == {'["$user_id"]'}
    assert {tuple(message["member_keys"]) for message in receiver.messages()} == {("mixpanel_distinct_id", "user_id")}


def test_two_destinations_of_one_cohort_hold_it_by_different_ids(sandbox: Sandbox, bridge: Bridge):
    receiver = sandbox.receiver("bearer")
    connect(bridge, receiver, **DISTINCT_ONLY)
    for _ in range(2):
        ours, theirs = export(bridge, IMPORTED, to="default"), export(bridge, IMPORTED, to=receiver.name)

    assert (ours.write, theirs.write) == ("none", "none")
    assert sandbox.group(IMPORTED) == sandbox.answer(IMPORTED).group
    assert receiver.members(IMPORTED) == by_distinct_id(sandbox, IMPORTED)

    sandbox.at(LATER_S)
    assert export(bridge, TRIAL, to=receiver.name).write == "full"
    sandbox.at(LATER_S + 3600)
    run = export(bridge, TRIAL, to=receiver.name)

    assert (run.write, run.added > 0) == ("delta", True)
    assert receiver.members(TRIAL) == by_distinct_id(sandbox, TRIAL)


def test_a_receiver_that_is_given_another_id_is_overwritten_in_full(sandbox: Sandbox, bridge: Bridge):
    receiver = sandbox.receiver("bearer", key="user_id")
    connection_id = connect(bridge, receiver, **DISTINCT_ONLY)
    first = export(bridge, IMPORTED, to=receiver.name)
    know_by(bridge, connection_id, receiver, **BY_USER_ID)

    run = export(bridge, IMPORTED, to=receiver.name)

    expected = oracle.answer(sandbox.raw(IMPORTED), "$user_id").group
    assert (run.write, receiver.members(IMPORTED)) == ("full", expected)
    assert (run.matched_by, first.matched_by) == ("property:$user_id", "distinct:$distinct_id")


def test_a_group_is_not_rolled_back_to_members_by_another_id(sandbox: Sandbox, bridge: Bridge):
    receiver = sandbox.receiver("bearer", key="user_id")
    connection_id = connect(bridge, receiver, **DISTINCT_ONLY)
    first = export(bridge, IMPORTED, to=receiver.name)
    held = receiver.members(IMPORTED)
    queued = undo.undo_to(bridge, LOCAL, first.id or 0)
    know_by(bridge, connection_id, receiver, **BY_USER_ID)
    service.once(bridge)  # it was asked for before
    failed = runs.get_run(bridge, LOCAL, queued.id or 0)

    assert (failed.status, failed.error_code) == (RunStatus.FAILED, "members_by_other_id")
    with pytest.raises(SettingsError, match="known by another id"):
        undo.undo_to(bridge, LOCAL, first.id or 0)
    assert receiver.members(IMPORTED) == held

    know_by(bridge, connection_id, receiver, **DISTINCT_ONLY)
    undo.undo_to(bridge, LOCAL, first.id or 0)
    service.once(bridge)

    undone = newest_run(bridge)
    assert (undone.status, undone.matched_by) == ("succeeded", first.matched_by)
    undo.undo_to(bridge, LOCAL, undone.id or 0)
    service.once(bridge)
    assert newest_run(bridge).status == "succeeded"


def test_own_match_settings_of_a_sync_change_nothing_where_the_destination_names_its_id(
    sandbox: Sandbox, bridge: Bridge
):
    receiver = sandbox.receiver("bearer")
    connect(bridge, receiver, **DISTINCT_ONLY)
    sync = recurring.add_sync(bridge, LOCAL, WEB, every_minutes=15, to=receiver.name)
    settings.change_sync_matching(bridge, LOCAL, sync.id or 0, match_property="plan", expects_prefix=True)
    service.once(bridge)

    run = newest_run(bridge)
    rule = settings.get_match_rule(bridge, LOCAL, listing.get_sync(bridge, LOCAL, sync.id or 0))
    assert (run.status, run.matched_by, str(rule)) == ("succeeded", "distinct:$distinct_id", "distinct:$distinct_id")
    assert receiver.members(WEB) == by_distinct_id(sandbox, WEB)
    assert len(groups.list_groups(bridge, LOCAL)) == 1


# --- what is told of it ----------------------------------------------------------------------------------------------


class Both(NamedTuple):
    """A home whose cohort is at three destinations: Apptimize, by distinct id, and by user id."""

    home: Home
    bridge: Bridge
    distinct: str
    user: str


@pytest.fixture(scope="module")
def both(connected_template: Path, module_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The home, of which tests read."""
    module_sandbox.reset()
    distinct, user = module_sandbox.receiver("bearer"), module_sandbox.receiver("replaces")
    home = copy_home(connected_template, tmp_path_factory.mktemp("both") / "home")
    with home.bridge() as bridge:
        connect(bridge, distinct, **DISTINCT_ONLY)
        connect(bridge, user, **BY_USER_ID)
        for to in ("default", distinct.name, user.name):
            export(bridge, IMPORTED, to=to)
        yield Both(home, bridge, distinct.name, user.name)


def test_commands_name_the_id_that_members_are_known_by(sandbox: Sandbox, both: Both):
    home, _, distinct, user = both
    profiles = len(sandbox.raw(IMPORTED))
    asked = [("match", str(IMPORTED), "--last", "--to", to, "--json") for to in ("default", distinct, user)]
    asked += [("groups", "--json"), ("groups", "members", str(IMPORTED), "--to", distinct)]
    asked += [
        ("export", str(IMPORTED), "--to", distinct, "--dry-run"),
        ("match", str(IMPORTED), "--last", "--to", user),
    ]

    *funnels, listed, members, dry_run, funnel = home.run_all(*asked)

    assert [[done.json[name] for name in ("id_merge", "match_property", "known_by")] for done in funnels] == [
        ["original", "$apptimize_user_id", "apptimize"],
        [None, None, "distinct"],
        [None, "$user_id", "property"],
    ]
    assert [group["known_by"] for group in listed.json] == ["apptimize", "distinct", "property"]
    assert set(members.out.splitlines()) == {"member_id", *by_distinct_id(sandbox, IMPORTED)}
    assert "Every profile of the cohort is a member" in members.err
    assert f"{profiles:,} profiles = {profiles:,} members + 0 duplicates" in dry_run.out
    assert "Every profile of the cohort is a member, matched or not" in dry_run.out
    assert "matched by $user_id in run" in funnel.out
    assert "knows people by the profile property $user_id" in funnel.out
    assert "prefix" not in funnel.out


def test_a_user_is_found_by_whatever_a_group_knows_them_by(sandbox: Sandbox, both: Both):
    row = next(
        row
        for row in sandbox.raw(IMPORTED)
        if {"$user_id", "$apptimize_user_id"} <= row["$properties"].keys()
        and row["$properties"]["$apptimize_user_id"] in list(sandbox.answer(IMPORTED).group)
        and row["$properties"]["$user_id"] != row["$distinct_id"]
    )
    distinct_id, apptimize_id, user_id = (
        row["$distinct_id"],
        row["$properties"]["$apptimize_user_id"],
        row["$properties"]["$user_id"],
    )
    for asked in (distinct_id, apptimize_id, user_id):
        user = user_lookup.look_up_user(both.bridge, LOCAL, asked)

        answers = [(answer.is_member, answer.apptimize_id, answer.kind) for answer in user.groups]
        assert answers == [
            (True, apptimize_id, ""),
            (True, distinct_id, "distinct:$distinct_id"),
            (True, user_id, "property:$user_id"),
        ]
        assert (user.distinct_ids, user.apptimize_ids, user.other_ids) == ([distinct_id], [apptimize_id], [user_id])
        assert {history.apptimize_id for history in user.histories} == {distinct_id, apptimize_id, user_id}


def test_a_profile_without_an_apptimize_id_is_known_by_its_distinct_id(sandbox: Sandbox, both: Both):
    unmatched = next(
        row["$distinct_id"] for row in sandbox.raw(IMPORTED) if row["$properties"].get("$apptimize_user_id") is None
    )

    user = user_lookup.look_up_user(both.bridge, LOCAL, unmatched)

    assert [(answer.is_member, answer.reason) for answer in user.groups][:2] == [(False, "unmatched"), (True, None)]
    assert (user.distinct_ids, user.apptimize_ids) == ([unmatched], [])


def test_what_is_associated_by_hand_is_compared_with_apptimize_ids_alone(both: Both):
    known = known_profiles(both.bridge, people.PROJECT_ID)

    ours, *others = groups.list_groups(both.bridge, LOCAL)
    assert [path.stem for path in known.members] == [ours.base_snapshot]
    assert len(known.excluded) == 1
    assert len(others) == 2


def test_matching_tells_reads_by_different_ids_apart(both: Both):
    assert [run.matched_by for run, _ in match_funnel.latest_reads(both.bridge, LOCAL)] == [
        "original:$apptimize_user_id",
        "distinct:$distinct_id",
        "property:$user_id",
    ]
    assert [run.matched_by for run in overview.match_rates(both.bridge, LOCAL, people.PROJECT_ID).values()] == [
        "original:$apptimize_user_id"
    ]


def test_files_for_spreadsheets_name_the_id(both: Both):
    ours, by_distinct, _ = (group.base_run_id or 0 for group in groups.list_groups(both.bridge, LOCAL))

    heads = [next(iter(members.changes_csv(both.bridge, LOCAL, run_id))) for run_id in (ours, by_distinct)]
    assert [head.strip("\ufeff\r\n") for head in heads] == [
        "change,apptimize_id,distinct_id",
        "change,member_id,distinct_id",
    ]
