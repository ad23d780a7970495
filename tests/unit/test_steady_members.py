"""Members that are read while something else damages their file: all of them as they were kept, or an error, no third.

What a group is written from is read so: the last message, or the whole file, goes out only after the last member came.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data.engine import StorageError
from data.members.snapshots import Snapshots
from data.storage.folder import FolderStorage
from data.storage.port import Storage

# Ids that do not compress, in three groups of rows that are read one after the other.
MEMBERS = {f"i_{number:06}": hashlib.sha256(b"%d" % number).hexdigest()[:32] for number in range(45_000)}
KEYS = {"distinct_id": "mixpanel_distinct_id", "apptimize_id": "$apptimize_user_id"}


class Far(FolderStorage):
    """A folder that is as if it was elsewhere: what lies there is copied to be read."""

    @property
    def folder(self) -> Path | None:
        return None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with Snapshots(folder, scratch=folder / "scratch", memory_mb=60).collector() as collector:
        collector.add(distinct_ids=list(MEMBERS.values()), apptimize_ids=list(MEMBERS))
        collector.write(folder / "whole")
    return folder / "whole"


@pytest.fixture(params=["folder", "copies"])
def snapshots(request: pytest.FixtureRequest, whole: Path, tmp_path: Path) -> Snapshots:
    storage: Storage | None = Far(tmp_path / "storage") if request.param == "copies" else None
    (tmp_path / "kept" / "lent").mkdir(parents=True)
    made = Snapshots(tmp_path / "kept", scratch=tmp_path / "scratch", memory_mb=60, storage=storage)
    made.make("run-00000001", lambda target: shutil.copyfile(whole, target))
    return made


def flip(path: Path) -> None:
    """Change an id, and let the time of the file be what it was, as a disk does that lies."""
    status, content = path.stat(), path.read_bytes()
    at = max(content.rfind(distinct_id[:10].encode()) for distinct_id in [*MEMBERS.values()][-50:])
    assert at > 0
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def write_to(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size * 3 // 4)
        file.write(b"garbage")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes()[:-200] + bytes(200))
    other.replace(path)


DAMAGES = [flip, write_to, truncate, replace, Path.unlink]


def read_ids(snapshots: Snapshots, after_first: Callable[[], object]) -> list[str]:
    chunks = snapshots.stored("run-00000001").chunks()
    found = [member.apptimize_id + member.distinct_id for member in next(chunks)]
    after_first()
    return found + [member.apptimize_id + member.distinct_id for chunk in chunks for member in chunk]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_damaged_between_two_chunks_is_noticed_before_the_last_is_used(
    snapshots: Snapshots, damage: Callable[[Path], object]
):
    path = snapshots.path("run-00000001")
    right = [apptimize_id + distinct_id for apptimize_id, distinct_id in MEMBERS.items()]

    try:
        found = read_ids(snapshots, lambda: damage(path))
    except StorageError:
        found = None

    assert found in (None, right)
    assert (found == right) is (damage is Path.unlink)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_was_damaged_since_it_was_made_is_fetched_again_or_refused_before_the_first(
    snapshots: Snapshots, damage: Callable[[Path], object]
):
    damage(snapshots.path("run-00000001"))
    chunks = snapshots.stored("run-00000001").json_chunks(**KEYS, chunk=1000)

    if snapshots.place.is_elsewhere:
        assert sum(chunk.members for chunk in chunks) == len(MEMBERS)
        assert read_ids(snapshots, lambda: None) == [first + second for first, second in MEMBERS.items()]
    else:
        with pytest.raises(StorageError):
            next(chunks)


def test_a_file_that_proves_itself_is_known_by_what_it_holds_then(snapshots: Snapshots):
    name = "run-00000001"
    flip(snapshots.path(name))  # as if another process had made it once more
    snapshots.note_proven(name, snapshots.stamp(name), snapshots.digest(name))

    assert len(read_ids(snapshots, lambda: None)) == len(MEMBERS)
