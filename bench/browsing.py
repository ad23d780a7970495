"""A dashboard over a home, and a browser in front of it, to measure what people wait for and do."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

from bench.measure import ROOT, plain_environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ViewportSize

WINDOW: ViewportSize = {"width": 1280, "height": 900}
# Unlike in tests, scripts are made as quick as in the browsers that people have.
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
# Whether a page is drawn to its end: its heading, its parts that load when they are first needed, its grids.
IS_DRAWN = """heading => {
    const app = document.querySelector("[data-testid=stApp]");
    const title = document.querySelector("[data-testid=stMain] h1");
    return app && app.dataset.testScriptState === "notRunning" && title && title.innerText.trim() === heading
        && !document.querySelector("[data-testid=stSkeleton]")
        && [...document.querySelectorAll("[data-testid=stDataFrame]")]
            .every(grid => !grid.offsetParent || grid.querySelector("canvas"));
}"""


@contextmanager
def open_browser() -> Generator[Browser]:
    """Open a Chromium that shows no window."""
    from playwright.sync_api import sync_playwright

    from tests.stage.processes import find_chromium

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_chromium(), args=_ARGUMENTS)
        yield opened
        opened.close()


@contextmanager
def dashboard(home: Path, settings: Mapping[str, str] | None = None) -> Generator[str]:
    """Run the dashboard over a home, without sign-in, and give its address."""
    from tests.stage.processes import free_port

    port = free_port()
    command = ["app.py", f"--server.port={port}", f"--secrets.files={home / 'no-sign-in.toml'}"]
    with service(command, home, settings):
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/_stcore/health")
        yield url


@contextmanager
def service(arguments: Sequence[str], home: Path, settings: Mapping[str, str] | None = None) -> Generator[None]:
    """Run a process of the product over a home while inside."""
    environment = {**plain_environment(), "COHORT_BRIDGE_HOME": str(home), **(settings or {})}
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def wait_for(url: str) -> None:
    """Wait until something answers at an address. Raises TimeoutError."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        with suppress(URLError, ConnectionError, TimeoutError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise TimeoutError(f"Nothing answers at {url}.")
