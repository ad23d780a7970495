"""What the address names is what is shown: the menu leads back to a list, and a reload shows the same."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import Everything, go, press, settled
from tests.stage.sandbox import POWER
from tests.stage.seeds import LONG

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# What is open in a section, by the section's path: the parameter of the address, its value, and the section's title.
OPEN = {
    "cohorts": ("cohort", str(POWER), "Cohorts"),
    "syncs": ("sync", "1", "Syncs"),
    "groups": ("group", "1", "Groups"),
    "overlap": ("pair", "1-2", "Overlap"),
    "users": ("id", "nobody", "Look up a user"),
    "history": ("run", "1", "History"),
    "alerts": ("channel", "99", "Alerts"),
    "people": ("person", "99", "People"),
    "audit": ("line", "1", "Audit log"),
}


@pytest.fixture(scope="module")
def exported(everything: Everything) -> Everything:
    everything.core("export", str(POWER), "--to", "default")
    return everything


@LONG
def test_the_link_to_the_section_one_is_in_leads_from_what_is_open_to_the_list(exported: Everything, page: Page):
    menu = page.get_by_test_id("stSidebarNav")
    for path, (name, value, title) in OPEN.items():
        go(page, f"{exported.url}/{path}?{name}={value}", title)

        press(menu.get_by_role("link", name=title, exact=True))

        page.wait_for_url(f"{exported.url}/{path}")
        settled(page, title)
        page.go_back()
        page.wait_for_url(f"{exported.url}/{path}?{name}={value}")
        settled(page, title)


@LONG
def test_a_reload_shows_the_list_as_it_was_filtered(exported: Everything, page: Page):
    go(page, f"{exported.url}/history", "History")
    page.get_by_label("Cohort or group").fill("nobody bears this name")
    expect(page.get_by_text("No run matches the filters.")).to_be_visible()
    page.wait_for_url("**/history?text=nobody+bears+this+name")

    page.reload()

    settled(page, "History")
    expect(page.get_by_label("Cohort or group")).to_have_value("nobody bears this name")
    expect(page.get_by_text("No run matches the filters.")).to_be_visible()
    press(page.get_by_role("button", name="Clear filters"))
    page.wait_for_url("**/history")
    expect(page.get_by_label("Cohort or group")).to_have_value("")
    expect(page.get_by_text("1–1 of 1 run")).to_be_visible()


@LONG
def test_a_user_is_looked_up_by_what_is_typed(exported: Everything, page: Page):
    go(page, f"{exported.url}/users", "Look up a user")
    field = page.get_by_role("textbox", name="Distinct id or Apptimize id")

    field.fill("nobody at all")
    field.press("Enter")

    expect(page.get_by_role("heading", name="nobody at all")).to_be_visible()
    page.wait_for_url("**/users?id=nobody+at+all")
    field.fill("")
    field.press("Enter")
    expect(page.get_by_role("heading", name="nobody at all")).to_have_count(0)
    page.wait_for_url("**/users")


@LONG
def test_the_menu_names_what_is_open_and_nothing_that_a_list_is_filtered_by(exported: Everything, page: Page):
    menu = page.get_by_test_id("stSidebarNav")

    go(page, f"{exported.url}/syncs?sync=1", "Syncs")
    expect(menu.get_by_role("link", name="Power users", exact=True)).to_be_visible()
    go(page, f"{exported.url}/history?sync=1", "History")
    expect(menu.get_by_role("link", name="History", exact=True)).to_be_visible()

    expect(menu.get_by_role("link", name="Power users", exact=True)).to_have_count(0)
