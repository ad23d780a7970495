"""What a command holds must not outlive it: however it ends, that is recorded before its process is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

from core.bridge import Bridge
from core.errors import CohortBridgeError, OutOfMemory, RunCancelled, Unforeseen
from core.signals import uninterrupted
from data import leases
from data.engine import StorageError
from data.models import LeaseKind

log = logging.getLogger(__name__)


@contextmanager
def nothing_left(
    bridge: Bridge, kind: LeaseKind, lease_owner: str, record: Callable[[int, CohortBridgeError], object]
) -> Generator[None]:
    """Have the end recorded of all that the owner still holds of a kind when this is left, and why it was left.

    The owner may take it inside. What cannot be recorded is found dead, and recovered, by the process that looks next.
    """
    ended_by: BaseException | None = None
    try:
        yield
    except BaseException as exc:
        ended_by = exc
        raise
    finally:
        with uninterrupted():
            _record_all(bridge, kind, lease_owner, record, what_ended(ended_by))


def what_ended(exc: BaseException | None) -> CohortBridgeError:
    """Return in our words what ended work before it ended by itself."""
    if isinstance(exc, CohortBridgeError):
        return exc
    if isinstance(exc, BrokenPipeError):
        return RunCancelled("The run was stopped: no one reads any more what it prints.")
    if isinstance(exc, MemoryError):
        return OutOfMemory("The memory of this machine was not enough.")
    if exc is None or not isinstance(exc, Exception):
        return RunCancelled("The run was stopped.")
    return Unforeseen("This stopped on an error that Cohort Bridge did not foresee.")


def _record_all(
    bridge: Bridge,
    kind: LeaseKind,
    lease_owner: str,
    record: Callable[[int, CohortBridgeError], object],
    why: CohortBridgeError,
) -> None:
    try:
        for lease in leases.list_held(bridge.engine, kind):
            if lease.lease_owner == lease_owner:
                record(int(lease.key), why)
    except (StorageError, CohortBridgeError) as exc:
        log.warning("end not recorded kind=%s reason=%s", kind, exc)
