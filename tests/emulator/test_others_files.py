"""A storage in which others keep files too: those are never touched, and never in the way."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.associate.retention import forget_old
from core.bridge import Bridge
from core.export.job import load
from core.forgetting import person
from core.worker import retention, upkeep
from data.engine import StorageError
from tests.stage.clock import FakeClock
from tests.stage.home import Home, export, group_row
from tests.stage.machines import unbind
from tests.stage.object_storage import make_bucket, put_as_others, storage_at, use_keys
from tests.stage.sandbox import TRIAL, Sandbox
from tests.stage.seeds import some

pytestmark = some(4)

YEAR_S = 366 * 24 * 3600
OTHERS = (
    "sales-2024.parquet",
    "run-2024.parquet",
    "run-00000001 (copy).parquet",
    "run-00000001-of-marketing.parquet",
    "download.part",
    "old.damaged",
)


@pytest.fixture(autouse=True)
def unbound(home: Home) -> None:
    """A server's database stays with the storage that it was first opened with."""
    unbind(home)


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder in which somebody else keeps files."""
    folder = tmp_path / "lake"
    folder.mkdir()
    for name in OTHERS:
        (folder / name).write_bytes(b"of somebody else")
        os.utime(folder / name, (1, 1))
    return folder


def first_member(bridge: Bridge) -> str:
    row = group_row(bridge, TRIAL)
    return next(bridge.snapshots.iterate(row.base_snapshot or ""))[0].apptimize_id


def test_files_of_others_in_a_folder_stay(home: Home, sandbox: Sandbox, others: Path, fake_clock: FakeClock):
    with home.bridge(clock=fake_clock.clock, storage_url=str(others)) as bridge:
        export(bridge, TRIAL)
        left = others / "run-00000099-0a0a0a0a.parquet"
        left.write_bytes(b"left by a process that died")
        fake_clock.shift_s += YEAR_S

        assert retention.remove_unnamed_files(bridge) == 1
        assert retention.remove_set_aside(bridge) == 0
        assert person.forget_person(bridge, LOCAL, first_member(bridge), patience_s=0.0).unreadable == 0

    assert not left.exists()
    assert {path.name for path in others.iterdir()} >= set(OTHERS)


def test_an_attempt_that_wakes_late_writes_over_no_file_that_a_row_names(home: Home, sandbox: Sandbox, tmp_path: Path):
    with home.bridge(storage_url=str(tmp_path / "lake")) as bridge:
        run = export(bridge, TRIAL)

        names = load(bridge, run.id or 0).files
        bridge.snapshots.make(names.snapshot, lambda path: path.write_bytes(b"read before the worker was frozen"))

        assert bridge.snapshots.is_readable(run.snapshot)
        assert not {names.snapshot, names.difference, names.excluded} & {run.snapshot, run.difference, run.excluded}


def test_objects_of_others_in_a_bucket_stay(
    home: Home, sandbox: Sandbox, fake_clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    use_keys(monkeypatch)
    bucket = make_bucket()
    theirs = {*OTHERS, "associations/0a.tar", "associations/of marketing.tar", "associations/2024.csv"}
    put_as_others(bucket, {f"members/{name}" for name in theirs})
    with home.bridge(clock=fake_clock.clock, storage_url=f"s3://{bucket}/members") as bridge:
        export(bridge, TRIAL)
        fake_clock.shift_s += YEAR_S

        assert upkeep.remove_unnamed(bridge, threading.Event()) == 0
        forget_old(bridge)
        assert person.forget_person(bridge, LOCAL, first_member(bridge), patience_s=0.0).unreadable == 0

    assert {known.name for known in storage_at(bucket, prefix="members").list()} >= theirs


def put_a_file(folder: Path, name: str) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


def put_folders(folder: Path, name: str) -> None:
    for place in (folder / f"{name}.parquet", folder / "lent"):
        shutil.rmtree(place, ignore_errors=True)
        place.unlink(missing_ok=True)
    (folder / f"{name}.parquet").mkdir()
    (folder / "lent").write_bytes(b"")


@pytest.mark.parametrize("put", [put_a_file, put_folders])
def test_a_cache_that_cannot_be_used_ends_in_a_sentence(
    home: Home, sandbox: Sandbox, put: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
):
    use_keys(monkeypatch)
    with home.bridge(storage_url=f"s3://{make_bucket()}/members") as bridge:
        run = export(bridge, TRIAL)
        put(home.path / "cache", run.snapshot or "")

        failed = export(bridge, TRIAL)
        assert failed.error_code == "storage_failed"
        assert "could not be kept in the cache" in (failed.error_message or "")
        with pytest.raises(StorageError, match="could not be kept in the cache"):
            upkeep.tidy_copies(bridge)
