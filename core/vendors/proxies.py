"""Proxies: what the environment says of them, read here alone, and checked before a client is made.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in small letters too, mean what curl and Go take them for. Our own
machine is never asked through a proxy.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NoReturn
from urllib.request import getproxies

import httpx

from core.errors import SettingsError
from core.hosts import is_loopback_host
from core.text import STEERING, shown, whole_of
from core.vendors.addresses import Address
from core.vendors.certificates import load_trusted

_PORTS = {"http": 80, "https": 443}
_SOCKS = ("socks", "socks4", "socks4a", "socks5", "socks5h")
_NAMES = ("http", "https", "all", "no")
# What a name of a machine, or a pattern of names, is made of.
_NAME = re.compile(r"[\w.*-]+")
_BRACKETED = re.compile(r"\[([^\[\]]*)\](/\d+)?(?::(.*))?")
_OUR_OWN = ("localhost", "127.0.0.1", "::1")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class _Entry:
    """An entry of NO_PROXY: who is asked without a proxy."""

    text: str
    scheme: str  # empty: any
    name: str  # in small letters, without dots around it; may be a pattern
    network: Network | None
    port: int | None  # None: any

    def covers(self, url: httpx.URL, names: set[str], address: Address | None) -> bool:
        """Return whether an address is asked without a proxy, by any of its names or by its number."""
        if self.scheme not in ("", url.scheme) or self.port not in (None, url.port or _PORTS[url.scheme]):
            return False
        if self.network is not None:
            return address is not None and address.version == self.network.version and address in self.network
        if "*" in self.name:
            return any(fnmatchcase(name, self.name) for name in names)
        return any(name == self.name or name.endswith(f".{self.name}") for name in names)


@dataclass(frozen=True)
class Proxies:
    """Which proxy is asked, by the scheme of an address, and what is asked without one."""

    by_scheme: dict[str, httpx.Proxy] = field(default_factory=dict[str, httpx.Proxy])
    entries: tuple[_Entry, ...] = ()

    def is_asked_through(self, url: httpx.URL) -> bool:
        """Return whether an address is asked through the proxy of its scheme."""
        names = _names(url)
        if url.scheme not in self.by_scheme or any(map(is_loopback_host, names)):
            return False
        address = next(filter(None, map(_address, names)), None)
        return not any(entry.covers(url, names, address) for entry in self.entries)


def read() -> Proxies:
    """Read which proxies the environment names. Raises SettingsError naming the variable, never what stands in it."""
    given = _given()
    chosen = _choose(given)
    entries = _read_entries(given.get("no", "")) if chosen else None
    if entries is None:
        return Proxies()
    return Proxies({scheme: _read_proxy(name, given[name]) for scheme, name in chosen.items()}, entries)


def prepare_for_libraries(environment: MutableMapping[str, str]) -> None:
    """Write the variables as a library that reads them by itself understands them too. Raises SettingsError.

    Sign-in at the dashboard is done by one: it fails on addresses in brackets, on networks of IPv6, and on a proxy for
    all that is not even asked.
    """
    proxies, given = read(), _given()
    for variable in list(environment):
        if variable.lower() in [f"{name}_proxy" for name in _NAMES]:
            del environment[variable]
    for scheme, name in _choose(given).items() if proxies.by_scheme else ():
        environment[f"{scheme}_proxy"] = given[name]
    if proxies.by_scheme:
        plain = (_as_libraries_take_it(entry) for entry in proxies.entries)
        environment["no_proxy"] = ",".join([*_OUR_OWN, *filter(None, plain)])


def _as_libraries_take_it(entry: _Entry) -> str | None:
    if entry.network is not None and entry.port is None:
        if entry.network.num_addresses == 1:
            return str(entry.network.network_address)
        return str(entry.network) if entry.network.version == 4 else None
    try:
        httpx.URL(entry.text if "://" in entry.text else f"all://*{entry.text}")
    except httpx.InvalidURL:
        return None
    return entry.text


# --- the variables -------------------------------------------------------------------------------------------------


def _given() -> dict[str, str]:
    given = getproxies()
    return {name: value for name in _NAMES if (value := given.get(name, "").strip())}


def _choose(given: dict[str, str]) -> dict[str, str]:
    """Return which setting counts for each scheme: its own, or that for all."""
    return {scheme: name for scheme in _PORTS for name in ("all", scheme) if name in given}


def _variable(name: str) -> str:
    """Return how the variable of a setting is spelled; small letters take precedence."""
    spelled = [key for key, value in os.environ.items() if key.lower() == f"{name}_proxy" and value.strip()]
    return max(spelled, default=f"{name}_proxy".upper())


def _refuse(name: str, why: str, advice: str) -> NoReturn:
    variable = _variable(name)
    raise SettingsError(f"{variable} cannot be used: {why}.", advice=advice.format(variable), code="bad_setting")


# --- a proxy -------------------------------------------------------------------------------------------------------

_NO_SOCKS = "it names a SOCKS proxy, and only those of HTTP are supported"
_ADVICE = "Set {} to an address such as http://proxy.example:3128, or unset it; then start Cohort Bridge again."


def _read_proxy(name: str, value: str) -> httpx.Proxy:
    if STEERING.search(value) or re.search(r"\s", value):
        _refuse(name, "it holds characters that no address has", _ADVICE)
    url = value if "://" in value else f"http://{value}"
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https", *_SOCKS):
        _refuse(name, "it is no address of a proxy, which begins with http:// or https://", _ADVICE)
    try:
        proxy = httpx.Proxy(url, ssl_context=load_trusted() if scheme == "https" else None)
        has_host = bool(proxy.url.host)
        httpx.HTTPTransport(verify=load_trusted(), proxy=proxy).close()
    except ImportError:
        _refuse(name, _NO_SOCKS, _ADVICE)
    except (ValueError, httpx.InvalidURL):
        _refuse(name, _NO_SOCKS if scheme in _SOCKS else "it is no address of a proxy", _ADVICE)
    if not has_host:
        _refuse(name, "it names no machine", _ADVICE)
    if proxy.url.port is not None and not 0 < proxy.url.port < 2**16:
        _refuse(name, "its port is none", _ADVICE)
    return proxy


# --- what is asked without one -------------------------------------------------------------------------------------


def _read_entries(value: str) -> tuple[_Entry, ...] | None:
    """Read the entries of NO_PROXY; None: everything is asked without a proxy."""
    entries = [entry for entry in re.split(r"[\s,]+", value) if entry]
    return None if "*" in entries else tuple(_read_entry(entry) for entry in entries)


def _read_entry(entry: str) -> _Entry:
    scheme, separator, place = entry.rpartition("://")
    scheme = scheme.lower()
    if "@" in entry or (separator and scheme not in ("all", *_PORTS)):
        _refuse_entry(entry)
    host, port = _split(entry, place.rstrip("/") if separator else place)
    network, name = _network(host), host.strip(".").lower()
    if network is None and not _NAME.fullmatch(name):
        _refuse_entry(entry)
    return _Entry(entry, "" if scheme == "all" else scheme, name, network, port)


def _split(entry: str, place: str) -> tuple[str, int | None]:
    """Split the machine, or the network, from the port that may stand after it."""
    if bracketed := _BRACKETED.fullmatch(place):
        host, port = bracketed[1] + (bracketed[2] or ""), bracketed[3]
        if _network(host) is None:
            _refuse_entry(entry)
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    else:
        host, port = place, None
    if port is None:
        return host, None
    number = whole_of(port)
    if number is None or not 0 < number < 2**16:
        _refuse_entry(entry)
    return host, number


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(re.sub(r"%[^/]*", "", text), strict=False)
    except ValueError:
        return None


def _names(url: httpx.URL) -> set[str]:
    """Return the machine of an address as it is asked for, and in its own letters."""
    names = {url.raw_host.decode("ascii")}
    with suppress(ValueError):  # punycode of nothing
        names.add(url.host)
    return {name.rstrip(".").lower() for name in names}


def _address(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _refuse_entry(entry: str) -> NoReturn:
    named = "one of its entries" if "@" in entry else f"its entry {shown(entry, most=60)}"
    _refuse("no", f"{named} is no name, address or network", "Correct the entry in {} or remove it, then start again.")
