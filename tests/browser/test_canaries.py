"""Planted secrets: entered in the browser, used, refused and replaced, and then looked for everywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from core.sandbox import people
from tests.browser.stage import Everything, go, press, turn_to
from tests.stage.sandbox import POWER
from tests.stage.seeds import LONG

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WRONG_SECRET, WRONG_TOKEN = "canary-mixpanel-7d1e0c55", "canary-apptimize-3fb20a91"
ALERT_SECRET = "canary-alerts-9c41d7e2"
PATHS = {
    "": "Overview", "cohorts": "Cohorts", f"cohorts?cohort={POWER}": "Cohorts", "syncs": "Syncs", "groups": "Groups",
    "groups?group=1": "Groups", "history": "History", "history?run=1": "History", "history?run=2": "History",
    "connections": "Connections", "practice": "How to connect for real", "people": "People", "audit": "Audit log",
    "audit?line=2": "Audit log", "audit?line=3": "Audit log", "alerts": "Alerts",
}  # fmt: skip


@pytest.fixture(scope="module")
def everything(started: Everything) -> Everything:
    """All of it with the command lines that it has, which anyone on the machine can see."""
    return started


@LONG
def test_no_planted_secret_is_anywhere_but_where_it_was_entered(everything: Everything, page: Page, tmp_path: Path):
    token = httpx.post(f"{everything.sandbox}/sandbox/api/tokens", json={"name": "Canary"}).json()["token"]
    secrets = [WRONG_SECRET, WRONG_TOKEN, ALERT_SECRET, people.ADMIN_SECRET, token]
    pair = f"{people.ADMIN_USERNAME}:{people.ADMIN_SECRET}"
    secrets.append(base64.b64encode(pair.encode()).decode())
    received, asked, said = list[bytes](), list[str](), list[str]()
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(as_bytes(frame))))
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))

    connections = f"{everything.url}/connections"
    enter_mixpanel(page, connections, WRONG_SECRET)
    expect(page.get_by_text("does not accept the service account")).to_be_visible()
    enter_mixpanel(page, connections, people.ADMIN_SECRET)
    expect(page.get_by_text("is connected as default-2.")).to_be_visible()
    enter_apptimize(page, connections, WRONG_TOKEN)
    expect(page.get_by_text("Token: the endpoint does not accept it.")).to_be_visible()
    enter_apptimize(page, connections, token)
    expect(page.get_by_text("Apptimize is connected as default.")).to_be_visible()
    add_channel(page, everything.url, f"nosuch://1.1.1.1/{ALERT_SECRET}")
    expect(page.get_by_text("no service is known that has such an address")).to_be_visible()
    add_channel(page, everything.url, f"https://1.1.1.1/{ALERT_SECRET}")
    expect(page.get_by_text("Ops was added.")).to_be_visible()
    outputs = [everything.core("export", str(POWER))]
    everything.fault("unauthorized", target="apptimize")
    outputs.append(everything.core("export", str(POWER), "--full", "--json"))
    everything.clear_faults()
    shown = list[str]()
    for path, heading in PATHS.items():
        turn_to(page, f"{everything.url}/{path}", heading)
        shown.append(page.content())
    go(page, f"{everything.url}/audit", "Audit log")
    with page.expect_download() as download:
        press(page.get_by_role("button", name="Download for a spreadsheet"))
    audit_file = tmp_path / "audit.csv"
    download.value.save_as(audit_file)
    assert "connect_mixpanel" in audit_file.read_text()

    places = {
        "frame": b"".join(received), "page": "".join(shown).encode(), "address": "\n".join(asked).encode(),
        "console": "\n".join(said).encode(), "output": "".join(outputs).encode(), "audit log": audit_file.read_bytes(),
        "command line": b"\n".join(command_lines()),
        **{str(path): path.read_bytes() for path in kept(everything.home)},
    }  # fmt: skip
    assert len(places["frame"]) > 10_000
    assert {"dashboard.log", "worker.log", "secret.key", "cohort_bridge.db"} <= {Path(name).name for name in places}
    leaks = [(name, secret) for name, content in places.items() for secret in secrets if secret.encode() in content]
    assert leaks == []


def as_bytes(frame: str | bytes) -> bytes:
    return frame.encode() if isinstance(frame, str) else frame


def kept(home: Path) -> Iterator[Path]:
    """Everything that Cohort Bridge keeps; what the sandbox keeps is the vendors' own."""
    for path in home.rglob("*"):
        if path.is_file() and not path.name.startswith("sandbox"):
            yield path


def command_lines() -> Iterator[bytes]:
    """What `ps` shows of every process of this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (process / "cmdline").read_bytes()


def enter_mixpanel(page: Page, url: str, secret: str) -> None:
    go(page, url, "Connections")
    box = page.locator(".st-key-connections_mixpanel")
    press(box.get_by_text("Connect another project"))
    box.get_by_label("Service account username", exact=True).fill(people.ADMIN_USERNAME)
    box.get_by_label("Service account secret", exact=True).fill(secret)
    box.get_by_label("Project id", exact=True).fill(str(people.PROJECT_ID))
    press(box.get_by_role("button", name="Connect Mixpanel"))


def enter_apptimize(page: Page, url: str, token: str) -> None:
    go(page, url, "Connections")
    box = page.locator(".st-key-connections_apptimize")
    press(box.get_by_text("Connect", exact=True))
    box.get_by_label("Apptimize token", exact=True).fill(token)
    press(box.get_by_role("button", name="Connect Apptimize"))


def add_channel(page: Page, url: str, address: str) -> None:
    go(page, f"{url}/alerts", "Alerts")
    press(page.get_by_role("button", name="Add channel"))
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Name").fill("Ops")
    dialog.get_by_role("textbox", name="Address").fill(address)
    press(dialog.get_by_role("button", name="Add channel"))
