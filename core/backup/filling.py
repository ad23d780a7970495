"""The files of a backup in a storage that lies elsewhere than the home: they are put there before any row names them.

Each gets a name that nothing has there in object storage, and keeps its own in a folder; what has a name already stays
as it is. What a restore put that ended early is named by no row, and goes with what no row names; the same restore can
be started again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

from core.backup.archive import Archive, BackupUnusable
from core.backup.target import HomeNotEmpty
from core.bridge import find_storage
from core.settings import Settings
from data import placing, restored_names
from data.association_retention import object_of
from data.engine import Engine, StorageError
from data.members import bundle
from data.storage.port import AlreadyThere, Storage

# So many files are put, and lie on the disk, at a time.
_AT_ONCE = 8


def open_other_storage(settings: Settings) -> Storage | None:
    """Return the storage that is to be filled; None where the files have their place in the home."""
    if settings.snapshots == settings.home / placing.SNAPSHOTS:
        return None
    storage = find_storage(settings)
    storage.be_patient()
    return storage


class Filling:
    """What one restore puts into a storage. Methods raise StorageError, BackupUnusable, OSError."""

    def __init__(self, storage: Storage, archive: Archive, scratch: Path) -> None:
        self._storage = storage
        self._archive = archive
        self._scratch = scratch
        self._put = list[str]()
        self._is_kept = False

    def fill(self, settled: Engine) -> None:
        """Put what rows name of a database that was settled, which names it as it is called there from then on."""
        self._scratch.mkdir(mode=0o700)
        if self._storage.folder is not None:
            self._put_all((name, _in_folder(name)) for name in self._archive.manifest.files if "/" in name)
        else:
            names = restored_names.rename_members(settled)
            held = {f"{placing.SNAPSHOTS}/{old}.parquet": f"{new}.parquet" for old, new in names.items()}
            self._put_all((name, held[name]) for name in self._archive.manifest.files if name in held)
            restored_names.name_bundles(settled, self._put_associations())
        shutil.rmtree(self._scratch)

    def keep(self) -> None:
        """Let what was put stay, whatever happens: rows may name it from now on."""
        self._is_kept = True

    def take_back(self) -> None:
        """Remove what was put, as far as that can be, unless it is to stay: the restore comes to nothing."""
        for name in () if self._is_kept else self._put:
            with suppress(StorageError):
                self._storage.remove(name)

    def _put_all(self, files: Iterable[tuple[str, str]]) -> None:
        """Put files of the backup under other names, a few at a time."""
        left = iter(files)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="put") as pool:
            while some := list(islice(left, _AT_ONCE)):
                unpacked = [(self._unpack(name, self._scratch / str(at)), to) for at, (name, to) in enumerate(some)]
                for done in [pool.submit(self._put_file, path, to) for path, to in unpacked]:
                    done.result()

    def _put_file(self, path: Path, name: str) -> None:
        try:
            if self._storage.look(name) is None:
                self._put.append(name)
            self._storage.put_file(path, name)
        except ValueError:
            raise BackupUnusable("This backup holds a file under a name that none has.") from None
        except AlreadyThere as exc:
            raise HomeNotEmpty(
                f"The storage {self._storage.address} holds another {name} already. Nothing was restored.",
                advice="Set COHORT_BRIDGE_STORAGE_URL to an empty folder, or start this again for object storage.",
            ) from exc
        path.unlink()

    def _unpack(self, name: str, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            self._archive.unpack(name, file)
        return target

    def _put_associations(self) -> Iterator[tuple[int, str]]:
        """Put the files of each association as one, and yield what it is called."""
        by_number = dict[int, list[str]]()
        for name in self._archive.manifest.files:
            if name.startswith(f"{placing.ASSOCIATIONS}/"):
                by_number.setdefault(int(name.split("/")[1]), []).append(name)
        for number, names in by_number.items():
            folder, packed, new = self._scratch / "association", self._scratch / "packed", bundle.new_name()
            for name in names:
                self._unpack(name, folder / name.split("/", 2)[2])
            bundle.pack(folder, packed)
            self._put_file(packed, object_of(new))
            shutil.rmtree(folder)
            yield number, new


def _in_folder(name: str) -> str:
    """Return what a file of a backup is called below a folder that is a storage of its own."""
    return name.removeprefix(f"{placing.SNAPSHOTS}/")
