"""Matching: the funnel, the excluded profiles and why, and associating by hand."""

from __future__ import annotations

import asyncio
import io

import pytest
from pydantic import SecretStr
from sqlmodel import col, update

from core.access.roles import LOCAL, Role
from core.associate import actions
from core.bridge import Bridge
from core.connections import lookup, mixpanel_connection
from core.sandbox import people
from core.syncs import recurring
from core.worker import service
from data.engine import write_session
from data.models import Connection, Group, ImportStage, Run
from pages.shell import uploads
from tests.pages.dashboard import (
    CONNECTIONS,
    HISTORY,
    MATCHING,
    SYNCS,
    USERS,
    drawn,
    flow_figures,
    open_page,
    shown,
    sign_in_as,
)
from tests.stage.home import export
from tests.stage.sandbox import IMPORTED, WEB, Sandbox


@pytest.fixture
def with_token(practising: Bridge) -> Bridge:
    connection = lookup.find_mixpanel(practising)
    assert connection.id is not None
    mixpanel_connection.set_project_token(practising, LOCAL, connection.id, SecretStr(people.PROJECT_TOKEN))
    return practising


def test_the_funnel_of_all_cohorts_is_the_sum_of_theirs(practising: Bridge):
    runs = [export(practising, cohort) for cohort in (IMPORTED, WEB)]

    at = open_page(MATCHING)

    figures = flow_figures(at)
    expected = {
        "Profiles": sum(run.profiles for run in runs),
        "Unmatched": sum(run.unmatched for run in runs),
        "Usable ids": sum(run.profiles - run.unmatched - run.invalid for run in runs),
        "Distinct ids": sum(run.members for run in runs),
        "Members": sum(run.members for run in runs),
        "With a prefix": sum(run.members - run.unprefixed for run in runs),
    }
    assert {name: figures[name] for name in expected} == expected
    assert list(at.dataframe[0].value["Unmatched"]) == [run.unmatched for run in runs]
    assert "Apptimize.getPartnerID" in shown(at)


@pytest.mark.parametrize("name", ["Power *users*", "All cohorts"])
def test_cohorts_of_one_name_are_told_apart_where_one_is_chosen(practising: Bridge, name: str):
    """The browser sends back the label that was chosen, and shows it as it is: no label is there twice or escaped."""
    for cohort in (IMPORTED, WEB):
        export(practising, cohort)
    with write_session(practising.engine) as session:
        session.exec(update(Run).values(cohort_name=name))

    at = open_page(MATCHING)

    expected = ["All cohorts", *(f"{name} (cohort {cohort})" for cohort in (IMPORTED, WEB))]
    assert sorted(at.selectbox(key="matching_cohort").options) == sorted(expected)


def test_cohorts_of_one_number_in_two_projects_are_told_apart(practising: Bridge):
    ours, theirs = (export(practising, cohort) for cohort in (IMPORTED, WEB))
    assert ours.unmatched != theirs.unmatched
    export(practising, WEB)
    with write_session(practising.engine) as session:
        session.exec(update(Run).values(cohort_name="All *users*", cohort_id=IMPORTED))
        session.exec(update(Group).where(col(Group.id) == theirs.group_id).values(project_id=22, cohort_id=IMPORTED))

    at = open_page(MATCHING)

    assert [int(project) for project in at.dataframe[0].value["Project"]] == [22, people.PROJECT_ID]
    assert list(at.dataframe[0].value["Unmatched"]) == [theirs.unmatched, ours.unmatched]
    assert at.selectbox(key="matching_cohort").options[1:] == [
        f"All *users* (cohort {IMPORTED} of project {project})" for project in (22, people.PROJECT_ID)
    ]
    for run, project in ((ours, people.PROJECT_ID), (theirs, 22)):
        of_run = open_page(MATCHING, cohort=IMPORTED, run=run.id)
        assert of_run.query_params == {"cohort": f"{IMPORTED}-{project}"}
        assert flow_figures(of_run)["Unmatched"] == run.unmatched
        assert ("The trend shows from the second read on." in shown(of_run)) == (run is ours)


def test_a_cohort_shows_who_was_excluded_by_reason_to_search_and_download(practising: Bridge):
    run, _ = export(practising, IMPORTED), export(practising, IMPORTED)

    at = open_page(MATCHING, cohort=IMPORTED)

    excluded = run.unmatched + run.invalid + run.duplicates
    assert f"of {excluded} profiles" in shown(at)
    drawn(at.multiselect(key="matching_reasons").set_value(["duplicate"]).run())
    assert set(at.dataframe[0].value["Why"]) == {"Another profile has the id"}
    drawn(at.text_input(key="matching_search").set_value("i_twin-5").run())
    assert list(at.dataframe[0].value["Apptimize id"]) == ["i_twin-5"]
    assert at.download_button(key="matching_download").proto.deferred_file_id
    assert "Over time" in shown(at)


def test_of_a_dry_run_from_the_terminal_it_is_said_what_is_not_kept_and_what_keeps_it(practising: Bridge):
    run = export(practising, IMPORTED, dry_run=True)

    for page in (open_page(MATCHING, cohort=IMPORTED), open_page(HISTORY, run=run.id)):
        text = shown(page)
        assert "excluded profiles" in text
        assert "not kept. A dry run from the terminal only counts: an export, or a preview in the browser" in text
    text = shown(open_page(HISTORY, run=run.id, show="members"))
    assert "The members are not kept. A dry run from the terminal only counts" in text


def test_after_a_dry_run_from_the_terminal_the_profiles_that_an_export_excluded_are_still_shown(practising: Bridge):
    """History leads here from that export, to see who they are."""
    run = export(practising, IMPORTED)
    export(practising, IMPORTED, dry_run=True)

    at = open_page(MATCHING, cohort=IMPORTED)

    assert "The excluded profiles of this read are not kept." in shown(at)
    assert "Below are those of the read before that kept them" in shown(at)
    assert f"of {run.profiles - run.members} profiles" in shown(at)
    assert at.download_button(key="matching_download").proto.deferred_file_id


def test_a_run_whose_excluded_profiles_gave_way_to_later_ones_says_so(practising: Bridge):
    before, latest = export(practising, IMPORTED), export(practising, IMPORTED)

    assert "The excluded profiles are no longer kept." in shown(open_page(HISTORY, run=before.id))
    assert "The excluded profiles are no longer kept." not in shown(open_page(HISTORY, run=latest.id))


def test_an_address_that_looked_a_user_up_leads_on_to_the_user(practising: Bridge, sandbox: Sandbox):
    export(practising, IMPORTED)
    member = next(iter(sandbox.group(IMPORTED) or {}))

    at = open_page(MATCHING, id=member)

    assert at.title[0].value == "Look up a user"
    assert at.query_params == {"id": member}
    assert [list(states) for states in at.dataframe[0].value["State"]] == [["In the group"]]


def test_the_view_that_is_chosen_stands_in_the_address_and_outlives_a_reload(with_token: Bridge):
    at = open_page(MATCHING)
    drawn(at.segmented_control(key="matching_view").set_value("Associate by hand").run())
    assert at.query_params["view"] == "associate"

    again = open_page(MATCHING, view="associate")
    assert again.text_input(key="associate_distinct_id")
    drawn(again.segmented_control(key="matching_view").set_value("From cohort to group").run())

    assert "view" not in again.query_params
    assert "No cohort was read yet" in shown(again)


def test_one_user_is_checked_confirmed_and_told_of(with_token: Bridge, sandbox: Sandbox):
    at = open_page(MATCHING)
    drawn(at.segmented_control(key="matching_view").set_value("Associate by hand").run())
    at.text_input(key="associate_distinct_id").set_value("page-user")
    drawn(at.button(key="associate_one_check").click().run())
    form = [line for line in shown(at).splitlines() if line in ("Apptimize id", "Check user") or "is needed" in line]
    assert [line.partition(":")[2] for line in form] == ["", " this is needed. Correct it and try again.", ""]
    at.text_input(key="associate_apptimize_id").set_value("4711")
    drawn(at.button(key="associate_one_check").click().run())
    assert "Waiting to be checked" in shown(at)
    service.once(with_token)
    drawn(at.run())
    assert "starts with neither" in shown(at)
    drawn(at.radio(key="associate_prefix_1").set_value("i_").run())
    service.once(with_token)
    drawn(at.run())
    assert list(at.dataframe[0].value["Apptimize id"]) == ["i_4711"]

    drawn(at.button(key="associate_write").click().run())
    assert "is set on 1 profile of project" in shown(at)
    actions.confirm_association(with_token, LOCAL, 1)
    service.once(with_token)

    at = open_page(MATCHING, association=1)
    assert "1 row was written" in shown(at)
    assert at.download_button(key="associate_outcomes").proto.deferred_file_id
    assert sandbox.get("/sandbox/api/people/page-user").json()["properties"] == {"$apptimize_user_id": "i_4711"}
    export(with_token, IMPORTED)
    assert "from its next run on" in shown(open_page(USERS, id="i_4711"))
    drawn(at.text_input(key="associate_search").set_value("nobody").run())
    assert "No row matches the search." in shown(at)
    drawn(at.button(key="associate_search_clear").click().run())
    assert list(at.dataframe[0].value["Apptimize id"]) == ["i_4711"]


def test_a_ruined_id_is_written_where_its_tick_says_so(with_token: Bridge):
    content = b"distinct_id,apptimize_id\n2026-11-26,i_1\nu2,i_#N/A\nu3,i_3.0\nu4\xe2\x80\x8b,i_4\nu5,i_5\n"
    actions.start_association(with_token, LOCAL, io.BytesIO(content), source="ruined.csv")
    service.once(with_token)

    at = open_page(MATCHING, association=1)

    text = shown(at)
    assert "Write 2 rows …" in [button.label for button in at.button]
    assert "An id is a date or a time" in text
    assert "An id ends with .0" in text
    assert [tick.key for tick in at.checkbox] == [
        f"associate_accept_1_{problem}" for problem in ("spreadsheet_error", "date", "invisible_ends")
    ]
    drawn(at.segmented_control(key="associate_kind").set_value("Not written").run())
    assert "u4<U+200B>" in list(at.dataframe[0].value["Mixpanel distinct id"])

    drawn(at.checkbox(key="associate_accept_1_date").check().run())
    service.once(with_token)
    at = open_page(MATCHING, association=1)

    assert "Write 3 rows …" in [button.label for button in at.button]
    assert [tick.value for tick in at.checkbox] == [False, True, False]
    warnings = list(at.dataframe[0].value["Warning"])
    assert (warnings[0][:15], warnings[1][:13], warnings[2]) == ("An id is a date", "An id ends wi", "")
    drawn(at.segmented_control(key="associate_kind").set_value("With a warning").run())
    assert list(at.dataframe[0].value["Mixpanel distinct id"]) == ["2026-11-26", "u3"]
    drawn(at.button(key="associate_write").click().run())
    assert "Of those that are written, 2 rows have a warning" in shown(at)


def test_nothing_can_be_written_without_a_project_token_and_the_page_says_so(practising: Bridge):
    at = open_page(MATCHING)
    drawn(at.segmented_control(key="matching_view").set_value("Associate by hand").run())

    assert "the connection has no project token" in shown(at)


def test_files_are_taken_while_the_field_for_them_is_shown(practising: Bridge):
    def takes_files() -> bool:
        try:
            asyncio.run(uploads.UPLOADS.admit("test session id"))
        except uploads.UploadRefused:
            return False
        return True

    at = open_page(MATCHING)
    assert not takes_files()
    drawn(at.segmented_control(key="matching_view").set_value("Associate by hand").run())
    assert takes_files()
    drawn(at.segmented_control(key="matching_view").set_value("From cohort to group").run())
    assert not takes_files()


def test_a_failed_check_is_said_in_a_sentence(practising: Bridge):
    association = actions.start_association(practising, LOCAL, io.BytesIO(b"a,b\n1,2\n"), source="wrong.csv")
    service.once(practising)

    text = shown(open_page(MATCHING, association=association.id))

    assert "The file could not be used" in text
    assert "the column distinct_id is missing" in text


def test_a_viewer_sees_the_funnel_and_cannot_associate(practising: Bridge):
    export(practising, WEB)
    vera = sign_in_as(practising, Role.VIEWER)

    at = open_page(MATCHING, user=vera, association=1)

    assert not at.segmented_control
    assert "Look up a user" in shown(at)
    assert flow_figures(at)["Profiles"] > 0
    assert ImportStage.CHECKED not in shown(at)


def test_the_match_setting_is_changed_on_the_connection_and_warned_of(practising: Bridge, sandbox: Sandbox):
    connection = lookup.find_mixpanel(practising)
    at = open_page(CONNECTIONS)
    at.text_input(key=f"connections_match_property_{connection.id}").set_value("player_id")
    at.radio(key=f"connections_match_prefix_{connection.id}").set_value("No")
    at.text_input(key=f"connections_match_token_{connection.id}").set_value("a-project-token")
    drawn(at.button(key=f"connections_match_save_{connection.id}").click().run())

    assert "Users are matched on player_id." in shown(at)
    assert "a-project-token" not in shown(at)
    changed = lookup.find_mixpanel(practising)
    assert (changed.match_property, changed.expects_prefix, changed.project_token_end) == ("player_id", False, "oken")

    with write_session(practising.engine) as session:
        session.get_one(Connection, connection.id).id_merge = "simplified"
    assert "may not be attributed to the right user" in shown(open_page(CONNECTIONS))


def test_a_sync_may_be_matched_in_its_own_way(practising: Bridge):
    sync = recurring.add_sync(practising, LOCAL, WEB)
    at = open_page(SYNCS, sync=sync.id)
    assert "Matched on $apptimize_user_id, set by the connection" in shown(at)
    at.text_input(key=f"syncs_property_{sync.id}").set_value("$user_id")
    drawn(at.button(key=f"syncs_match_save_{sync.id}").click().run())

    assert "Matched on $user_id, set for this sync" in shown(at)
    assert export(practising, WEB).matched_by == "original:$user_id"
