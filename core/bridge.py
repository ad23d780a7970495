"""What every action needs: settings, database, snapshots, vault and clock, opened once per process."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from core import installation, vault
from core.clock import LEASE_TIMES, SHARED_LEASE_TIMES, SYSTEM_CLOCK, Clock, LeaseTimes
from core.errors import SettingsError, StorageFailed
from core.settings import Settings
from core.storage_watch import StorageTrouble, StorageWatch
from core.turns import Turns
from data import deliveries, engine, placing_on_server
from data.audit import anchor
from data.audit.scope import Scope
from data.database_clock import find_clock
from data.engine import Engine, StorageError, UrlUnusable, open_database
from data.members.snapshots import Snapshots
from data.notes import Note, StoredNote
from data.placing import SNAPSHOTS
from data.storage.opening import open_storage
from data.storage.port import Storage

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bridge:
    """One process's access to everything that is kept. Safe to share between threads."""

    settings: Settings
    engine: Engine
    snapshots: Snapshots
    vault: vault.Vault
    clock: Clock = SYSTEM_CLOCK
    lease_times: LeaseTimes = LEASE_TIMES
    turns: Turns = field(default_factory=Turns)
    storage_watch: StorageWatch = field(default_factory=StorageWatch)

    @property
    def storage(self) -> Storage:
        """Where members are kept, and small objects that belong to the installation."""
        return self.snapshots.storage

    def find_storage_trouble(self) -> StorageTrouble | None:
        """Return why the storage cannot be used, by an answer that is seconds old; None where it can be."""
        return self.storage_watch.find_trouble(self.storage, self.clock.steady_s)

    @property
    def audit_head(self) -> Note:
        """Where the audit log's newest line is noted, outside the database."""
        return self._note_of(self.settings.audit_head)

    @property
    def delivery_mark(self) -> Note:
        """Where it is noted how much was delivered, outside the database."""
        return self._note_of(self.settings.delivery_mark)

    def _note_of(self, file: Path) -> Note:
        """Return a file of the home, or what takes its place where other machines may use the storage as well."""
        folder = self.storage.folder
        if not self.settings.storage_url or (folder and folder.is_relative_to(self.settings.home)):
            return file
        if folder and folder.name == SNAPSHOTS and (folder.parent / self.settings.delivery_mark.name).is_file():
            return folder.parent / file.name  # it is the storage of a home that has these files
        return StoredNote(self.storage, file.name)


def open_bridge(
    settings: Settings,
    *,
    clock: Clock = SYSTEM_CLOCK,
    lease_times: LeaseTimes | None = None,
    must_belong: bool = True,
) -> Bridge:
    """Open the database (brought up to date), the snapshots and the vault, and prove that they belong together.

    Where no lease times are given, those are taken that its kind of database asks for.

    Raises: StorageFailed, SettingsError, OfAnotherInstallation unless it need not belong.
    """
    opened = _open_database(settings)
    try:
        with storage_errors():
            _finish_restore(settings.home, opened)
            if must_belong:
                installation.require_key_file(settings, opened)
            bridge = _open_rest(settings, opened, clock.by(find_clock(opened)), lease_times)
            if must_belong:
                installation.require_own(bridge)
    except BaseException:
        opened.dispose()
        raise
    with suppress(StorageFailed):  # the next run asks again, and fails if it cannot be known
        _carry_over(bridge)
        notice_restore(bridge)
    return bridge


def open_if_there(settings: Settings) -> Bridge | None:
    """Open a home that is there: whoever restores a backup needs an empty one. Raises as `open_bridge` does."""
    with storage_errors():
        file = engine.sqlite_file(settings.database_url)
    return open_bridge(settings) if file is None or file.exists() else None


def _open_database(settings: Settings) -> Engine:
    with storage_errors():
        try:
            return open_database(settings.database_url, settings.home)
        except UrlUnusable as exc:
            raise SettingsError(
                f"COHORT_BRIDGE_DATABASE_URL cannot be used: {exc}.",
                advice=exc.advice or "Set it to one such as sqlite:////folder/file.db, or unset it.",
                code="bad_setting",
            ) from exc


def _finish_restore(home: Path, opened: Engine) -> None:
    try:
        placing_on_server.finish_earlier(home, opened)
    except OSError as exc:
        raise StorageError(f"What was restored could not be put in place: {exc.strerror or exc}.") from exc


def _open_rest(settings: Settings, opened: Engine, clock: Clock, lease_times: LeaseTimes | None) -> Bridge:
    """Open the vault and the storage beside a database that is open."""
    try:
        keys = vault.open_vault(settings.secret_key, settings.home)
    except (OSError, TimeoutError) as exc:
        raise StorageFailed("The secret key could not be read or made.") from exc
    snapshots = Snapshots(
        settings.snapshots,
        scratch=settings.scratch,
        memory_mb=settings.snapshot_memory_mb,
        storage=find_storage(settings),
        cache_mb=settings.cache_mb,
    )
    usual = SHARED_LEASE_TIMES if opened.dialect.name == "postgresql" else LEASE_TIMES
    return Bridge(settings, opened, snapshots, keys, clock, lease_times or usual)


def find_storage(settings: Settings) -> Storage:
    """Return the storage that the settings name; nothing is asked of it yet."""
    return open_storage(settings.storage_url, default=settings.snapshots, allow_plain_http=settings.allow_private_hosts)


def _carry_over(bridge: Bridge) -> None:
    """Carry what files of this home noted over to the storage that it shares by now. Raises StorageFailed."""
    with storage_errors():
        deliveries.carry_over(bridge.settings.delivery_mark, bridge.delivery_mark)
        anchor.carry_over(bridge.engine, bridge.settings.audit_head, bridge.audit_head)


def notice_restore(bridge: Bridge) -> None:
    """Put every group in doubt if the database is older than what was delivered. Raises StorageFailed."""
    clock = bridge.clock
    scope = Scope("Cohort Bridge", "database_restored", bridge.audit_head, clock.now)
    with storage_errors():
        if deliveries.notice_restore(bridge.engine, bridge.delivery_mark, scope, now=clock.now()):
            log.warning("the database is older than what was delivered: every group is in doubt")


def require_sound(bridge: Bridge) -> None:
    """Look whether the database is damaged, when something failed that no one foresaw. Raises StorageFailed."""
    with storage_errors():
        engine.require_sound(bridge.engine)


def storage_errors_of(rows: Iterable[T]) -> Iterator[T]:
    """Yield rows that are read from the storage later, its failures turned into ours with advice."""
    with storage_errors():
        yield from rows


@contextmanager
def storage_errors() -> Generator[None]:
    """Turn failures of the storage into ours, with advice."""
    try:
        yield
    except StorageError as exc:
        raise StorageFailed(str(exc), advice=exc.advice) from exc
