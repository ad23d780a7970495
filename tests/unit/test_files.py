"""Files in folders that others may write to: nothing there is followed, waited for or removed that is not ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import StorageFailed
from core.files import NoFile, OpenFolder, open_file, replacing
from core.vendors import csv_files
from core.vendors.delivery import Target
from data import deliveries
from data.audit.anchor import read_anchor
from data.engine import StorageError
from data.models import Member
from tests.stage.members import ListedMembers

NAME = "Payers-7.csv"
SECRET = "what somebody else keeps"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside the folder that nothing may change."""
    file = tmp_path / "victim"
    file.write_text(SECRET)
    return file


def put_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def put_link_to_nothing(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("nothing"))


def put_folder(path: Path, victim: Path) -> None:
    path.mkdir()
    (path / "kept").write_text(SECRET)


def put_pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path, victim: Path) -> None:
    # A path to a socket is at most some hundred characters long: it is made in the folder itself.
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(before)
        os.close(before)


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "a link": put_link,
    "a link to nothing": put_link_to_nothing,
    "a folder": put_folder,
    "a pipe": put_pipe,
    "a socket": put_socket,
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def look(folder: Path) -> dict[str, str]:
    """Return what is in a folder: the kind and the content of each."""
    seen = dict[str, str]()
    for path in folder.rglob("*"):
        state = path.lstat()
        text = path.read_text() if path.is_file() and not path.is_symlink() else ""
        leads = os.readlink(path) if path.is_symlink() else ""
        seen[str(path.relative_to(folder))] = f"{state.st_mode:o} {text}{leads}"
    return seen


def write(folder: Path, *ids: str) -> int:
    return csv_files.save_csv(ids or ["i_1", "i_2"], folder / NAME, expected=len(ids) or 2)


@each_kind
def test_what_is_no_file_is_told_and_neither_replaced_nor_followed(folder: Path, victim: Path, kind: str):
    KINDS[kind](folder / NAME, victim)
    before = look(folder)

    with pytest.raises(StorageFailed, match=f"{NAME} is {kind.removesuffix(' to nothing')}, and no file") as caught:
        write(folder)

    assert "Nothing was written" in caught.value.advice
    assert look(folder) == before
    assert victim.read_text() == SECRET
    assert not victim.with_name("nothing").exists()


@each_kind
def test_what_is_called_as_an_attempt_of_ours_is_left_alone_and_ends_no_export(folder: Path, victim: Path, kind: str):
    planted = [folder / f".{NAME}.part", folder / f".{NAME}.0123456789abcdef.part"]
    for path in planted:
        KINDS[kind](path, victim)
    before = look(folder)
    left_behind = folder / f".{NAME}.0a1b2c3d.part"
    left_behind.write_text("half")

    assert write(folder) == 2

    after = look(folder)
    assert after.pop(NAME).endswith("user_id\ni_1\ni_2\n")
    assert after == before
    assert victim.read_text() == SECRET


@each_kind
def test_what_has_a_groups_former_name_and_is_no_file_stays(folder: Path, victim: Path, kind: str):
    former = folder / csv_files.csv_name("Before", 7)
    KINDS[kind](former, victim)
    before = look(folder)
    target = Target(project_id=1, cohort_id=7, cohort_name="Payers", group_name="Payers", description="")

    async def still_ours() -> None:
        pass

    delivery = csv_files.CsvDelivery(folder, still_ours, delivered_name="Before")
    asyncio.run(delivery.overwrite(target, ListedMembers([[Member("i_1", "u1")]]), members=1))

    after = look(folder)
    assert after.pop(NAME).endswith("user_id\ni_1\n")
    assert after == before
    assert delivery.is_in_place(target)


def test_a_group_is_in_place_only_as_a_file(folder: Path, victim: Path):
    target = Target(project_id=1, cohort_id=7, cohort_name="Payers", group_name="Payers", description="")

    async def still_ours() -> None:
        pass

    delivery = csv_files.CsvDelivery(folder, still_ours)
    assert not delivery.is_in_place(target)
    (folder / NAME).symlink_to(victim)
    assert not delivery.is_in_place(target)
    (folder / NAME).unlink()
    (folder / NAME).touch()
    assert delivery.is_in_place(target)


def test_another_name_of_the_same_file_keeps_what_it_held(folder: Path, victim: Path):
    os.link(victim, folder / NAME)

    write(folder)

    assert victim.read_text() == SECRET
    assert (folder / NAME).read_text() == "user_id\ni_1\ni_2\n"


def while_writing(happens: Callable[[], object]) -> Iterator[str]:
    """Yield members, and let something happen between the first and the second."""
    yield "i_1"
    happens()
    yield "i_2"


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(folder: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def swap() -> None:
        folder.rename(tmp_path / "moved")
        folder.symlink_to(elsewhere)

    with pytest.raises(StorageFailed, match="another program changed the folder"):
        csv_files.save_csv(while_writing(swap), folder / NAME, expected=2)

    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_is_removed_meanwhile_is_told(folder: Path):
    with pytest.raises(StorageFailed, match="could not be written: No such file or directory") as caught:
        csv_files.save_csv(while_writing(lambda: shutil.rmtree(folder)), folder / NAME, expected=2)

    assert str(folder) in caught.value.advice
    assert not folder.exists()


def test_a_file_that_is_put_in_place_of_the_half_written_one_is_noticed(folder: Path):
    def swap() -> None:
        (part,) = folder.iterdir()
        part.unlink()
        part.write_text("user_id\ni_of_another\n")

    with pytest.raises(StorageFailed, match="another program changed the folder"):
        csv_files.save_csv(while_writing(swap), folder / NAME, expected=2)


def test_what_is_put_in_place_of_the_file_while_it_is_written_is_not_written_through(folder: Path, victim: Path):
    with pytest.raises(StorageFailed, match="is a link, and no file"):
        csv_files.save_csv(while_writing(lambda: put_link(folder / NAME, victim)), folder / NAME, expected=2)

    assert victim.read_text() == SECRET
    assert [path.name for path in folder.iterdir()] == [NAME]


def test_somebody_who_plants_links_as_fast_as_they_can_changes_nothing_elsewhere(folder: Path, victim: Path):
    done = threading.Event()

    def attack() -> None:
        other = folder / "planted"
        while not done.is_set():
            try:
                for path in folder.glob(".*.part"):
                    other.symlink_to(victim)
                    other.rename(path)
                other.symlink_to(victim)
                other.rename(folder / NAME)
            except OSError:
                other.unlink(missing_ok=True)

    attacker = threading.Thread(target=attack)
    attacker.start()
    ended, until = 0, time.monotonic() + 60
    while ended < 20 and time.monotonic() < until:
        try:
            write(folder)
        except StorageFailed:
            ended += 1
            (folder / NAME).unlink(missing_ok=True)
    done.set()
    attacker.join()

    assert victim.read_text() == SECRET
    assert ended == 20


@pytest.fixture
def read_only(folder: Path) -> Iterator[Path]:
    """A folder that nothing can be written to, by anybody."""
    if os.geteuid():
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_folder_that_cannot_be_written_is_told(read_only: Path):
    with pytest.raises(StorageFailed, match="could not be written: (Read-only|Permission)"):
        write(read_only)


@each_kind
def test_what_is_in_the_place_of_the_folder_itself_is_told(folder: Path, victim: Path, kind: str):
    place = folder / "groups"
    KINDS[kind](place, victim)
    if kind == "a folder":
        return

    with pytest.raises(StorageFailed, match="could not be written"):
        write(place)

    assert victim.read_text() == SECRET
    assert not victim.with_name("nothing").exists()


@each_kind
def test_what_is_no_file_is_not_waited_for_when_it_is_read(folder: Path, victim: Path, kind: str):
    KINDS[kind](folder / NAME, victim)
    if kind == "a link":
        with open_file(folder / NAME) as file:
            assert file.read().decode() == SECRET
        return

    with pytest.raises(OSError, match="No such file" if kind == "a link to nothing" else "and no file"):
        open_file(folder / NAME)
    with pytest.raises(NoFile, match="a device"):
        open_file(Path("/dev/zero"))


def test_a_file_is_made_with_the_mode_that_is_asked_for_and_others_read_a_csv(folder: Path):
    before = os.umask(0o022)
    try:
        with replacing(folder / "key", mode=0o600) as file:
            file.write(b"key")
        write(folder)
    finally:
        os.umask(before)

    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {"key": 0o600, NAME: 0o644}


def test_a_folder_whose_files_may_not_be_listed_can_be_written(folder: Path):
    folder.chmod(0o300)
    try:
        with OpenFolder(folder) as opened:
            opened.remove_parts(NAME)
            with opened.replacing(NAME) as file:
                file.write(b"user_id\n")
            assert opened.has_file(NAME)
    finally:
        folder.chmod(0o700)


@each_kind
def test_what_the_product_notes_for_itself_goes_into_files_alone(folder: Path, victim: Path, kind: str):
    KINDS[kind](folder / "deliveries.mark", victim)
    KINDS[kind](folder / "audit.head", victim)
    before = look(folder)

    with pytest.raises(StorageError, match="deliveries.mark"):
        deliveries.note(folder / "deliveries.mark", 3)
    assert read_anchor(folder / "audit.head") == (None if kind == "a link to nothing" else (0, "unreadable"))

    (folder / "deliveries.lock").unlink()
    assert look(folder) == before
    assert victim.read_text() == SECRET
