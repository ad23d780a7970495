"""A backup where members lie in object storage, or in a folder elsewhere, and what a restore puts there."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select, update

from core.access import audit_log
from core.access.roles import LOCAL
from core.associate.files import outcome_lines
from core.backup.archive import BackupUnusable, Manifest
from core.backup.backing_up import back_up
from core.backup.restoring import HomeNotEmpty, restore
from core.bridge import Bridge, open_bridge
from core.clock import SYSTEM_CLOCK
from core.errors import StorageFailed
from core.settings import Settings
from core.worker import retention
from data import far_copy, home_copy, placing
from data.association_retention import list_bundles, object_of
from data.audit import chain
from data.audit.scope import Scope
from data.engine import read_session, write_session
from data.members.store import is_ours, run_of
from data.models import Run
from data.restored_names import rename_members
from data.run_retention import named_files
from data.storage.s3 import S3Storage
from tests.stage.members import contents
from tests.stage.object_storage import make_bucket, storage_at, use_keys
from tests.stage.processes import ROOT
from tests.stage.seeds import some

pytestmark = [some(4), pytest.mark.sqlite_file]

OLD_HOME = ROOT / "tests" / "fixtures" / "home-0005"
PREFIX = "members"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    use_keys(monkeypatch)


def settings_of(home: Path, **values: Any) -> Settings:
    return Settings(home=home, _env_file=None, **values)  # type: ignore[call-arg]


def far_settings(home: Path, bucket: str) -> Settings:
    return settings_of(home, storage_url=f"s3://{bucket}/{PREFIX}")


def restored(to: Settings, file: Path) -> Bridge:
    to.home.mkdir(exist_ok=True)
    shutil.copy(OLD_HOME / "secret.key", to.home)
    (to.home / "secret.key").chmod(0o600)
    restore(to, file, SYSTEM_CLOCK)
    return open_bridge(to)


def backed_up(bridge: Bridge, file: Path) -> Manifest:
    try:
        return back_up(bridge, LOCAL, file)
    finally:
        bridge.engine.dispose()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A backup of a home that holds something of everything, its members in a folder."""
    folder = tmp_path_factory.mktemp("far")
    shutil.copytree(OLD_HOME, folder / "home")
    (folder / "home" / "secret.key").chmod(0o600)
    return folder / "backup.tar", backed_up(open_bridge(settings_of(folder / "home")), folder / "backup.tar")


@pytest.fixture
def far(made: tuple[Path, Manifest], tmp_path: Path) -> Iterator[tuple[Bridge, str]]:
    """A home that the backup was restored to, its members in a bucket."""
    bucket = make_bucket()
    bridge = restored(far_settings(tmp_path / "far", bucket), made[0])
    yield bridge, bucket
    bridge.engine.dispose()


def objects(bucket: str) -> dict[str, bytes]:
    storage = storage_at(bucket, prefix=PREFIX)
    return {known.name: storage.read(known.name).content for known in storage.list()}


def outcomes(bridge: Bridge) -> list[str]:
    return [line for number in (1, 3) for line in outcome_lines(bridge, number)]


# --- there and back ------------------------------------------------------------------------------------------------


def test_files_go_from_a_folder_to_a_bucket_and_back_and_each_row_has_its_own(
    made: tuple[Path, Manifest], far: tuple[Bridge, str], tmp_path: Path
):
    near = restored(settings_of(tmp_path / "near"), made[0])
    bridge, bucket = far
    expected = contents(near)

    assert contents(bridge) == expected
    assert sum(content is not None for content in expected.values()) > 20
    names = named_files(bridge.engine)
    assert not names & named_files(near.engine), "each has a random part"
    in_bucket = set(objects(bucket)) - {"installation.id", "audit.head", "deliveries.mark"}
    bundles = {object_of(bundle) for bundle in list_bundles(bridge.engine).values()}
    assert len(bundles) == 3
    assert in_bucket == bundles | {f"{name}.parquet" for name in names if bridge.snapshots.exists(name)}
    assert outcomes(bridge) == outcomes(near)
    assert retention.remove_unnamed_files(bridge) == 0

    second = backed_up(bridge, tmp_path / "second.tar")
    assert len(second.lost) == len(made[1].lost)
    assert second.counts == made[1].counts
    back = restored(settings_of(tmp_path / "back"), tmp_path / "second.tar")

    assert contents(back) == expected
    assert outcomes(back) == outcomes(near)
    assert list_bundles(back.engine) == {}
    raw = "associations/00000002/raw/000000000.parquet"
    assert (back.settings.home / raw).read_bytes() == (near.settings.home / raw).read_bytes()
    assert audit_log.verify_audit(back, LOCAL).problems == []
    assert not list((tmp_path / "far").glob("*.part"))
    for each in (near, back):
        each.engine.dispose()


def test_what_others_have_in_the_bucket_stays_as_it_is(made: tuple[Path, Manifest], tmp_path: Path):
    bucket = make_bucket()
    storage = storage_at(bucket, prefix=PREFIX)
    theirs = {Path(name).name: b"theirs" for name in made[1].files if name.startswith("snapshots/")}
    theirs |= {"run-00009999.parquet": b"theirs", "notes.txt": b"theirs"}
    for name, content in theirs.items():
        storage.put(name, content)

    bridge = restored(far_settings(tmp_path / "far", bucket), made[0])

    assert {name: content for name, content in objects(bucket).items() if name in theirs} == theirs
    assert b"theirs" not in contents(bridge).values()
    bridge.engine.dispose()


def test_a_folder_elsewhere_takes_the_files_and_refuses_to_replace_any(made: tuple[Path, Manifest], tmp_path: Path):
    shared, near = tmp_path / "shared", restored(settings_of(tmp_path / "near"), made[0])
    name = next(Path(name).name for name in made[1].files if name.startswith("snapshots/"))
    shared.mkdir()
    (shared / name).write_bytes(b"theirs")
    to = settings_of(tmp_path / "to", storage_url=str(shared))

    with pytest.raises(HomeNotEmpty, match=f"another {name} already"):
        restored(to, made[0])
    assert [path.name for path in shared.rglob("*") if path.is_file()] == [name]

    (shared / name).unlink()
    bridge = restored(to, made[0])
    assert contents(bridge) == contents(near)
    assert outcomes(bridge) == outcomes(near)
    assert not (to.home / "snapshots").exists()
    assert backed_up(bridge, tmp_path / "second.tar").files.keys() == made[1].files.keys()
    near.engine.dispose()


# --- what is not there, or changes meanwhile -----------------------------------------------------------------------


def test_objects_that_are_gone_or_damaged_are_told_as_lost(far: tuple[Bridge, str], tmp_path: Path):
    bridge, bucket = far
    storage = storage_at(bucket, prefix=PREFIX)
    there = sorted(name for name in named_files(bridge.engine) if bridge.snapshots.exists(name))
    known = sorted(name for name in named_files(bridge.engine) if not bridge.snapshots.exists(name))
    gone, damaged = there[:2]
    storage.remove(f"{gone}.parquet")
    storage.remove(f"{damaged}.parquet")
    storage._calls.put(f"{damaged}.parquet", b"other", within_s=5, attributes={"sha256": "0" * 64})

    manifest = backed_up(bridge, tmp_path / "second.tar")

    assert manifest.lost == sorted([*known, gone, damaged])


def test_what_is_removed_while_the_backup_is_made_makes_another_copy_of_the_database(
    far: tuple[Bridge, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bridge, bucket = far
    storage, copies = storage_at(bucket, prefix=PREFIX), list[Path]()
    with read_session(bridge.engine) as session:
        number, name = session.exec(
            select(Run.id, Run.excluded).where(col(Run.excluded).is_not(None)).order_by(col(Run.id).desc())
        ).first() or (0, "")
    copy_to_file: Callable[..., None] = home_copy.copy_to_file

    def remove_after(engine: Any, target: Path) -> None:
        copy_to_file(engine, target)
        copies.append(target)
        if len(copies) == 1:
            with write_session(engine) as session:
                session.exec(update(Run).where(col(Run.id) == number).values(excluded=None))
            storage.remove(f"{name}.parquet")

    monkeypatch.setattr(home_copy, "copy_to_file", remove_after)
    manifest = backed_up(bridge, tmp_path / "second.tar")

    assert len(copies) == 2
    assert name not in manifest.lost
    assert f"snapshots/{name}.parquet" not in manifest.files


def test_a_backup_does_not_keep_somebody_who_is_forgotten_while_it_is_made(
    far: tuple[Bridge, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bridge, _ = far
    fetch = far_copy._Fetching._fetch
    fetched = list[str]()
    with read_session(bridge.engine) as session:
        name = session.exec(select(Run.excluded).where(col(Run.excluded).is_not(None)).limit(1)).one()
    bridge.snapshots.remove(name or "")

    def forget_between(self: Any, asked: str) -> Path | None:
        path = fetch(self, asked)
        fetched.append(asked)
        if len(fetched) == 5:
            scope = Scope(LOCAL.name, "forget_person", bridge.settings.audit_head, SYSTEM_CLOCK.now)
            with write_session(bridge.engine) as session:
                chain.append(session, scope, subject="a person", after={})
                session.exec(update(Run).where(col(Run.excluded) == name).values(excluded=None))
        return path

    monkeypatch.setattr(far_copy._Fetching, "_fetch", forget_between)
    with pytest.raises(StorageFailed, match="forgotten while this backup was made"):
        backed_up(bridge, tmp_path / "second.tar")
    assert not (tmp_path / "second.tar").exists()
    assert not (bridge.settings.home / "backup.part").exists()


# --- where it ends early -------------------------------------------------------------------------------------------


def test_a_restore_that_comes_to_nothing_takes_back_what_it_put_and_can_be_done_again(
    made: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bucket, put_file, puts = make_bucket(), S3Storage.put_file, list[str]()

    def fail(self: S3Storage, file: Path, name: str) -> Any:
        puts.append(name)
        if len(puts) == 12:
            raise BackupUnusable("as if a byte had changed")
        return put_file(self, file, name)

    to = far_settings(tmp_path / "far", bucket)
    with monkeypatch.context() as patch:
        patch.setattr(S3Storage, "put_file", fail)
        with pytest.raises(BackupUnusable):
            restored(to, made[0])
    assert objects(bucket) == {}
    assert placing.list_occupied(to.home, to.home / placing.DATABASE) == []

    bridge = restored(to, made[0])
    assert len(objects(bucket)) > 12
    bridge.engine.dispose()


def test_what_was_put_stays_once_rows_may_name_it(
    made: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bucket = make_bucket()
    to = far_settings(tmp_path / "far", bucket)
    place = placing._place_database

    def fail(*arguments: Any) -> None:
        place(*arguments)
        raise OSError(5, "the disk went away")

    monkeypatch.setattr(placing, "_place_database", fail)
    with pytest.raises(StorageFailed):
        restored(to, made[0])
    monkeypatch.setattr(placing, "_place_database", place)

    bridge = open_bridge(to)
    near = restored(settings_of(tmp_path / "near"), made[0])
    assert contents(bridge) == contents(near)
    for each in (bridge, near):
        each.engine.dispose()


def test_the_disk_holds_the_database_and_a_few_files_alone(
    made: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bucket, most, here = make_bucket(), 0, tmp_path / "far"
    put_file = S3Storage.put_file

    def count(self: S3Storage, file: Path, name: str) -> Any:
        nonlocal most
        most = max(
            most, len([path for path in here.rglob("*") if path.suffix != ".db" and path.parent.name == "filling"])
        )
        return put_file(self, file, name)

    monkeypatch.setattr(S3Storage, "put_file", count)
    restored(far_settings(here, bucket), made[0]).engine.dispose()

    assert 1 <= most <= 9
    with closing(sqlite3.connect(here / placing.DATABASE)) as database:
        assert database.execute("SELECT count(*) FROM run").fetchone()[0] == made[1].counts["runs"]
    assert not (here / "snapshots").exists()


@pytest.mark.parametrize("number", [7, 12_345_678, 123_456_789, 2**63 - 1])
def test_a_file_that_is_called_otherwise_is_of_the_same_run_still(
    bridge: Bridge, group_with_runs: list[Run], number: int
):
    with write_session(bridge.engine) as session:
        session.exec(update(Run).where(col(Run.id) == group_with_runs[0].id).values(snapshot=f"run-{number:08d}"))

    [(old, new)] = rename_members(bridge.engine).items()

    assert new != old
    assert is_ours(new)
    assert run_of(new) == number
