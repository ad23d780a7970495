"""Addresses that people enter: nothing inside the house is reached through them, however they are spelled."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from core.errors import AddressNotAllowed, SettingsError, VendorSurprise
from core.vendors import addresses
from core.vendors.addresses import Reach
from core.vendors.cohort_sync import EndpointDelivery
from core.vendors.delivery import Target
from core.vendors.http import connect_entered, connect_http, load_trusted
from core.vendors.receiver import Receiver
from core.vendors.retry import RetryPlan
from data.models import Member
from tests.stage.certificates import make_certificate
from tests.stage.members import ListedMembers

INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.8", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "fe80::1", "fec0::1",
    "fc00::1", "fd00:ec2::254", "ff02::1", "64:ff9b::a00:1", "64:ff9b::169.254.169.254",
    "64:ff9b:1:a9fe:a9:fe00:808:808", "2002:a00:1::",
    "2002:7f00:1::", "2001:db8::1", "2001:0:53aa:64c:0:0:f5ff:fffe",
]  # fmt: skip


@pytest.mark.parametrize("text", INSIDE)
def test_no_address_of_the_inside_counts_as_public(text: str):
    assert not addresses.is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]
)
def test_addresses_of_the_internet_do(text: str):
    assert addresses.is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "host",
    ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "0", "127.0.0.1.", "localhost", "localhost.",
     "[::1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "[fe80::1%25lo]", "①②⑦.0.0.1", "169.254.169.254",
     "0xA9FEA9FE", "2852039166"],
)  # fmt: skip
def test_every_spelling_of_an_inside_address_is_refused_when_it_is_saved(host: str):
    with pytest.raises(SettingsError, match="private address|no server has this name|not a web address"):
        addresses.check_endpoint(f"https://{host}/groups", allow_private=False)


# --- what is connected to ------------------------------------------------------------------------------------------


class Names:
    """What the system's resolver says, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in self.answers:
            return self._real(host, port, *args, **options)
        self.asked.append(host)
        answers = self.answers[host]
        resolved = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in resolved
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


class _Answers(BaseHTTPRequestHandler):
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["Host"])
        self.send_response(302 if self.path == "/away" else 200)
        self.send_header("Location", "http://169.254.169.254/latest")
        self.end_headers()
        self.wfile.write(b"here")

    def do_POST(self) -> None:
        """Answer without an end."""
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            for _ in range(2000):
                self.wfile.write(b" " * 50_000)
                self.seen.append("50 kB")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    _Answers.seen.clear()
    serving = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving
    serving.shutdown()
    serving.server_close()


def get(url: str, reach: Reach, **options: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with connect_entered(reach, **options) as http:
            return await http.get(url, timeout=5)

    return asyncio.run(ask())


def test_a_name_that_leads_inside_is_not_connected_to(names: Names, server: ThreadingHTTPServer):
    names.answers["hooks.example"] = [["127.0.0.1"]]

    with pytest.raises(AddressNotAllowed, match="private address"):
        get(f"http://hooks.example:{server.server_port}/", Reach.PUBLIC)

    assert _Answers.seen == []


def test_one_inside_address_among_public_ones_is_enough(names: Names):
    names.answers["hooks.example"] = [["93.184.216.34", "10.0.0.1"]]

    with pytest.raises(AddressNotAllowed):
        get("https://hooks.example/", Reach.PUBLIC)


def test_a_name_that_changes_between_check_and_use_leads_nowhere(names: Names, server: ThreadingHTTPServer):
    names.answers["hooks.example"] = [["93.184.216.34"], ["127.0.0.1"]]

    addresses.check_endpoint("https://hooks.example/groups", allow_private=False)
    with pytest.raises(AddressNotAllowed):
        get(f"http://hooks.example:{server.server_port}/", Reach.PUBLIC)

    assert _Answers.seen == []


def test_the_name_is_looked_up_once_and_the_checked_address_is_the_one_connected_to(
    names: Names, server: ThreadingHTTPServer
):
    names.answers["practice.example"] = [["127.0.0.1"], ["10.0.0.1"]]

    answer = get(f"http://practice.example:{server.server_port}/", Reach.LOOPBACK)

    assert (answer.text, names.asked) == ("here", ["practice.example"])
    assert _Answers.seen == [f"practice.example:{server.server_port}"]


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_other_spellings_are_refused_where_the_connection_is_made_too(host: str, server: ThreadingHTTPServer):
    with pytest.raises((AddressNotAllowed, httpx.ConnectError)):
        get(f"http://{host}:{server.server_port}/", Reach.PUBLIC)

    assert _Answers.seen == []


def test_the_sandboxs_client_reaches_nothing_but_this_machine(names: Names):
    names.answers["elsewhere.example"] = [["93.184.216.34"]]

    with pytest.raises(AddressNotAllowed, match="practice sandbox"):
        get("http://elsewhere.example/", Reach.LOOPBACK)


def test_a_redirect_is_not_followed(server: ThreadingHTTPServer):
    answer = get(f"http://127.0.0.1:{server.server_port}/away", Reach.LOOPBACK)

    assert answer.status_code == 302
    assert len(_Answers.seen) == 1


def test_a_proxy_of_the_environment_is_not_asked_to_look_the_name_up(
    names: Names, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    names.answers["hooks.example"] = [["10.0.0.1"]]

    with pytest.raises(AddressNotAllowed):
        get("http://hooks.example/", Reach.PUBLIC)

    assert _Answers.seen == []


def test_an_answer_without_an_end_is_not_read_to_its_end(server: ThreadingHTTPServer):
    async def still_mine() -> None:
        return

    async def deliver() -> None:
        async with connect_entered(Reach.LOOPBACK) as http:
            url = f"http://127.0.0.1:{server.server_port}/"
            delivery = EndpointDelivery(
                http, Receiver(url, "token"), still_mine, retry=RetryPlan(attempts=1, over_s=0.1)
            )
            await delivery.overwrite(Target(1, 2, "c", "g"), ListedMembers([[Member("i_1", "u-1")]]), members=1)

    with pytest.raises(VendorSurprise, match="did not confirm the message"):
        asyncio.run(deliver())

    assert len(_Answers.seen) < 400, "of 100 megabytes that are on offer"


# --- TLS still proves the name -------------------------------------------------------------------------------------


@pytest.fixture
def tls_server(server: ThreadingHTTPServer, tmp_path: Path) -> tuple[ThreadingHTTPServer, ssl.SSLContext, list[str]]:
    """The server with a certificate for hooks.example, who trusts it, and the names that it was asked for."""
    path, asked = make_certificate(tmp_path, "hooks.example"), list[str]()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    serving.sni_callback = lambda _, name, __: asked.append(name or "")
    server.socket = serving.wrap_socket(server.socket, server_side=True)
    return server, ssl.create_default_context(cafile=str(path)), asked


def test_tls_asks_for_the_name_and_not_for_the_address(
    names: Names, tls_server: tuple[ThreadingHTTPServer, ssl.SSLContext, list[str]]
):
    server, trusted, asked = tls_server
    names.answers["hooks.example"] = [["127.0.0.1"]]

    answer = get(f"https://hooks.example:{server.server_port}/", Reach.LOOPBACK, trusted=trusted)

    assert (answer.text, asked) == ("here", ["hooks.example"])


def test_tls_refuses_a_certificate_of_another_name(
    names: Names, tls_server: tuple[ThreadingHTTPServer, ssl.SSLContext, list[str]]
):
    server, trusted, _ = tls_server
    names.answers["other.example"] = [["127.0.0.1"]]

    with pytest.raises(httpx.ConnectError, match="certificate"):
        get(f"https://other.example:{server.server_port}/", Reach.LOOPBACK, trusted=trusted)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "whole address"),
        ("example.com/groups", "whole address"),
        ("ftp://example.com", "whole address"),
        ("https://", "whole address"),
        ("http://example.com/groups", "only https"),
        ("https://user:pass@example.com", "user name and password"),
        ("https://127.0.0.1/groups", "private address"),
        ("https://10.0.0.8/groups", "private address"),
        ("https://169.254.169.254/latest", "private address"),
        ("https://[::1]/groups", "private address"),
        ("https://[fe80::1]/groups", "private address"),
        ("https://2130706433/groups", "private address"),
        ("https://example.com:99999/", "not a web address"),
    ],
)
def test_an_endpoint_must_be_a_public_https_address(url: str, sentence: str):
    with pytest.raises(SettingsError, match=sentence):
        addresses.check_endpoint(url, allow_private=False)


def test_private_addresses_are_accepted_where_that_is_allowed():
    assert addresses.check_endpoint(" http://10.0.0.8:9/x ", allow_private=True) == "http://10.0.0.8:9/x"


def test_the_certificates_are_loaded_once_for_all_clients():
    def trusted_by(http: httpx.AsyncClient) -> object:
        return http._transport.over(tls=True)._pool._ssl_context

    async def opened() -> list[object]:
        async with connect_http() as client, connect_http() as other, connect_entered(Reach.PUBLIC) as entered:
            return [trusted_by(http) for http in (client, other, entered)]

    contexts = asyncio.run(opened())

    assert contexts == [load_trusted()] * 3
    assert load_trusted().verify_mode is ssl.CERT_REQUIRED
    assert load_trusted().check_hostname


def test_what_is_asked_without_tls_loads_no_certificates(names: Names, server: ThreadingHTTPServer):
    names.answers["hooks.example"] = [["127.0.0.1"]]
    load_trusted.cache_clear()

    answer = get(f"http://hooks.example:{server.server_port}/", Reach.LOOPBACK)

    assert (answer.text, load_trusted.cache_info().currsize) == ("here", 0)
