"""Checks of addresses that people enter, before anything is sent to them."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from core.errors import SettingsError


def is_loopback(url: str) -> bool:
    """Tell whether a URL names this machine itself, by literal address or `localhost`."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_endpoint(url: str, *, allow_private: bool) -> str:
    """Return the endpoint's URL when groups may be sent there: https, public, without credentials in it.

    With `allow_private`, loopback and private addresses are accepted too, over http as well. Raises SettingsError.
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise SettingsError("Endpoint: this is not a web address.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("Endpoint: enter a whole address that starts with https://.")
    if parts.username or parts.password:
        raise SettingsError("Endpoint: leave user name and password out of the address; the token is sent as a header.")
    if allow_private:
        return text
    if parts.scheme != "https":
        raise SettingsError("Endpoint: only https addresses are accepted, so that members and token travel encrypted.")
    if any(not address.is_global for address in _addresses(parts.hostname, parts.port or 443)):
        raise SettingsError(
            "Endpoint: this leads to a private address.",
            advice="Set COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS=1 if groups are meant to go there.",
        )
    return text


def _addresses(host: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SettingsError("Endpoint: no server has this name.", advice="Check the spelling of the address.") from None
    return [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]
