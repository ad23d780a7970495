"""Make pictures of every page, light and dark, in three widths: `python -m tests.browser.pictures [FOLDER]`.

Set up over the sandbox are: nothing connected, a running export and association, runs that failed, plenty of
everything, searches that find nothing, forms and questions; then the same without a worker, for each role, and with
files that are gone.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, expect

from tests.browser import stage
from tests.browser.picture_homes import (
    a_member,
    associate,
    fill,
    let_account_expire,
    lose_members,
    plenty,
)
from tests.browser.picture_pages import (
    busy_pages,
    failed_pages,
    full_pages,
    lost_pages,
    no_worker_pages,
    unknown_pages,
)
from tests.browser.signed import sign_in, signed_dashboard
from tests.browser.stage import PAGES, Everything, go, picture, press, tick_row, turn_to, wait_for_rest
from tests.stage.processes import find_chromium
from tests.stage.sandbox import EVERYONE, IMPORTED, NEWSLETTER, SPENDERS, TRIAL

Scheme = Literal["light", "dark"]
Variant = tuple[Scheme, int]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDTHS, HEIGHT = (1280, 800, 390), 900
# The machine may have much other work.
PATIENCE_MS = 60_000
# Below that the menu is folded.
NARROWEST = 768
VARIANTS: tuple[Variant, ...] = tuple((scheme, width) for scheme in SCHEMES for width in WIDTHS)
# Of what is seldom seen, three are enough to see each scheme and width.
CORNERS: tuple[Variant, ...] = (("light", 1280), ("dark", 800), ("light", 390))
NO_MATCH = "no one has this name"


def main() -> None:
    """Make all pictures, and say where they are."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="pictures-"))
    if not find_chromium():
        sys.exit("There is no Chromium on this machine.")
    expect.set_options(timeout=PATIENCE_MS)
    with ExitStack() as stack:
        browser = stack.enter_context(stage.browser())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with stage.dashboard_alone(home / "empty") as alone:
            take(browser, alone, folder / "empty", PAGES)
        used = home / "used" / "home"  # where the dashboard that people sign in to looks for it
        with stage.up(used) as everything:
            take(browser, everything, folder / "first-day", {"": "Overview", "cohorts": "Cohorts"})
            fill(everything)
            take(browser, everything, folder / "failed", failed_pages(everything))
            take_question(browser, everything, folder / "forms", "apply-once", "", "Overview", "Apply once")
            for cohort in (NEWSLETTER, IMPORTED):
                everything.core("export", str(cohort))
            plenty(everything)
            associate(everything, home)
            take(browser, everything, folder / "full", full_pages(everything))
            take(browser, everything, folder / "none", unknown_pages(), CORNERS)
            take_searches(browser, everything, folder / "none")
            take_search_box(browser, everything, folder / "full")
            take_saved_filters(browser, everything, folder / "forms")
            take_forms(browser, everything, folder / "forms")
            take_signed_in(browser, home, folder / "signed-in")
            take_questions(browser, everything, folder / "forms")
            with running_association(browser, everything, home):
                take(browser, everything, folder / "busy", {"matching?association=4": "Matching"})
            with running_export(browser, everything):
                take(browser, everything, folder / "busy", busy_pages(everything))
        with stage.dashboard_alone(used) as alone:
            everything = Everything(alone.url, alone.sandbox, used)
            let_account_expire(everything)
            take(browser, everything, folder / "no-worker", no_worker_pages(everything))
            take_refresh(browser, everything, folder / "no-worker")
        take_roles(browser, used.parent, folder / "roles")
        with stage.dashboard_alone(used) as alone:
            everything = Everything(alone.url, alone.sandbox, used)
            lose_members(everything)
            take(browser, everything, folder / "lost", lost_pages(everything), CORNERS)
        take_broken(browser, home / "broken", folder / "lost")
    print(folder)


def take_signed_in(browser: Browser, home: Path, folder: Path) -> None:
    """Take pictures of the sign-in, of who is denied access, and of what admins decide about people."""
    (home / "signed").mkdir()
    with signed_dashboard(home / "signed") as signed:
        for name in ("boss", "vera", "carl"):
            signed.person(name)
        signed.person("fred", email="fred@elsewhere.example")
        signed.core("people", "add", "ann@example.com", "--role", "analyst")
        for scheme in SCHEMES:
            for width in WIDTHS:
                end = f"{scheme}-{width}.png"
                with window(browser, scheme, width) as page:
                    page.goto(signed.url)
                    page.get_by_role("button", name="Sign in", exact=True).wait_for()
                    picture(page, folder / f"sign-in-{end}")
                    sign_in(page, signed, "fred")
                    expect(page.get_by_text("Access denied")).to_be_visible()
                    picture(page, folder / f"refused-{end}")
                with window(browser, scheme, width) as page:
                    sign_in(page, signed, "vera")
                    expect(page.get_by_text("Signed in as viewer")).to_be_visible()
                    page.goto(f"{signed.url}/connections")
                    expect(page.get_by_text("This page is not for your role")).to_be_visible()
                    picture(page, folder / f"not-for-your-role-{end}")
                with window(browser, scheme, width) as page:
                    sign_in(page, signed, "boss")
                    expect(page.get_by_text("Signed in as admin")).to_be_visible()
                    for path in ("people", "people?person=1", "people?person=3", "audit", "audit?line=2"):
                        go(page, f"{signed.url}/{path}", "People" if "people" in path else "Audit log")
                        picture(page, folder / f"{path.replace('?', '-').replace('=', '-')}-{end}")
                    go(page, f"{signed.url}/people?person=1", "People")
                    press(page.get_by_role("button", name="Deactivate"))
                    expect(page.get_by_role("dialog")).to_be_visible()
                    page.screenshot(path=folder / f"deactivate-{end}", animations="disabled")


def take(
    browser: Browser,
    everything: Everything,
    folder: Path,
    pages: dict[str, str],
    variants: tuple[Variant, ...] = VARIANTS,
) -> None:
    """Take pictures of each page, drawn once for all wide windows of a color scheme, and once for all narrow ones.

    From the widest on: what a window that grows draws again would be missing in its picture.
    """
    kinds: list[tuple[Scheme, bool]] = list(dict.fromkeys((scheme, width < NARROWEST) for scheme, width in variants))
    for scheme, is_narrow in kinds:
        widths = [width for own, width in variants if own == scheme and (width < NARROWEST) is is_narrow]
        with window(browser, scheme, widths[0]) as page:
            show = go
            for path, heading in pages.items():
                page.set_viewport_size({"width": widths[0], "height": HEIGHT})
                show(page, f"{everything.url}/{path}", heading)
                for width in widths:
                    page.set_viewport_size({"width": width, "height": HEIGHT})
                    wait_for_rest(page)
                    picture(page, folder / f"{picture_name(path)}-{scheme}-{width}.png")
                show = turn_to  # the next one: to load the dashboard again takes longest


def picture_name(path: str) -> str:
    """Return the name of an address's picture."""
    return re.sub(r"[^a-z0-9]+", "-", path.lower())[:60].strip("-") or "overview"


def take_searches(browser: Browser, everything: Everything, folder: Path) -> None:
    """Take pictures of searches that find nothing."""
    for scheme, width in VARIANTS:
        with window(browser, scheme, width) as page:
            for path, heading, label, says in (
                ("cohorts", "Cohorts", "Search", "No cohort matches"),
                ("syncs", "Syncs", "Search", "No sync matches"),
                ("groups", "Groups", "Search groups", "No group matches"),
                (f"groups?group={everything.group_id(TRIAL)}", "Groups", "Search members", "No member matches"),
                ("history", "History", "Cohort or group", "No run matches"),
                (f"matching?cohort={IMPORTED}", "Matching", "Search", "No profile matches"),
                ("matching?association=2", "Matching", "Search rows", "No row matches"),
                ("audit", "Audit log", "Who", "No line matches"),
            ):
                go(page, f"{everything.url}/{path}", heading)
                page.get_by_role("textbox", name=label).or_(page.get_by_role("searchbox", name=label)).first.fill(
                    NO_MATCH
                )
                expect(page.get_by_text(says)).to_be_visible()
                picture(page, folder / f"search-{picture_name(path)}-{scheme}-{width}.png")


def take_search_box(browser: Browser, everything: Everything, folder: Path) -> None:
    """Take pictures of the search on every page: empty, with its hits, of a user, and of no one."""
    looked_for = {
        "empty": ("", "Search finds groups"),
        "hits": ("power", "group at"),
        "user": (a_member(everything), "user in"),
        "no-one": ("i_no_one", "Why, and what to do"),
        "run": ("run 2", "Run 2"),
    }
    for scheme, width in VARIANTS:
        with window(browser, scheme, width) as page:
            go(page, everything.url, "Overview")
            page.keyboard.press("Control+k")
            dialog = page.get_by_role("dialog")
            for name, (text, says) in looked_for.items():
                dialog.get_by_role("searchbox").fill(text)
                expect(dialog.get_by_text(says).first).to_be_visible()
                wait_for_rest(page)
                folder.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=folder / f"search-box-{name}-{scheme}-{width}.png", animations="disabled")


def take_saved_filters(browser: Browser, everything: Everything, folder: Path) -> None:
    """Take pictures of filters that were saved under a name."""
    for number, (scheme, width) in enumerate(CORNERS):
        with window(browser, scheme, width) as page:
            go(page, f"{everything.url}/history?status=failed", "History")
            press(page.get_by_role("button", name="Saved filters"))
            if not number:
                page.get_by_label("Name", exact=True).fill("Failed runs")
                press(page.get_by_role("button", name="Save these filters"))
                expect(page.get_by_text("is saved")).to_be_visible()
            page.screenshot(path=folder / f"saved-filters-{scheme}-{width}.png", animations="disabled")


def take_refresh(browser: Browser, everything: Everything, folder: Path) -> None:
    """Take pictures of cohorts that cannot be read, since Mixpanel does not answer."""
    for scheme, width in CORNERS:
        with window(browser, scheme, width) as page:
            go(page, f"{everything.url}/cohorts", "Cohorts")
            press(page.get_by_role("button", name="Refresh"))
            expect(page.get_by_text("The cohorts could not be read").first).to_be_visible(timeout=30_000)
            picture(page, folder / f"refresh-{scheme}-{width}.png")


def take_roles(browser: Browser, folder: Path, pictures: Path) -> None:
    """Take pictures of what a viewer and an analyst see of plenty."""
    with signed_dashboard(folder) as signed:
        everything = Everything(signed.url, "", signed.home)
        group, member = everything.group_id(TRIAL), 11453
        pages = {
            "": "Overview",
            "groups": "Groups",
            f"groups?group={group}": "Groups",
            f"users?id={member}": "Look up a user",
            f"history?run={everything.newest_run_id(TRIAL)}": "History",
            "history?run=6": "History",
            f"matching?cohort={IMPORTED}": "Matching",
            "practice": "How to connect for real",
        }
        signed.core("people", "add", "ann@example.com", "--role", "analyst")
        for name, shown in (("vera", pages), ("ann", {"": "Overview", f"cohorts?cohort={EVERYONE}": "Cohorts"})):
            signed.person(name)
            for scheme, width in VARIANTS:
                with window(browser, scheme, width) as page:
                    sign_in(page, signed, name)
                    expect(page.get_by_text("Signed in as")).to_be_visible()
                    for path, heading in shown.items():
                        go(page, f"{signed.url}/{path}", heading)
                        picture(page, pictures / f"{name}-{picture_name(path)}-{scheme}-{width}.png")


def take_broken(browser: Browser, home: Path, folder: Path) -> None:
    """Take pictures of a dashboard whose database cannot be read."""
    home.mkdir()
    (home / "cohort_bridge.db").write_text("This is no database. " * 300)
    with stage.dashboard_alone(home) as everything:
        for scheme, width in CORNERS:
            with window(browser, scheme, width) as page:
                page.goto(everything.url)
                expect(page.get_by_text("cannot open its storage")).to_be_visible()
                picture(page, folder / f"broken-{scheme}-{width}.png")


def take_forms(browser: Browser, everything: Everything, folder: Path) -> None:
    """Take pictures of the opened forms, and of the question before a connection is removed."""
    for scheme, width in CORNERS:
        with window(browser, scheme, width) as page:
            go(page, f"{everything.url}/connections", "Connections")
            press(page.get_by_text("Connect another project"))
            press(page.locator(".st-key-connections_apptimize").get_by_text("Connect", exact=True))
            press(page.get_by_role("button", name="Connect Mixpanel"))
            expect(page.get_by_text("Secret: this is needed.")).to_be_visible()
            picture(page, folder / f"connections-{scheme}-{width}.png")
            press(page.get_by_role("button", name="Remove").last)
            expect(page.get_by_role("dialog")).to_be_visible()
            page.screenshot(path=folder / f"remove-{scheme}-{width}.png", animations="disabled")


def take_questions(browser: Browser, everything: Everything, folder: Path) -> None:
    """Take pictures of the questions before something changes, and of the form of a recurring sync."""
    sync = f"syncs?sync={everything.recurring_sync_id(TRIAL)}"
    undone = f"history?run={everything.newest_run_id(SPENDERS)}"
    for name, path, heading, button in (
        ("remove-sync", sync, "Syncs", "Remove"),
        ("copy-sync", sync, "Syncs", "Copy"),
        ("put-back", undone, "History", "Roll back to this run"),
        ("write", "matching?association=2", "Matching", "Write 39 rows …"),
    ):
        take_question(browser, everything, folder, name, path, heading, button)
    for scheme, width in CORNERS:
        with window(browser, scheme, width) as page:
            go(page, f"{everything.url}/syncs", "Syncs")
            for text in ("spenders", "Trial"):
                tick_row(page, text)
            picture(page, folder / f"ticked-{scheme}-{width}.png")
            press(page.get_by_role("button", name="Pause 2"))
            expect(page.get_by_role("dialog")).to_be_visible()
            page.screenshot(path=folder / f"pause-{scheme}-{width}.png", animations="disabled")
    for scheme, width in VARIANTS:
        with window(browser, scheme, width) as page:
            go(page, f"{everything.url}/cohorts?cohort={NEWSLETTER}", "Cohorts")
            press(page.get_by_text("Recurring (dynamic)"))
            expect(page.get_by_role("combobox", name="Interval")).to_be_visible()
            picture(page, folder / f"recurring-{scheme}-{width}.png")


def take_question(
    browser: Browser, everything: Everything, folder: Path, name: str, path: str, heading: str, button: str
) -> None:
    """Take pictures of the dialog that a button opens."""
    for scheme, width in CORNERS:
        with window(browser, scheme, width) as page:
            go(page, f"{everything.url}/{path}", heading)
            press(page.get_by_role("button", name=button, exact=True))
            expect(page.get_by_role("dialog")).to_be_visible()
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{name}-{scheme}-{width}.png", animations="disabled")


@contextmanager
def window(browser: Browser, scheme: Scheme, width: int) -> Iterator[Page]:
    """Open a browser window in a color scheme."""
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        color_scheme=scheme,
        timezone_id="Europe/Berlin",
    )
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


@contextmanager
def running_association(browser: Browser, everything: Everything, folder: Path) -> Iterator[None]:
    """Let a worker be about to write many rows while inside."""
    file = folder / "many.csv"
    file.write_text("\n".join(["distinct_id,apptimize_id", *(f"many-{number},i_m{number}" for number in range(7000))]))
    everything.fault("slow", seconds=60, target="ingestion", path="engage", after=1)
    with window(browser, "light", 1280) as page:
        go(page, f"{everything.url}/matching", "Matching")
        press(page.get_by_role("radio", name="Associate by hand"))
        page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(file)
        press(page.get_by_role("button", name="Check file"))
        press(page.get_by_role("button", name="Write 7,000 rows"))
        press(page.get_by_role("dialog").get_by_role("button", name="Write", exact=True))
        expect(page.get_by_text("Writing: 2,000 of 7,000 rows")).to_be_visible(timeout=30_000)
        yield
        press(page.get_by_role("button", name="Cancel"))
    everything.clear_faults()


@contextmanager
def running_export(browser: Browser, everything: Everything) -> Iterator[None]:
    """Let a run take its time while inside."""
    everything.fault("slow", seconds=20, target="mixpanel")
    with window(browser, "light", 1280) as page:
        go(page, f"{everything.url}/cohorts?cohort={EVERYONE}", "Cohorts")
        press(page.get_by_role("button", name="Start sync"))
        expect(page.get_by_text("Reading profiles")).to_be_visible(timeout=30_000)
        yield
    everything.clear_faults()


if __name__ == "__main__":
    main()
