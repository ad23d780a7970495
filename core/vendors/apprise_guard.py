"""What Apprise may do in the process that is its own: speak HTTPS or SMTP to places that were checked, and no more.

An address that is entered chooses among some 150 modules, and in many of them host, port and files. None of those is
known by name here. What each does is seen where Python does it (its audit events): which address a socket connects to,
which file is opened, which program is started. A name is looked up once; what is connected to is a number that was
checked, so no second look-up can lead elsewhere. This holds what a library does with hostile addresses, not hostile
code. It cannot be taken off again: only `core/vendors/apprise_child.py` puts it on.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import sysconfig
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import apprise
import requests  # pyright: ignore[reportMissingModuleSource]

from core.errors import AddressNotAllowed
from core.vendors.addresses import Reach, require_reach

# Why something was not allowed (told by core/vendors/services.py).
FILE, PROGRAM, PLACE, PROTOCOL, PLAIN = "file", "program", "place", "protocol", "plain"
# What is never needed to send a message, by the beginning of the event's name.
_NEVER = {
    PROGRAM: (
        "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "pty.", "ctypes.",
    ),
    FILE: (
        "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
        "os.chown", "os.utime", "os.setxattr", "shutil.", "tempfile.", "sqlite3.", "mmap.",
    ),
    PROTOCOL: ("socket.bind", "socket.sendto", "syslog.", "winreg.", "webbrowser."),
}  # fmt: skip
_BY_EVENT = tuple((begins, why) for why, names in _NEVER.items() for begins in names)


class Denied(PermissionError):
    """Something that is not allowed; a library takes it for a failure of the system, and gives up."""


@dataclass
class Guard:
    """What is allowed, and what was tried. With `looks_only` nothing is connected to: the hosts are noted instead."""

    anywhere: bool
    looks_only: bool
    denied: list[str] = field(default_factory=list[str])
    hosts: list[str] = field(default_factory=list[str])
    is_speaking: bool = False  # HTTPS or SMTP is: nothing else may connect
    is_asking_own_name: bool = False  # as SMTP begins with it
    _roots: tuple[str, ...] = ()

    def put_on(self) -> None:
        """Hold everything from now on, to the end of the process.

        What is imported later is read from its folders, and not written there, packed, as Python would.
        """
        self.find_roots()
        sys.dont_write_bytecode = True
        sys.addaudithook(self.hear)

    def find_roots(self) -> None:
        """Find the folders that files may be read from: those of Python and of libraries, wherever these are.

        Our own folder is none of them: the home may lie in it, with its key.
        """
        paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
        paths += [os.path.dirname(os.path.dirname(package.__file__ or "")) for package in (requests, apprise)]
        paths += [sys.pycache_prefix] if sys.pycache_prefix else []  # where Python looks for what it has packed
        self._roots = tuple({os.path.realpath(path) for path in (*paths, *zoneinfo.TZPATH)})

    def deny(self, why: str) -> Denied:
        """Note what was tried, and return the error to raise."""
        self.denied.append(why)
        return Denied(why)

    def note_host(self, host: str) -> None:
        """Note whom it would connect to."""
        if host and host not in self.hosts:
            self.hosts.append(host)

    def hear(self, event: str, details: tuple[Any, ...]) -> None:
        """Hear what Python is about to do, and raise where that is not allowed."""
        check = _CHECKS.get(event)
        if check is not None:
            check(self, details)
            return
        for begins, why in _BY_EVENT:
            if event.startswith(begins):
                raise self.deny(why)

    def check_open(self, details: tuple[Any, ...]) -> None:
        """Let files of the program be read."""
        path, mode, flags = details
        if isinstance(path, int):
            return  # open already
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)) or (
            isinstance(mode, str) and any(sign in mode for sign in "wax+")
        )
        where = os.path.realpath(os.fsdecode(path))
        if writes or not any(where.startswith(root + os.sep) for root in self._roots):
            raise self.deny(FILE)

    def check_look_up(self, details: tuple[Any, ...]) -> None:
        """Let names be looked up, unless nothing is connected to."""
        if self.is_asking_own_name and not self.looks_only:
            return
        if not self.is_speaking:
            raise self.deny(PROTOCOL)
        if self.looks_only:
            raise socket.gaierror(socket.EAI_AGAIN, "nothing is looked up")

    def check_own_name(self, _details: tuple[Any, ...]) -> None:
        """Let this machine's own name be looked up."""
        if not self.is_asking_own_name:
            raise self.deny(PROTOCOL)

    def check_socket(self, details: tuple[Any, ...]) -> None:
        """Let sockets be of the internet."""
        if details[1] not in (socket.AF_INET, socket.AF_INET6) or details[2] & 0xF != socket.SOCK_STREAM:
            raise self.deny(PROTOCOL)

    def check_connect(self, details: tuple[Any, ...]) -> None:
        """Let a number be connected to that may be: whatever it was looked up by, or that a redirect named."""
        if self.looks_only or not self.is_speaking:
            raise self.deny(PROTOCOL)
        try:
            address = ipaddress.ip_address(str(details[1][0]).partition("%")[0])
            require_reach([address], Reach.ANYWHERE if self.anywhere else Reach.PUBLIC)
        except (AddressNotAllowed, ValueError, TypeError, IndexError):
            raise self.deny(PLACE) from None

    def check_send(self, details: tuple[Any, ...]) -> None:
        """Let what is connected be sent to, and no one else."""
        if len(details) > 1 and details[1]:
            raise self.deny(PROTOCOL)


_CHECKS: dict[str, Callable[[Guard, tuple[Any, ...]], None]] = {
    "open": Guard.check_open,
    "socket.getaddrinfo": Guard.check_look_up,
    "socket.gethostbyaddr": Guard.check_own_name,
    "socket.gethostbyname": Guard.check_own_name,
    "socket.__new__": Guard.check_socket,
    "socket.connect": Guard.check_connect,
    "socket.sendmsg": Guard.check_send,
}
