"""Signing in with a real OpenID provider and a real browser, and what lets no one in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Response, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from core.access import people
from core.access.roles import LOCAL
from core.bridge import open_bridge
from core.settings import Settings
from data.engine import write_session
from data.models import MIXPANEL_SIDE, Connection, ConnectionKind
from pages.shell.strangers import MOST_CONNECTIONS
from tests.browser.signed import (
    CLIENT_SECRET,
    COOKIE_SECRET,
    PEOPLE_PLEASE,
    Signed,
    environment,
    secrets_file,
    sign_in,
    signed_dashboard,
    wait_for,
    written,
)
from tests.browser.stage import go, press, settled
from tests.stage.processes import ROOT, free_port
from tests.stage.seeds import LONG, SEEDS, few

pytestmark = pytest.mark.browser
PATHS = ("", "cohorts", "syncs", "groups", "users", "history", "matching", "connections", "practice", "people", "audit",
         "overlap")  # fmt: skip


@pytest.fixture(scope="module")
def signed(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    with signed_dashboard(tmp_path_factory.mktemp("signed")) as running:
        yield running


def test_a_person_signs_in_looks_around_and_signs_out(signed: Signed, page: Page):
    signed.person("vera")
    sign_in(page, signed, "vera")
    settled(page, "Overview")
    expect(page.get_by_text("Signed in as viewer")).to_be_visible()
    expect(page.get_by_role("link", name="Groups", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Connections", exact=True)).to_be_hidden()

    page.goto(f"{signed.url}/connections")
    expect(page.get_by_text("This page is not for your role")).to_be_visible()
    expect(page.get_by_text(written("boss@example.com"))).to_be_visible()
    expect(page.get_by_role("button", name="Connect Mixpanel")).to_have_count(0)

    cookies = page.context.cookies()
    press(page.get_by_role("button", name="Sign out", exact=True))
    page.get_by_role("button", name="End session").click()  # the provider's own
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    # A copy of the cookie that was made before leads nowhere.
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    page.goto(signed.url)
    expect(page.get_by_text("You signed out.")).to_be_visible()


def test_a_link_leads_where_it_says_after_signing_in(signed: Signed, page: Page):
    signed.person("lena")
    sign_in(page, signed, "lena", at="/history?run=7&sync=3")

    settled(page, "History")
    expect(page).to_have_url(f"{signed.url}/history?run=7&sync=3")
    page.goto(signed.url)
    settled(page, "Overview")


@few(1)
@pytest.mark.parametrize(
    ("name", "claims", "sentence"),
    [
        ("una", {"email_verified": False}, "does not vouch for the address una@example.com"),
        ("fred", {"email": "fred@elsewhere.example"}, "fred@elsewhere.example is not of a domain that may sign in"),
        ("nemo", {"email": ""}, "did not say your e-mail address"),
    ],
)
def test_who_is_not_let_in_reads_why(signed: Signed, page: Page, name: str, claims: dict[str, object], sentence: str):
    signed.person(name, **claims)
    sign_in(page, signed, name)

    expect(page.get_by_text("Access denied")).to_be_visible()
    expect(page.get_by_text(written(sentence))).to_be_visible()
    expect(page.get_by_test_id("stSidebarNav")).to_have_count(0)
    page.goto(f"{signed.url}/groups")
    expect(page.get_by_text(written(sentence))).to_be_visible()


@LONG
def test_what_an_admin_decides_holds_at_the_next_click(signed: Signed, page: Page, other_page: Page):
    signed.person("carl")
    signed.person("boss")
    sign_in(page, signed, "carl")
    sign_in(other_page, signed, "boss")
    settled(page, "Overview")

    go(other_page, f"{signed.url}/people?person={person_id(signed, 'carl@example.com')}", "People")

    def decide(click: str, answer: str) -> None:
        press(other_page.get_by_text(click, exact=True).last)
        if click == "Deactivate":
            press(other_page.get_by_role("dialog").get_by_role("button", name="Deactivate"))
        expect(other_page.get_by_text(written(f"carl@example.com is {answer} from the next click on."))).to_be_visible()

    decide("Analyst", "analyst")
    press(page.get_by_role("link", name="Groups", exact=True))
    expect(page.get_by_text("Signed in as analyst")).to_be_visible()
    press(page.get_by_role("link", name="Cohorts", exact=True))
    settled(page, "Cohorts")

    decide("Viewer", "viewer")
    press(page.get_by_role("link", name="Syncs", exact=True))
    expect(page.get_by_text("This page is not for your role")).to_be_visible()

    decide("Deactivate", "deactivated")
    press(page.get_by_role("link", name="History", exact=True))
    expect(page.get_by_text(written("carl@example.com was deactivated."))).to_be_visible()
    expect(page.get_by_role("heading", name="History")).to_have_count(0)


def person_id(signed: Signed, email: str) -> int:
    bridge = open_bridge(Settings(home=signed.home, _env_file=None))  # type: ignore[call-arg]
    (number,) = (view.person.id for view in people.list_people(bridge, LOCAL) if view.person.email == email)
    bridge.engine.dispose()
    return number or 0


def test_a_forged_cookie_signs_no_one_in(signed: Signed, page: Page):
    forged = json.dumps({"iss": "x", "sub": "boss", "email": "boss@example.com", "is_logged_in": True})
    page.goto(signed.url)
    page.context.add_cookies([{"name": "_streamlit_user", "value": forged.encode().hex(), "url": signed.url}])
    page.goto(f"{signed.url}/people")

    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="People")).to_have_count(0)


@LONG
def test_the_log_of_the_dashboard_and_what_it_keeps_hold_no_secret_of_sign_in(
    signed: Signed, page: Page, other_page: Page
):
    signed.person("vera")
    sign_in(page, signed, "vera")
    settled(page, "Overview")
    signed.person("una", email_verified=False)
    sign_in(other_page, signed, "una")
    expect(other_page.get_by_text("Access denied")).to_be_visible()

    kept = [signed.log, *(path for path in signed.home.rglob("*") if path.is_file() and path.suffix != ".lock")]
    for path in kept:
        content = path.read_bytes()
        # The last one is how every token of the provider begins.
        for planted in (COOKIE_SECRET, CLIENT_SECRET, "eyJ"):
            assert planted.encode() not in content, path
    head = json.loads(signed.core("audit", "verify", "--json").stdout)["head"]
    assert f"hash={head.partition(':')[2]}" in signed.log.read_text(), "the newest line is in the log as well"
    lines = list(signed.core("audit", "download").stdout.splitlines())
    assert any("una@example.com,sign_in,refused" in line for line in lines)
    assert json.loads(signed.core("audit", "verify", "--json").stdout)["ok"]


def test_another_site_cannot_open_the_connection_that_everything_goes_through(signed: Signed):
    def handshake(**headers: str) -> str:
        port = int(signed.url.rsplit(":", 1)[1])
        sent = {
            "Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==", **headers,
        }  # fmt: skip
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
            connection.sendall(f"GET /_stcore/stream HTTP/1.1\r\n{lines}\r\n".encode())
            return connection.recv(200).decode().splitlines()[0]

    assert "101" in handshake(Origin=signed.url)
    assert "403" in handshake(Origin="https://evil.example")
    assert "400" in handshake(Host="evil.example", Origin="https://evil.example")


# Sends a file as the page's own field does, to the session that the address names. Returns the answer.
SEND_A_FILE = """async url => {
    const token = document.cookie.match(/_streamlit_xsrf=([^;]*)/)[1];
    const body = new FormData();
    body.append("a.csv", new File(["x"], "a.csv"));
    const answer = await fetch(url + "0", {method: "PUT", headers: {"X-Xsrftoken": token}, body});
    return answer.status + " " + await answer.text();
}"""


@LONG
def test_a_file_is_taken_from_whom_its_field_is_shown_to_until_they_may_not(signed: Signed, page: Page, tmp_path: Path):
    connect_something(signed)
    signed.person("anna")
    signed.core("people", "add", "anna@example.com", "--role", "analyst")
    sent = list[Response]()
    page.on("response", lambda answer: sent.append(answer) if answer.request.method == "PUT" else None)
    page.goto(f"{signed.url}/matching")
    press(page.get_by_role("button", name="Sign in", exact=True))
    page.get_by_placeholder("sub").fill("anna")
    press(page.get_by_role("button", name="Authorize"))
    settled(page, "Matching")
    press(page.get_by_role("radio", name="Associate by hand"))
    file = tmp_path / "users.csv"
    file.write_bytes(b"distinct_id,apptimize_id\n" + b"x" * 5_000_000)
    other = tmp_path / "other.csv"
    other.write_bytes(file.read_bytes())
    field = page.get_by_test_id("stFileUploaderDropzoneInput")
    field.set_input_files(file)
    expect(page.get_by_role("button", name="Check file")).to_be_enabled()
    assert [answer.status for answer in sent] == [204]
    url = sent[0].url
    assert page.evaluate(SEND_A_FILE, url).startswith("204")

    signed.core("people", "role", "anna@example.com", "viewer")
    assert page.evaluate(SEND_A_FILE, url).startswith("403 This needs the role analyst")
    field.set_input_files(other)
    expect(field).to_have_count(0)
    expect(page.get_by_text("Signed in as viewer")).to_be_visible()

    signed.core("people", "role", "anna@example.com", "analyst")
    press(page.get_by_role("link", name="Matching", exact=True))
    press(page.get_by_role("radio", name="Associate by hand"))
    expect(page.get_by_role("button", name="Check file")).to_be_visible()
    settled(page, "Matching")
    assert page.evaluate(SEND_A_FILE, url).startswith("204")
    press(page.get_by_role("radio", name="From cohort to group"))
    expect(field).to_have_count(0)
    settled(page, "Matching")
    assert page.evaluate(SEND_A_FILE, url).startswith("403 This page takes no file")
    page.goto(f"{signed.url}/matching")
    settled(page, "Matching")
    assert page.evaluate(SEND_A_FILE, url).startswith("403 This page takes no file"), "another session's"


def connect_something(signed: Signed) -> None:
    """Files are taken where there is a project that they are for."""
    bridge = open_bridge(Settings(home=signed.home, _env_file=None))
    with write_session(bridge.engine) as session:
        session.add(
            Connection(
                created_at=bridge.clock.now(), side=MIXPANEL_SIDE, kind=ConnectionKind.MIXPANEL, name="default",
                project_id=1,
            )
        )  # fmt: skip
    bridge.engine.dispose()


def test_a_connection_that_is_signed_out_sends_no_file(signed: Signed):
    token = httpx.get(f"{signed.url}/_stcore/health").cookies["_streamlit_xsrf"]
    with websocket(signed.url, token) as connection:
        connection.send(PEOPLE_PLEASE)
        drawn = (ForwardMsg.FromString(each) for each in connection if isinstance(each, bytes))
        session = next(each.new_session.initialize.session_id for each in drawn if each.HasField("new_session"))
        for number in range(12):
            with closing(HTTPConnection(signed.url.removeprefix("http://"), timeout=10)) as sender:
                # Nothing of the file is ever sent: who waits for it does not answer.
                sender.putrequest("PUT", f"/_stcore/upload_file/{session}/{number}")
                sender.putheader("Content-Length", "100000000")
                sender.putheader("X-Xsrftoken", token)
                sender.putheader("Cookie", f"_streamlit_xsrf={token}")
                sender.endheaders()
                answer = sender.getresponse()
                assert (answer.status, answer.headers["Connection"]) == (403, "close")
                assert answer.read().startswith(b"This page takes no file")


def test_connections_that_are_signed_out_hold_little_memory_and_keep_no_one_out(signed: Signed):
    token = httpx.get(f"{signed.url}/_stcore/health").cookies["_streamlit_xsrf"]
    for size in (2_000_000, 11_000_000):
        with websocket(signed.url, token) as connection:
            with suppress(ConnectionClosed):
                connection.send(b"x" * size)
            with pytest.raises(ConnectionClosed):  # "too big", unless that is lost with what was still being sent
                connection.recv(timeout=10)
    with ExitStack() as stack:
        connections = [stack.enter_context(websocket(signed.url, token)) for _ in range(MOST_CONNECTIONS + 1)]
        with pytest.raises(ConnectionClosed):
            connections[0].recv(timeout=10)
        connections[-1].send(PEOPLE_PLEASE)
        assert connections[-1].recv(timeout=10), "who comes last is shown the sign-in"


def websocket(url: str, token: str) -> AbstractContextManager[ClientConnection]:
    """Open the connection that the dashboard's own page opens."""
    return connect(
        f"{url.replace('http', 'ws')}/_stcore/stream",
        origin=Origin(url),
        subprotocols=[Subprotocol("streamlit"), Subprotocol(token)],
        additional_headers={"Cookie": f"_streamlit_xsrf={token}"},
    )


# Everything is imported once, and nothing was run or asked of in the processes that are forked from there.
FORKED_SERVERS = """
import os, sys
import alembic.config, pandas, pyarrow, streamlit.web.bootstrap, pages.shell.gate, pages.parts.tables
from streamlit.web import cli
for options in sys.argv[1:]:
    if os.fork() == 0:
        cli.main(["run", "app.py", *options.split()])
for _ in sys.argv[1:]:
    os.wait()
"""


@LONG
def test_a_fresh_server_asked_for_a_page_first_shows_the_sign_in(chromium: Browser, page: Page, tmp_path: Path):
    """Started in Streamlit's own way, where a file in `pages/` could be served without `app.py`."""
    ports = {path: free_port() for path in (PATHS if SEEDS else PATHS[1:2])}
    options = list[str]()
    for port in ports.values():
        (tmp_path / str(port)).mkdir()
        secrets = secrets_file(tmp_path / str(port), "http://127.0.0.1:1", port)
        options.append(f"--server.port={port} --secrets.files={secrets}")
    process = subprocess.Popen(
        [sys.executable, "-c", FORKED_SERVERS, *options], cwd=ROOT, env=environment(tmp_path / "home"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        tabs = list[Page]()
        for path, port in ports.items():
            wait_for(f"http://127.0.0.1:{port}", process)
            answer = httpx.get(f"http://127.0.0.1:{port}/{path}")
            assert answer.headers["X-Frame-Options"] == "DENY", "it is protected as the other way of starting it is"
            tabs.append(page.context.new_page())
            tabs[-1].goto(f"http://127.0.0.1:{port}/{path}", wait_until="commit")
        for page in tabs:
            page.bring_to_front()
            expect(page.get_by_text("Sign in to see groups, exports and their history.")).to_be_visible()
            expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
            expect(page.get_by_test_id("stSidebarNav")).to_have_count(0)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@few(1)
@pytest.mark.parametrize("how", ["serve", "streamlit run", "serve, told by the environment"])
def test_without_sign_in_a_dashboard_does_not_open_to_others(tmp_path: Path, how: str):
    told = {"STREAMLIT_SERVER_ADDRESS": "0.0.0.0"} if "environment" in how else {}
    options = [f"--server.port={free_port()}", f"--secrets.files={tmp_path / 'none.toml'}"]
    options += [] if told else ["--server.address=0.0.0.0"]
    start = ["-m", "streamlit", "run", "app.py"] if how == "streamlit run" else ["app.py"]
    process = subprocess.Popen(
        [sys.executable, *start, *options], cwd=ROOT, env=environment(tmp_path / "home", **told),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    said = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 2
    assert "Sign-in is not set up, and the dashboard listens at 0.0.0.0" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert how == "streamlit run" or len(said.splitlines()) == 1
