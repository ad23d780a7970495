"""The form of a backup: an uncompressed tar of plain files, with a manifest of them and its hash at the end.

Any program can unpack it. Here it is read strictly: only plain files under names that a backup has, each of them once,
each as the manifest says. Files of members are compressed already.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from core.errors import CohortBridgeError
from data.placing import DATABASE, is_name

FORMAT = 1
_MANIFEST, _HASH = "manifest.json", "manifest.sha256"
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 2**20
# Of some million files. It is the only one that is read into memory whole.
_MOST_MANIFEST_BYTES = 2**28


class BackupUnusable(CohortBridgeError):
    """A file is no whole backup, or one that this version cannot restore. Nothing was restored."""

    code = "backup_unusable"
    default_advice = "Nothing was restored. Use another backup."


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """A file of a backup, as the manifest has it."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself: `version` of the program, `revision` of the database's schema, UTC of `made_at`."""

    format: int
    version: str
    revision: str
    made_at: str
    counts: dict[str, int]
    lost: list[str]
    files: dict[str, Held]

    @property
    def size(self) -> int:
        """How many bytes all of it are, unpacked."""
        return sum(held.size for held in self.files.values())


class _Found(NamedTuple):
    """A file in the archive: where its bytes begin, and how many they are."""

    start: int
    size: int


# --- writing -------------------------------------------------------------------------------------------------------


class _Hashing:
    """Reads a file for the archive, and hashes what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        data = self._file.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        """Return the hash of all that was read."""
        return self._hash.hexdigest()


def write(
    target: IO[bytes], files: Iterable[tuple[str, Path]], describe: Callable[[dict[str, Held]], Manifest]
) -> Manifest:
    """Write a backup of these files, each asked for once the one before is written; then what describes them.

    Raises: OSError.
    """
    held = dict[str, Held]()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, path in files:
            with path.open("rb") as file:
                info = _info(name, path.stat().st_size)
                reader = _Hashing(file)
                tar.addfile(info, reader)  # type: ignore[arg-type]
            held[name] = Held(info.size, reader.hexdigest())
        manifest = describe(held)
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        for name, content in ((_MANIFEST, text), (_HASH, f"{hashlib.sha256(text).hexdigest()}\n".encode())):
            tar.addfile(_info(name, len(content)), io.BytesIO(content))
    return manifest


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


# --- reading -------------------------------------------------------------------------------------------------------


class Archive:
    """A backup that is read: its manifest, and the files that it says are there. Raises BackupUnusable, OSError."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._found = dict[str, _Found]()
        for name, found in _walk(file):
            if name in self._found:
                raise BackupUnusable("This backup holds a file twice.")
            self._found[name] = found
        self.manifest_hash, self.manifest = self._read_manifest()
        if self.manifest.files.keys() | {_MANIFEST, _HASH} != self._found.keys() or DATABASE not in self._found:
            raise BackupUnusable("This backup does not hold the files that its manifest names.")

    def _read_manifest(self) -> tuple[str, Manifest]:
        if _MANIFEST not in self._found or _HASH not in self._found:
            raise BackupUnusable(
                "This file is no whole backup of Cohort Bridge: it ends too early, or is another file."
            )
        if self._found[_MANIFEST].size > _MOST_MANIFEST_BYTES or self._found[_HASH].size > _BLOCK:
            raise BackupUnusable("The manifest of this backup is damaged.")
        text, noted = self._read(_MANIFEST), self._read(_HASH)
        hashed = hashlib.sha256(text).hexdigest()
        if noted.decode("ascii", "replace").strip() != hashed:
            raise BackupUnusable("The manifest of this backup is damaged.")
        try:
            if msgspec.json.decode(text, type=_Form).format > FORMAT:
                raise newer()
            manifest = msgspec.json.decode(text, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BackupUnusable("The manifest of this backup is damaged.") from None
        return hashed, manifest

    def _read(self, name: str) -> bytes:
        self._file.seek(self._found[name].start)
        return self._file.read(self._found[name].size)

    def unpack(self, name: str, target: IO[bytes]) -> None:
        """Write a file of the backup, which must be as the manifest says. Raises BackupUnusable, OSError."""
        found, held, hashed = self._found[name], self.manifest.files[name], hashlib.sha256()
        self._file.seek(found.start)
        left = found.size
        while left and (data := self._file.read(min(left, _CHUNK))):
            hashed.update(data)
            target.write(data)
            left -= len(data)
        if left or held.size != found.size or hashed.hexdigest() != held.sha256:
            raise BackupUnusable("This backup is damaged: a file in it is not as it was.")


def newer() -> BackupUnusable:
    """Return what is raised of a backup that a newer version made."""
    return BackupUnusable(
        "This backup was made by a newer version of Cohort Bridge.", advice="Nothing was restored. Update this one."
    )


class _Form(msgspec.Struct):
    format: int


def _walk(file: IO[bytes]) -> Iterator[tuple[str, _Found]]:
    """Yield the files of an archive. Whatever is no plain file under a name of ours is refused before it is read."""
    end = file.seek(0, 2)
    at = 0
    while True:
        file.seek(at)
        try:
            info = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError, ValueError):
            return  # the end, or something else: then the manifest is missing
        at += _BLOCK
        if info.type != tarfile.REGTYPE or not (is_name(info.name) or info.name in (_MANIFEST, _HASH)):
            raise BackupUnusable("This file is no backup of Cohort Bridge: it holds what none does.")
        if info.size < 0 or info.size > end - at:
            raise BackupUnusable(
                "This file is no whole backup of Cohort Bridge: it ends too early, or is another file."
            )
        yield info.name, _Found(at, info.size)
        at += -(-info.size // _BLOCK) * _BLOCK
