"""The sandbox's web pages, read as a person and driven as one."""

import html
import re
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from tests.stage.processes import find_chromium

NAME = '"Big <b>spenders</b>" & Käufer 東京'
PATHS = [
    "/",
    "/apptimize/tokens",
    "/apptimize/tokens/new",
    "/apptimize/groups",
    "/sandbox/receivers",
    "/sandbox/faults",
]
CHROMIUM = find_chromium()


def text(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


@pytest.mark.parametrize("path", PATHS)
def test_every_page_says_that_it_is_practice_and_loads_nothing_from_elsewhere(client: Any, path: str):
    answer = client.get(path)

    assert answer.status_code == 200
    assert "Practice stand-in, not the real" in answer.text
    assert not re.search(r'(src|href)="(https?:)?//', answer.text)
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", PATHS)
def test_every_field_has_a_label(client: Any, path: str):
    page = client.get(path).text

    fields = [tag for tag in re.findall(r"<(?:input|select)[^>]*>", page) if 'type="hidden"' not in tag]
    labels = set(re.findall(r'<label[^>]* for="([^"]+)"', page))
    assert {re.search(r'id="([^"]+)"', tag)[1] for tag in fields} <= labels


def test_the_landing_page_tells_what_to_connect_with(client: Any):
    page = text(client.get("/").text)

    for fact in ("3713224", "practice.1f9a3c.mp-service-account", f"{client.base_url}/apptimize/cohort-sync", NAME):
        assert fact in page


def test_a_token_is_shown_exactly_once(client: Any):
    first = client.post("/apptimize/tokens", data={"name": "Ours <i>"}, follow_redirects=True)
    value = re.search(r'id="token-value">([^<]+)<', first.text)[1]
    again = client.get(first.url)

    assert "Ours &lt;i&gt;" in first.text
    assert value not in again.text
    assert client.get("/apptimize/cohort-sync", headers={"ApptimizeApiToken": value}).status_code == 200
    assert first.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["", "   ", "x" * 81])
def test_a_token_needs_a_name(client: Any, name: str):
    answer = client.post("/apptimize/tokens", data={"name": name})

    assert answer.status_code == 400
    assert "Give the token a name" in answer.text


def test_groups_show_the_cohorts_name_as_text_and_thousands(fresh: Any):
    assert "No groups yet" in fresh.get("/apptimize/groups").text
    for page in (1, 2):
        rows = [f"i_{page}-{number}" for number in range(1000)]
        fresh.message("members", rows, page=page, total=2, mixpanel_cohort_name=NAME)

    page = fresh.get("/apptimize/groups").text

    assert "Mixpanel: &#34;Big &lt;b&gt;spenders&lt;/b&gt;&#34; &amp; Käufer 東京" in page
    assert "2,000" in page
    assert "No group matches" in fresh.get("/apptimize/groups", params={"q": "nothing"}).text


def test_a_groups_members_are_paged_and_searched(fresh: Any):
    fresh.message("members", [f"i_{number:03}" for number in range(120)] + ["i_<b>", "a%_"])
    path = "/apptimize/groups/3713224/5167402"

    assert "1–50 of 122" in text(fresh.get(path).text)
    assert "101–122 of 122" in text(fresh.get(path, params={"page": 3}).text)
    assert "There is no page 9" in text(fresh.get(path, params={"page": 9}).text)
    page = fresh.get(path, params={"q": "I_11"}).text
    assert re.findall(r"<code>(i_[^<]+)</code>", page) == [f"i_11{number}" for number in range(10)]
    assert "i_&lt;b&gt;" in fresh.get(path, params={"q": "<b>"}).text
    assert "1–1 of 1 found" in text(fresh.get(path, params={"q": "%_"}).text)
    assert "No one matches" in fresh.get(path, params={"q": "zzz"}).text
    assert fresh.get("/apptimize/groups/1/1").status_code == 404


def test_time_passes_at_the_press_of_a_button(client: Any):
    client.post("/sandbox/clock", data={"act": "later"})
    assert client.get("/sandbox/api/clock").json()["shift_seconds"] == 900
    client.post("/sandbox/clock", data={"act": "real"})
    assert client.get("/sandbox/api/clock").json()["shift_seconds"] == 0


def test_a_fault_is_switched_on_and_off_on_its_page(client: Any):
    form = {
        "fault": "slow",
        "act": "on",
        "times": "2",
        "target": "apptimize",
        "seconds": "1.5",
        "after": "",
        "page": "",
    }
    client.post("/sandbox/faults", data=form)
    listed = client.get("/sandbox/api/faults").json()["faults"]
    assert {name: listed["slow"][name] for name in ("times", "target", "seconds")} == {
        "times": 2, "target": "apptimize", "seconds": 1.5,
    }  # fmt: skip
    assert "Struck 0 of 2 times" in text(client.get("/sandbox/faults").text)
    client.fault("server_error")
    assert "continues until switched off" in text(client.get("/sandbox/faults").text)

    client.post("/sandbox/faults", data={"fault": "slow", "act": "off"})
    assert list(client.get("/sandbox/api/faults").json()["faults"]) == ["server_error"]
    client.post("/sandbox/faults", data={"act": "clear"})
    assert client.get("/sandbox/api/faults").json()["faults"] == {}
    assert client.post("/sandbox/faults", data={"fault": "nonsense", "act": "on"}).status_code == 400


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_person_makes_a_token_looks_at_it_and_deletes_it(fresh: Any):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 800, "height": 700})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"{fresh.base_url}/apptimize/tokens")

        page.get_by_role("button", name="New token").click()
        page.get_by_label("Name").fill("Cohort Bridge")
        page.get_by_role("button", name="Generate").click()
        assert page.locator("#token-value").inner_text().startswith("apt_")
        page.reload()
        assert page.locator("#token-value").count() == 0
        page.get_by_role("button", name="Delete Cohort Bridge").click()
        page.get_by_role("button", name="Delete token").click()
        assert page.get_by_text("No tokens yet").is_visible()
        for path in PATHS:
            page.goto(f"{fresh.base_url}{path}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        browser.close()

    assert complaints == []
