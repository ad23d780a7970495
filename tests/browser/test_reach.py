"""Every page can be read: in the dark, in a narrow window, by a screen reader, from the keyboard alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from tests.browser.stage import EXPORT_MS, PAGES, Everything, go, press, settled, tick_row, turn, turn_to, wait_for_rest
from tests.stage.sandbox import COMPANIES, IMPORTED, NEWSLETTER, POWER, SPENDERS, TRIAL, WEB
from tests.stage.seeds import LONG, SEEDS, few

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# What Streamlit draws itself, and no page can change: the rule, and a part of where it is broken ("": anywhere).
NOT_OURS = {
    "list": "stSidebarNavItems",  # the menu's list holds its sections' names beside its items,
    "listitem": "",  # which are therefore in no list
    "aria-dialog-name": "stToast",  # a toast names itself by an element that is not there
}
FITS = """() => {
    const main = document.querySelector("[data-testid=stMain]");
    return main.scrollWidth <= main.clientWidth;
}"""
HEIGHT = "document.querySelector('[data-testid=stMain]').scrollHeight"
# Makes a promise of the page's next drawing, kept once that is done.
WATCH_NEXT_DRAWING = """() => {
    const app = document.querySelector("[data-testid=stApp]");
    window.drawn = new Promise(done => new MutationObserver(() => {
        if (app.dataset.testScriptState === "notRunning") done();
    }).observe(app, {attributeFilter: ["data-test-script-state"]}));
}"""
NEEDED = ("serious", "critical")
# So many pages are walked through in the short form.
FEW_PAGES = 3
WIDE, NARROW, PHONE = 1280, 800, 390
TWO_SCREENS = 1800


def broken(page: Page, *, only: list[str] | None = None) -> list[str]:
    """Return what axe finds wrong with the page, by rule and place, that is not Streamlit's own."""
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = {"type": "rule", "values": only}
    violations = Axe().run(page, options=options).response["violations"]
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in violations
        if violation["impact"] in NEEDED
        for node in violation["nodes"]
        if NOT_OURS.get(violation["id"], "nowhere") not in f"{node['target']}{node['html']}"
    ]


@pytest.fixture(scope="module")
def used(everything: Everything) -> dict[str, str]:
    """A home with something on every page: the addresses, and their headings."""
    everything.core("export", str(TRIAL))
    everything.core("syncs", "add", str(POWER))
    everything.preview(TRIAL)
    group, sync = everything.group_id(TRIAL), everything.recurring_sync_id(POWER)
    member = everything.core("groups", "members", str(TRIAL)).splitlines()[3]
    views = {
        f"groups?group={group}&view={view}": "Groups"
        for view in ("Members", "Joined and left", "Size over time", "Compare two runs")
    }
    return (
        PAGES
        | views
        | {
            f"cohorts?cohort={TRIAL}": "Cohorts",
            f"cohorts?cohort={TRIAL},{POWER}": "Cohorts",
            f"cohorts?cohort={TRIAL},{POWER}&exports=1": "Cohorts",
            f"syncs?sync={sync}": "Syncs",
            f"users?id={member}": "Look up a user",
            "history?run=1": "History",
        }
        | (_seldom(everything, group) if SEEDS else {})
    )


def _seldom(everything: Everything, group: int) -> dict[str, str]:
    """Let something fail, be held and be paused; return the pages that show it, and those that few people open."""
    everything.core("export", str(SPENDERS))
    everything.fault("unauthorized", target="apptimize")
    everything.core("export", str(NEWSLETTER))
    everything.clear_faults()
    held, failed = everything.hold(IMPORTED), everything.newest_run_id(NEWSLETTER)
    everything.clear_faults()
    details = {f"history?run=1&show={name}": "History" for name in ("members", "steps", "calls")}
    return details | {
        f"overlap?pair={group}-{everything.group_id(SPENDERS)}": "Overlap",
        f"cohorts?cohort={COMPANIES}": "Cohorts",
        f"cohorts?cohort={NEWSLETTER}": "Cohorts",
        f"cohorts?cohort={IMPORTED}": "Cohorts",
        f"history?run={failed}": "History",
        f"history?run={held}": "History",
        "history?status=failed&destination=default": "History",
        "history?text=nobody+bears+this+name": "History",
        f"syncs?sync={everything.recurring_sync_id(POWER)}&show=size": "Syncs",
        "syncs?state=paused": "Syncs",
        f"matching?cohort={TRIAL}": "Matching",
        "matching?view=associate": "Matching",
        "users?id=i_nobody": "Look up a user",
        "audit?line=1": "Audit log",
        "groups?group=99": "Groups",
    }


@dataclass
class Walk:
    """What was seen on a walk through every page: what is wrong, by address, and whom the pages asked."""

    unlabeled: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    pale_in_the_dark: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    headings: dict[str, int] = field(default_factory=dict[str, int])
    too_wide: list[str] = field(default_factory=list[str])
    too_high: list[str] = field(default_factory=list[str])
    asked: list[str] = field(default_factory=list[str])
    said: list[str] = field(default_factory=list[str])

    def look(self, page: Page, path: str, width: int) -> None:
        """Look at a page in the light, in a window of this width."""
        page.set_viewport_size({"width": width, "height": 900})
        wait_for_rest(page)
        self.unlabeled[f"{path} at {width}"] = broken(page)
        if not fits(page):
            self.too_wide.append(f"{path} at {width}")
        if width == WIDE and (height := page.evaluate(HEIGHT)) > TWO_SCREENS:
            self.too_high.append(f"{path}: {height}")

    def look_in_the_dark(self, page: Page, path: str, width: int) -> None:
        """Look at the colors of a page that was turned dark."""
        page.set_viewport_size({"width": width, "height": 900})
        wait_for_rest(page)
        self.pale_in_the_dark[f"{path} at {width}"] = broken(page, only=["color-contrast"])


def fits(page: Page) -> bool:
    """Return whether the page fits into its window; a chart takes its new width a moment after the window."""
    try:
        page.wait_for_function(FITS, timeout=5000)
    except PlaywrightTimeoutError:
        return False
    return True


@pytest.fixture(scope="module")
def walk(everything: Everything, used: dict[str, str], context: BrowserContext) -> Walk:
    """Walk through every page once: in the light, then in the dark, in wide and in narrow windows.

    The short form sees a few; the tests of it are marked so that the long form takes them as well.
    """
    walk, page = Walk(), context.new_page()
    page.on("request", lambda request: walk.asked.append(request.url))
    page.on("console", lambda message: walk.said.append(message.text) if message.type == "error" else None)
    go(page, everything.url, "Overview")
    for path, heading in list(used.items())[:: 1 if SEEDS else -(-len(used) // FEW_PAGES)]:
        page.set_viewport_size({"width": WIDE, "height": 900})
        turn_to(page, f"{everything.url}/{path}", heading)
        walk.headings[path] = page.locator("h1").count()
        for width in (WIDE, NARROW, PHONE) if SEEDS else (WIDE, NARROW):
            walk.look(page, path, width)
        turn(page, scheme="dark")
        settled(page, heading)
        for width in (PHONE, NARROW, WIDE) if SEEDS else (NARROW,):
            walk.look_in_the_dark(page, path, width)
        turn(page, scheme="light")
    page.close()
    return walk


@few(1)
def test_no_page_leaves_out_a_label_or_is_too_pale_to_read(walk: Walk):
    assert {path: wrong for path, wrong in walk.unlabeled.items() if wrong} == {}
    assert set(walk.headings.values()) == {1}, walk.headings


@few(1)
def test_no_page_is_too_pale_to_read_in_the_dark(walk: Walk):
    assert {path: wrong for path, wrong in walk.pale_in_the_dark.items() if wrong} == {}


@few(1)
def test_nothing_is_wider_than_a_narrow_window(walk: Walk):
    assert walk.too_wide == []


@few(1)
def test_no_page_is_higher_than_two_screens(walk: Walk):
    assert walk.too_high == []


@few(1)
def test_pages_ask_no_one_outside_this_machine_and_say_nothing_to_the_console(everything: Everything, walk: Walk):
    own = (everything.url, everything.url.replace("http", "ws"), "data:", "blob:")
    assert [url for url in walk.asked if not url.startswith(own)] == []
    # Streamlit looks for its server below a deep link first.
    assert [text for text in walk.said if "404" not in text] == []


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus, as a person without a mouse does."""
    expect(target).to_be_visible()
    wait_for_rest(page)
    for _ in range(80):
        if target.evaluate("element => element === document.activeElement || element.contains(document.activeElement)"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {target}")


@LONG
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
    tab_to(page, page.get_by_role("button", name="Open", exact=True))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("button", name="Start sync"))
    page.keyboard.press("Enter")

    expect(page.get_by_text("Every user with a usable id is in the group")).to_be_visible(timeout=EXPORT_MS)


def test_either_key_opens_the_search_and_what_it_finds_is_opened_without_a_mouse(
    everything: Everything, used: dict[str, str], page: Page
):
    go(page, f"{everything.url}/history", "History")
    expect(page).to_have_title("History · Cohort Bridge")
    dialog = page.get_by_role("dialog", name="Search")
    for keys in ("/", "Control+k"):
        page.keyboard.press(keys)
        expect(dialog).to_be_visible()
        expect(dialog.get_by_role("searchbox")).to_be_focused()
        if keys == "/":
            page.keyboard.type("searched for before")
            tab_to(page, dialog.get_by_role("button", name="Open"))
            page.keyboard.press("Control+k")
            expect(dialog.get_by_role("searchbox")).to_be_focused()
            page.keyboard.type("run 1")
            expect(dialog.get_by_role("searchbox")).to_have_value("run 1")
            page.evaluate(WATCH_NEXT_DRAWING)
            page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()
            page.evaluate("() => window.drawn")  # the server knows that it is closed
            wait_for_rest(page)
    page.keyboard.type("a/b run 1")
    expect(dialog.get_by_role("searchbox")).to_have_value("a/b run 1")
    for _ in "a/b ":
        page.keyboard.press("Home")
        page.keyboard.press("Delete")
    found = dialog.get_by_role("button", name="Run 1, succeeded")
    expect(found).to_be_visible()
    assert broken(page) == []
    page.keyboard.press("ArrowDown")
    expect(found).to_be_focused()
    page.keyboard.press("Enter")

    expect(dialog).to_be_hidden()
    expect(page.get_by_role("heading", level=2).first).to_contain_text("Run 1: ")
    expect(page).to_have_url(f"{everything.url}/history?run=1")
    expect(page).to_have_title("Run 1 · Cohort Bridge")
    expect(page.get_by_role("heading", name="History", level=1)).to_be_focused()

    wait_for_rest(page)
    page.keyboard.press("/")
    expect(dialog.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("trial ends")
    page.keyboard.press("Enter")  # at once: before what was typed is searched for

    expect(page.get_by_role("heading", name="Groups", level=1)).to_be_visible()
    expect(dialog).to_be_hidden()


@LONG
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


@LONG
def test_the_form_of_a_recurring_sync_is_in_sight_and_no_list_lies_over_its_button(
    everything: Everything, used: dict[str, str], page: Page
):
    go(page, f"{everything.url}/cohorts?cohort={WEB}", "Cohorts")
    press(page.get_by_text("Recurring (dynamic)"))
    # Not by its role: while a list is open, nothing below it has one.
    start, interval = page.locator(f".st-key-cohorts_start_{WEB}"), page.get_by_role("combobox", name="Interval")
    expect(interval).to_be_visible()
    wait_for_rest(page)
    expect(start).to_be_in_viewport(ratio=1)

    press(interval)
    press(page.get_by_role("option", name="At set times"))
    expect(page.get_by_text("The first run starts at once. Next:")).to_be_visible()
    for width in (NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": 900})
        wait_for_rest(page)
        expect(start).to_be_in_viewport(ratio=1)
    for width, name in ((WIDE, "Interval"), (WIDE, "Times"), (PHONE, "Times"), (PHONE, "Time zone")):
        page.set_viewport_size({"width": width, "height": 900})
        wait_for_rest(page)
        field = page.get_by_role("combobox", name=name)
        field.evaluate("field => field.scrollIntoView({ block: 'center' })")
        press(field)
        opened = page.locator("[role=listbox], [data-testid*=VirtualDropdown]").last
        expect(opened).to_be_visible()
        wait_for_rest(page)
        assert not overlap(opened, start), f"{name} at {width}"
        page.keyboard.press("Escape")


@LONG
def test_no_calendar_lies_over_the_buttons_of_its_dialog(everything: Everything, used: dict[str, str], page: Page):
    sync = everything.recurring_sync_id(POWER)
    for width in (WIDE, PHONE):
        page.set_viewport_size({"width": width, "height": 900})
        go(page, f"{everything.url}/syncs?sync={sync}", "Syncs")
        press(page.get_by_role("button", name="Pause until"))
        press(page.get_by_role("button", name="Choose date"))
        calendar = page.get_by_test_id("stDateInputCalendar")
        expect(calendar).to_be_visible()
        wait_for_rest(page)
        # Not by their roles: while the calendar is open, nothing else has one.
        for button in ("yes", "no"):
            assert not overlap(calendar, page.locator(f".st-key-syncs_until_{button}")), f"{button} at {width}"


def overlap(one: Locator, other: Locator) -> bool:
    a, b = one.bounding_box(), other.bounding_box()
    assert a
    assert b
    return all(a[at] < b[at] + b[size] and b[at] < a[at] + a[size] for at, size in (("x", "width"), ("y", "height")))


Opened = Callable[[Page], object]


def named(name: str) -> Opened:
    """Return what presses the last button of this name."""
    return lambda page: press(page.get_by_role("button", name=name, exact=True).last)


def tick_all(page: Page) -> None:
    tick_row(page, "Power users")
    press(page.get_by_role("button", name="Pause 1"))


def find_nobody(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.get_by_role("dialog").get_by_role("searchbox").fill("i_nobody")
    expect(page.get_by_text("Nothing has this name or number")).to_be_visible()


# What opens above a page, and what opens it: the address, its heading, and the press.
ABOVE: dict[str, tuple[str, str, Opened]] = {
    "search": ("", "Overview", find_nobody),
    "held run": ("", "Overview", named("Apply once")),
    "numbers": ("matching", "Matching", named("The numbers as a table")),
    "saved filters": ("history?status=failed", "History", named("Saved filters")),
    "copy": ("syncs?sync={sync}", "Syncs", named("Copy")),
    "pause until": ("syncs?sync={sync}", "Syncs", named("Pause until")),
    "remove sync": ("syncs?sync={sync}", "Syncs", named("Remove")),
    "pause": ("syncs", "Syncs", tick_all),
    "roll back": ("history?run=1", "History", named("Roll back to this run")),
    "forget": ("users?id=i_nobody", "Look up a user", named("Forget this person")),
    "change project": ("connections", "Connections", named("Change project")),
    "remove connection": ("connections", "Connections", named("Remove")),
    "alert channel": ("alerts", "Alerts", named("Add channel")),
    "token": ("people", "People", named("Make token")),
}


@LONG
@pytest.mark.parametrize("what", ABOVE)
def test_nothing_that_opens_above_a_page_leaves_out_a_label_or_is_too_pale(
    everything: Everything, used: dict[str, str], page: Page, what: str
):
    everything.core("connect", "csv", "--folder", str(everything.home / "groups"), "--name", "archive")
    path, heading, open_it = ABOVE[what]
    go(page, f"{everything.url}/{path.format(sync=everything.recurring_sync_id(POWER))}", heading)
    open_it(page)
    wait_for_rest(page)
    for width in (WIDE, NARROW, PHONE):
        page.set_viewport_size({"width": width, "height": 900})
        wait_for_rest(page)
        assert broken(page) == [], f"light, {width}"
    turn(page, scheme="dark")
    for width in (PHONE, NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": 900})
        wait_for_rest(page)
        assert broken(page, only=["color-contrast"]) == [], f"dark, {width}"
    turn(page, scheme="light")
