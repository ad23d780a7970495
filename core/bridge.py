"""What every action needs: settings, database, snapshots, vault and clock, opened once per process."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from core import vault
from core.clock import LEASE_TIMES, SYSTEM_CLOCK, Clock, LeaseTimes
from core.errors import StorageFailed
from core.settings import Settings
from data.engine import Engine, StorageError, open_database
from data.members.snapshots import Snapshots


@dataclass(frozen=True)
class Bridge:
    """One process's access to everything that is kept. Safe to share between threads."""

    settings: Settings
    engine: Engine
    snapshots: Snapshots
    vault: vault.Vault
    clock: Clock = SYSTEM_CLOCK
    lease_times: LeaseTimes = LEASE_TIMES


def open_bridge(settings: Settings, *, clock: Clock = SYSTEM_CLOCK, lease_times: LeaseTimes = LEASE_TIMES) -> Bridge:
    """Open the database (brought up to date), the snapshots and the vault.

    Raises: StorageFailed, SettingsError.
    """
    with storage_errors():
        engine = open_database(settings.database_url, settings.home)
        try:
            keys = vault.open_vault(settings.secret_key, settings.home)
        except (OSError, TimeoutError) as exc:
            raise StorageFailed("The secret key could not be read or made.") from exc
    snapshots = Snapshots(settings.snapshots, scratch=settings.scratch, memory_mb=settings.snapshot_memory_mb)
    return Bridge(settings, engine, snapshots, keys, clock, lease_times)


@contextmanager
def storage_errors() -> Generator[None]:
    """Turn failures of the storage into ours, with advice."""
    try:
        yield
    except StorageError as exc:
        raise StorageFailed(str(exc), advice=exc.advice) from exc
