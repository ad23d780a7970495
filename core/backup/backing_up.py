"""Make a backup of a home in one file, while everything runs. Neither the key nor the sandbox's state is in it."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

from core import VERSION
from core.access.roles import Actor, Role, action, scope
from core.backup.archive import FORMAT, Held, Manifest, write
from core.backup.leftovers import BACKUP_PARTS, backing_up_alone
from core.bridge import Bridge
from core.errors import CohortBridgeError, SettingsError, StorageFailed
from core.files import FileTaken, NoFile, OpenFolder
from core.text import shown
from data import far_copy, home_copy
from data.audit import chain
from data.home_copy import HomeCopy, KeptAt


@action(Role.ADMIN)
def back_up(bridge: Bridge, actor: Actor, file: Path, *, force: bool = False) -> Manifest:
    """Write a backup to a file of its own, whole or not at all, that nobody else may read.

    With `force` it takes the place of a file that has the name. Raises: SettingsError, UnderWay, StorageFailed.
    """
    _require_place(bridge.settings.home, file, force=force)
    made_at = bridge.clock.now()

    with _parts(bridge.settings.home) as parts:
        copy = _collect(bridge, parts)

        def describe(files: dict[str, Held]) -> Manifest:
            at = made_at.astimezone(UTC).isoformat(timespec="seconds")
            return Manifest(FORMAT, VERSION, copy.revision, at, copy.counts, copy.lost, files)

        try:
            with OpenFolder(file.parent) as folder:
                folder.remove_parts(file.name)
                with folder.replacing(file.name, mode=0o600) as target:
                    manifest = write(target, copy.files, describe)
                    if not force and folder.has_file(file.name):
                        raise FileTaken(file)
        except OSError as exc:
            raise _not_written(file, exc) from exc
    after = {"backup": {**manifest.counts, "files": len(manifest.files), "bytes": manifest.size}}
    subject = f"backup {shown(file.name, most=200)}"
    chain.note(bridge.engine, scope(bridge, actor.name, "back_up"), subject=subject, after=after)
    return manifest


def _require_place(home: Path, file: Path, *, force: bool) -> None:
    try:
        folder = file.parent.resolve(strict=True)
    except (OSError, RuntimeError):
        raise SettingsError(f"FILE: there is no folder {file.parent}.", advice="Make it, or choose another.") from None
    if folder.is_relative_to(home.resolve()):
        raise SettingsError(
            "FILE: this lies in the folder of COHORT_BRIDGE_HOME, and would be lost with it.",
            advice="Choose a folder elsewhere, best on another disk.",
        )
    if not file.name or file.is_dir():
        raise SettingsError(f"FILE: {file} is a folder.", advice="Name a file in it, such as cohort-bridge.tar.")
    if not force and (file.is_symlink() or file.exists()):
        raise SettingsError(f"FILE: {file} is there already.", advice="Choose another name, or use --force.")


@contextmanager
def _parts(home: Path) -> Generator[Path]:
    """Give an empty folder of the home, which no other backup uses meanwhile, and remove it. Raises UnderWay."""
    parts = home / BACKUP_PARTS
    with backing_up_alone(home):
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(mode=0o700)
        try:
            yield parts
        finally:
            shutil.rmtree(parts, ignore_errors=True)


def _collect(bridge: Bridge, parts: Path) -> HomeCopy:
    settings = bridge.settings
    kept = KeptAt(settings.snapshots, settings.associations, bridge.audit_head, bridge.delivery_mark)
    try:
        if bridge.snapshots.place.is_elsewhere:
            bridge.storage.be_patient()
            return far_copy.collect(bridge.engine, kept, bridge.storage, parts)
        return home_copy.collect(bridge.engine, kept, parts)
    except OSError as exc:
        raise StorageFailed(
            f"What is kept could not be copied: {exc.strerror or exc}.",
            advice="Check that the disk of COHORT_BRIDGE_HOME has space for a copy of the database.",
        ) from exc


def _not_written(file: Path, exc: OSError) -> CohortBridgeError:
    if isinstance(exc, NoFile):
        return SettingsError(f"FILE: {exc.strerror}.", advice="Choose another name.")
    if isinstance(exc, FileTaken):
        return SettingsError(f"FILE: {file} is there by now.", advice="Choose another name, or use --force.")
    full = exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return StorageFailed(
        f"The backup could not be written: {exc.strerror or exc}.",
        advice=f"Nothing is left of it. Check that {file.parent} "
        + ("has space." if full else "can be written, and has space."),
    )
