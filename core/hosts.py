"""Hosts and ports, as they are written."""

from __future__ import annotations

import ipaddress
import re

from core.text import whole_of

# What a host's name may hold; what it leads to is looked up where it is connected to.
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}")
_MOST_PORT = 2**16 - 1


def split_address(text: str) -> tuple[str, int] | None:
    """Take `host:port` apart, `[::1]:80` too; None for what is none. Port 0 is any that is free."""
    host, colon, port = text.rpartition(":")
    number = whole_of(port)
    if not colon or number is None or number > _MOST_PORT:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        return (host, number) if _is_ip(host) and ":" in host else None
    return (host, number) if _HOST.fullmatch(host) else None


def is_loopback_host(host: str) -> bool:
    """Return whether a host is this machine itself, by literal address or `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
