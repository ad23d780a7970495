"""Group files: written whole or not at all, ids byte for byte, under a name that file systems take."""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as enumerate_threads

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StorageFailed
from core.vendors import csv_files
from core.vendors.delivery import Target
from data.models import Member
from tests.stage.members import ListedMembers
from tests.stage.sandbox import wait_until

NAME = "Payers-7.csv"
ids = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=8)


@given(st.lists(ids, max_size=20))
def test_the_csv_holds_the_ids_byte_for_byte(members: list[str]):
    text = "".join(csv_files.csv_lines(members))

    rows = list(csv.reader(text.split("\n")[:-1]))
    assert rows == [["user_id"], *([member] for member in members)]


def test_ids_that_a_spreadsheet_would_run_are_not_changed():
    assert list(csv_files.csv_lines(["=1+1", "+7", "-7", "@x", "007"]))[1:] == [
        "=1+1\n",
        "+7\n",
        "-7\n",
        "@x\n",
        "007\n",
    ]


def test_a_failure_half_way_leaves_the_previous_file_in_place(tmp_path: Path):
    target = tmp_path / "payers.csv"
    target.write_text("user_id\ni_old\n")

    with pytest.raises(StorageFailed):
        csv_files.write_group_file(iter(["i_1", "i_2"]), target, expected=3, given_up=Event())

    assert target.read_text() == "user_id\ni_old\n"
    assert list(tmp_path.iterdir()) == [target]


def test_a_delivery_that_hangs_takes_no_shared_thread_and_does_not_replace_a_newer_file_when_it_wakes_up(
    tmp_path: Path,
):
    resumed, before = Event(), enumerate_threads()
    target = Target(project_id=1, cohort_id=7, cohort_name="Payers", group_name="Payers", description="")

    def hang() -> Iterator[list[Member]]:
        yield [Member("i_old", "u-1")]
        resumed.wait(30)
        yield [Member("i_older", "u-2")]

    async def still_ours() -> None:
        pass

    async def give_up_and_write_again() -> int:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        delivery = csv_files.CsvDelivery(tmp_path, still_ours)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(delivery.overwrite(target, ListedMembers(hang()), members=2), 0.2)
        answer = await asyncio.wait_for(asyncio.to_thread(lambda: 1), 10)
        await delivery.overwrite(target, ListedMembers([[Member("i_new", "u-3")]]), members=1)
        return answer

    assert asyncio.run(give_up_and_write_again()) == 1

    def left() -> list[Thread]:
        return [thread for thread in enumerate_threads() if thread not in before and thread.name == "may-hang"]

    wait_until(lambda: len(left()) == 1)  # that of the second file may be about to end
    (hung,) = left()
    resumed.set()
    hung.join(10)

    assert not hung.is_alive()
    (file,) = tmp_path.iterdir()
    assert file.read_text() == "user_id\ni_new\n"


@pytest.mark.parametrize("former", [None, "Before"])
def test_a_folder_that_wakes_up_before_anything_was_written_changes_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, former: str | None
):
    hangs, resumed, before = Event(), Event(), enumerate_threads()
    target = Target(project_id=1, cohort_id=7, cohort_name="Payers", group_name="Payers", description="")
    (tmp_path / csv_files.csv_name("Before", 7)).write_text("user_id\ni_since\n")
    open_folder = os.open

    def hang(path: Path, flags: int, *arguments: int, **options: int) -> int:
        is_its_turn = former is None or (tmp_path / NAME).exists()
        if path == tmp_path and is_its_turn and not resumed.is_set():
            hangs.set()
            resumed.wait(30)
        return open_folder(path, flags, *arguments, **options)

    async def still_ours() -> None:
        pass

    async def give_up() -> None:
        delivery = csv_files.CsvDelivery(tmp_path, still_ours, former)
        writing = asyncio.create_task(delivery.overwrite(target, ListedMembers([[Member("i_old", "u-1")]]), members=1))
        assert await asyncio.to_thread(hangs.wait, 10)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    monkeypatch.setattr(os, "open", hang)
    asyncio.run(give_up())
    (tmp_path / f".{NAME}.0a1b2c3d.part").write_text("half of what somebody else writes")
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    resumed.set()
    for thread in enumerate_threads():
        if thread not in before:
            thread.join(10)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == kept
    assert csv_files.csv_name("Before", 7) in kept


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Power users", "Power-users-7.csv"),
        ("../../etc/passwd", "etc-passwd-7.csv"),
        ('"Big <b>spenders</b>" & Käufer 東京', "Big-b-spenders-b-Käufer-東京-7.csv"),
        ("***", "cohort-7.csv"),
        (".hidden", "hidden-7.csv"),
    ],
)
def test_a_csv_is_named_after_the_group_without_what_file_systems_mind(name: str, expected: str):
    assert csv_files.csv_name(name, 7) == expected


def test_a_long_name_still_fits_a_file_system():
    assert len(csv_files.csv_name("東" * 300, 7).encode()) < 255
