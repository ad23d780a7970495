"""Groups: what was delivered, and who is in."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.reports import comparison, match_funnel, members
from core.syncs import groups, recurring, runs, undo
from core.worker import service
from data.engine import write_session
from data.models import Group, Run, Schedule
from pages.parts.formatting import moment
from tests.pages.dashboard import CONNECTIONS, GROUPS, HISTORY, PRACTICE, USERS, drawn, open_page, shown, sign_in_as
from tests.stage.adding import lead_to
from tests.stage.home import export, group_row, newest_run
from tests.stage.sandbox import LATER_S, POWER, REFUND, SPENDERS, TRIAL, Sandbox


def test_groups_are_listed_by_name_and_how_apptimize_shows_it_is_said_once(practising: Bridge):
    export(practising, POWER)
    export(practising, SPENDERS)

    at = open_page(GROUPS)

    listed = list(at.dataframe[0].value["Group"])
    assert listed[0] == "Power users"
    assert listed[1].startswith('"Big <b>spenders</b>" &')
    assert "Apptimize shows each name with “Mixpanel: ” before it." in shown(at)
    assert "Apptimize shows it as “Mixpanel: Power users”." in shown(open_page(GROUPS, group=1))
    drawn(at.text_input(key="groups_search").set_value("SPEND").run())
    assert len(at.dataframe[0].value) == 1


def test_a_schedule_keeps_the_capitals_of_its_days_and_its_zone_within_a_sentence(practising: Bridge):
    export(practising, POWER)
    recurring.add_sync(practising, LOCAL, POWER, schedule=Schedule("0 8 * * 1", "Europe/Berlin"))

    assert "delivered to default, Mondays at 08:00 Europe/Berlin." in shown(open_page(GROUPS, group=1))


def test_members_are_paged_and_searched(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    members = sandbox.answer(POWER).ids

    at = open_page(GROUPS, group=group_row(practising, POWER).id)
    assert list(at.dataframe[0].value["Apptimize id"]) == members[:50]

    drawn(at.pagination(key="groups_members_page").set_value(2).run())
    assert list(at.dataframe[0].value["Apptimize id"]) == members[50:100]

    drawn(at.text_input(key="groups_members_search").set_value(members[-1]).run())
    assert list(at.dataframe[0].value["Apptimize id"]) == [members[-1]]

    drawn(at.text_input(key="groups_members_search").set_value("nobody%_").run())
    assert "No member matches the search." in shown(at)
    drawn(at.text_input(key="groups_members_search").set_value(f"{members[-1]}\0").run())
    assert list(at.dataframe[0].value["Apptimize id"]) == [members[-1]]


def test_a_search_for_what_no_storage_takes_blames_no_file(exported: Bridge):
    everybody = members.find_members(exported, LOCAL, 1).total

    for text, total in {"\ud800": everybody, "nobody\0\udfff": 0, "x" * 60_000: 0}.items():
        assert members.find_members(exported, LOCAL, 1, search=text).total == total


def test_a_group_is_found_by_the_name_that_is_shown_and_by_that_of_its_next_delivery(practising: Bridge):
    export(practising, POWER)
    with write_session(practising.engine) as session:
        group = session.exec(select(Group)).one()
        group.delivered_name, group.name = "As it is shown", "As it will be"
        session.add(group)

    for asked in ("it is shown", "it will be"):
        assert "1 group." in shown(open_page(GROUPS, search=asked))


def test_a_page_of_members_that_the_group_has_no_longer_is_its_last(practising: Bridge):
    large, small = export(practising, TRIAL), export(practising, SPENDERS)
    assert small.members < large.members - 50
    at = open_page(GROUPS, group=large.group_id)
    drawn(at.pagination(key="groups_members_page").set_value(-(-large.members // 50)).run())
    assert f"{large.members} of {large.members} members" in shown(at)
    with write_session(practising.engine) as session:  # as a run leaves it that took most of them away
        group = session.get_one(Group, large.group_id)
        group.base_run_id, group.base_snapshot, group.members = small.id, small.snapshot, small.members

    drawn(at.run())

    assert f"{small.members} of {small.members} members" in shown(at)
    assert len(at.dataframe[0].value) == small.members % 50


def test_the_download_is_made_when_it_is_asked_for(practising: Bridge):
    export(practising, POWER)

    at = open_page(GROUPS, group=group_row(practising, POWER).id)

    download = at.download_button(key="groups_csv")
    assert download.proto.deferred_file_id
    drawn(download.click().run())


def test_what_an_app_must_do_for_the_ids_of_a_csv_is_said_beside_it(practising: Bridge):
    export(practising, POWER)

    for page in (open_page(GROUPS, group=group_row(practising, POWER).id), open_page(CONNECTIONS), open_page(PRACTICE)):
        said = shown(page)
        assert "only in an app that passes exactly that id, `i_` or `a_` included" in said
        assert "Apptimize's `setPilotTargetingId`." in said
        assert "that the prefix counts is inferred from its SDK, and not documented" in said


def test_what_a_receiver_that_only_adds_cannot_heal_is_said_of_its_group_and_its_runs(
    practising: Bridge, sandbox: Sandbox
):
    receiver = sandbox.receiver("only-adds", key="crm id")
    lead_to(practising, receiver)
    first = export(practising, TRIAL)

    for page in (open_page(GROUPS, group=1), open_page(HISTORY, run=first.id)):
        assert "Anyone whom somebody else has added stays" in shown(page)

    sandbox.at(LATER_S)
    receiver.fault("server_error")
    export(practising, TRIAL)
    sandbox.clear_faults()
    sandbox.at(0)
    page = open_page(HISTORY, run=export(practising, TRIAL).id)
    assert "Earlier deliveries were not confirmed to their end" in shown(page)
    assert "It is no longer known who was in the group" not in shown(page)

    practising.snapshots.path(group_row(practising, TRIAL).base_snapshot or "").unlink()
    sandbox.at(LATER_S)
    held = export(practising, TRIAL)
    at = open_page(HISTORY, run=held.id)
    assert "The file of the members that the group was given last is no longer there." in shown(at)
    drawn(at.button(key="history_apply").click().run())
    assert "gets all of it, and members who are known to have left are removed" in shown(at)


def test_doubt_is_explained(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    sandbox.fault("server_error", target="apptimize")
    export(practising, POWER, full=True)

    assert "In doubt" in shown(open_page(GROUPS))
    text = shown(open_page(GROUPS, group=group_row(practising, POWER).id))
    assert "What the destination holds is in doubt" in text
    assert "The next export writes the group in full" in text


def test_an_empty_group_says_why(practising: Bridge):
    export(practising, REFUND)

    assert "The group is empty" in shown(open_page(GROUPS, group=group_row(practising, REFUND).id))


def test_an_address_of_no_group_says_so(practising: Bridge):
    text = shown(open_page(GROUPS, group=99))

    assert "There is no delivered group 99: it appears once its cohort was exported." in text


@pytest.fixture
def two_runs(practising: Bridge, sandbox: Sandbox) -> tuple[Run, Run]:
    """Two runs of a group, between which members joined and left."""
    first = export(practising, TRIAL)
    sandbox.at(LATER_S)
    return first, export(practising, TRIAL)


def test_two_kept_runs_are_compared(practising: Bridge, sandbox: Sandbox, two_runs: tuple[Run, Run]):
    sandbox.at(0)
    before = set(sandbox.answer(TRIAL).ids)
    sandbox.at(LATER_S)
    after = set(sandbox.answer(TRIAL).ids)

    at = open_page(GROUPS, group=group_row(practising, TRIAL).id, view="Compare two runs")

    figures = {metric.label: metric.value for metric in at.metric}
    assert figures["Added"] == str(len(after - before))
    assert figures["Removed"] == str(len(before - after))
    assert set(at.dataframe[0].value["Apptimize id"]) == set(sorted(after - before)[:50])
    lines = list(comparison.compared_csv(practising, LOCAL, two_runs[0].id or 0, two_runs[1].id or 0))
    assert len(lines) == 1 + len(after ^ before)

    drawn(at.selectbox(key="groups_before").set_value(two_runs[1].id).run())
    assert "Choose two different runs." in shown(at)


def test_a_group_that_was_rolled_back_says_so_and_its_present_members_can_be_compared(
    practising: Bridge, sandbox: Sandbox, two_runs: tuple[Run, Run]
):
    first, second = two_runs
    undo.undo_to(practising, LOCAL, first.id or 0)
    service.once(practising)
    group, rolled_back = group_row(practising, TRIAL).id, newest_run(practising)

    at = open_page(GROUPS, group=group, view="Compare two runs")

    assert at.selectbox(key="groups_after").value == rolled_back.id
    assert at.selectbox(key="groups_before").value == second.id
    figures = {metric.label: metric.value for metric in at.metric}
    assert (figures["Added"], figures["Removed"]) == (str(second.removed), str(second.added))
    assert "Rolled back" in shown(at)
    assert "Rolled back" in shown(open_page(GROUPS))
    drawn(at.selectbox(key="groups_before").set_value(first.id).run())
    assert "Both hold the same members." in shown(at)
    assert at.query_params["before"] == str(first.id)
    again = open_page(GROUPS, group=group, view="Compare two runs", before=first.id)
    assert "Both hold the same members." in shown(again)
    gone = shown(open_page(GROUPS, group=group, view="Compare two runs", after="99"))
    assert "The members of a run 99 of this group are not kept: others are compared." in gone

    export(practising, TRIAL)
    assert "Rolled back" not in shown(open_page(GROUPS, group=group))
    assert len(members.kept_runs(practising, LOCAL, group or 0)) == 4


def test_one_run_alone_has_nothing_to_compare_with(practising: Bridge):
    export(practising, POWER)

    text = shown(open_page(GROUPS, group=group_row(practising, POWER).id, view="Compare two runs"))

    assert "Nothing to compare yet" in text


def test_size_over_time_is_drawn_and_told_in_words(practising: Bridge, two_runs: tuple[Run, Run]):
    second = two_runs[1]

    at = open_page(GROUPS, group=group_row(practising, TRIAL).id, view="Size over time")

    assert f"{second.members} members at the end of this period" in shown(at)
    assert len(at.get("vega_lite_chart")) == 2


def test_the_first_import_does_not_flatten_what_later_days_brought_and_is_told_in_words(
    practising: Bridge, two_runs: tuple[Run, Run]
):
    first, second = two_runs
    assert first.finished_at
    imported = {"added": 100_001, "members": 100_001, "finished_at": first.finished_at - timedelta(days=1)}
    with write_session(practising.engine) as session:  # an import of 100,000, and a day of some dozens
        session.exec(update(Run).where(col(Run.id) == first.id).values(**imported))
        session.exec(update(Run).where(col(Run.id) == second.id).values(members=100_002))

    at = open_page(GROUPS, group=group_row(practising, TRIAL).id, view="Size over time")

    line, bars = (json.loads(chart.proto.spec) for chart in at.get("vega_lite_chart"))
    assert {layer["encoding"]["text"]["field"] for layer in bars["layer"] if "text" in layer["encoding"]} == {
        "added_label",
        "removed_label",
    }
    assert line["layer"][0]["encoding"]["y"]["scale"]["domain"][0] == 100_000
    assert line["layer"][0]["encoding"]["y"]["title"] == "Members, axis cut"
    assert "100,001 added to an empty group" in shown(at)


def test_who_joined_and_left_in_a_period_is_one_list_over_all_its_runs(
    practising: Bridge, sandbox: Sandbox, two_runs: tuple[Run, Run]
):
    sandbox.at(0)
    before = set(sandbox.answer(TRIAL).ids)
    sandbox.at(LATER_S)
    after = set(sandbox.answer(TRIAL).ids)
    group = group_row(practising, TRIAL).id

    at = open_page(GROUPS, group=group, view="Joined and left")

    total = len(before) + len(after ^ before)
    assert f"{len(before) + len(after - before)} joined and {len(before - after)} left, in 2 runs." in shown(at)
    assert f"1–50 of {total:,}" in shown(at)
    listed = at.dataframe[0].value
    joined = sorted(after - before)[:50]
    assert list(listed["Apptimize id"])[: len(joined)] == joined
    assert list(listed)[1:4] == ["Change", "Apptimize id", "Time"], "who comes before when, as far as there is room"
    assert set(listed["Run"]) <= {str(run.id) for run in two_runs}

    drawn(at.selectbox(key="groups_change").set_value("removed").run())
    assert at.query_params["change"] == "left"
    assert set(at.dataframe[0].value["Apptimize id"]) == set(sorted(before - after)[:50])
    again = open_page(GROUPS, group=group, view="Joined and left", change="left", period="hour", page=99)
    assert list(again.dataframe[0].value["Change"])[:1] == ["Left"]

    practising.snapshots.remove(two_runs[1].difference)
    lost = shown(open_page(GROUPS, group=group, view="Joined and left"))
    assert f"The list of run {two_runs[1].id} is missing or damaged" in lost


def test_nobody_joined_or_left_in_a_period_says_so(practising: Bridge):
    export(practising, POWER)

    at = open_page(GROUPS, group=1, view="Joined and left", change="left", period="hour")

    assert "No member joined or left in this period" in shown(at)
    drawn(at.button(key="groups_clear").click().run())
    assert "change" not in at.query_params
    assert len(at.dataframe[0].value) == 50


def test_members_are_told_since_when_they_are_in(practising: Bridge, sandbox: Sandbox, two_runs: tuple[Run, Run]):
    sandbox.at(0)
    before = set(sandbox.answer(TRIAL).ids)

    at = open_page(GROUPS, group=group_row(practising, TRIAL).id)

    listed = at.dataframe[0].value
    for member, since in zip(listed["Apptimize id"], listed["In the group since"], strict=True):
        assert since == moment(two_runs[0 if member in before else 1].finished_at)


def test_a_viewer_sees_who_is_in_and_is_led_to_no_page_that_is_closed_to_them(practising: Bridge):
    export(practising, POWER)
    recurring.add_sync(practising, LOCAL, POWER)
    vera = sign_in_as(practising, Role.VIEWER)

    at = open_page(GROUPS, user=vera, group=group_row(practising, POWER).id)

    assert len(at.dataframe[0].value) == 50
    links = [link.proto.label for link in at.get("page_link")]
    assert "View last delivery" in links
    assert not {"View cohort", "View sync"} & set(links)
    assert groups.list_groups(practising, Actor("Vera", Role.VIEWER))


def test_a_group_whose_members_are_lost_says_what_to_do(practising: Bridge):
    export(practising, POWER)
    export(practising, SPENDERS)
    newest = runs.list_runs(practising, LOCAL, limit=1)[0]
    for name in (newest.snapshot, newest.difference):
        practising.snapshots.remove(name)

    assert "The members are no longer kept. Export the cohort again" in shown(open_page(GROUPS, group=2))


def test_a_user_is_looked_up_from_the_list_of_groups(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    export(practising, SPENDERS)
    member = min(set(sandbox.answer(POWER).group) & set(sandbox.answer(SPENDERS).group))
    distinct_id = sandbox.answer(POWER).group[member]

    at = open_page(GROUPS)
    drawn(at.text_input(key="groups_lookup").set_value(distinct_id).run())

    assert at.title[0].value == "Look up a user"
    assert at.query_params["id"] == distinct_id
    assert "In 2 groups now" in shown(at)


def test_an_address_that_showed_a_member_leads_on_to_the_user(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    export(practising, SPENDERS)
    member = min(set(sandbox.answer(POWER).group) & set(sandbox.answer(SPENDERS).group))
    group = group_row(practising, POWER).id

    everywhere, in_one = open_page(GROUPS, member=member), open_page(GROUPS, member=member, group=group)

    assert everywhere.query_params == {"id": member}
    assert "In 2 groups now" in shown(everywhere)
    assert in_one.query_params == {"id": member, "group": str(group)}
    assert "In a group now" in shown(in_one)


def test_a_search_for_a_whole_id_that_finds_no_member_says_why(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    page = match_funnel.excluded(practising, LOCAL, 1, limit=500)
    excluded = {reason: distinct_id for reason, distinct_id, _ in map(match_funnel.shown_row, page.rows)}
    at = open_page(GROUPS, group=1)

    for search, why in (
        (excluded["unmatched"], "Unmatched: no Apptimize id"),
        (excluded["control_character"], "The id contains a line break"),
        ("nobody at all", "Neither this group nor its cohort as last read has this as a whole id."),
    ):
        drawn(at.text_input(key="groups_members_search").set_value(search).run())
        assert "No member matches the search." in shown(at)
        assert why in shown(at)

    drawn(at.button(key="groups_members_clear").click().run())
    assert at.text_input(key="groups_members_search").value == ""
    assert "No member matches" not in shown(at)


def test_an_id_that_another_group_knows_is_said_to_be_there(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    export(practising, SPENDERS)
    elsewhere = min(set(sandbox.answer(POWER).group) - set(sandbox.answer(SPENDERS).group))
    spenders = group_row(practising, SPENDERS).id

    text = shown(open_page(USERS, id=elsewhere, group=spenders))

    assert "This group does not have this id" in text
    assert "The user is in Power users: look in all groups to see why." in text
