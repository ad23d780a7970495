"""A real Chromium in front of the real processes; skipped only where there is no Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import stage
from tests.browser.stage import ROOT, Everything

# Machines that build are slow, and what is waited for comes or does not.
expect.set_options(timeout=20_000)
PICTURES = Path(os.environ.get("PICTURES", ROOT / "tests" / "pictures"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser a module: Playwright's loop must not run on into tests that have loops of their own."""
    if not stage.chromium():
        reason = "no Chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("COHORT_BRIDGE_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with stage.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def everything(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with stage.up(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A person's own browser, with nothing remembered."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def other_page(chromium: Browser) -> Iterator[Page]:
    """Somebody else's browser."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def pictures() -> Path:
    return PICTURES
