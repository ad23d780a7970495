"""A dashboard that is served below a path, on a machine whose environment names a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import stage
from tests.browser.signed import Signed, sign_in, signed_dashboard
from tests.browser.stage import EXPORT_MS, Everything, go, press, press_in_row, settled
from tests.stage.seeds import LONG

pytestmark = pytest.mark.browser
PATH = "/tools/bridge"


@pytest.fixture(scope="module")
def below(chromium: Browser, fork_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """All of it, as someone starts it who set a path for Streamlit, and a proxy that leads nowhere."""
    nowhere = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    home = tmp_path_factory.mktemp("home")
    with stage.up(home, path=PATH, STREAMLIT_SERVER_BASE_URL_PATH=f"{PATH}/", **nowhere) as running:
        yield running


@pytest.fixture(scope="module")
def signed(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    # Of a proxy, and of whom to ask without one, in words that the library behind sign-in does not understand.
    odd = {"ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": "[::1],fd00::/8"}
    with signed_dashboard(tmp_path_factory.mktemp("signed"), path=PATH, **odd) as running:
        yield running


@LONG
def test_every_link_download_and_upload_leads_below_the_path(below: Everything, page: Page, tmp_path: Path):
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(below.url.removesuffix(PATH))
    settled(page, "Overview")
    expect(page).to_have_url(f"{below.url}/")
    press(page.get_by_role("link", name="Cohorts", exact=True))
    settled(page, "Cohorts")
    expect(page).to_have_url(f"{below.url}/cohorts")
    press_in_row(page, "Cohorts of the Mixpanel project", "Power users")
    press(page.get_by_role("button", name="Start sync"))
    expect(page.get_by_text("Every user with a usable id is in the group")).to_be_visible(timeout=EXPORT_MS)
    press(page.get_by_role("link", name="Run 1 in History"))
    settled(page, "History")
    expect(page).to_have_url(f"{below.url}/history?run=1")
    press(page.get_by_role("link", name="View group"))
    settled(page, "Groups")
    expect(page).to_have_url(f"{below.url}/groups?group=1")
    page.reload()
    settled(page, "Groups")
    expect(page).to_have_url(f"{below.url}/groups?group=1")
    go(page, f"{below.url}/audit", "Audit log")
    with page.expect_download() as download:
        press(page.get_by_role("button", name="Download for a spreadsheet"))
    assert "start_export" in Path(download.value.path()).read_text()
    go(page, f"{below.url}/matching", "Matching")
    press(page.get_by_role("radio", name="Associate by hand"))
    file = tmp_path / "users.csv"
    file.write_text("distinct_id,apptimize_id\nsomebody,i_1\n")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(file)
    press(page.get_by_role("button", name="Check file"))
    expect(page.get_by_role("heading", name="What will change")).to_be_visible(timeout=EXPORT_MS)
    expect(page).to_have_url(f"{below.url}/matching?view=associate&association=1")
    root = below.url.removesuffix(PATH)
    outside = [url for url in asked if url.startswith(root) and not url.startswith(f"{below.url}/")]
    assert set(outside) <= {f"{root}/", below.url}


@LONG
def test_what_protects_holds_below_the_path(below: Everything):
    with httpx.Client(base_url=below.url, trust_env=False) as http:
        assert http.get("/_stcore/health").text == "ok"
        assert http.get("/_stcore/metrics").status_code == 404
        assert http.get("/_stcore/health", headers={"Host": "evil.example"}).status_code == 400
        assert http.put("/_stcore/upload_file/s/f", content=b"x").text.startswith("This page takes no file")
        for path in ("", "/", "/groups", "/_stcore/health", "/../..", "/favicon.png", "/nowhere/x.js"):
            assert http.get(path).headers["X-Frame-Options"] == "DENY"


@LONG
def test_signing_in_and_out_leads_back_below_the_path(signed: Signed, page: Page):
    signed.person("vera")
    sign_in(page, signed, "vera", at="/history?run=7&sync=3")
    settled(page, "History")
    expect(page).to_have_url(f"{signed.url}/history?run=7&sync=3")
    assert {cookie.get("path") for cookie in page.context.cookies() if "user" in cookie.get("name", "")} == {PATH}

    press(page.get_by_role("button", name="Sign out", exact=True))
    page.get_by_role("button", name="End session").click()  # the provider's own
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    expect(page).to_have_url(f"{signed.url}/")
