"""A dashboard that people sign in to, with a real OpenID provider beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.sync_api import Page
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState

from tests.browser.stage import press, start_process
from tests.stage import databases
from tests.stage.processes import ROOT, clean_environment, free_port

COOKIE_SECRET = "planted-cookie-secret-6f1c2ae09b7d4583"
CLIENT_SECRET = "planted-client-secret-51d0"
# What the dashboard's own page sends to be drawn another one.
PEOPLE_PLEASE = BackMsg(rerun_script=ClientState(page_name="people")).SerializeToString()


@dataclass(frozen=True)
class Signed:
    """A dashboard that people sign in to, its home, and the provider."""

    url: str
    home: Path
    provider: str
    log: Path

    def person(self, name: str, **claims: object) -> None:
        """Make a person known to the provider."""
        address = {"email": f"{name}@example.com", "email_verified": True, "name": name.capitalize()}
        httpx.put(f"{self.provider}/users/{name}", json=address | claims).raise_for_status()

    def core(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the operator of the machine."""
        return subprocess.run(
            [sys.executable, "-m", "core", *arguments],
            cwd=ROOT, env=environment(self.home), capture_output=True, text=True, check=True,
        )  # fmt: skip


def environment(home: Path, **more: str) -> dict[str, str]:
    return clean_environment() | {"COHORT_BRIDGE_HOME": str(home), **databases.environment(home), **more}


@contextmanager
def provider() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    with start_process(command, dict(os.environ)):
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                httpx.get(f"{url}/.well-known/openid-configuration", timeout=1).raise_for_status()
                break
            except httpx.HTTPError:
                pass
        yield url


def secrets_file(folder: Path, provider_url: str, port: int, below: str = "") -> Path:
    path = folder / "secrets.toml"
    path.write_text(
        f'[auth]\nredirect_uri = "http://127.0.0.1:{port}{below}/oauth2callback"\n'
        f'cookie_secret = "{COOKIE_SECRET}"\n'
        f'client_id = "cohort-bridge"\nclient_secret = "{CLIENT_SECRET}"\n'
        f'server_metadata_url = "{provider_url}/.well-known/openid-configuration"\n'
    )
    return path


@contextmanager
def signed_dashboard(folder: Path, *, path: str = "", **more: str) -> Iterator[Signed]:
    """Start both, the dashboard below a path: admins are boss@example.com, and people of example.com become viewers."""
    port = free_port()
    settings = {
        "COHORT_BRIDGE_ADMINS": "boss@example.com",
        "COHORT_BRIDGE_ALLOWED_DOMAINS": "example.com",
        "COHORT_BRIDGE_FIRST_SIGN_IN": "viewer",
    }
    log = folder / "dashboard.log"
    with ExitStack() as stack:
        url = stack.enter_context(provider())
        command = [sys.executable, "app.py", f"--server.port={port}"]
        command.append(f"--secrets.files={secrets_file(folder, url, port, path)}")
        command.append(f"--server.baseUrlPath={path}")
        output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(folder / "home", **settings, **more),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)
        wait_for(f"http://127.0.0.1:{port}{path}", process)
        yield Signed(f"http://127.0.0.1:{port}{path}", folder / "home", url, log)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=9), timeout=30) as http:
        while process.poll() is None:
            try:
                http.get(f"{url}/_stcore/health").raise_for_status()
                return
            except httpx.HTTPError:
                continue
    raise AssertionError("the dashboard ended")


def written(text: str) -> str:
    """How the pages write what holds an address: it must not become a link."""
    return text.replace("@", "\u2060@")


def sign_in(page: Page, signed: Signed, name: str, *, at: str = "") -> None:
    """Come to an address of the dashboard, sign in, and be led back."""
    page.goto(f"{signed.url}{at}")
    press(page.get_by_role("button", name="Sign in", exact=True))
    page.get_by_placeholder("sub").fill(name)
    press(page.get_by_role("button", name="Authorize"))
    page.wait_for_url(re.compile(re.escape(signed.url)))
