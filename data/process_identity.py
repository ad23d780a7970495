"""Which process this is, in terms that another process can check later."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
# The field of /proc/<pid>/stat with the start time, counted from the one after the name in parentheses.
_START_FIELD = 19


@dataclass(frozen=True)
class ProcessIdentity:
    """A process as exactly as its system knows it: a pid alone is given again, in time and in each container."""

    machine: str
    pid: int
    pid_namespace: str | None  # None where there are none
    process_started: int | None  # clock ticks since the machine started; None where the system does not provide it


def identify_process() -> ProcessIdentity:
    """Identify this process. Asked each time: a fork is another process."""
    return ProcessIdentity(_machine(), os.getpid(), _pid_namespace(), _process_started())


def _machine() -> str:
    """The machine's id and its name: images copy the one, and people choose the other."""
    for path in _MACHINE_IDS:
        try:
            machine_id = Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if machine_id:
            return f"{machine_id}/{socket.gethostname()}"[:255]
    return socket.gethostname()[:255]


def _pid_namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _process_started() -> int | None:
    try:
        stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return None
