"""A real Chromium in front of the real processes; skipped only where there is no Chromium."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, ViewportSize, expect
from playwright.sync_api import Error as PlaywrightError

from tests.browser import stage
from tests.browser.stage import Everything
from tests.stage.processes import ROOT, find_chromium

# Machines that build are slow, and what is waited for comes or does not.
expect.set_options(timeout=20_000)
WINDOW: ViewportSize = {"width": 1280, "height": 900}
PICTURES = Path(os.environ.get("PICTURES", ROOT / "tests" / "pictures"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser a module: Playwright's loop must not run on into tests that have loops of their own."""
    if not find_chromium():
        reason = "no Chromium on this machine (Debian: apt-get install chromium-headless-shell)"
        if os.environ.get("COHORT_BRIDGE_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with stage.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def everything(chromium: Browser, fork_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with stage.services(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def started(chromium: Browser, fork_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """The same by the command that people start it with, which takes longer."""
    with stage.up(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A person's browser: it keeps the files of the dashboard, which take longest to load, and nothing else."""
    with _opened(chromium) as context:
        yield context


@pytest.fixture(scope="module")
def other_context(chromium: Browser) -> Iterator[BrowserContext]:
    with _opened(chromium) as context:
        yield context


@contextmanager
def _opened(chromium: Browser) -> Generator[BrowserContext]:
    context = chromium.new_context(viewport=WINDOW, accept_downloads=True)
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A person's own browser, with nothing remembered."""
    with _forgetful_page(context) as page:
        yield page


@pytest.fixture
def other_page(other_context: BrowserContext) -> Iterator[Page]:
    """Another person's browser."""
    with _forgetful_page(other_context) as page:
        yield page


@contextmanager
def _forgetful_page(context: BrowserContext) -> Generator[Page]:
    """Give a page in which nothing is remembered of those before: no cookie, and nothing of what scripts can store.

    It is one and the same from test to test. In a new one the browser would compile all scripts again, which takes it
    longer than to load and draw a page.
    """
    origins = set[str]()

    def note(request: Request) -> None:
        if request.is_navigation_request():
            origins.add("/".join(request.url.split("/", 3)[:3]))

    violations = list[str]()

    def overhear(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Content-Security-Policy" in message.text:
            violations.append(f"{message.page and message.page.url}: {message.text}")

    page = context.pages[0] if context.pages else context.new_page()
    context.on("request", note)
    context.on("console", overhear)
    yield page
    context.remove_listener("request", note)
    context.remove_listener("console", overhear)
    assert violations == [], "every page works under the policy that it comes with"
    for other in context.pages:
        if other != page:
            other.close()
    _forget(page, origins)


def _forget(page: Page, origins: set[str]) -> None:
    """Leave a page as a new one is."""
    context = page.context
    try:
        for origin in origins:
            page.goto(f"{origin}/_stcore/health")  # any address of theirs will do
            page.evaluate("sessionStorage.clear()")
        page.goto("about:blank")
        page.set_viewport_size(WINDOW)
    except PlaywrightError:
        page.close()  # what its tab remembers of a server that has ended goes with the tab
        page = context.new_page()
    protocol = context.new_cdp_session(page)
    for origin in origins:
        protocol.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    protocol.detach()
    context.clear_cookies()


@pytest.fixture
def pictures() -> Path:
    return PICTURES
