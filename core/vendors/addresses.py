"""Checks of addresses that people enter: when they are saved, and again whenever something is sent there."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple
from urllib.parse import urlsplit

from core.errors import AddressNotAllowed, SettingsError
from core.hosts import is_loopback_host

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses of the internet by their number, but not in what they lead to: a cloud's own services for its machines.
_CLOUD_OWN = frozenset({ipaddress.ip_address("168.63.129.16")})
# Networks that no place of the internet is in, whatever Python's table says of them (it changed between versions).
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "fec0::/10",
        "2001::/23",
        "3fff::/20",
        "64:ff9b:1::/48",
    )
)
# IPv6 that carries an IPv4 address to connect to: network, and where in the 128 bits it is.
_CARRIERS = tuple((ipaddress.ip_network(text), shift) for text, shift in (("64:ff9b::/96", 0), ("2002::/16", 80)))


class Entered(NamedTuple):
    """What was entered: its field's label, why it must be https, and what it would take to lead inside."""

    field: str
    encrypted: str
    meant: str
    instead: str = ""  # where user name and password are entered


_ENDPOINT = Entered(
    "Endpoint", "members and token travel encrypted", "groups are meant to go there", "; they have fields of their own"
)


class Reach(Enum):
    """Where a client may connect to."""

    PUBLIC = "public"
    LOOPBACK = "loopback"  # the practice sandbox, and nothing beside it
    ANYWHERE = "anywhere"  # COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS


def allowed_reach(*, allow_private: bool, practice: bool) -> Reach:
    """Return where an endpoint's messages may go: to the internet, unless it is the sandbox, or more was allowed."""
    if allow_private:
        return Reach.ANYWHERE
    return Reach.LOOPBACK if practice else Reach.PUBLIC


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine itself, by literal address or `localhost`."""
    try:
        return is_loopback_host(urlsplit(url).hostname or "")
    except ValueError:
        return False


def check_endpoint(url: str, *, allow_private: bool, entered: Entered = _ENDPOINT) -> str:
    """Return the endpoint's URL when groups may be sent there: https, public, without credentials in it.

    With `allow_private`, loopback and private addresses are accepted too, over http as well. Raises SettingsError.
    """
    text, field = url.strip(), entered.field
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise SettingsError(f"{field}: this is not a web address.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{field}: enter a whole address that starts with https://.")
    if "@" in parts.netloc:
        raise SettingsError(f"{field}: leave user name and password out of the address{entered.instead}.")
    if allow_private:
        return text
    if parts.scheme != "https":
        raise SettingsError(f"{field}: only https addresses are accepted, so that {entered.encrypted}.")
    try:
        entries = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SettingsError(f"{field}: no server has this name.", advice="Check the spelling of the address.") from None
    require_reach(_addresses(entries), Reach.PUBLIC, entered=entered)
    return text


async def resolve(host: str, port: int) -> list[Address]:
    """Look a name up, once; every spelling of a number is looked up as well. Raises OSError."""
    try:
        entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:
        raise OSError("not a name") from exc
    return _addresses(entries)


def require_reach(addresses: Iterable[Address], reach: Reach, *, entered: Entered = _ENDPOINT) -> None:
    """Refuse when any of the addresses may not be connected to: a name that leads to both kinds is no accident.

    Raises: AddressNotAllowed.
    """
    if reach is Reach.PUBLIC and not all(is_public(address) for address in addresses):
        raise AddressNotAllowed(
            f"{entered.field}: this leads to a private address.",
            advice=f"Set COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS=1 if {entered.meant}.",
        )
    if reach is Reach.LOOPBACK and not all(address.is_loopback for address in addresses):
        raise AddressNotAllowed("Endpoint: the practice sandbox is on this machine, and this leads elsewhere.")


def is_public(address: Address) -> bool:
    """Return whether an address is a place of the internet, whichever way it is spelled or wrapped."""
    carried = _carried(address)
    if carried is not None:
        return is_public(carried)
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback)
        and address not in _CLOUD_OWN
        and not any(address in network for network in _NEVER if network.version == address.version)
    )


def _carried(address: Address) -> Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped:
        return address.ipv4_mapped
    for network, shift in _CARRIERS:
        if address in network:
            return ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return None


def _addresses(entries: Iterable[tuple[object, ...]]) -> list[Address]:
    distinct = dict.fromkeys(str(entry[4][0]).split("%")[0] for entry in entries)  # type: ignore[index]
    return [ipaddress.ip_address(text) for text in distinct]
