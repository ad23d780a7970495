"""Two dashboards on one database, behind a proxy: what is decided through one holds on the other at the next click."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.signed import Signed, environment, provider, secrets_file, sign_in, wait_for, written
from tests.browser.stage import press, settled
from tests.stage.processes import ROOT, free_port
from tests.stage.seeds import LONG

pytestmark = [pytest.mark.browser, LONG]
SETTINGS = {
    "COHORT_BRIDGE_ADMINS": "boss@example.com",
    "COHORT_BRIDGE_ALLOWED_DOMAINS": "example.com",
    "COHORT_BRIDGE_FIRST_SIGN_IN": "viewer",
}


@dataclass
class Proxy:
    """Passes connections on, all of them to the one dashboard that was chosen last."""

    ports: list[int]
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    chosen: int = 0
    open: list[socket.socket] = field(default_factory=list[socket.socket])

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def choose(self, number: int) -> None:
        """Lead everybody to another dashboard, as when the first is gone."""
        self.chosen = number
        while self.open:
            with suppress(OSError):
                self.open.pop().shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                asking, _ = self.listener.accept()
                answering = socket.create_connection(("127.0.0.1", self.ports[self.chosen]))
                self.open += [asking, answering]
                Thread(target=_pass_on, args=(asking, answering), daemon=True).start()
                Thread(target=_pass_on, args=(answering, asking), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def two(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Signed, Proxy]]:
    """Two dashboards that have one database and the same secrets, and the proxy in front."""
    folder = tmp_path_factory.mktemp("two")
    with ExitStack() as stack:
        url = stack.enter_context(provider())
        proxy = Proxy([free_port(), free_port()])
        stack.callback(proxy.listener.close)
        secrets = secrets_file(folder, url, proxy.port)
        for port in proxy.ports:
            stack.enter_context(dashboard(folder, port, secrets))
        Thread(target=proxy.serve, daemon=True).start()
        yield Signed(f"http://127.0.0.1:{proxy.port}", folder / "home", url, folder / "dashboard.log"), proxy


@contextmanager
def dashboard(folder: Path, port: int, secrets: Path) -> Iterator[None]:
    command = [sys.executable, "app.py", f"--server.port={port}", f"--secrets.files={secrets}"]
    with (folder / f"{port}.log").open("wb") as output:
        env = environment(folder / "home", **SETTINGS)
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}", process)
            yield
        finally:
            process.terminate()
            process.wait(30)


def test_who_signs_in_or_out_on_one_dashboard_has_done_so_on_the_other(two: tuple[Signed, Proxy], page: Page):
    signed, proxy = two
    signed.person("vera")
    sign_in(page, signed, "vera")
    settled(page, "Overview")
    proxy.choose(1)
    page.goto(f"{signed.url}/groups")
    settled(page, "Groups")
    expect(page.get_by_text("Signed in as viewer")).to_be_visible()

    cookies = page.context.cookies()
    press(page.get_by_role("button", name="Sign out", exact=True))
    page.get_by_role("button", name="End session").click()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    proxy.choose(0)

    page.goto(signed.url)
    expect(page.get_by_text("You signed out.")).to_be_visible()


def test_a_role_that_is_taken_away_counts_on_every_dashboard_from_the_next_click_on(
    two: tuple[Signed, Proxy], other_page: Page
):
    signed, proxy = two
    signed.person("carl")
    sign_in(other_page, signed, "carl")
    settled(other_page, "Overview")
    signed.core("people", "role", "carl@example.com", "analyst")
    proxy.choose(1 - proxy.chosen)
    other_page.goto(f"{signed.url}/syncs")
    settled(other_page, "Syncs")

    signed.core("people", "role", "carl@example.com", "viewer")

    press(other_page.get_by_role("link", name="Cohorts", exact=True))
    expect(other_page.get_by_text("This page is not for your role")).to_be_visible()
    signed.core("people", "disable", "carl@example.com")
    proxy.choose(1 - proxy.chosen)
    other_page.goto(f"{signed.url}/history")
    expect(other_page.get_by_text(written("carl@example.com was deactivated."))).to_be_visible()
