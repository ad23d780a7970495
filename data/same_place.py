"""Where a destination leads: addresses and folders in the one form in which they are compared."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import threading
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import idna

from data.models import Connection, ConnectionKind

_DEFAULT_PORTS = {"http": 80, "https": 443}
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
# One number, or up to four with dots between them: what the system's resolver takes for an IPv4 address.
_NUMBERS = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}")

# The path of a folder and, if it is there, which one it is.
_Located = tuple[str, tuple[int, int] | None]
# How long a folder, which may be on another machine, is waited for; and who asked for it last.
_LOOK_S = 1.0
_asked = dict[str, threading.Thread]()


def is_same_place(connection: Connection, other: Connection) -> bool:
    """Return whether two destinations lead to the same address or folder, however each is spelled.

    Folders are looked at where they are: links, mounts and file systems that ignore case make one of two. Of an
    address that is a secret, `url` is the host alone: it is compared by its hash, as far as both are of one key.
    """
    if connection.kind != other.kind:
        return False
    if connection.kind == ConnectionKind.CSV:
        return _is_same_folder(connection.folder, other.folder)
    if connection.kind != ConnectionKind.ENDPOINT:
        return False
    if connection.address is None and other.address is None:
        return normal_address(connection.url) == normal_address(other.url)
    return bool(connection.address_hash) and connection.address_hash == other.address_hash


def _is_same_folder(folder: str, other: str) -> bool:
    (path, identity), (other_path, other_identity) = _locate(folder), _locate(other)
    return path == other_path or (identity is not None and identity == other_identity)


def _locate(folder: str) -> _Located:
    """Return where a folder is, links followed, and which one it is; of one that hangs, the path that was entered.

    It is asked in a thread of its own, and not again while that hangs: the database waits for the answer.
    """
    as_entered = os.path.abspath(Path(folder).expanduser()), None
    asked = _asked.get(folder)
    if asked and asked.is_alive():
        return as_entered
    located = list[_Located]()
    thread = threading.Thread(target=lambda: located.append(_look_at(folder)), name="may-hang", daemon=True)
    _asked[folder] = thread
    thread.start()
    thread.join(_LOOK_S)
    return located[0] if located else as_entered


def _look_at(folder: str) -> _Located:
    path = os.path.realpath(Path(folder).expanduser())
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return path, None  # it is not there at this moment: its name has to do
    return path, (state.st_dev, state.st_ino)


def normal_address(url: str) -> str:
    """Return a web address so that two that lead to the same place are equal texts.

    Host in lower case, as it is looked up; no default port, no slash at the end of the path, the query in order. What
    cannot be taken apart is returned as it is.
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return text
    if not parts.scheme or not parts.hostname:
        return text
    scheme = parts.scheme.lower()
    shown_port = "" if port in (None, _DEFAULT_PORTS.get(scheme)) else f":{port}"
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))
    shown_query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    address = f"{scheme}://{_normal_host(parts.hostname)}{shown_port}{_normal_path(parts.path)}"
    return f"{address}?{shown_query}" if shown_query else address


def _normal_host(host: str) -> str:
    name = host.lower().rstrip(".")
    try:
        # Dots of other scripts are dots to a browser, and letters of full width are letters.
        name = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        return name
    number = _address_number(name)
    if number is not None:
        name = str(getattr(number, "ipv4_mapped", None) or number)
    if name in _THIS_MACHINE:
        return "localhost"
    return f"[{name}]" if ":" in name else name


def _address_number(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name)) if _NUMBERS.fullmatch(name) else None
    except OSError:
        return None


def _normal_path(path: str) -> str:
    """Return a path without steps that lead nowhere; its letters stay as they are: servers tell their case apart."""
    kept = list[str]()
    for each in path.split("/"):
        step = unquote(each, errors="surrogateescape")
        if step == "..":
            del kept[max(1, len(kept) - 1) :]
        elif step != ".":
            kept.append(quote(step, safe="", errors="surrogateescape"))
    return "/".join(kept).rstrip("/")
