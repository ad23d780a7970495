"""A person who takes their time over a held run, while newer runs go by: their press is never without an answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.stage import EXPORT_MS, Everything, go, press, wait_for_rest
from tests.stage.sandbox import IMPORTED, TRIAL
from tests.stage.seeds import LONG

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def open_dialog(everything: Everything, page: Page) -> Locator:
    go(page, f"{everything.url}/cohorts?cohort={IMPORTED}", "Cohorts")
    press(page.get_by_role("button", name="Apply once"))
    dialog = page.get_by_role("dialog")
    expect(figure(dialog, "Announced")).to_be_visible()
    return dialog


def figure(place: Locator, label: str) -> Locator:
    return place.get_by_test_id("stMetric").filter(has_text=label).get_by_test_id("stMetricValue")


def behind_dialog(page: Page, run_id: int) -> Locator:
    """The link to a run: while a dialog is open, what lies behind it has no role."""
    return page.get_by_text(f"Run {run_id} in History")


@LONG
def test_an_open_dialog_stays_while_a_newer_run_is_held_and_its_press_is_for_that_one(
    everything: Everything, page: Page
):
    everything.hold(IMPORTED, by=3)
    dialog = open_dialog(everything, page)
    newer = everything.hold(IMPORTED, by=3)
    expect(behind_dialog(page, newer)).to_be_attached()

    press(dialog.get_by_role("button", name="Apply once"))

    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Every user with a usable id is in the group")).to_be_visible(timeout=EXPORT_MS)
    go(page, f"{everything.url}/history?run={newer}", "History")
    expect(page.get_by_text("Held, then applied")).to_be_visible()
    expect(page.get_by_text("Applied by local.").first).to_be_visible()


@LONG
def test_a_press_that_a_newer_held_run_goes_beyond_is_answered_with_its_numbers(everything: Everything, page: Page):
    looked_at = everything.hold(IMPORTED, by=4)
    dialog = open_dialog(everything, page)
    announced = int(figure(dialog, "Announced").inner_text())
    newer = everything.hold(IMPORTED, by=6)
    expect(behind_dialog(page, newer)).to_be_attached()
    assert int(figure(dialog, "Announced").inner_text()) == announced, "what is looked at does not change by itself"

    press(dialog.get_by_role("button", name="Apply once"))

    expect(dialog.get_by_text(f"Run {newer} has taken the place of run {looked_at}")).to_be_visible()
    expect(figure(dialog, "Announced")).to_have_text(str(announced + 2))
    press(dialog.get_by_role("button", name="Apply once"))
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Every user with a usable id is in the group")).to_be_visible(timeout=EXPORT_MS)


@LONG
@pytest.mark.parametrize("closed_by", ["Escape", "button"])
def test_a_dialog_that_was_closed_does_not_come_back_when_the_page_is_drawn_again(
    everything: Everything, page: Page, closed_by: str
):
    everything.hold(IMPORTED, by=4)
    dialog = open_dialog(everything, page)

    if closed_by == "Escape":
        page.keyboard.press("Escape")
    else:
        press(dialog.get_by_role("button", name="Cancel"))

    expect(dialog).to_have_count(0)
    newer = everything.hold(IMPORTED, by=4)
    expect(page.get_by_role("link", name=f"Run {newer} in History")).to_be_visible()
    expect(dialog).to_have_count(0)


@LONG
def test_the_dialog_of_the_overview_stays_while_that_is_kept_up_to_date(everything: Everything, page: Page):
    looked_at = everything.hold(IMPORTED, by=4)
    go(page, everything.url, "Overview")
    press(page.get_by_role("button", name="Apply once"))
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(f"run {looked_at}")).to_be_visible()
    newer = everything.hold(IMPORTED, by=4)
    expect(behind_dialog(page, newer)).to_be_attached()

    press(dialog.get_by_role("button", name="Apply once"))

    expect(dialog).to_have_count(0)
    # What is said of the run goes as soon as a worker has taken it, which may be before anybody looks.
    assert json.loads(everything.core("run", "show", str(newer), "--json"))["decision"] == "applied"


@LONG
def test_a_question_about_a_sync_stays_with_what_was_entered_while_newer_runs_go_by(everything: Everything, page: Page):
    everything.core("syncs", "add", str(TRIAL), "--to", "default")
    sync_id = everything.recurring_sync_id(TRIAL)
    go(page, f"{everything.url}/syncs?sync={sync_id}", "Syncs")
    press(page.get_by_role("button", name="Pause until"))
    dialog = page.get_by_role("dialog")
    year = dialog.get_by_role("spinbutton", name="year, Day")
    expect(year).to_be_visible()
    wait_for_rest(page)
    year.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Escape")  # the calendar of the day, and with that it is entered
    wait_for_rest(page)
    entered = str(datetime.now(UTC).year + 1)
    expect(year).to_have_text(entered)
    everything.core("syncs", "run", str(sync_id))
    expect(behind_dialog(page, everything.newest_run_id(TRIAL))).to_be_attached(timeout=EXPORT_MS)

    expect(year).to_have_text(entered)
    press(dialog.get_by_role("button", name="Cancel"))

    expect(dialog).to_have_count(0)
