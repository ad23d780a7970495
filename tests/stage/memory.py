"""Where the files of tests lie: in memory where it has room for them, since most of their time would go to the disk.

Every home has a database of its own, and every commit of it is written through to the disk: that a test survives a
power cut is not what any of them tries. `make faults` stays on the disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.stage.seeds import SEEDS

_IN_MEMORY = Path("/dev/shm")
# What a run leaves there at a time is a fraction of it; containers often give it 64 MB.
_ROOM = 4 << 30
_MACHINE = 8 << 30


def use_memory() -> None:
    """Let this process, and those it starts, make temporary files in memory; whoever names a folder has theirs."""
    if "TMPDIR" not in os.environ and not SEEDS and _has_room():
        os.environ["TMPDIR"] = str(_IN_MEMORY)
        tempfile.tempdir = None  # what was found before


def _has_room() -> bool:
    if not os.access(_IN_MEMORY, os.W_OK | os.X_OK):
        return False
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return machine >= _MACHINE and shutil.disk_usage(_IN_MEMORY).free >= _ROOM
