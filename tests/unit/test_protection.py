"""What holds for every answer of the dashboard: the names that it answers to, and the headers that it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from streamlit import config, file_util, net_util

from pages.shell.protection import Protection, content_security_policy, list_headers
from tests.stage.processes import ROOT
from tests.stage.serving import ask, serving

OURS = ("content-security-policy", "x-frame-options", "x-content-type-options", "referrer-policy")
OPEN_A_CONNECTION = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n"
)


async def greet(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello", headers={"X-Content-Type-Options": "of its own", "Content-Security-Policy": "no"})


async def fail(request: Request) -> PlainTextResponse:
    raise ZeroDivisionError


async def take(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


async def turn_away(socket: WebSocket) -> None:
    await socket.close(1008)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    names = config.get_option("server.allowedHosts")
    config.set_option("server.allowedHosts", [*names, "cohorts.example.com"])
    routes = [
        Route("/", greet),
        Route("/fail", fail),
        Route("/_stcore/metrics", greet),
        Route("/_stcore/agent/interact", greet, methods=["POST"]),
        WebSocketRoute("/taken", take),
        WebSocketRoute("/turned-away", turn_away),
    ]
    with serving(Protection(Starlette(routes=routes))) as port:
        yield port
    config.set_option("server.allowedHosts", names)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8501", "localhost:1", "LOCALHOST", "localhost.", "[::1]:8501", "[::1]",
             "cohorts.example.com", "Cohorts.Example.com:443"],
)  # fmt: skip
def test_what_is_asked_for_by_a_name_of_the_dashboard_is_answered(port: int, host: str):
    assert status(ask(port, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())) == 200
    assert status(ask(port, f"GET /taken HTTP/1.1\r\nHost: {host}\r\n{OPEN_A_CONNECTION}\r\n".encode())) == 101


FOREIGN = [
    "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8501", "localhost@evil.example",
    "127.0.0.1, evil.example", "127.1", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]", "[::2]", "xcohorts.example.com",
    "localhost/evil", "localhost:99999", "", " ",
]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/nowhere", "/fail", "/_stcore/metrics"])
def test_another_name_is_told_in_a_sentence_that_it_is_none(port: int, host: str, path: str):
    answer = ask(port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert status(answer) == 400
    assert answer.endswith(
        "This address is not one that the dashboard answers to: see docs/security.md, “Names”.\n".encode()
    )


@pytest.mark.parametrize("host", FOREIGN)
def test_another_name_opens_no_connection(port: int, host: str):
    assert status(ask(port, f"GET /taken HTTP/1.1\r\nHost: {host}\r\n{OPEN_A_CONNECTION}\r\n".encode())) == 400


def open_from(port: int, *origins: str) -> int:
    """Open a connection as a page of these origins does."""
    lines = "".join(f"Origin: {origin}\r\n" for origin in origins)
    return status(ask(port, f"GET /taken HTTP/1.1\r\nHost: localhost:8501\r\n{lines}{OPEN_A_CONNECTION}\r\n".encode()))


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost:8502", "http://localhost", "http://127.0.0.1:8501", "null", "", "http://[",
     "http://localhost:8501.evil.example", "http://evil.example@localhost:8502", "http://0.0.0.0:8501"],
)  # fmt: skip
def test_a_page_of_another_site_or_port_opens_no_connection(port: int, origin: str, monkeypatch: pytest.MonkeyPatch):
    # Streamlit would ask outside for the address of this machine, and serve no one meanwhile.
    monkeypatch.setattr(net_util, "get_external_ip", lambda: pytest.fail("it asks outside"))

    assert open_from(port, origin) == 403
    assert open_from(port, "http://localhost:8501", origin) in (400, 403)


def test_a_page_of_the_dashboard_opens_one_and_so_does_an_origin_that_the_operator_named(port: int):
    assert open_from(port) == 101
    assert open_from(port, "http://localhost:8501") == 101
    config.set_option("server.corsAllowedOrigins", ["https://portal.example.com"])
    try:
        assert open_from(port, "https://portal.example.com") == 101
        assert open_from(port, "https://portal.example.com.evil.example") == 403
    finally:
        config.set_option("server.corsAllowedOrigins", [])


@pytest.mark.parametrize(
    "request_",
    [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_request_that_leaves_its_name_open_is_refused(port: int, request_: str):
    assert status(ask(port, request_.encode())) == 400


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("GET /fail HTTP/1.1\r\nHost: localhost\r\n\r\n", 500),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
        ("GET /_stcore/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("POST /_stcore/agent/interact HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 404),
        (f"GET /taken HTTP/1.1\r\nHost: localhost\r\n{OPEN_A_CONNECTION}\r\n", 101),
        (f"GET /turned-away HTTP/1.1\r\nHost: localhost\r\n{OPEN_A_CONNECTION}\r\n", 403),
        (f"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n{OPEN_A_CONNECTION}\r\n", 403),
        (f"GET /taken HTTP/1.1\r\nHost: evil.example\r\n{OPEN_A_CONNECTION}\r\n", 400),
    ],
)
def test_every_answer_says_once_what_may_be_done_with_it(port: int, request_: str, expected: int):
    answer = ask(port, request_.encode())

    assert status(answer) == expected
    lines = answer.partition(b"\r\n\r\n")[0].decode().splitlines()[1:]
    said = [line.partition(":")[0].lower() for line in lines]
    assert [name for name in said if name in OURS] == list(OURS)
    headers = httpx.Headers([(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)])
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["tools/bridge", "/tools/bridge", "tools/bridge/", "/tools/bridge/"])
def test_below_a_path_it_protects_the_same_and_leads_there(path: str):
    config.set_option("server.baseUrlPath", path)
    routes = [Route("/tools/bridge/", greet), Route("/tools/bridge/_stcore/metrics", greet)]
    try:
        with serving(Protection(Starlette(routes=routes))) as port:
            led = httpx.get(f"http://localhost:{port}", trust_env=False)
            assert (led.status_code, led.headers["Location"], led.headers["X-Frame-Options"]) == (
                307, "/tools/bridge/", "DENY",
            )  # fmt: skip
            assert httpx.get(f"http://localhost:{port}/tools/bridge/", trust_env=False).text == "hello"
            for closed in ("/tools/bridge/_stcore/metrics", "/_stcore/metrics"):
                assert httpx.get(f"http://localhost:{port}{closed}", trust_env=False).status_code == 404
    finally:
        config.set_option("server.baseUrlPath", "")


def test_scripts_within_the_page_are_known_by_what_the_installed_streamlit_serves():
    page = (Path(file_util.get_static_dir()) / "index.html").read_text()
    within = [script for script in re.findall(r"<script[^>]*>", page) if "src=" not in script]
    policy = dict(list_headers(page))[b"content-security-policy"].decode()

    assert within == ["<script>"], "all of them are found by what is looked for"
    assert policy.count("'sha256-") == 1
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    # An example of the specification: the hash of `alert('Hello, world.');`
    assert "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='" in content_security_policy(
        ["alert('Hello, world.');"]
    )


def test_no_header_is_said_a_second_time_by_the_proxy_of_the_example():
    example = (ROOT / "docs" / "security.md").read_text().partition("```nginx")[2].partition("```")[0]

    added = {name.lower() for name in re.findall(r"add_header (\S+)", example)}
    assert added == {"strict-transport-security"}


def test_the_names_stay_when_streamlit_reads_its_settings_again(port: int):
    config.set_option("server.allowedHosts", ["localhost"])  # as it does when their file changes

    assert status(ask(port, b"GET / HTTP/1.1\r\nHost: cohorts.example.com\r\n\r\n")) == 200
