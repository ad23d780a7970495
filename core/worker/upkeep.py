"""What is looked after beside the work, as nothing waits for it: copies on this machine, and the whole storage.

Every machine tidies its own copies, every ten minutes. One worker of all looks through the storage, once a day: to list
all that lies there takes as long as there is much.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import timedelta

from core.associate import bundles
from core.bridge import Bridge, open_if_there
from core.leases.forgetting import is_forgetting
from core.settings import Settings
from core.worker import retention
from core.worker.jobs import guarded
from data import installation, run_retention
from data.storage.address import folder_of

log = logging.getLogger(__name__)

_EVERY_S = 600.0
# Of a dashboard: people who open it come first.
_FIRST_AFTER_S = 60.0
_SEARCH_EVERY = timedelta(days=1)
_SEARCH_AGAIN_AFTER = timedelta(hours=1)
_ENDS_WITHIN_S = 5.0


class Upkeep:
    """A worker's: a thread of its own, from `start` to `stop`."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begin, with all of it at once."""
        self._thread.start()

    def stop(self) -> None:
        """End what is being done, within seconds; what hangs longer is left to itself."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_ENDS_WITHIN_S)

    def _work(self) -> None:
        while not self._stopped.is_set():
            guarded(self.tidy)
            guarded(self.search)
            self._stopped.wait(_EVERY_S)

    def tidy(self) -> None:
        """Tidy the copies here."""
        tidy_copies(self._bridge)

    def search(self) -> None:
        """Look through the storage if no worker did for a day; one that came to no end is begun again after an hour.

        Not while somebody is forgotten: what takes the place of files is named last, however long that takes.
        """
        bridge, now = self._bridge, self._bridge.clock.now()
        if is_forgetting(bridge) or not installation.take_search(bridge.engine, now=now, every=_SEARCH_EVERY):
            return
        is_done = False
        try:
            removed = remove_unnamed(bridge, self._stopped)
            is_done = not self._stopped.is_set()
            if removed:
                log.info("files that no row named were removed number=%s", removed)
        finally:
            if not is_done:
                again = now - _SEARCH_EVERY + _SEARCH_AGAIN_AFTER
                installation.give_search_back(bridge.engine, taken_at=now, as_of=again)


def remove_unnamed(bridge: Bridge, stopped: threading.Event) -> int:
    """Remove what lies in the storage and no row names; returns how many files that were."""
    removed = retention.remove_unnamed_files(bridge, is_stopped=stopped.is_set)
    if bundles.are_used(bridge):
        removed += bundles.remove_unnamed(bridge, is_stopped=stopped.is_set)
    return removed


def tidy_copies(bridge: Bridge) -> None:
    """Remove what lies on this machine alone, and is a copy of what no row names any more, or was left half made."""
    now_s = bridge.clock.host_now().timestamp()  # files are as old as this machine says
    bridge.snapshots.place.tidy(lambda names: run_retention.list_left(bridge.engine, names), now_s=now_s)
    bundles.tidy_here(bridge, now_s=now_s)


class _Copies:
    """The copies of a machine that may have a dashboard alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bridge: Bridge | None = None

    def tidy(self) -> None:
        """Tidy them, if there is a home by now."""
        self._bridge = self._bridge or open_if_there(self._settings)
        if self._bridge is not None:
            tidy_copies(self._bridge)

    def close(self) -> None:
        """Close the home."""
        if self._bridge is not None:
            self._bridge.engine.dispose()


async def serve(settings: Settings, *, first_after_s: float = _FIRST_AFTER_S) -> None:
    """Tidy this machine's copies until cancelled, beside a dashboard; what fails is logged, and tried again."""
    if not settings.storage_url or folder_of(settings.storage_url) is not None:
        return  # nothing is copied
    copies = _Copies(settings)
    try:
        await asyncio.sleep(first_after_s)
        while True:
            await asyncio.to_thread(guarded, copies.tidy)
            await asyncio.sleep(_EVERY_S)
    finally:
        copies.close()
