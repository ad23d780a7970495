"""Make pictures of every page, light and dark, wide and narrow: `python -m tests.browser.pictures [FOLDER]`.

Four states are set up over the sandbox: nothing connected, a run under way, runs that failed, and plenty of everything;
and a dashboard that people sign in to.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser import stage
from tests.browser.signed import sign_in, signed_dashboard
from tests.browser.stage import EVERYONE, IMPORTED, NEWSLETTER, POWER, SPENDERS, TRIAL, Everything, go, picture, press

PAGES = {
    "": "Overview",
    "cohorts": "Cohorts",
    "syncs": "Syncs",
    "groups": "Groups",
    "history": "History",
    "matching": "Matching",
    "connections": "Connections",
    "practice": "How to connect for real",
    "people": "People",
    "audit": "Audit log",
}
SCHEMES = ("light", "dark")
WIDTHS = (1280, 800)


def main() -> None:
    """Make all pictures, and say where they are."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="pictures-"))
    if not stage.chromium():
        sys.exit("There is no Chromium on this machine.")
    with ExitStack() as stack:
        browser = stack.enter_context(stage.browser())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with stage.dashboard_alone(home / "empty") as alone:
            take(browser, alone, folder / "empty", PAGES)
        with stage.up(home / "used") as everything:
            take(browser, everything, folder / "first-day", {"": "Overview", "cohorts": "Cohorts"})
            fill(everything)
            take(browser, everything, folder / "failed", failed_pages())
            for cohort in (NEWSLETTER, IMPORTED):
                everything.core("export", str(cohort))
            plenty(everything)
            associate(everything, home)
            take(browser, everything, folder / "full", full_pages(everything))
            take_forms(browser, everything, folder / "forms")
            take_signed_in(browser, home, folder / "signed-in")
            take_questions(browser, everything, folder / "forms")
            with a_run_under_way(browser, everything):
                take(browser, everything, folder / "busy", {"": "Overview", f"cohorts?cohort={EVERYONE}": "Cohorts"})
    print(folder)


def fill(everything: Everything) -> None:
    """Export this and that, and let three exports fail, each in its own way."""
    for cohort in (POWER, EVERYONE, SPENDERS):
        everything.core("export", str(cohort))
    everything.core("export", str(POWER), "--dry-run")
    for fault, cohort, target in (("unauthorized", NEWSLETTER, "apptimize"), ("total_wrong", IMPORTED, "mixpanel")):
        everything.fault(fault, target=target)
        everything.core("export", str(cohort))
        everything.mend()
    everything.fault("server_error", target="apptimize")
    everything.core("export", str(SPENDERS))
    everything.mend()


def take_signed_in(browser: Browser, home: Path, folder: Path) -> None:
    """Take pictures of the way in, of who is not let in, and of what admins decide about people."""
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
                    expect(page.get_by_text("You are not let in")).to_be_visible()
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
                    press(page.get_by_role("button", name="Shut out"))
                    expect(page.get_by_role("dialog")).to_be_visible()
                    page.screenshot(path=folder / f"shut-out-{end}", animations="disabled")


def plenty(everything: Everything) -> None:
    """Let recurring syncs live through a day in which people come and go, one is held and one is paused."""
    for cohort, every, brake in ((TRIAL, "15", "0"), (SPENDERS, "60", "30"), (POWER, "30", "50")):
        everything.core("syncs", "add", str(cohort), "--every", every, "--max-shrink", brake)
    everything.core("syncs", "pause", str(everything.recurring_sync_of(POWER)))
    for hour in (2, 5, 9, 14, 20):
        everything.shift(hour * 3600)
        for cohort in (TRIAL, SPENDERS):
            everything.core("export", str(cohort))
    everything.preview(TRIAL)


def a_member(everything: Everything) -> str:
    """Name one who is in a group."""
    return everything.core("groups", "members", str(SPENDERS)).splitlines()[3]


def associate(everything: Everything, folder: Path) -> None:
    """Associate users by hand: one file that is written, one that waits for a word, one that cannot be used."""
    file = folder / "users.csv"
    lines = [f"picture-{number},i_{number}" for number in range(40)]
    file.write_text("\n".join(["distinct_id,apptimize_id", *lines, ",i_77", "bare,4711", "torn,i_1", "=1+1,i_78"]))
    everything.core("associate", "--file", str(file), "--json")
    everything.core("associate", "--file", str(file), "--dry-run")
    file.write_text("name,apptimize_id\nAda,i_1\n")
    everything.core("associate", "--file", str(file), "--json")


def failed_pages() -> dict[str, str]:
    """Name the pages that show what went wrong."""
    return {
        "": "Overview",
        f"cohorts?cohort={NEWSLETTER}": "Cohorts",
        "history": "History",
        "history?run=6": "History",
        "groups": "Groups",
        "groups?group=3": "Groups",
    }


def full_pages(everything: Everything) -> dict[str, str]:
    """Name the pages that show plenty."""
    group = everything.group_of(TRIAL)
    return PAGES | {
        f"cohorts?cohort={EVERYONE}": "Cohorts",
        f"cohorts?cohort={TRIAL}": "Cohorts",
        f"syncs?sync={everything.recurring_sync_of(TRIAL)}": "Syncs",
        f"syncs?sync={everything.recurring_sync_of(POWER)}": "Syncs",
        "history?run=2": "History",
        "history?sync=1": "History",
        f"history?run={everything.newest_run(TRIAL)}": "History",
        f"groups?group={group}": "Groups",
        f"groups?group={group}&view=Size+over+time": "Groups",
        f"groups?group={group}&view=Compare+two+runs": "Groups",
        f"groups?member={a_member(everything)}": "Groups",
        f"matching?cohort={IMPORTED}": "Matching",
        "matching?association=1": "Matching",
        "matching?association=2": "Matching",
        "matching?association=3": "Matching",
        "matching?id=i_twin-3": "Matching",
    }


def take(browser: Browser, everything: Everything, folder: Path, pages: dict[str, str]) -> None:
    """Take a picture of each page, in both colour schemes and widths."""
    for scheme in SCHEMES:
        for width in WIDTHS:
            with window(browser, scheme, width) as page:
                for path, heading in pages.items():
                    go(page, f"{everything.url}/{path}", heading)
                    name = re.sub(r"[^a-z0-9]+", "-", path.lower())[:60].strip("-") or "overview"
                    picture(page, folder / f"{name}-{scheme}-{width}.png")


def take_forms(browser: Browser, everything: Everything, folder: Path) -> None:
    """Take pictures of the opened forms, and of the question before a connection is removed."""
    for scheme in SCHEMES:
        with window(browser, scheme, 1280) as page:
            go(page, f"{everything.url}/connections", "Connections")
            press(page.get_by_text("Connect another project"))
            press(page.locator(".st-key-connections_apptimize").get_by_text("Connect", exact=True))
            press(page.get_by_role("button", name="Connect Mixpanel"))
            expect(page.get_by_text("Secret: this is needed.")).to_be_visible()
            picture(page, folder / f"connections-{scheme}.png")
            press(page.get_by_role("button", name="Remove").last)
            expect(page.get_by_role("dialog")).to_be_visible()
            page.screenshot(path=folder / f"remove-{scheme}.png", animations="disabled")


def take_questions(browser: Browser, everything: Everything, folder: Path) -> None:
    """Take pictures of the questions before syncs change."""
    for scheme in SCHEMES:
        with window(browser, scheme, 1280) as page:
            go(page, f"{everything.url}/syncs?sync={everything.recurring_sync_of(TRIAL)}", "Syncs")
            press(page.get_by_role("button", name="Remove", exact=True))
            expect(page.get_by_role("dialog")).to_be_visible()
            page.screenshot(path=folder / f"remove-sync-{scheme}.png", animations="disabled")


@contextmanager
def window(browser: Browser, scheme: str, width: int) -> Iterator[Page]:
    """Open a browser window in a colour scheme."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        timezone_id="Europe/Berlin",
    )
    yield context.new_page()
    context.close()


@contextmanager
def a_run_under_way(browser: Browser, everything: Everything) -> Iterator[None]:
    """Let a run take its time while inside."""
    everything.fault("slow", seconds=20, target="mixpanel")
    with window(browser, "light", 1280) as page:
        go(page, f"{everything.url}/cohorts?cohort={EVERYONE}", "Cohorts")
        press(page.get_by_role("button", name="Start sync"))
        expect(page.get_by_text("Reading profiles")).to_be_visible(timeout=30_000)
        yield
    everything.mend()


if __name__ == "__main__":
    main()
