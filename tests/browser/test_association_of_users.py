"""Users associated by hand in a browser: from the file to the group that holds them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import EXPORT_MS, Everything, find_cell, go, press, settled
from tests.stage.seeds import LONG

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WEB = 5167408


@LONG
def test_a_file_is_uploaded_checked_confirmed_and_its_users_are_in_the_next_group(
    everything: Everything, page: Page, tmp_path: Path
):
    profiles = httpx.get(f"{everything.sandbox}/sandbox/api/cohorts/{WEB}/profiles").json()
    unmatched = [
        str(profile["$distinct_id"]) for profile in profiles if "$apptimize_user_id" not in profile["$properties"]
    ][:40]
    before = json.loads(everything.core("export", str(WEB), "--json"))
    assert before["unmatched"] > len(unmatched) == 40
    file = tmp_path / "users.csv"
    note = "x" * 50_000  # a column that is ignored makes it larger than what other pages take
    lines = [f"{distinct_id},i_browser-{number},{note}" for number, distinct_id in enumerate(unmatched)]
    file.write_text("\n".join(["distinct_id,apptimize_id,note", *lines, ",i_nobody,", "torn,=1+1,"]))

    go(page, f"{everything.url}/matching", "Matching")
    press(page.get_by_role("radio", name="Associate by hand"))
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(file)
    press(page.get_by_role("button", name="Check file"))
    expect(page.get_by_role("heading", name="What will change")).to_be_visible(timeout=EXPORT_MS)
    expect(page.get_by_text("Users who had no usable Apptimize id")).to_be_visible()
    expect(page.get_by_text("The distinct id is blank.")).to_be_visible()
    find_cell(page.get_by_test_id("stDataFrame").first, "i_browser-0")
    assert not held(everything, unmatched[0]), "nothing is written before it is confirmed"

    press(page.get_by_role("button", name="Write 40 rows"))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("40 profiles")
    press(dialog.get_by_role("button", name="Write", exact=True))
    expect(page.get_by_text("40 rows were written.")).to_be_visible(timeout=EXPORT_MS)
    with page.expect_download() as download:
        press(page.get_by_role("button", name="Download outcomes"))
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as outcomes:
        told = list(csv.DictReader(outcomes))
    assert [row["outcome"] for row in told] == ["written"] * 40 + ["not written"] * 2
    assert told[-1]["apptimize_id"] == "'=1+1"

    everything.core("export", str(WEB))
    after = everything.core("groups", "members", str(WEB)).splitlines()
    assert {f"i_browser-{number}" for number in range(40)} <= set(after)
    page.goto(f"{everything.url}/matching?id=i_browser-7")
    settled(page, "Look up a user")
    expect(page.get_by_text(unmatched[7], exact=True)).to_be_visible()
    find_cell(page.get_by_test_id("stDataFrame").first, "In the group")
    settled(page, "Look up a user")
    assert parse_qs(urlsplit(page.url).query) == {"id": ["i_browser-7"]}


def held(everything: Everything, distinct_id: str) -> bool:
    """Whether the profile has an Apptimize id by now."""
    profile = httpx.get(f"{everything.sandbox}/sandbox/api/people/{distinct_id}").json()
    return "$apptimize_user_id" in (profile["properties"] or {})
