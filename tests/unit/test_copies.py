"""The cache of copies: what goes when it is full, and what stays while this process or another reads it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from data.members.copies import CopiedPlace
from data.members.duck import MembersDamaged
from data.storage.folder import FolderStorage

SIZE = 1000


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    storage = FolderStorage(tmp_path / "storage")
    made = tmp_path / "made"
    for name in "abcde":
        made.write_bytes(name.encode() * SIZE)
        storage.put_file(made, f"{name}.parquet")
    return storage


@pytest.fixture
def place(storage: FolderStorage, tmp_path: Path) -> CopiedPlace:
    return CopiedPlace(storage, tmp_path / "cache", most_bytes=3 * SIZE)


def read_long_ago(place: CopiedPlace, names: str) -> None:
    """Read files, the first one longest ago, all of them before anything that is still protected."""
    for turn, name in enumerate(names):
        path = place.read(name)
        os.utime(path, ns=(turn * 10**9, path.stat().st_mtime_ns))


def all_but_a(names: Sequence[str]) -> list[str]:
    """What no row names."""
    return [name for name in names if name != "a"]


def here(place: CopiedPlace) -> str:
    return "".join(sorted(path.stem for path in place.folder.glob("*.parquet")))


def test_what_was_used_longest_ago_goes_first_until_the_rest_has_room(place: CopiedPlace):
    read_long_ago(place, "bca")

    place.read("d")
    assert here(place) == "acd"
    read_long_ago(place, "dca")
    place.read("d")  # used again, and so the newest
    place.read("e")

    assert here(place) == "ade"
    assert place.read("b").read_bytes() == b"b" * SIZE, "what went is fetched again"


def test_what_was_used_in_the_last_minute_stays_though_there_is_no_room(place: CopiedPlace):
    for name in "abcde":
        place.read(name)

    assert here(place) == "abcde"


def test_a_copy_that_is_being_read_stays_and_goes_once_it_is_not(place: CopiedPlace):
    read_long_ago(place, "abc")
    with place.reading():
        path = place.read("a")
        os.utime(path, ns=(0, path.stat().st_mtime_ns))
        place.read("d")
        assert here(place) == "acd"

    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    place.read("e")
    assert here(place) == "cde"


def in_another_process(work: Callable[[], None]) -> tuple[int, int, int]:
    """Do something in another process; returns its id, what it writes a byte to once it is done, and what ends it."""
    done, told = os.pipe()
    wait, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(end)
            work()
            os.write(told, b".")
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(told)
    os.close(wait)
    return pid, done, end


def test_a_copy_that_another_process_reads_stays_until_that_is_killed(
    place: CopiedPlace, storage: FolderStorage, tmp_path: Path
):
    read_long_ago(place, "abc")
    other = CopiedPlace(storage, tmp_path / "cache", most_bytes=3 * SIZE)
    reading = other.reading()

    def hold() -> None:
        reading.__enter__()
        other.read("a")

    pid, done, end = in_another_process(hold)
    assert os.read(done, 1) == b"."
    path = tmp_path / "cache" / "a.parquet"
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    place.read("d")
    assert here(place) == "acd"

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(end)
    os.close(done)
    place.read("e")
    assert here(place) == "cde"


def test_processes_that_fetch_the_same_files_at_once_have_all_of_them_whole(
    place: CopiedPlace, storage: FolderStorage, tmp_path: Path
):
    def fetch() -> None:
        other = CopiedPlace(storage, tmp_path / "cache", most_bytes=SIZE)  # there is room for one of them
        for _ in range(20):
            for name in "abcde":
                with other.reading():
                    path = other.read(name)
                    os.utime(path, ns=(0, path.stat().st_mtime_ns))
                    assert path.read_bytes() == name.encode() * SIZE
        (tmp_path / f"right-{os.getpid()}").touch()

    processes = [in_another_process(fetch) for _ in range(3)]
    for _, _, end in processes:  # all of them first: each process has those of the ones before it
        os.close(end)
    for pid, done, _ in processes:
        os.waitpid(pid, 0)
        os.close(done)

    assert len(list(tmp_path.glob("right-*"))) == 3
    assert list((tmp_path / "cache" / "lent").iterdir()) == []


def test_a_copy_goes_once_no_row_names_it_and_nobody_used_it_for_ten_minutes(place: CopiedPlace):
    read_long_ago(place, "ab")
    place.read("c")
    now_s = (place.folder / "c.parquet").stat().st_atime

    assert place.tidy(all_but_a, now_s=now_s + 599) == 1
    assert here(place) == "ac"
    os.utime(place.folder / "c.parquet", ns=(0, (place.folder / "c.parquet").stat().st_mtime_ns))
    assert place.tidy(all_but_a, now_s=now_s + 601) == 1
    assert here(place) == "a"


def test_a_copy_that_is_being_read_is_not_tidied_away(place: CopiedPlace):
    with place.reading():
        path = place.read("b")
        os.utime(path, ns=(0, path.stat().st_mtime_ns))
        assert place.tidy(all_but_a, now_s=1000.0) == 0

    assert place.tidy(all_but_a, now_s=1000.0) == 1


def test_what_a_process_was_writing_that_died_goes_after_a_day(place: CopiedPlace):
    now_s = place.read("a").stat().st_atime
    left = [place.folder / "lent" / f".{name}.parquet.0a0a0a0a.part" for name in ("old", "young")]
    for path, age_s in zip(left, (25 * 3600, 3600), strict=True):
        path.write_bytes(b"half")
        os.utime(path, (now_s - age_s, now_s - age_s))

    assert place.tidy(all_but_a, now_s=now_s) == 1
    assert [path.exists() for path in left] == [False, True]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, in place."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def test_a_copy_that_something_else_wrote_to_is_fetched_again(place: CopiedPlace):
    flip(place.read("a"))
    assert place.bring(["a", "b"]) == ["a", "b"]
    assert Path(place.file("a")).read_bytes() == b"a" * SIZE

    flip(place.read("a"))
    assert place.read("a").read_bytes() == b"a" * SIZE


def truncate(path: Path) -> None:
    os.truncate(path, SIZE // 2)


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(b"x" * SIZE)
    other.replace(path)


@pytest.mark.parametrize("damage", [flip, truncate, replace])
def test_a_copy_that_something_else_changes_while_it_is_read_is_told_at_the_end(
    place: CopiedPlace, damage: Callable[[Path], None]
):
    with pytest.raises(MembersDamaged, match="changed by something else"), place.reading():
        damage(place.read("a"))

    with place.reading():
        assert place.read("a").read_bytes() == b"a" * SIZE


def test_a_copy_that_is_removed_or_fetched_again_while_it_is_read_is_no_other_one(place: CopiedPlace):
    with place.reading():
        place.read("a")
        place.read("b").unlink()
        assert place.renew("a")
