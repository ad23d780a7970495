"""Each role's main way through the screens, in a browser, with the real worker and the sandbox behind them."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlmodel import col, select, update

from data.models import Run
from tests.browser.stage import EXPORT_MS, Everything, find_cell, go, plain_text, press, press_in_row, settled, tick_row
from tests.stage.sandbox import NEWSLETTER, POWER, SPENDERS, TRIAL, wait_until
from tests.stage.seeds import LONG

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def power_group(everything: Everything) -> int:
    """The group of the power users at Apptimize, delivered at least once."""
    everything.core("export", str(POWER), "--to", "default")
    return everything.group_id(POWER)


def choose(page: Page, label: str, option: str) -> None:
    """Choose from a list that opens."""
    press(page.get_by_role("combobox", name=label))
    press(page.get_by_role("option", name=option, exact=True))


def bold(place: Locator) -> list[str]:
    return [plain_text(element) for element in place.locator("strong").all()]


@LONG
def test_an_analyst_previews_exports_watches_and_pauses(everything: Everything, page: Page, other_page: Page):
    everything.begin_slot()  # the export is to find whom the preview found
    go(page, f"{everything.url}/cohorts", "Cohorts")
    press_in_row(page, "Cohorts of the Mixpanel project", "Trial ends this week")
    press(page.get_by_role("button", name="Preview"))
    expect(page.get_by_text("The preview is done")).to_be_visible(timeout=EXPORT_MS)
    press(page.get_by_role("radio", name="Members", exact=True))
    to_add = page.get_by_text(re.compile(r"^To add: [\d,]+$")).first.inner_text().removeprefix("To add: ")

    # The rest of it takes a while, is seen by another person, and after a reload.
    everything.fault("slow", seconds=8, target="mixpanel")
    press(page.get_by_text("Recurring (dynamic)"))
    expect(page.get_by_role("combobox", name="Interval")).to_be_visible()
    press(page.get_by_role("button", name="Start sync"))
    expect(page.get_by_text("the run continues")).to_be_visible(timeout=EXPORT_MS)
    page.reload()
    expect(page.get_by_text("the run continues")).to_be_visible(timeout=EXPORT_MS)
    go(other_page, f"{everything.url}/cohorts?cohort={TRIAL}", "Cohorts")
    expect(other_page.get_by_text("the run continues")).to_be_visible(timeout=EXPORT_MS)
    everything.clear_faults()
    for each in (page, other_page):
        expect(each.get_by_text("Every user with a usable id is in the group")).to_be_visible(timeout=EXPORT_MS)
    expect(page.get_by_text(re.compile(rf"^{re.escape(to_add)} added,"))).to_be_visible()

    press(page.get_by_role("link", name="View sync"))
    settled(page, "Syncs")
    press(page.get_by_role("button", name="Pause", exact=True))
    expect(page.get_by_text("Paused by local.")).to_be_visible()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


@LONG
def test_an_analyst_exports_several_cohorts_at_once_and_watches_them_by_their_address(
    everything: Everything, page: Page
):
    go(page, f"{everything.url}/cohorts", "Cohorts")
    for text in ("spenders", "Newsletter readers"):
        tick_row(page, text)
    press(page.get_by_role("button", name="Export 2 cohorts"))
    expect(page.get_by_text("All 2 would be done by about")).to_be_visible()
    everything.fault("slow", seconds=8, target="mixpanel")
    press(page.get_by_role("button", name="Start 2 exports"))
    expect(page.get_by_text("the runs continue")).to_be_visible()

    page.reload()
    expect(page.get_by_text("the runs continue")).to_be_visible()
    everything.clear_faults()
    expect(page.get_by_text("2 succeeded")).to_be_visible(timeout=EXPORT_MS)
    expect(page.get_by_text("All have ended.")).to_be_visible()
    press(page.get_by_role("link", name="Cohorts", exact=True))
    expect(page.get_by_role("button", name="Export several")).to_be_visible()


@LONG
def test_an_analyst_pauses_and_resumes_many_at_once_after_a_question_that_names_them(
    everything: Everything, page: Page
):
    for cohort in (SPENDERS, NEWSLETTER):
        everything.core("syncs", "add", str(cohort), "--every", "1440")
    go(page, f"{everything.url}/syncs", "Syncs")
    grid = page.get_by_test_id("stDataFrame").first
    name = find_cell(grid, "spenders").inner_text()
    for text in ("spenders", "Newsletter readers"):
        tick_row(page, text)
    press(page.get_by_role("button", name="Pause 2"))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert bold(dialog) == [name, "Newsletter readers"]
    assert dialog.locator("b").count() == 0
    press(dialog.get_by_role("button", name="Pause 2"))

    expect(page.get_by_text("2 syncs paused.")).to_be_visible()
    expect(dialog).to_be_hidden()
    press(page.get_by_text("Paused ("))
    tick_row(page, "Newsletter readers")
    press(page.get_by_role("button", name="Resume 1"))
    press(page.get_by_role("dialog").get_by_role("button", name="Resume 1"))
    expect(page.get_by_text("1 sync resumed.")).to_be_visible()


@LONG
def test_an_analyst_copies_a_sync_to_another_destination(everything: Everything, page: Page):
    folder = everything.home / "groups"
    everything.core("connect", "csv", "--folder", str(folder), "--name", "archive")
    everything.core("syncs", "add", str(POWER), "--every", "1440", "--to", "default")
    copied = everything.recurring_sync_id(POWER)
    go(page, f"{everything.url}/syncs", "Syncs")
    press_in_row(page, "Recurring syncs", "Power users")
    press(page.get_by_role("button", name="Copy", exact=True))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Power users")
    press(dialog.get_by_role("button", name="Copy sync"))

    # What is said of the copy goes as soon as its first run is over, which may be before anybody looks.
    wait_until(lambda: everything.recurring_sync_id(POWER) != copied)
    expect(page).to_have_url(f"{everything.url}/syncs?sync={everything.recurring_sync_id(POWER)}")
    wait_until(lambda: list(folder.glob("Power-users-*.csv")), within_s=EXPORT_MS / 1000)
    expect(page.get_by_text("Every user with a usable id is in the group")).to_be_visible(timeout=EXPORT_MS)


@LONG
def test_an_admin_finds_yesterdays_failed_run_and_why(everything: Everything, page: Page):
    everything.fault("unauthorized", target="apptimize")
    everything.core("export", str(NEWSLETTER), "--to", "default", "--full")
    everything.clear_faults()
    run = everything.newest_run_id(NEWSLETTER)
    with everything.database() as database:
        failed = select(Run.queued_at, Run.started_at, Run.finished_at).where(Run.id == run)
        times = {name: at - timedelta(hours=20) for name, at in database.execute(failed).one()._mapping.items()}
        database.execute(update(Run).where(col(Run.id) == run).values(**times))

    go(page, everything.url, "Overview")
    press(page.get_by_role("link", name="History", exact=True))
    settled(page, "History")
    choose(page, "State", "Failed")
    page.keyboard.press("Escape")
    expect(page.get_by_text("1–1 of 1 run")).to_be_visible()
    press_in_row(page, "Runs", "Newsletter readers")

    expect(page.get_by_role("heading", level=2)).to_contain_text(f"Run {run}: Newsletter readers")
    expect(page.get_by_text("20 hours ago")).to_be_visible()
    expect(page.get_by_test_id("stAlert").filter(has_text="The run failed")).to_contain_text(
        "does not accept the token"
    )
    press(page.get_by_role("radio", name="API calls", exact=True))
    answers = page.get_by_test_id("stDataFrame").first
    assert find_cell(answers, "401").inner_text() == "401 Credentials not accepted"
    page.reload()
    expect(page.get_by_role("heading", level=2)).to_contain_text(f"Run {run}: Newsletter readers")


@LONG
def test_a_product_manager_finds_out_since_when_a_user_is_in_a_group(
    everything: Everything, power_group: int, page: Page
):
    member = everything.core("groups", "members", str(POWER), "--to", "default").splitlines()[5]
    run = everything.newest_run_id(POWER)

    go(page, f"{everything.url}/groups", "Groups")
    lookup = page.get_by_role("textbox", name="Look up a user")
    lookup.fill(member)
    lookup.press("Enter")

    settled(page, "Look up a user")
    expect(page.get_by_role("heading", level=2)).to_be_visible()
    assert plain_text(page.get_by_role("heading", level=2)) == member
    present = page.get_by_test_id("stAlert").filter(has_text="now")
    expect(present).to_contain_text("Power users")
    expect(present).to_contain_text("since ")
    page.reload()
    expect(present).to_contain_text("Power users")
    settled(page, "Look up a user")
    press_in_row(page, "Membership history", "Power users")
    settled(page, "History")
    assert run
    expect(page.get_by_role("heading", level=2)).to_contain_text("Power users")


@LONG
def test_a_member_is_opened_from_the_group_and_the_way_back_leads_there(
    everything: Everything, power_group: int, page: Page
):
    go(page, f"{everything.url}/groups?group={power_group}", "Groups")
    grid = page.get_by_test_id("stDataFrame").first
    member = find_cell(grid, "_").inner_text()
    press_in_row(page, "Members", member)

    expect(page.get_by_text("In a group now")).to_be_visible()
    assert parse_qs(urlsplit(page.url).query) == {"id": [member], "group": [str(power_group)]}
    press(page.get_by_role("button", name="Look in all groups"))
    expect(page.get_by_role("button", name="Look in all groups")).to_be_hidden()
    assert parse_qs(urlsplit(page.url).query) == {"id": [member]}
    settled(page, "Look up a user")
    press_in_row(page, "The user's groups", "Power users")
    expect(page.get_by_label("Search members")).to_be_visible()
    assert parse_qs(urlsplit(page.url).query) == {"group": [str(power_group)]}


@LONG
def test_an_address_that_showed_a_member_leads_to_the_user_and_each_search_is_kept_in_the_address(
    everything: Everything, power_group: int, page: Page
):
    members = everything.core("groups", "members", str(POWER), "--to", "default").splitlines()
    page.goto(f"{everything.url}/groups?group={power_group}&member={quote(members[5])}")
    settled(page, "Look up a user")
    expect(page.get_by_text("In a group now")).to_be_visible()
    assert parse_qs(urlsplit(page.url).query) == {"id": [members[5]], "group": [str(power_group)]}

    search = page.get_by_role("textbox", name="Distinct id or Apptimize id")
    search.fill(members[6])
    search.press("Enter")
    expect(page.get_by_role("heading", level=2)).to_have_text(members[6])
    assert parse_qs(urlsplit(page.url).query)["id"] == [members[6]]
    press(page.get_by_role("link", name="Power users"))
    expect(page.get_by_label("Search members")).to_be_visible()
    assert parse_qs(urlsplit(page.url).query) == {"group": [str(power_group)]}
