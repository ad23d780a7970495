"""A folder that does not answer, as one on another machine that is gone: whoever asks it for anything waits."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

_DETACHED = 2  # MNT_DETACH


@contextmanager
def hung_folder(path: Path) -> Generator[None]:
    """Have a folder not answer while inside: a file system is mounted there whose program never says a word."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("a file system of our own can be mounted by root alone")
    options = f"fd={device},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()}"
    if libc.mount(b"silent", os.fsencode(path), b"fuse", 0, options.encode()):
        os.close(device)
        pytest.skip("a file system of our own can be mounted by root alone")
    try:
        yield
    finally:
        libc.umount2(os.fsencode(path), _DETACHED)
        os.close(device)  # whoever waits is told that there is no such file system
        for thread in threading.enumerate():
            if thread.name == "may-hang":
                thread.join(10)


def hangs(pid: int) -> bool:
    """Return whether a thread of a process waits for such a folder."""
    waits = Path(f"/proc/{pid}/task").glob("*/wchan")
    return any("fuse" in wait.read_text() or "request_wait" in wait.read_text() for wait in waits)
