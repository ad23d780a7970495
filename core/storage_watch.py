"""Whether the storage of members can be used: asked beside what is going on, and remembered for a while."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from data.engine import StorageError
from data.storage.port import Storage, hurried

log = logging.getLogger(__name__)

# For so long an answer counts as new: nothing is asked meanwhile.
_NEW_FOR_S = 10.0
# An answer that is older than this tells nothing of now, and what comes instead is waited for, though not for long.
_KNOWN_FOR_S = 60.0
_WAIT_S = 0.5
# Object storage is given up after 8 seconds; a folder that hangs, as one of another machine can, is never answered for.
_ANSWERS_WITHIN_S = 20.0
_ADVICE_IF_IT_HANGS = (
    "See whether it can be reached from this machine; a folder of another machine may be mounted again."
)


@dataclass(frozen=True)
class StorageTrouble:
    """Why the storage cannot be used, and what to do about it: a sentence each."""

    message: str
    advice: str


class StorageWatch:
    """What one process knows of its storage. Safe to share between threads; nobody waits long for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looking: threading.Thread | None = None
        self._began_s = 0.0
        self._known_at_s: float | None = None
        self._trouble: StorageTrouble | None = None

    def find_trouble(
        self, storage: Storage, steady_s: Callable[[], float], *, wait_s: float = _WAIT_S
    ) -> StorageTrouble | None:
        """Return why the storage cannot be used, None where it can be, or where that is not known yet."""
        now_s = steady_s()
        with self._lock:
            age_s = None if self._known_at_s is None else now_s - self._known_at_s
            if age_s is not None and age_s < _NEW_FOR_S:
                return self._trouble
            looking = self._looking or self._begin(storage, steady_s)
            hangs = now_s - self._began_s > _ANSWERS_WITHIN_S
        if hangs:
            return _hanging(storage)
        if age_s is None or age_s > _KNOWN_FOR_S:
            looking.join(wait_s)
        return self._trouble

    def note(self, exc: StorageError | None, *, now_s: float) -> None:
        """Note what was found when the storage was asked for something: why it cannot be used, or that it can."""
        trouble = exc and StorageTrouble(str(exc), exc.advice or "Try again in a few minutes.")
        with self._lock:
            before, self._trouble, self._known_at_s = self._trouble, trouble, now_s
        if trouble and trouble != before:
            log.warning("the storage of members cannot be used: %s %s", trouble.message, trouble.advice)
        elif before and not trouble:
            log.warning("the storage of members can be used again")

    def _begin(self, storage: Storage, steady_s: Callable[[], float]) -> threading.Thread:
        self._began_s = steady_s()
        self._looking = threading.Thread(
            target=self._look, args=(storage, steady_s), name="look-at-storage", daemon=True
        )
        self._looking.start()
        return self._looking

    def _look(self, storage: Storage, steady_s: Callable[[], float]) -> None:
        failed: StorageError | None = None
        try:
            with hurried():
                storage.check()
        except StorageError as exc:
            failed = exc
        except Exception as exc:
            log.exception("the storage of members could not be looked at")
            failed = StorageError(f"The storage {storage.address} cannot be used ({type(exc).__name__}).")
        finally:
            self.note(failed, now_s=steady_s())
            with self._lock:
                self._looking = None


def _hanging(storage: Storage) -> StorageTrouble:
    return StorageTrouble(f"The storage {storage.address} does not answer.", _ADVICE_IF_IT_HANGS)
