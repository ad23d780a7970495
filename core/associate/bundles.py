"""Associations where the storage is no folder: their files lie there as one bundle, and in a folder here to work with.

The row names the bundle. What is done here is bound to it by the folder's name: a bundle that took the place of
another, on whatever machine, is another folder.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from core import installation
from core.bridge import Bridge
from data import associations
from data.association_retention import FOLDER, list_bundles, object_of
from data.members import bundle
from data.members.association_rows import ImportRows
from data.members.files import is_older, make_folder
from data.storage.port import ObjectGone

_OBJECT = re.compile(rf"{FOLDER}/([0-9a-f]{{24}})\.tar")
# What is being packed, unpacked or uploaded here.
_PART = re.compile(r"\.[0-9a-f]{16}(\.tar)?\.part|\.\.[0-9a-f]{16}\.tar\.part\.[0-9a-f]{8}\.part")
# A bundle that no row names was left by a process that died, or is about to be named.
_YOUNG_S = 24 * 3600


def are_used(bridge: Bridge) -> bool:
    """Return whether files of associations lie in bundles."""
    return bridge.snapshots.place.is_elsewhere


def open_rows(bridge: Bridge, association_id: int) -> ImportRows:
    """Return the rows of an association, fetched if they are not here. Raises StorageError."""
    association = associations.get(bridge.engine, association_id)
    name = association.bundle if association else ""
    rows = rows_here(bridge, association_id, name)
    if name and not rows.folder.is_dir():
        make_folder(rows.folder.parent)
        part = rows.folder.parent / f".{secrets.token_hex(8)}.tar.part"
        try:
            bridge.storage.get_file(object_of(name), part)
            bundle.unpack(part, rows.folder)
        except ObjectGone:
            return rows  # as a folder that is not there
        finally:
            part.unlink(missing_ok=True)
    return rows


def keep_folder(bridge: Bridge, folder: Path, *, instead: Callable[[Path], Path | None] = lambda path: path) -> str:
    """Put what a folder holds into a bundle of its own, and return the name that a row is to have. Raises StorageError.

    `instead` is as for `pack`.
    """
    name, part = bundle.new_name(), folder.parent / f".{secrets.token_hex(8)}.tar.part"
    try:
        bundle.pack(folder, part, instead=instead)
        bridge.storage.put_file(part, object_of(name))
    finally:
        part.unlink(missing_ok=True)
    return name


def take_name(bridge: Bridge, association_id: int, folder: Path, name: str) -> None:
    """Let the folder here be that of the bundle that its row names now, and remove the one that it was before."""
    before, target = folder.name.partition(".")[2], folder_of(bridge, association_id, name)
    if folder.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        os.replace(folder, target)
    if before:
        remove(bridge, before)


def remove(bridge: Bridge, name: str) -> None:
    """Remove a bundle. Raises StorageError."""
    bridge.storage.remove(object_of(name))


def forget(bridge: Bridge, association_id: int, name: str) -> None:
    """Remove what is kept of an association whose row is gone. Raises StorageError."""
    rows_here(bridge, association_id, name).remove()
    if name:
        remove(bridge, name)


def remove_unnamed(bridge: Bridge, *, is_stopped: Callable[[], bool] = lambda: False) -> int:
    """Remove bundles that no row names, after a day; returns how many."""
    young_s = bridge.clock.now().timestamp() - _YOUNG_S
    old = [known.name for known in bridge.storage.list(f"{FOLDER}/") if known.written_s < young_s]
    kept = [found[1] for found in map(_OBJECT.fullmatch, old) if found]  # what is called otherwise is not ours
    named = set(list_bundles(bridge.engine).values())
    unnamed = [name for name in kept if name not in named]
    removed = 0
    for name in unnamed if unnamed and installation.has_own_storage(bridge) else ():
        if is_stopped():
            break
        remove(bridge, name)
        removed += 1
    return removed


def tidy_here(bridge: Bridge, *, now_s: float) -> None:
    """Remove what lies here alone: folders of what is another bundle by now, and what processes left that died."""
    for path in bridge.settings.associations.glob(".*.part"):
        if _PART.fullmatch(path.name) and is_older(path, now_s - _YOUNG_S):
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
    if are_used(bridge):
        drop_stale(bridge, list_bundles(bridge.engine))


def drop_stale(bridge: Bridge, named: Mapping[int, str]) -> None:
    """Remove folders here of bundles that are not those that rows name."""
    for folder in bridge.settings.associations.glob("*.*"):
        number, _, name = folder.name.partition(".")
        if number.isdecimal() and named.get(int(number)) != name:
            shutil.rmtree(folder, ignore_errors=True)


def folder_of(bridge: Bridge, association_id: int, name: str = "") -> Path:
    """Return the folder here of the files of an association; of those in a bundle by the bundle's name."""
    of_bundle = f".{name}" if are_used(bridge) else ""
    return bridge.settings.associations / f"{association_id:08d}{of_bundle}"


def rows_here(bridge: Bridge, association_id: int, name: str = "") -> ImportRows:
    """Return the rows of an association as they are here, or are not."""
    folder = folder_of(bridge, association_id, name)
    return ImportRows(folder, scratch=bridge.settings.scratch, memory_mb=bridge.settings.snapshot_memory_mb)
