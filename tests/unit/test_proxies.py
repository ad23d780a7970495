"""Proxies of the environment: what is understood, what is refused by its name, and who is asked without one."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingsError
from core.vendors import certificates, proxies
from core.vendors.http import connect_http
from tests.stage.certificates import make_certificate

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


@contextmanager
def environment(**values: str) -> Generator[None]:
    """Have these variables, and no other that speaks of proxies."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in values.items():
            patch.setenv(name, value)
        yield


async def ask(url: str) -> int:
    async with connect_http() as http:
        return (await http.get(url, timeout=5)).status_code


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = f"{self.requestline} {self.headers.get('Proxy-Authorization', '')}".strip()
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        self.send_response(418)
        self.end_headers()

    do_CONNECT = do_GET  # noqa: N815  (the name is the library's)

    def log_message(self, *_: Any) -> None:
        pass


class Proxy(ThreadingHTTPServer):
    """A proxy that takes note of what it is asked for, and answers 418."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)


@pytest.fixture
def proxy() -> Generator[Proxy]:
    serving = Proxy()
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving
    serving.shutdown()
    serving.server_close()


# --- who is asked through one --------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_an_address_is_asked_through_the_proxy_of_its_scheme(proxy: Proxy, variable: str):
    with environment(**{variable: f" user:p%40ss@127.0.0.1:{proxy.server_port} "}):
        assert asyncio.run(ask("http://vendor.example/a")) == 418

    assert proxy.asked == ["GET http://vendor.example/a HTTP/1.1 Basic dXNlcjpwQHNz"]


def test_https_is_tunneled_through_its_own_proxy(proxy: Proxy):
    unused = {"HTTP_PROXY": "http://other.example:1", "ALL_PROXY": "socks://unused:1"}
    with environment(HTTPS_PROXY=f"http://127.0.0.1:{proxy.server_port}", **unused):
        with pytest.raises(httpx.ProxyError, match="418"):
            asyncio.run(ask("https://vendor.example/a"))

    assert proxy.asked == ["CONNECT vendor.example:443 HTTP/1.1"]


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("127.0.0.1,::1,[::1]", "http://[::1]:8600/"),
        ("[2001:db8::1]", "http://[2001:db8::1]/"),
        ("2001:db8::1", "https://[2001:DB8:0::1]:8443/"),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443/"),
        ("fd00::/8", "http://[fd12:3456::7]/"),
        ("[fd00::]/8", "http://[fd12:3456::7]/"),
        ("fe80::1%eth0", "http://[fe80::1]/"),
        ("10.0.0.0/8", "http://10.9.8.7/"),
        ("10.1.2.3/8", "http://10.9.8.7/"),
        ("10.0.0.0/255.0.0.0", "http://10.9.8.7/"),
        ("10.0.0.0/8", "http://[::ffff:10.9.8.7]/"),
        ("192.168.1.9", "https://192.168.1.9/"),
        ("192.168.*", "https://192.168.1.9/"),
        ("example.com", "https://example.com/"),
        ("example.com", "https://www.example.com/"),
        (".example.com", "https://www.example.com/"),
        (".example.com", "https://example.com/"),
        ("*.example.com", "https://www.example.com/"),
        ("EXAMPLE.com.", "https://Example.COM./"),
        ("example.com:8443", "https://example.com:8443/"),
        ("example.com:443", "https://example.com/"),
        ("https://example.com", "https://example.com/"),
        ("all://example.com:80/", "http://example.com/"),
        ("bücher.example", "https://xn--bcher-kva.example/"),
        ("xn--bcher-kva.example", "https://bücher.example/"),
        ("a.example, example.com", "https://example.com/"),
        (" a.example  example.com ,, ", "https://example.com/"),
        ("fd00::/200x,*", "https://anywhere.example/"),
        ("", "http://127.0.0.1:8600/"),
        ("", "http://localhost:8600/"),
        ("", "http://[::1]:8600/"),
    ],
)
def test_who_is_asked_without_a_proxy(entries: str, url: str):
    with environment(ALL_PROXY="http://proxy.example:3128", NO_PROXY=entries):
        assert not proxies.read().is_asked_through(httpx.URL(url))


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("", "https://example.com/"),
        (" , ", "https://example.com/"),
        ("example.com", "https://notexample.com/"),
        ("example.com", "https://example.com.evil.example/"),
        ("example.com:8443", "https://example.com/"),
        ("http://example.com", "https://example.com/"),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]/"),
        ("10.0.0.0/8", "http://11.0.0.1/"),
        ("10.0.0.0/8", "http://10.example.com/"),
        ("fd00::/8", "http://[fe80::1]/"),
        ("0.0.0.0/0", "http://[2001:db8::1]/"),
        ("*.example.com", "https://example.com/"),
    ],
)
def test_everyone_else_is_asked_through_it(entries: str, url: str):
    with environment(ALL_PROXY="http://proxy.example:3128", NO_PROXY=entries):
        assert proxies.read().is_asked_through(httpx.URL(url))


def test_our_own_machine_is_asked_although_a_proxy_is_set(proxy: Proxy):
    with environment(HTTP_PROXY="http://127.0.0.1:1"):
        assert asyncio.run(ask(f"http://127.0.0.1:{proxy.server_port}/sandbox")) == 418

    assert proxy.asked == ["GET /sandbox HTTP/1.1"]


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("socks5://h:1", "SOCKS"),
        ("socks://h:1/", "only those of HTTP are supported"),
        ("SOCKS4a://h:1", "SOCKS"),
        ("foo://user:hidden@proxy", "neither|begins with http"),
        ("user:hidden@://x", "begins with http"),
        ("http://", "no machine"),
        ("http://:3128", "no machine"),
        ("http://proxy:port", "no address"),
        ("http://proxy:99999", "no address|port"),
        ("http://proxy:0", "port"),
        ("http://[::1", "no address"),
        ("http://[fd00::/8]:1", "no address"),
        ("http://user:hidden@pro xy:1", "characters"),
        ("http://user:hidden\x7f@proxy:1", "characters"),
        ("http://user:hidden\udc80@proxy:1", "characters"),
        ("http://pro\u2028xy:1", "characters"),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_proxy_that_cannot_be_used_is_refused_by_its_variable(variable: str, value: str, why: str):
    with environment(**{variable: value}), pytest.raises(SettingsError, match=why) as caught:
        asyncio.run(ask("https://vendor.example/"))

    assert caught.value.message.startswith(f"{variable} cannot be used: ")
    assert variable in caught.value.advice
    assert "hidden" not in caught.value.message + caught.value.advice


@pytest.mark.parametrize(
    "entry",
    ["fd00::/200", "10.0.0.0/33", "[::1", "[example.com]", "::1]", "[::1]:x", "example.com:0", "example.com:99999",
     "ftp://example.com", "<local>", "a;b", "/", ":", ".", "user:hidden@example.com", "10.0.0.0/8/9", "e\u202ex"],
)  # fmt: skip
def test_an_entry_that_means_nothing_is_refused_with_its_variable(entry: str):
    with environment(HTTPS_PROXY="http://proxy.example:1", no_proxy=f"localhost, {entry}"):
        with pytest.raises(SettingsError, match=r"^no_proxy cannot be used: ") as caught:
            proxies.read()

    assert "hidden" not in caught.value.message
    assert caught.value.message.isprintable()


def test_what_is_not_used_is_not_looked_at():
    with environment(NO_PROXY="fd00::/200"):
        assert proxies.read() == proxies.Proxies()
    with environment(NO_PROXY="*", HTTPS_PROXY="socks://h:1"):
        assert proxies.read() == proxies.Proxies()
    with environment(HTTPS_PROXY="  ", ALL_PROXY=""):
        assert proxies.read() == proxies.Proxies()


WORDS = st.sampled_from(
    ["http", "https", "socks5", "foo", "://", ":", "/", "@", "[", "]", "::1", "fd00::", "/8", "10.0.0.0", "%", "*", ".",
     ",", " ", "example.com", "bücher", "user", "3128", "99999", "?", "#", "é", "\udc80", "\u202e", "xn--", "localhost"]
)  # fmt: skip
VALUES = st.lists(WORDS, max_size=7).map("".join)
URLS = (
    "http://10.1.2.3/",
    "https://[fd00::1]:8443/x",
    "https://bücher.example/",
    "http://localhost:1/",
    "https://a.b/",
)


@given(st.dictionaries(st.sampled_from(VARIABLES), VALUES, min_size=1))
def test_whatever_the_variables_say_there_is_a_client_or_a_sentence(values: dict[str, str]):
    async def open_client() -> None:
        async with connect_http():
            used = proxies.read()
            for url in URLS:
                used.is_asked_through(httpx.URL(url))

    with environment(**values):
        told = ""
        try:
            asyncio.run(open_client())
        except SettingsError as exc:
            told = exc.message
    assert not told or any(told.startswith(f"{name} cannot be used: ") for name in values)


@given(st.dictionaries(st.sampled_from(VARIABLES), VALUES, min_size=1))
def test_what_is_left_for_libraries_makes_a_client_of_theirs(values: dict[str, str]):
    with environment(**values):
        try:
            prepared = dict(os.environ)
            proxies.prepare_for_libraries(prepared)
        except SettingsError:
            return
        with environment(**{name: value for name, value in prepared.items() if name.lower() in VARIABLES}):
            httpx.Client(verify=False).close()  # noqa: S501  (nothing is asked)


def test_libraries_are_told_of_the_same_proxies():
    with environment(ALL_PROXY="proxy.example:1", NO_PROXY="[::1],fd00::/8,10.0.0.0/8,[2001:db8::1]:9,.example.com"):
        prepared = dict(os.environ)
        proxies.prepare_for_libraries(prepared)

    assert {name: value for name, value in prepared.items() if name.lower() in VARIABLES} == {
        "http_proxy": "proxy.example:1",
        "https_proxy": "proxy.example:1",
        "no_proxy": "localhost,127.0.0.1,::1,::1,10.0.0.0/8,.example.com",
    }


# --- certificates --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def loaded_again(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
    yield
    certificates.load_trusted.cache_clear()


def trust(monkeypatch: pytest.MonkeyPatch, variable: str, value: object) -> ssl.SSLContext:
    certificates.load_trusted.cache_clear()
    monkeypatch.setenv(variable, str(value))
    return certificates.load_trusted()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_none_are_refused_by_their_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
):
    (tmp_path / "text.pem").write_text("this is no certificate")
    (tmp_path / "binary.pem").write_bytes(bytes(range(256)))
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")

    for name in ("missing", "text.pem", "binary.pem", "empty", "pipe"):
        with pytest.raises(SettingsError, match=f"^{variable} cannot be used") as caught:
            trust(monkeypatch, variable, tmp_path / name)
        assert variable in caught.value.message


def test_a_file_for_the_keys_of_connections_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")

    for name in ("missing/keys", "pipe", "."):
        with pytest.raises(SettingsError, match="^SSLKEYLOGFILE cannot be used: "):
            trust(monkeypatch, "SSLKEYLOGFILE", tmp_path / name)
    trust(monkeypatch, "SSLKEYLOGFILE", tmp_path / "keys")
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0


def test_certificates_of_a_file_or_a_folder_are_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    path = make_certificate(tmp_path, "proxy.example")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "0a1b2c3d.0").write_bytes(path.read_bytes())

    with monkeypatch.context() as only_file:
        assert len(trust(only_file, "SSL_CERT_FILE", path).get_ca_certs(binary_form=True)) == 1
    with monkeypatch.context() as only_folder:
        assert trust(only_folder, "SSL_CERT_DIR", f"{tmp_path / 'missing'}:{folder}").verify_mode is ssl.CERT_REQUIRED


def test_a_proxy_over_tls_is_trusted_as_the_vendors_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    trusted = trust(monkeypatch, "SSL_CERT_FILE", make_certificate(tmp_path, "proxy.example"))

    with environment(HTTPS_PROXY="https://proxy.example:3128"):
        assert proxies.read().by_scheme["https"].ssl_context is trusted
