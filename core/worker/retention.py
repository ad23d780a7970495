"""What is kept of runs, and for how long; what is not is removed in small steps."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from core import installation
from core.bridge import Bridge
from data import run_retention
from data.engine import StorageError
from data.members.files import is_older, is_part
from data.members.store import SET_ASIDE, is_ours

log = logging.getLogger(__name__)

_RUNS_KEPT_FOR = timedelta(days=180)
_STEP = 200
# A file of a run that has just begun has no name in its row yet.
_YOUNG_S = 24 * 3600
# A file that was found damaged is there to be looked at.
_SET_ASIDE_FOR_S = 30 * 24 * 3600


def forget_old_runs(bridge: Bridge, *, most: int = _STEP) -> int:
    """Remove a few of the runs that ended too long ago, with their differences; returns how many.

    The run that a group's members come from stays, and so does what waits for a person.
    """
    before = bridge.clock.now() - _RUNS_KEPT_FOR
    number, names = run_retention.forget_runs(bridge.engine, before=before, limit=most)
    for name in names:
        bridge.snapshots.remove(name)
    return number


def remove_unnamed_files(bridge: Bridge) -> int:
    """Remove the snapshots and differences that no row names and that are not being written; returns how many.

    A listing that lags may tell of too few files or of some that are gone, and never of one that is named: what rows
    name is asked after it, and no name comes twice.
    """
    if bridge.snapshots.place.is_elsewhere:
        return _remove_unnamed_objects(bridge)
    folder = bridge.snapshots.folder
    young_s = bridge.clock.host_now().timestamp() - _YOUNG_S
    files = [path for end in ("parquet", "part") for path in folder.glob(f"*.{end}") if _is_ours(path)]
    files = [path for path in files if is_older(path, young_s)]
    if not files:
        return 0
    named = run_retention.named_files(bridge.engine)
    unnamed = [path for path in files if path.stem not in named]
    if unnamed and not _is_own(bridge):
        return 0
    for path in unnamed:
        path.unlink(missing_ok=True)
    return len(unnamed)


def _is_own(bridge: Bridge) -> bool:
    """Return whether the storage is this database's own, so that what no row here names is named by none elsewhere."""
    with suppress(StorageError):
        if installation.has_own_storage(bridge):
            return True
    log.warning("nothing was removed from %s: it is not known to be this installation's own", bridge.storage.address)
    return False


def _is_ours(path: Path) -> bool:
    """Return whether a file is one that we make: the folder may hold others, of whoever keeps something there."""
    return is_part(path) if path.suffix == ".part" else is_ours(path.stem)


def _remove_unnamed_objects(bridge: Bridge) -> int:
    """Remove objects that no row names, after a day, and copies of what no row names, which others removed."""
    young_s = bridge.clock.now().timestamp() - _YOUNG_S
    place = bridge.snapshots.place
    old = [name for name, written_s in place.list() if written_s < young_s and is_ours(name)]
    named = run_retention.named_files(bridge.engine)
    unnamed = [name for name in old if name not in named]
    if unnamed and not _is_own(bridge):
        return 0
    for name in unnamed:
        bridge.snapshots.remove(name)
    place.tidy(named.__contains__, now_s=bridge.clock.host_now().timestamp())
    return len(unnamed)


def remove_set_aside(bridge: Bridge) -> int:
    """Remove the damaged files that were set aside long enough ago; returns how many."""
    old_s = bridge.clock.host_now().timestamp() - _SET_ASIDE_FOR_S
    files = [path for path in bridge.snapshots.folder.glob(f"*{SET_ASIDE}") if path.is_file()]
    files = [path for path in files if is_ours(path.stem) and is_older(path, old_s)]
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)
