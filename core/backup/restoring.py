"""Restore a home from a backup: unpacked beside and checked, then put in place as a whole.

Whatever ends it before it decides leaves the home as empty as it was; afterward the home is whole, and whoever opens it
next finishes what is left to do (data/placing.py; where the database is a server's, data/placing_on_server.py).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core import vault
from core.access.roles import LOCAL
from core.backup.archive import Archive, BackupUnusable, Manifest, newer
from core.backup.filling import Filling, open_other_storage
from core.backup.leftovers import restoring_alone
from core.backup.target import HomeNotEmpty as HomeNotEmpty
from core.backup.target import Target, open_target
from core.bridge import storage_errors
from core.clock import Clock
from core.errors import SecretKeyLost, SettingsError, StorageFailed
from core.files import open_file
from core.settings import Settings
from core.text import shown
from data import engine, placing, restored, row_copy, run_retention, sealed, tokens
from data.association_retention import list_bundles
from data.audit.scope import Scope
from data.engine import Engine, StorageError, open_database
from data.members.files import flush_to_disk
from data.storage.port import Storage

# Of which backup a home is: noted beside what was unpacked, until it is in its place.
_FROM = "restored.from"


@dataclass(frozen=True)
class Restored:
    """What a home was restored from, and the connections and channels whose secrets no key there opens.

    `tokens`: how many of pipelines were revoked by it.
    """

    manifest: Manifest
    without_key: list[str]
    has_key: bool
    tokens: int = 0


def restore(settings: Settings, file: Path, clock: Clock) -> Restored:
    """Restore an empty home from a backup. There is no person to ask for: who may write there may restore.

    Raises: SettingsError, HomeNotEmpty, UnderWay, BackupUnusable, StorageFailed.
    """
    keys = _find_keys(settings)
    try:
        with storage_errors(), open_file(file) as opened:
            settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with restoring_alone(settings.home), open_target(settings) as target:
                archive = Archive(opened)
                if not _finish_earlier(target, archive):
                    target.require_empty()
                    _restore(target, archive, target.clock(clock), open_other_storage(settings))
    except FileNotFoundError as exc:
        raise SettingsError(f"FILE: there is no file {file}.") from exc
    except OSError as exc:
        raise StorageFailed(f"The backup could not be restored: {exc.strerror or exc}.") from exc
    with storage_errors():
        opened = open_database(settings.database_url, settings.home)
        try:
            without_key = _list_without_key(opened, keys)
            return Restored(archive.manifest, without_key, keys is not None, tokens.count_put_back(opened))
        finally:
            opened.dispose()


def _finish_earlier(target: Target, archive: Archive) -> bool:
    """Finish a restore that was killed once it had decided; returns whether it was from the same backup."""
    with placing.alone(target.home, timeout_s=120):
        noted = target.home / placing.WHOLE / _FROM
        if not target.is_free() or not noted.exists():
            return False
        is_same = noted.read_text() == archive.manifest_hash
        return target.finish() and is_same


def _restore(target: Target, archive: Archive, clock: Clock, storage: Storage | None) -> None:
    home, unpacked = target.home, target.home / placing.UNPACKED
    if not engine.knows_revision(archive.manifest.revision):
        raise newer()
    shutil.rmtree(unpacked, ignore_errors=True)
    filling = Filling(storage, archive, unpacked / "filling") if storage else None
    here = [name for name in archive.manifest.files if filling is None or "/" not in name]
    _require_space(home, sum(archive.manifest.files[name].size for name in here))
    unpacked.mkdir(mode=0o700)
    try:
        _unpack(archive, here, unpacked)
        _settle(unpacked, archive.manifest, clock, filling)
        (unpacked / _FROM).write_text(archive.manifest_hash)
        _flush_all(unpacked)
        with placing.alone(home, timeout_s=120):
            target.require_empty()  # something may have been started there meanwhile
            if filling:
                filling.keep()
            target.place()
    except BaseException:
        if filling:
            filling.take_back()
        raise
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _require_space(home: Path, size: int) -> None:
    free = shutil.disk_usage(home).free
    if free < size:
        raise StorageFailed(
            f"The backup needs {size / 2**20:,.1f} MB, and the disk of COHORT_BRIDGE_HOME has "
            f"{free / 2**20:,.1f} MB left. Nothing was restored.",
            advice="Make space there, then restore again.",
        )


def _unpack(archive: Archive, names: Sequence[str], into: Path) -> None:
    for name in names:
        target = into / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            archive.unpack(name, file)


def _settle(unpacked: Path, manifest: Manifest, clock: Clock, filling: Filling | None) -> None:
    """Bring the database up to date, take out of it what does not hold any more, and fill a storage with what it names.

    Raises: StorageError.
    """
    try:
        with row_copy.opened(unpacked / placing.DATABASE) as checked:
            engine.require_plain(checked)
            if engine.schema_revision(checked) != manifest.revision:
                raise BackupUnusable("This backup is damaged: its database is of another version than it says.")
    except StorageError as exc:
        raise BackupUnusable("This backup is damaged: its database cannot be used.") from exc
    scope = Scope(LOCAL.name, "home_restored", unpacked / placing.AUDIT_HEAD, clock.now)
    subject = (
        f"Restored from the backup of {shown(manifest.made_at, most=40)}, made by version "
        f"{shown(manifest.version, most=40)}: what was done after that is not in this log."
    )
    opened = open_database(engine.sqlite_url(unpacked / placing.DATABASE), unpacked)
    try:
        _require_names(opened)
        restored.settle(opened, unpacked / placing.DELIVERY_MARK, scope, subject=subject, now=clock.now())
        if filling:
            filling.fill(opened)
    finally:
        opened.dispose()
    if (unpacked / f"{placing.DATABASE}-wal").exists():  # it is removed once all of it is in the database
        raise StorageError("The restored database could not be written.")


def _require_names(opened: Engine) -> None:
    """Refuse a database whose rows name files that would lie elsewhere than files of members do."""
    bundles = list_bundles(opened).values()
    if not all(
        placing.is_name(f"{placing.SNAPSHOTS}/{name}.parquet")
        for name in [*run_retention.named_files(opened), *bundles]
    ):
        raise BackupUnusable("This backup is damaged: its database names files that no installation has.")


def _flush_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        flush_to_disk(path)


# --- keys ----------------------------------------------------------------------------------------------------------


def _find_keys(settings: Settings) -> vault.Vault | None:
    """Open the keys that are there; none are made, since those of the backup may be put back. Raises SettingsError."""
    if settings.secret_key is None and not (settings.home / "secret.key").exists():
        return None
    return vault.open_vault(settings.secret_key, settings.home)


def _list_without_key(opened: Engine, keys: vault.Vault | None) -> list[str]:
    """Name the connections and alert channels that hold a secret which none of the keys opens."""
    present = sealed.list_sealed(opened)
    return [f"{kept.side} {kept.name}" for kept in present if not all(_opens(keys, text) for text in kept.texts)]


def _opens(keys: vault.Vault | None, sealed: str) -> bool:
    try:
        if keys is not None:
            keys.decrypt(sealed)
    except SecretKeyLost:
        return False
    return keys is not None
