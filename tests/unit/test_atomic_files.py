"""Files that appear whole: what is renamed into place is on disk before, and its name after."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.members.files import make_folder, replace_folder, replacing


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was flushed, and what was renamed, in order, by name."""
    seen = list[tuple[str, str]]()
    flush, rename = os.fsync, Path.replace

    def note_flush(handle: int) -> None:
        flush(handle)
        seen.append(("flush", Path(os.readlink(f"/proc/self/fd/{handle}")).name))

    def note_rename(path: Path, target: Path) -> Path:
        seen.append(("rename", target.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_rename)
    return seen


def test_a_file_is_on_disk_before_its_name_and_its_name_before_anything_else(
    tmp_path: Path, events: list[tuple[str, str]]
):
    folder = tmp_path / "snapshots"

    with replacing(folder / "run.parquet") as part:
        part.write_text("members")
        temporary = part.name

    assert events == [("flush", tmp_path.name), ("flush", temporary), ("rename", "run.parquet"), ("flush", "snapshots")]
    assert [path.name for path in folder.iterdir()] == ["run.parquet"]


def test_a_file_that_fails_half_way_leaves_the_one_before_and_nothing_else(tmp_path: Path):
    target = tmp_path / "run.parquet"
    target.write_text("before")

    def fail_half_way() -> None:
        with replacing(target) as part:
            part.write_text("half")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail_half_way()

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"run.parquet": "before"}


def test_a_file_is_not_put_in_place_where_that_is_refused(tmp_path: Path):
    @contextmanager
    def refuse():
        raise InterruptedError
        yield

    with pytest.raises(InterruptedError), replacing(tmp_path / "plan.parquet", within=refuse()) as part:
        part.write_text("plan")

    assert list(tmp_path.iterdir()) == []


def test_every_file_of_a_folder_is_on_disk_before_the_folder_takes_the_place_of_another(
    tmp_path: Path, events: list[tuple[str, str]]
):
    part, target = tmp_path / "raw.part", tmp_path / "raw"
    for folder, name in ((target, "old"), (part, "new")):
        folder.mkdir()
        (folder / name).write_text(name)

    replace_folder(part, target)

    assert events == [("flush", "new"), ("flush", "raw.part"), ("rename", "raw"), ("flush", tmp_path.name)]
    assert [path.name for path in target.iterdir()] == ["new"]
    assert not part.exists()


def test_a_folder_that_is_made_has_its_name_on_disk_and_one_that_is_there_costs_nothing(
    tmp_path: Path, events: list[tuple[str, str]]
):
    make_folder(tmp_path / "home" / "snapshots")
    assert events == [("flush", tmp_path.name), ("flush", "home")]

    make_folder(tmp_path / "home" / "snapshots")
    assert len(events) == 2
