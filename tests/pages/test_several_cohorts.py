"""Several cohorts on the screen: chosen in the list, exported alike, and watched together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from streamlit.testing.v1 import AppTest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.rules.query_forecast import Forecast
from core.syncs import held_runs, recurring, runs
from core.syncs.listing import list_syncs
from core.worker import service
from data.models import RunStatus, SyncKind
from pages.export.several import forecast_text
from pages.parts.selection import read_ids
from tests.pages.dashboard import COHORTS, GROUPS, drawn, open_page, shown
from tests.stage.home import export
from tests.stage.sandbox import COMPANIES, NEWSLETTER, POWER, SPENDERS, Sandbox


def _chosen(*cohorts: int) -> AppTest:
    return open_page(COHORTS, cohort=",".join(map(str, cohorts)))


def test_rows_that_are_selected_lead_to_one_export_of_all(practising: Bridge):
    at = open_page(COHORTS)
    assert "Select cohorts to export several at once." in shown(at)

    at.session_state[at.session_state["cohorts_drawn"]["table"]] = {
        "selection": {"rows": [0, 2], "columns": [], "cells": []}
    }
    drawn(at.run())
    drawn(at.text_input(key="cohorts_search").set_value("newsletter").run())
    assert "2 cohorts selected, 1 of them not in this list." in shown(at)
    drawn(at.switch_page(GROUPS).run())
    drawn(at.switch_page(COHORTS).run())
    drawn(at.button(key="several_open").click().run())

    assert len(read_ids(at.query_params["cohort"])[0]) == 2
    assert "Export 2 cohorts" in shown(at)


def test_several_are_started_watched_and_cancelled_together(practising: Bridge, sandbox: Sandbox):
    at = _chosen(POWER, NEWSLETTER, SPENDERS)
    assert "All 3 would be done by about" in shown(at)

    drawn(at.button(key="several_start").click().run())

    queued = runs.list_runs(practising, LOCAL)
    assert {run.cohort_id for run in queued} == {POWER, NEWSLETTER, SPENDERS}
    assert at.query_params["exports"] == ",".join(str(run.id) for run in reversed(queued))
    assert "3 queued" in shown(at)
    assert "Big <b>spenders</b>" in shown(at)

    service.once(practising)
    at = open_page(COHORTS, cohort=f"{POWER},{SPENDERS}", exports=f"{queued[-1].id},{queued[0].id}")
    text = shown(at)
    assert "2 succeeded" in text
    assert "All have ended." in text
    assert at.button(key="several_cancel").disabled


def test_what_failed_is_said_once_with_who_mends_it_and_all_of_it_is_run_again_from_there(
    practising: Bridge, sandbox: Sandbox
):
    at = _chosen(POWER, NEWSLETTER)
    drawn(at.button(key="several_start").click().run())
    sandbox.fault("unauthorized", target="apptimize")
    service.once(practising)
    sandbox.clear_faults()

    drawn(at.run())

    failed = [element.value.replace("\\", "") for element in at.error]
    assert len(failed) == 1
    assert "The Apptimize endpoint does not accept the token." in failed[0]
    assert "Power users, Newsletter readers" in failed[0]
    assert "2 of 2 failed" in shown(at)
    assert "Go to Connections" in shown(at)
    drawn(at.button(key="several_again").click().run())
    assert at.query_params["exports"] == "3,4"
    assert "2 queued" in shown(at)
    assert not at.error
    assert not at.success  # what would say that they are queued would still stand there when they have ended


def test_what_was_held_and_let_through_is_followed_and_not_run_again(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("total_wrong", by=3)
    held = [export(practising, cohort) for cohort in (POWER, NEWSLETTER)]
    for run in held:
        held_runs.apply_held(practising, LOCAL, run.id or 0)
    asked = {"cohort": f"{POWER},{NEWSLETTER}", "exports": ",".join(str(run.id) for run in held)}

    text = shown(open_page(COHORTS, **asked))

    assert "2 queued" in text
    assert "All have ended." not in text
    service.once(practising)
    at = open_page(COHORTS, **asked)
    assert "2 succeeded" in shown(at)
    assert "several_again" not in {button.key for button in at.button}


def test_what_waits_is_cancelled_from_there(practising: Bridge):
    at = _chosen(POWER, NEWSLETTER)
    drawn(at.button(key="several_start").click().run())

    drawn(at.button(key="several_cancel").click().run())

    assert {run.status for run in runs.list_runs(practising, LOCAL)} == {RunStatus.CANCELLED}
    assert "2 runs cancelled." in shown(at)


def test_what_speaks_against_a_cohort_is_said_before_and_it_can_be_left_out(practising: Bridge):
    recurring.add_sync(practising, LOCAL, POWER, every_minutes=60)
    at = _chosen(POWER, NEWSLETTER, SPENDERS, COMPANIES)
    at.radio(key="several_kind").set_value("Recurring (dynamic)")

    drawn(at.run())

    assert at.button(key="several_start").disabled
    assert "keeps the group Power users up to date already" in shown(at)
    assert "its members are not users" in shown(at)
    assert "2 cohorts cannot be exported so" in shown(at)

    drawn(at.button(key="several_leave_out").click().run())
    drawn(at.button(key="several_start").click().run())

    assert "Syncs of 2 cohorts" in shown(at)
    assert "2 queued" in shown(at)
    assert "Its first run is queued within seconds" in shown(at)
    begun = [each.sync for each in list_syncs(practising, LOCAL) if each.sync.kind == SyncKind.RECURRING]
    assert read_ids(at.query_params["recurring"])[0] == sorted(
        sync.id or 0 for sync in begun if sync.cohort_id != POWER
    )


def test_a_limit_that_is_none_is_said_at_its_field_alone_until_it_is_right(practising: Bridge):
    at = _chosen(POWER, NEWSLETTER)
    drawn(at.radio(key="several_kind").set_value("Recurring (dynamic)").run())
    drawn(at.number_input(key="several_shrink_limit_0").set_value(150).run())

    assert shown(at).count("Shrink limit: this is a share from 0 to 100 percent.") == 1
    assert at.button(key="several_start").disabled
    drawn(at.number_input(key="several_shrink_limit_0").set_value(15).run())
    assert "from 0 to 100" not in shown(at)
    assert not at.button(key="several_start").disabled


def test_an_address_that_names_what_is_not_there_says_so(practising: Bridge):
    text = shown(open_page(COHORTS, cohort=f"{POWER},4, 5,x,"))
    assert "does not list these cohorts in this project: 4, 5, x." in text
    assert "Export 1 cohort" in text
    assert "does not list these cohorts in this project: 4, 5." in shown(_chosen(4, 5))
    assert "These exports are no longer kept." in shown(open_page(COHORTS, cohort="1,2", exports="77,x,-1"))
    run = export(practising, POWER)
    many = ",".join(map(str, [run.id, *range(1000, 1060)]))
    text = shown(open_page(COHORTS, cohort="1,2", exports=many))
    assert "Only the first 50 are shown." in text
    assert "1059" not in text, "it is not known whether it is kept"
    text = shown(open_page(COHORTS, cohort="1,2", exports=f"{run.id},77,x", recurring="8"))
    assert "1 succeeded" in text
    assert "There is no run 77, x: the others are shown." in text
    assert "There is no sync 8: the others are shown." in text


def test_a_number_that_an_address_names_twice_is_one(practising: Bridge):
    for text in (f"{POWER},{POWER}", f" {POWER} ,", f"0{POWER}"):
        at = open_page(COHORTS, cohort=text)
        assert "Start sync" in [button.label for button in at.button], text
        assert f"Cohort {POWER}." in shown(at), text


def test_the_forecast_says_who_waits_for_queries_and_until_when():
    at = datetime(2026, 3, 2, 14, 34, 20, tzinfo=UTC)
    first = at - timedelta(minutes=20)

    assert forecast_text(Forecast(at), 20, is_recurring=False, now=first).startswith("All 20 would be done by about ")
    waiting = forecast_text(Forecast(at, 6, first), 20, is_recurring=False, now=first)
    assert "6 of them wait for a Mixpanel query: the next is free at " in waiting
    assert forecast_text(Forecast(at), 3, is_recurring=True, now=first).startswith(
        "The first runs would be done by about "
    )
