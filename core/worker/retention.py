"""What is kept of runs, and for how long; what is not is removed in small steps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from core import installation
from core.bridge import Bridge
from core.reports.memberships import CHANGES_KEPT_FOR
from data import run_retention
from data.engine import StorageError
from data.members.files import is_older, is_part
from data.members.store import SET_ASIDE, is_ours

log = logging.getLogger(__name__)

_STEP = 200
# So many files are looked up at a time.
_AT_ONCE = 1000
# What is being written at this moment is younger; what else is to stay is told by its run.
_YOUNG_S = 24 * 3600
# A file that was found damaged is there to be looked at.
_SET_ASIDE_FOR_S = 30 * 24 * 3600


def forget_old_runs(bridge: Bridge, *, most: int = _STEP) -> int:
    """Remove a few of the runs that ended too long ago, with their differences; returns how many.

    The run that a group's members come from stays, and so does what waits for a person.
    """
    before = bridge.clock.now() - CHANGES_KEPT_FOR
    number, names = run_retention.forget_runs(bridge.engine, before=before, limit=most)
    for name in names:
        bridge.snapshots.remove(name)
    return number


def remove_unnamed_files(bridge: Bridge, *, is_stopped: Callable[[], bool] = lambda: False) -> int:
    """Remove the snapshots and differences that no row names, and none will; returns how many.

    A listing that lags may tell of too few files or of some that are gone, and never of one that is named: what rows
    name is asked after it, and no name comes twice. A file of a run that has not ended stays, however old it is.
    """
    place, removed = bridge.snapshots.place, 0
    now = bridge.clock.now() if place.is_elsewhere else bridge.clock.host_now()  # files are as old as this machine says
    young_s = now.timestamp() - _YOUNG_S
    old = (name for name, written_s in place.list() if written_s < young_s and is_ours(name))
    while not is_stopped() and (names := list(islice(old, _AT_ONCE))):
        left = run_retention.list_left(bridge.engine, names)
        if left and not _is_own(bridge):
            return removed
        for name in left:
            bridge.snapshots.remove(name)
        removed += len(left)
    return removed + (0 if place.is_elsewhere else _remove_parts(bridge.snapshots.folder, young_s))


def _remove_parts(folder: Path, young_s: float) -> int:
    """Remove what processes were writing that died; returns how many."""
    parts = [path for path in folder.glob("*.part") if is_part(path) and is_older(path, young_s)]
    for path in parts:
        path.unlink(missing_ok=True)
    return len(parts)


def _is_own(bridge: Bridge) -> bool:
    """Return whether the storage is this database's own, so that what no row here names is named by none elsewhere."""
    with suppress(StorageError):
        if installation.has_own_storage(bridge):
            return True
    log.warning("nothing was removed from %s: it is not known to be this installation's own", bridge.storage.address)
    return False


def remove_set_aside(bridge: Bridge) -> int:
    """Remove the damaged files that were set aside long enough ago; returns how many."""
    old_s = bridge.clock.host_now().timestamp() - _SET_ASIDE_FOR_S
    files = [path for path in bridge.snapshots.folder.glob(f"*{SET_ASIDE}") if path.is_file()]
    files = [path for path in files if is_ours(path.stem) and is_older(path, old_s)]
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)
