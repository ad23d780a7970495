"""Which process this is, in terms that another process can check later, and whether such a process has ended."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
# What is within a namespace is numbered by it: processes by the one, the times of their starts by the other.
_NAMESPACES = ("pid", "time")
# Fields of /proc/<pid>/stat, counted from the one after the name in parentheses.
_STATE_FIELD, _THREADS_FIELD, _START_FIELD = 0, 17, 19
_ENDED_STATES = ("Z", "X")


@dataclass(frozen=True)
class ProcessIdentity:
    """A process as exactly as its system knows it: a pid alone is given again, in time and in each container."""

    machine: str | None  # this start of it; None where the system does not provide it
    pid: int
    pid_namespace: str | None  # None where there are none
    process_started: int | None  # clock ticks since the machine started; None where the system does not provide it


@dataclass(frozen=True)
class _Stat:
    """What the system says of a process that has a pid."""

    state: str
    threads: int
    started: int

    @property
    def has_ended(self) -> bool:
        """Whether only its exit status is left. One whose first thread has ended lives on with its others."""
        return self.state in _ENDED_STATES and self.threads <= 1


def identify_process() -> ProcessIdentity:
    """Identify this process. Asked each time: a fork is another process."""
    stat = _read_stat("self")
    return ProcessIdentity(_machine(), os.getpid(), _namespaces(), stat.started if stat else None)


def has_ended(process: ProcessIdentity, *, here: ProcessIdentity) -> bool:
    """Return whether a process is known to have ended, as this process, `here`, sees it.

    False as well where that cannot be told from here: on another machine, or another start of it, in another
    namespace, or where the system says too little.
    """
    place = (here.machine, here.pid_namespace)
    if None in place or place != (process.machine, process.pid_namespace) or process.pid <= 0:
        return False
    if not _exists(process.pid):
        return True
    stat = _read_stat(str(process.pid)) if _shows_own_namespace() else None
    if stat is None:
        return False  # hidden from this user, or gone by now: the next look tells
    return stat.has_ended or process.process_started not in (None, stat.started)


def _machine() -> str | None:
    """The start of the machine, and its name: copies of a machine that is running share the one."""
    try:
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return f"{boot_id}/{socket.gethostname()}"[:255] if boot_id else None


def _namespaces() -> str | None:
    """The namespaces that a pid, and the time of a start, are counted in."""
    namespaces: list[str] = []
    for name in _NAMESPACES:
        try:
            namespaces.append(os.readlink(_PROC / "self/ns" / name))
        except OSError:
            if name == "pid":
                return None
    return " ".join(namespaces)


def _exists(pid: int) -> bool:
    """Whether any process has this pid, be it another user's. Asked of the system itself: /proc may hide it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _shows_own_namespace() -> bool:
    """Whether /proc counts processes as this process does: in a new namespace it may still be the old one's."""
    try:
        return os.readlink(_PROC / "self") == str(os.getpid())
    except OSError:
        return False


def _read_stat(name: str) -> _Stat | None:
    try:
        stat = (_PROC / name / "stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        return _Stat(fields[_STATE_FIELD], int(fields[_THREADS_FIELD]), int(fields[_START_FIELD]))
    except (OSError, ValueError, IndexError):
        return None
