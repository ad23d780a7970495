"""Cohorts: the list, the export, and what is said of it."""

from __future__ import annotations

import pandas as pd
import pytest
from sqlmodel import select

from core.access.roles import LOCAL
from core.associate import actions
from core.bridge import Bridge
from core.connections.destinations import connect_csv
from core.errors import NotFound
from core.reports import members
from core.syncs import one_time, recurring, runs, undo
from core.worker import service
from data.engine import read_session, write_session
from data.models import Connection, ConnectionKind, Group, Sync
from data.query_models import CohortList
from tests.pages.dashboard import (
    COHORTS,
    CONNECTIONS,
    HISTORY,
    MATCHING,
    OVERVIEW,
    SYNCS,
    drawn,
    flow_figures,
    open_page,
    shown,
)
from tests.stage.home import export, get_counts, newest_run
from tests.stage.sandbox import COMPANIES, EVERYONE, LATER_S, POWER, SPENDERS, TRIAL, WEB, Sandbox


def test_hidden_cohorts_are_set_aside_until_asked_for(practising: Bridge):
    at = open_page(COHORTS)
    assert "Testers" not in shown(at)
    assert "9 cohorts of 10" in shown(at)

    drawn(at.toggle(key="cohorts_hidden").set_value(True).run())

    assert "10 cohorts of 10" in shown(at)
    assert "Hidden" in shown(at)


def test_a_search_finds_by_name_text_and_id(practising: Bridge):
    at = open_page(COHORTS)

    for search, name in (("pOwEr", "Power users"), ("lifetime value", "Big <b>spenders</b>"), (str(POWER), "Power")):
        drawn(at.text_input(key="cohorts_search").set_value(search).run())
        assert name in shown(at)
        assert "1 cohort of 10" in shown(at)

    drawn(at.text_input(key="cohorts_search").set_value("nothing like it").run())
    assert "No cohort matches the search." in shown(at)


def test_reading_the_list_again_costs_a_query_only_when_asked(practising: Bridge, sandbox: Sandbox):
    at = open_page(COHORTS)
    drawn(at.run())
    drawn(at.toggle(key="cohorts_hidden").set_value(True).run())
    assert len(sandbox.asked("cohorts")) == 1

    drawn(at.button(key="cohorts_refresh").click().run())

    assert len(sandbox.asked("cohorts")) == 2


def test_a_failure_is_said_with_advice_and_not_repeated_by_itself(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized")
    at = open_page(COHORTS)
    asked = len(sandbox.asked("cohorts"))
    drawn(at.run())

    assert "does not accept the service account" in shown(at)
    assert "Check the Mixpanel connection on the Connections page." in shown(at)  # to an admin
    assert "Go to Connections" in shown(at)
    assert len(sandbox.asked("cohorts")) == asked

    sandbox.clear_faults()
    drawn(at.button(key="cohorts_again").click().run())
    assert "Power users" in shown(at)


def test_an_export_is_queued_and_a_worker_does_it(practising: Bridge, sandbox: Sandbox):
    at = open_page(COHORTS, cohort=POWER)

    drawn(at.button(key=f"cohorts_start_{POWER}").click().run())

    assert newest_run(practising).status == "queued"
    assert sandbox.group(POWER) is None
    assert "Waiting for a worker to take it" in at.main.get("progress")[0].proto.text

    service.once(practising)
    drawn(at.run())

    assert sandbox.group(POWER) == sandbox.answer(POWER).group
    assert "Every user with a usable id is in the group" in shown(at)
    run = newest_run(practising)
    left_out = (
        f"Left out: {run.unmatched} without an id, {run.invalid} with an invalid id, {run.duplicates} duplicates."
    )
    assert run.profiles - run.members == run.unmatched + run.invalid + run.duplicates > 0
    assert f"After this run, the group at default holds {run.members:,} members. {left_out}" in shown(at)


def test_with_several_projects_and_no_usual_one_all_goes_through_the_one_that_is_listed(practising: Bridge):
    with write_session(practising.engine) as session:
        listed = session.exec(select(Connection).where(Connection.kind == ConnectionKind.MIXPANEL)).one()
        other = listed.model_dump(exclude={"id", "name", "project_id"})
        session.add(Connection(**other, name="zoo", project_id=listed.project_id + 1))
        listed.name = "shop"

    for page in (COHORTS, OVERVIEW, CONNECTIONS, MATCHING):
        assert "choose one of" not in shown(open_page(page))
    at = open_page(COHORTS, cohort=POWER)
    drawn(at.button(key=f"cohorts_preview_{POWER}").click().run())
    service.once(practising)
    drawn(at.run())
    drawn(at.button(key=f"cohorts_export_these_{POWER}").click().run())
    at = open_page(COHORTS, cohort=f"{SPENDERS},{WEB}")
    drawn(at.button(key="several_start").click().run())
    at = open_page(MATCHING, view="associate")
    at.text_input(key="associate_distinct_id").set_value("u")
    at.text_input(key="associate_apptimize_id").set_value("i_1")
    drawn(at.button(key="associate_one_check").click().run())

    queued = runs.list_runs(practising, LOCAL)
    assert [(run.cohort_id, run.dry_run) for run in reversed(queued)] == [
        (POWER, True), (POWER, False), (SPENDERS, False), (WEB, False)
    ]  # fmt: skip
    with read_session(practising.engine) as session:
        assert set(session.exec(select(Sync.mixpanel_id)).all()) == {listed.id}
    assert [each.mixpanel_id for each in actions.list_associations(practising, LOCAL)] == [listed.id]


def test_what_is_said_of_a_group_is_about_that_group_now(practising: Bridge, sandbox: Sandbox):
    connect_csv(practising, LOCAL, folder=str(practising.settings.csv_folder))
    first = export(practising, TRIAL, to="default")
    sandbox.at(LATER_S)
    second = export(practising, TRIAL, to="default")
    undo.undo_to(practising, LOCAL, first.id or 0)
    service.once(practising)

    at = open_page(COHORTS, cohort=TRIAL)
    assert [badge for badge in shown(at).splitlines() if badge == "Rolled back"]
    assert "The group at default holds the" in shown(at)
    assert "Every user with a usable id is in the group" not in shown(at)

    export(practising, TRIAL, to="csv")
    text = shown(open_page(COHORTS, cohort=TRIAL))
    assert "After this run, the group at csv holds" in text
    assert f"{first.members} members at default" in text
    assert f"{second.members} members at csv" in text

    text = shown(open_page(HISTORY, run=second.id))
    assert "Every user with a usable id is in the group" not in text
    assert f"The group at default held {second.members} members then. It was rolled back by run 3 since" in text
    text = shown(open_page(HISTORY, run=3))
    assert "Nothing was read from Mixpanel" in text
    export(practising, TRIAL, to="default")
    assert "The group was rolled back" in shown(open_page(HISTORY, run=3))


def test_a_run_of_a_group_in_doubt_does_not_say_what_the_group_holds(practising: Bridge, sandbox: Sandbox):
    run = export(practising, POWER)
    sandbox.fault("server_error", target="apptimize")
    export(practising, POWER, full=True)

    text = shown(open_page(HISTORY, run=run.id))

    assert f"held {run.members:,} members then. What it holds now is in doubt." in text
    assert "In doubt" in shown(open_page(COHORTS, cohort=POWER))


def test_the_funnel_adds_up_on_the_screen(practising: Bridge, sandbox: Sandbox):
    run = export(practising, EVERYONE)

    at = open_page(COHORTS, cohort=EVERYONE)

    figures = flow_figures(at)
    assert figures["Profiles"] == len(sandbox.raw(EVERYONE))
    assert figures["Cohort"] == figures["No profile"] + figures["Profiles"]
    assert figures["Profiles"] == sum(figures[part] for part in ("Members", "Duplicates", "Unmatched", "Invalid"))
    reasons = next(table.value for table in at.table if "Why an id is invalid" in table.value)
    assert sum(int(count) for count in reasons["Profiles"]) == figures["Invalid"] == get_counts(run)["invalid"]
    assert "The id is blank" in list(reasons["Why an id is invalid"])
    assert "start with neither" in shown(at) or "starts with neither" in shown(at)


def test_a_preview_of_a_first_export_shows_who_would_come_and_writes_nothing(practising: Bridge, sandbox: Sandbox):
    at = open_page(COHORTS, cohort=POWER)
    drawn(at.button(key=f"cohorts_preview_{POWER}").click().run())
    service.once(practising)

    drawn(at.run())

    assert sandbox.group(POWER) is None
    assert "Nothing was written." in shown(at)
    assert "See it on Apptimize's Groups page" not in shown(at)
    drawn(at.segmented_control(key="cohorts_run_show").set_value("members").run())
    (label,) = at.segmented_control(key="cohorts_difference_who").options
    assert f"To add: {len(sandbox.answer(POWER).ids):,}" in label
    assert list(at.dataframe[0].value["Apptimize id"]) == sandbox.answer(POWER).ids[:50]


def test_a_preview_warns_that_the_group_would_be_empty_and_is_nowhere_called_an_export(practising: Bridge):
    run = one_time.start_export(practising, LOCAL, WEB, dry_run=True)
    service.once(practising)

    at = open_page(COHORTS, cohort=WEB)
    assert [warning.value for warning in at.warning if "has a usable Apptimize id" in warning.value]
    assert not at.success
    text = shown(open_page(SYNCS, sync=run.sync_id))
    assert "This was a preview: nothing was exported yet." in text
    assert "Size over time" not in text
    assert "View group" not in text


def test_an_export_warns_that_its_group_has_no_members(practising: Bridge):
    export(practising, WEB)

    at = open_page(COHORTS, cohort=WEB)

    (warning,) = [warning.value for warning in at.warning if "has a usable Apptimize id" in warning.value]
    assert "the group at default has no members" in warning
    assert not at.success


def test_a_preview_shows_the_real_difference_against_the_group(practising: Bridge, sandbox: Sandbox):
    export(practising, TRIAL)
    before = set(sandbox.answer(TRIAL).ids)
    sandbox.at(LATER_S)
    after = set(sandbox.answer(TRIAL).ids)
    run = one_time.start_export(practising, LOCAL, TRIAL, dry_run=True)
    service.once(practising)

    at = open_page(COHORTS, cohort=TRIAL)

    counts = len(after - before), len(before - after), len(after & before)
    assert "**{:,}** to add, **{:,}** to remove, **{:,}** unchanged.".format(*counts) in shown(at)
    lines = list(members.changes_csv(practising, LOCAL, run.id or 0))
    changed = {tuple(line.strip().split(",")[:2]) for line in lines[1:]}
    assert changed == {("added", apptimize_id) for apptimize_id in after - before} | {
        ("removed", apptimize_id) for apptimize_id in before - after
    }
    for who, ids in {"added": after - before, "removed": before - after, "unchanged": after & before}.items():
        at = open_page(COHORTS, cohort=TRIAL, show="members", who=who)
        assert list(at.dataframe[0].value["Apptimize id"]) == sorted(ids)[:50]
    lines = list(members.unchanged_csv(practising, LOCAL, run.id or 0))
    assert [line.split(",")[0] for line in lines[1:]] == sorted(after & before)


def test_who_would_stay_is_not_told_of_a_group_that_has_changed_since(practising: Bridge, sandbox: Sandbox):
    export(practising, TRIAL)
    preview = one_time.start_export(practising, LOCAL, TRIAL, dry_run=True)
    service.once(practising)
    assert members.find_unchanged(practising, LOCAL, preview.id or 0).total == len(sandbox.answer(TRIAL).ids)
    sandbox.at(LATER_S)
    after = export(practising, TRIAL)

    with pytest.raises(NotFound, match="The group is not any more what run"):
        members.find_unchanged(practising, LOCAL, preview.id or 0)
    assert members.find_unchanged(practising, LOCAL, after.id or 0).total == after.unchanged


def test_only_the_newest_preview_keeps_who_would_come(practising: Bridge):
    for _ in range(2):
        one_time.start_export(practising, LOCAL, POWER, dry_run=True)
        service.once(practising)

    newest, older = runs.list_runs(practising, LOCAL)

    assert newest.difference
    assert older.difference is None
    kept = {path.stem for path in practising.snapshots.folder.glob("*.parquet")}
    assert kept == {newest.difference, newest.excluded}


def test_the_list_says_first_of_a_sync_that_it_needs_a_person(practising: Bridge, sandbox: Sandbox):
    recurring.add_sync(practising, LOCAL, POWER, every_minutes=30)
    sandbox.fault("total_wrong", by=3)
    service.once(practising)

    table = open_page(COHORTS).dataframe[0].value

    assert list(table[table["Id"] == str(POWER)]["Sync or note"]) == ["Held, every 30 minutes"]


def test_the_list_tells_match_rate_and_sync_of_each_cohort(practising: Bridge):
    run = export(practising, POWER)
    recurring.add_sync(practising, LOCAL, POWER, every_minutes=30)

    table = open_page(COHORTS).dataframe[0].value
    power = table[table["Id"] == str(POWER)].iloc[0]

    assert power["Matched"] == int((run.members + run.duplicates) / run.profiles * 1000) / 10
    assert power["Sync or note"] == "Every 30 minutes"

    with write_session(practising.engine) as session:
        session.exec(select(Group)).one().project_id += 1  # a cohort of another project may have the same number
    table = open_page(COHORTS).dataframe[0].value
    assert pd.isna(table[table["Id"] == str(POWER)].iloc[0]["Matched"])


def test_two_cohorts_of_one_name_are_told_apart_by_their_ids(practising: Bridge):
    open_page(COHORTS)
    with write_session(practising.engine) as session:
        kept = session.exec(select(CohortList)).one()
        assert isinstance(kept.cohorts, dict)
        renamed = [
            {**each, "name": "Twins"} if each["id"] in (POWER, TRIAL) else each for each in kept.cohorts["taken"]
        ]
        kept.cohorts = {**kept.cohorts, "taken": renamed}

    table = open_page(COHORTS).dataframe[0].value

    assert {name for name in table["Cohort"] if "Twins" in name} == {f"Twins ({POWER})", f"Twins ({TRIAL})"}
    assert list(table[table["Id"] == str(EVERYONE)]["Cohort"]) == ["Everyone"]


def test_a_group_can_have_a_name_of_its_own_once(practising: Bridge, sandbox: Sandbox):
    before, at = open_page(COHORTS, cohort=POWER), open_page(COHORTS, cohort=POWER)
    at.text_input(key=f"cohorts_group_{POWER}").set_value("Launch audience")
    drawn(at.button(key=f"cohorts_start_{POWER}").click().run())
    service.once(practising)
    assert sandbox.group_name(POWER) == "Launch audience"

    at = open_page(COHORTS, cohort=POWER)
    assert "**Launch audience**" in [text.value for text in at.markdown], "what cannot be changed is no field"
    assert f"cohorts_group_{POWER}" not in {field.key for field in at.text_input}
    before.text_input(key=f"cohorts_group_{POWER}").set_value("Another")
    drawn(before.button(key=f"cohorts_start_{POWER}").click().run())

    assert "already has the group Launch audience" in shown(before)
    assert "leave the name as it is" in shown(before)


def test_a_run_of_another_person_is_seen_on_arrival_and_can_be_cancelled(practising: Bridge):
    run = one_time.start_export(practising, LOCAL, POWER)
    at = open_page(COHORTS, cohort=POWER)

    drawn(at.button(key=f"run_cancel_{run.id}").click().run())

    assert newest_run(practising).status == "cancelled"
    drawn(at.run())
    assert "Cancelled" in shown(at)


def test_a_run_that_failed_says_why_and_what_to_do(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized", target="apptimize")
    export(practising, POWER)
    sandbox.clear_faults()

    text = shown(open_page(COHORTS, cohort=POWER))

    assert "The run failed" in text
    assert "does not accept the token" in text
    assert "Make a new token on Apptimize's Tokens page" in text


def test_a_group_analytics_cohort_cannot_be_exported_and_the_page_says_why(practising: Bridge):
    at = open_page(COHORTS, cohort=COMPANIES)

    assert "it holds companies or accounts, not users" in shown(at)
    assert not [button for button in at.button if button.key == f"cohorts_start_{COMPANIES}"]


def test_a_name_with_markup_is_text(practising: Bridge):
    export(practising, SPENDERS)

    at = open_page(COHORTS, cohort=SPENDERS)

    assert at.header[0].value.startswith('\\"Big \\<b\\>spenders\\<\\/b\\>\\" \\&')
    assert any(text.value.startswith('**\\"Big \\<b\\>spenders\\<\\/b\\>\\" \\&') for text in at.markdown)
    assert not [element for element in at.markdown if element.allow_html]


def test_the_menu_names_a_cohort_whose_page_is_the_first_to_read_the_list(practising: Bridge):
    at = open_page(COHORTS, cohort=POWER)

    assert at.session_state["resources_named"]["name"] == "Power users"


def test_an_address_of_no_cohort_says_so(practising: Bridge):
    at = open_page(COHORTS, cohort="12**x**")

    assert "Mixpanel lists no cohort 12**x** in this project." in shown(at)
    drawn(at.button(key="cohorts_back").click().run())
    assert "Power users" in shown(at)


def test_entries_that_cannot_be_read_are_counted_and_an_odd_cohort_says_why_it_cannot_be_exported(
    practising: Bridge, sandbox: Sandbox
):
    sandbox.fault("list_odd")
    at = open_page(COHORTS)

    assert "2 entries are left out of Mixpanel's list" in shown(at)
    assert "Power users" in shown(at)
    assert "Incomplete" in shown(at)

    text = shown(open_page(COHORTS, cohort="901"))

    assert "It cannot be exported" in text
    assert "“name”" in text


def test_a_whole_list_says_nothing_of_entries_that_were_left_out(practising: Bridge):
    assert "left out" not in shown(open_page(COHORTS))
