"""Who reads the pages with a screen reader, or reaches them from the keyboard alone, gets as far as everyone else."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browser.stage import EXPORT_MS, Everything, go, press, wait_for_rest
from tests.stage.sandbox import POWER, TRIAL

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# What Streamlit draws itself, and no page can change: the rule, and a part of where it is broken ("": anywhere).
NOT_OURS = {
    "list": "stSidebarNavItems",  # the menu's list holds its sections' names beside its items,
    "listitem": "",  # which are therefore in no list
    "aria-dialog-name": "stToast",  # a toast names itself by an element that is not there
}
NEEDED = ("serious", "critical")


def broken(page: Page, *, only: list[str] | None = None) -> list[str]:
    """Return what axe finds wrong with the page, by rule and place, that is not Streamlit's own."""
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = {"type": "rule", "values": only}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in NEEDED
        for node in one["nodes"]
        if NOT_OURS.get(one["id"], "nowhere") not in f"{node['target']}{node['html']}"
    ]


@pytest.fixture(scope="module")
def used(everything: Everything) -> dict[str, str]:
    """A home with something on every page: the addresses, and their headings."""
    everything.core("export", str(TRIAL))
    everything.core("syncs", "add", str(POWER))
    everything.preview(TRIAL)
    group, sync = everything.group_id(TRIAL), everything.recurring_sync_id(POWER)
    member = everything.core("groups", "members", str(TRIAL)).splitlines()[3]
    return {
        "": "Overview",
        "cohorts": "Cohorts",
        f"cohorts?cohort={TRIAL}": "Cohorts",
        "syncs": "Syncs",
        f"syncs?sync={sync}": "Syncs",
        "groups": "Groups",
        f"groups?group={group}&view=Size+over+time": "Groups",
        f"users?id={member}": "Look up a user",
        "history": "History",
        "history?run=1": "History",
        "matching": "Matching",
        "connections": "Connections",
        "practice": "How to connect for real",
        "people": "People",
        "audit": "Audit log",
    }


def test_no_page_leaves_out_a_label_or_is_too_pale_to_read(everything: Everything, used: dict[str, str], page: Page):
    wrong = dict[str, list[str]]()
    for path, heading in used.items():
        go(page, f"{everything.url}/{path}", heading)
        wrong[path] = broken(page)
        assert page.locator("h1").count() == 1, path

    assert {path: found for path, found in wrong.items() if found} == {}


def test_no_page_is_too_pale_to_read_in_the_dark(everything: Everything, used: dict[str, str], page: Page):
    page.emulate_media(color_scheme="dark")
    wrong = dict[str, list[str]]()
    user = next(path for path in used if path.startswith("users"))
    for path in ("", f"cohorts?cohort={TRIAL}", "history?run=1", "matching", "connections", user):
        go(page, f"{everything.url}/{path}", used[path])
        wrong[path] = broken(page, only=["color-contrast"])

    assert {path: found for path, found in wrong.items() if found} == {}


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus, as a person without a mouse does."""
    expect(target).to_be_visible()
    wait_for_rest(page)
    for _ in range(80):
        if target.evaluate("element => element === document.activeElement || element.contains(document.activeElement)"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {target}")


def test_a_cohort_is_exported_from_the_keyboard_alone(everything: Everything, used: dict[str, str], page: Page):
    go(page, everything.url, "Overview")
    tab_to(page, page.get_by_test_id("stSidebarNav").get_by_role("link", name="Cohorts", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Cohorts", level=1)).to_be_visible()
    tab_to(page, page.get_by_role("searchbox", name="Search", exact=True))
    page.keyboard.type("Power users")
    expect(page.get_by_text("1 cohort of 10")).to_be_visible()
    tab_to(page, page.get_by_test_id("stDataFrame").locator("canvas").first)
    for key in ("ArrowDown", "Shift+Space"):
        page.keyboard.press(key)
    tab_to(page, page.get_by_role("button", name="Start sync"))
    page.keyboard.press("Enter")

    expect(page.get_by_text("The group equals its cohort")).to_be_visible(timeout=EXPORT_MS)


def test_a_question_takes_the_focus_and_escape_means_no(everything: Everything, used: dict[str, str], page: Page):
    sync = everything.recurring_sync_id(POWER)
    go(page, f"{everything.url}/syncs?sync={sync}", "Syncs")
    press(page.get_by_role("button", name="Remove", exact=True))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert dialog.evaluate("element => element.contains(document.activeElement)")
    assert broken(page) == []

    page.keyboard.press("Escape")

    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Remove", exact=True)).to_be_visible()
