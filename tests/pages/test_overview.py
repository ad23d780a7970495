"""Overview: is everything all right, and what next?"""

from __future__ import annotations

from core import syncs
from core.access import LOCAL
from core.bridge import Bridge
from tests.emulator.stage import NEWSLETTER, POWER, Sandbox, export
from tests.pages.dashboard import OVERVIEW, drawn, open_page, shown


def test_a_newcomer_is_led_to_the_cohorts(practising: Bridge):
    at = open_page(OVERVIEW)
    assert "Pick a cohort and export it" in shown(at)

    drawn(at.button(key="overview_pick").click().run())

    assert at.title[0].value == "Cohorts"


def test_with_nothing_connected_the_next_step_is_connections():
    at = open_page(OVERVIEW)

    drawn(at.button(key="overview_connect").click().run())

    assert at.title[0].value == "Connections"


def test_what_failed_stands_there_with_cause_and_button(practising: Bridge, sandbox: Sandbox):
    export(practising, NEWSLETTER)
    sandbox.fault("unauthorized", target="apptimize")
    failed = export(practising, POWER)
    sandbox.mend()

    at = open_page(OVERVIEW)

    assert "Needs attention" in shown(at)
    assert "does not accept the token" in shown(at)
    drawn(at.button(key=f"overview_again_{failed.id}").click().run())
    assert "is queued" in shown(at)
    assert [run.cohort_id for run in syncs.active_runs(practising, LOCAL)] == [POWER]
    assert "Nothing needs attention" in shown(drawn(at.run()))


def test_a_failure_that_was_made_good_since_needs_nobody(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("unauthorized", target="apptimize")
    export(practising, POWER)
    sandbox.mend()
    export(practising, POWER)

    assert "Nothing needs attention" in shown(open_page(OVERVIEW))


def test_a_failed_dry_run_does_not_hide_or_raise_an_alarm(practising: Bridge, sandbox: Sandbox):
    export(practising, POWER)
    sandbox.fault("unauthorized")
    export(practising, POWER, dry_run=True)

    assert "Nothing needs attention" in shown(open_page(OVERVIEW))


def test_the_budget_of_queries_is_shown_and_when_the_next_slot_opens(practising: Bridge, sandbox: Sandbox):
    sandbox.limit(hourly_limit=2)
    syncs.list_cohorts(practising, LOCAL)
    assert "1 of 2 used" in shown(open_page(OVERVIEW))

    syncs.list_cohorts(practising, LOCAL)

    assert "2 of 2 used. The next slot opens at" in shown(open_page(OVERVIEW))
