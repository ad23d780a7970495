"""What only a browser can tell: markup as text, dialogs, downloads, a second person, addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from core.sandbox import people
from tests.browser.stage import (
    EXPORT_MS,
    Everything,
    find_cell,
    go,
    plain_text,
    press,
    press_in_row,
    settled,
    wait_for_rest,
)
from tests.stage.sandbox import POWER, SPENDERS
from tests.stage.seeds import LONG, few

# How far what is seen has moved since the page was loaded, without anyone having pressed anything.
_MOVED = """() => {
    const watch = new PerformanceObserver(() => {});
    watch.observe({type: "layout-shift", buffered: true});
    return watch.takeRecords().filter(move => !move.hadRecentInput).reduce((sum, move) => sum + move.value, 0);
}"""

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def exported(everything: Everything) -> dict[int, dict[str, object]]:
    """Runs of the command line on the same home, by cohort."""
    return {cohort: json.loads(everything.core("export", str(cohort), "--json")) for cohort in (SPENDERS, POWER)}


@pytest.fixture
def faulty(everything: Everything) -> Iterator[Everything]:
    """The product, whose faults are cleared after the test."""
    yield everything
    everything.clear_faults()


def get_cohort_name(everything: Everything, cohort: int) -> str:
    return next(entry["name"] for entry in json.loads(everything.core("cohorts", "--json")) if entry["id"] == cohort)


def press_last_cell_of_first_row(page: Page) -> None:
    """Press a cell of the overlap's grid, which is drawn on a canvas: its rows are 33 pixels high below 36."""
    wait_for_rest(page)
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] - 40, box["y"] + 36 + 16)


@LONG
def test_the_first_visitor_of_a_fresh_process_may_come_by_a_deep_link(everything: Everything, page: Page):
    """Must stay the first test of this module: Streamlit treats the first session of a process differently."""
    go(page, f"{everything.url}/cohorts?cohort={POWER}", "Cohorts")

    expect(page.get_by_role("button", name="Start sync")).to_be_visible()
    expect(page.get_by_role("dialog")).to_be_hidden()


@LONG
def test_what_is_seen_of_a_page_stays_where_it_is_while_the_rest_is_loaded(
    everything: Everything, exported: dict[int, dict[str, object]], page: Page
):
    go(page, f"{everything.url}/history", "History")
    expect(page.get_by_test_id("stVegaLiteChart").locator("svg.marks")).to_be_visible()

    assert page.evaluate(_MOVED) <= 0.02


def test_a_page_without_a_chart_gets_ready_for_one_while_nothing_else_is_to_be_done(everything: Everything, page: Page):
    go(page, f"{everything.url}/connections", "Connections")

    page.wait_for_function("() => performance.getEntriesByName('chart drawn').length === 1")
    expect(page.locator("svg.marks")).to_have_count(0)


def test_a_name_with_markup_is_text_wherever_it_is_shown(
    everything: Everything, exported: dict[int, dict[str, object]], page: Page
):
    name, run = get_cohort_name(everything, SPENDERS), exported[SPENDERS]["id"]
    assert "<b>" in name

    go(page, f"{everything.url}/cohorts?cohort={SPENDERS}", "Cohorts")
    assert plain_text(page.get_by_role("heading", level=2)) == name
    expect(page.get_by_role("paragraph").filter(has_text=name).first).to_be_visible()
    go(page, f"{everything.url}/history?run={run}", "History")
    assert plain_text(page.get_by_role("heading", level=2)) == f"Run {run}: {name}"
    go(page, f"{everything.url}/groups", "Groups")
    assert find_cell(page.get_by_test_id("stDataFrame").first, "spenders").inner_text() == name
    press_in_row(page, "Delivered groups", "spenders")
    heading = page.get_by_role("heading", level=2)
    expect(heading).to_be_visible()
    assert plain_text(heading) == name
    expect(page.get_by_text("Apptimize shows it as")).to_contain_text("spenders")
    assert page.get_by_test_id("stMain").locator("b").count() == 0


@few(1)
@pytest.mark.parametrize(
    "name",
    [
        "**x** [a](https://x.example) $x$ :red[x] `c` <b>b</b> <script>alert(1)</script>",
        ":smile: :material/home: :streamlit: -> <- -- >= ~~s~~",
        "# h https://evil.example www.evil.example a@b.example ![i](http://x.example/y.png) &amp; \\* 東京",
    ],
)
def test_a_text_that_tries_to_be_markup_is_text(everything: Everything, page: Page, name: str):
    """What the address asks for is said in a message, as the names in the core's sentences are."""
    go(page, f"{everything.url}/cohorts?cohort={quote(name)}", "Cohorts")

    warning = page.get_by_test_id("stAlert").first
    expect(warning).to_be_visible()
    assert plain_text(warning).strip().endswith(f"Mixpanel lists no cohort {name} in this project.")
    assert warning.locator("a, img, b, strong, code, em, del, .katex").count() == 0


def test_a_row_is_opened_from_the_keyboard(everything: Everything, page: Page):
    go(page, f"{everything.url}/cohorts", "Cohorts")
    page.locator("canvas").first.focus()
    for key in ("ArrowDown", "ArrowDown", "Shift+Space"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Open", exact=True).press("Enter")  # any number of cohorts can be selected

    expect(page.get_by_role("button", name="Start sync")).to_be_visible()


@LONG
@pytest.mark.parametrize(
    ("entered", "sentence"),
    [
        ({"secret": "wrong"}, "Mixpanel does not accept the service account's username and secret."),
        ({"Project id": "999"}, "The service account is not an admin of this Mixpanel project."),
        (
            {"username": people.ANALYST_USERNAME, "secret": people.ANALYST_SECRET},
            "The service account is not an admin of this Mixpanel project.",
        ),
    ],
    ids=["wrong secret", "wrong project", "role below admin"],
)
def test_what_is_wrong_with_a_service_account_is_said(
    everything: Everything, page: Page, entered: dict[str, str], sentence: str
):
    go(page, f"{everything.url}/connections", "Connections")
    form = page.locator(".st-key-connections_mixpanel")
    press(form.get_by_text("Connect another project"))
    form.get_by_role("textbox", name="Service account username").fill(entered.get("username", people.ADMIN_USERNAME))
    form.get_by_label("Service account secret").fill(entered.get("secret", people.ADMIN_SECRET))
    form.get_by_label("Project id").fill(entered.get("Project id", str(people.PROJECT_ID)))
    press(form.get_by_role("button", name="Connect Mixpanel"))

    expect(page.get_by_text(sentence)).to_be_visible()
    expect(form.get_by_label("Service account secret")).to_have_value("")


@LONG
def test_a_wrong_token_is_said(everything: Everything, page: Page):
    go(page, f"{everything.url}/connections", "Connections")
    form = page.locator(".st-key-connections_apptimize")
    press(form.get_by_text("Connect", exact=True))
    form.get_by_label("Apptimize token").fill("wrong")
    press(form.get_by_role("button", name="Connect Apptimize"))

    expect(page.get_by_text("Token: the endpoint does not accept it.")).to_be_visible()


@LONG
def test_a_connection_is_removed_after_a_question(everything: Everything, page: Page, tmp_path: Path):
    everything.core("connect", "csv", "--folder", str(tmp_path), "--name", "to go")
    go(page, f"{everything.url}/connections", "Connections")
    press(page.get_by_role("button", name="Remove").last)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("to go")
    expect(dialog).to_contain_text("No group was delivered through it.")
    press(dialog.get_by_role("button", name="Cancel"))
    expect(dialog).to_be_hidden()

    press(page.get_by_role("button", name="Remove").last)
    press(dialog.get_by_role("button", name="Remove"))

    expect(page.get_by_text("to go was removed.")).to_be_visible()
    expect(dialog).to_be_hidden()


def test_the_download_is_the_csv_byte_for_byte(
    everything: Everything, exported: dict[int, dict[str, object]], page: Page, tmp_path: Path
):
    everything.core("groups", "members", str(POWER), "--out", str(tmp_path / "expected.csv"))
    go(page, f"{everything.url}/groups", "Groups")
    press_in_row(page, "Delivered groups", "Power users")
    with page.expect_download() as download:
        press(page.get_by_role("button", name="Download CSV"))

    assert download.value.suggested_filename == f"Power-users-{POWER}.csv"
    assert Path(download.value.path()).read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_members_are_searched_while_typing(everything: Everything, exported: dict[int, dict[str, object]], page: Page):
    go(page, f"{everything.url}/groups", "Groups")
    press_in_row(page, "Delivered groups", "Power users")
    grid = page.get_by_test_id("stDataFrame").first
    first = find_cell(grid, "_").inner_text()

    page.get_by_label("Search members").press_sequentially(first)

    expect(page.get_by_text("1–1 of 1 member")).to_be_visible()


@LONG
def test_enter_takes_the_group_that_was_typed_and_never_all_that_are_like_it(
    everything: Everything, exported: dict[int, dict[str, object]], page: Page
):
    go(page, f"{everything.url}/overlap", "Overlap")
    field = page.get_by_role("combobox", name="Groups")

    field.press_sequentially("er")  # both names have it
    field.press("Enter")

    page.wait_for_url("**/overlap?groups=*")
    assert page.url.count("groups=") == 1


@LONG
def test_a_cell_of_the_overlap_opens_the_list_of_who_is_in_both_groups(
    everything: Everything, exported: dict[int, dict[str, object]], page: Page
):
    groups = everything.group_id(POWER), everything.group_id(SPENDERS)
    go(page, f"{everything.url}/overlap?groups={groups[0]}&groups={groups[1]}", "Overlap")
    grid = page.get_by_test_id("stDataFrame").first
    shared = find_cell(grid, "%)").inner_text().partition(" ")[0]

    press_last_cell_of_first_row(page)

    expect(page.get_by_role("heading", level=2)).to_contain_text("In both")
    assert f"pair={groups[0]}-{groups[1]}" in page.url
    with page.expect_download() as download:
        press(page.get_by_role("button", name="Download for a spreadsheet"))
    assert len(Path(download.value.path()).read_text().splitlines()) == 1 + int(shared.replace(",", ""))
    press(page.get_by_role("button", name="All groups"))
    expect(page.get_by_role("heading", name="Groups that share members")).to_be_visible()
    press_in_row(page, "Groups that share members", "spenders")
    expect(page.get_by_role("heading", level=2)).to_contain_text("In both")


@LONG
def test_a_run_is_seen_and_cancelled_by_another_person(faulty: Everything, page: Page, other_page: Page):
    # It cannot end by itself before it is cancelled.
    faulty.fault("slow", seconds=60, target="mixpanel", path="engage")
    go(page, f"{faulty.url}/cohorts?cohort={POWER}", "Cohorts")
    press(page.get_by_role("button", name="Start sync"))
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()

    go(other_page, f"{faulty.url}/cohorts?cohort={POWER}", "Cohorts")
    press(other_page.get_by_role("button", name="Cancel"))

    for each in (other_page, page):
        expect(each.get_by_text("Cancelled", exact=True).first).to_be_visible(timeout=EXPORT_MS)
        expect(each.get_by_role("button", name="Start sync")).to_be_visible()


@LONG
def test_addresses_lead_to_what_they_name_and_survive_a_reload(
    everything: Everything, exported: dict[int, dict[str, object]], page: Page
):
    run = exported[POWER]["id"]
    for path, heading, title in (
        (f"history?run={run}", "History", f"Run {run}: Power users"),
        (f"cohorts?cohort={POWER}", "Cohorts", "Power users"),
        (f"groups?group={everything.group_id(SPENDERS)}", "Groups", "spenders"),
    ):
        go(page, f"{everything.url}/{path}", heading)
        expect(page.get_by_role("heading", level=2)).to_contain_text(title)
        page.reload()
        expect(page.get_by_role("heading", level=2)).to_contain_text(title)
        press(page.get_by_role("button", name="All "))
        expect(page.get_by_role("heading", level=2)).to_be_hidden()
        assert "?" not in page.url


@LONG
def test_links_lead_from_a_group_to_its_run_and_its_cohort(
    everything: Everything, exported: dict[int, dict[str, object]], page: Page
):
    go(page, f"{everything.url}/groups?group={everything.group_id(SPENDERS)}", "Groups")
    press(page.get_by_role("link", name="View last delivery"))
    settled(page, "History")
    expect(page.get_by_role("heading", level=2)).to_contain_text("Run ")
    press(page.get_by_role("link", name="View cohort"))
    settled(page, "Cohorts")
    expect(page.get_by_role("button", name="Start sync")).to_be_visible()
