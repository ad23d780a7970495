"""What a backup holds and what of it holds elsewhere, what is refused of one, and where nothing is restored."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlmodel import col, select, update

from core.access import audit_log, people
from core.access.roles import LOCAL
from core.backup import leftovers
from core.backup.archive import FORMAT, Archive, BackupUnusable, Held, Manifest, write
from core.backup.backing_up import back_up
from core.backup.leftovers import UnderWay
from core.backup.restoring import HomeNotEmpty, Restored, restore
from core.bridge import Bridge, open_bridge
from core.clock import SYSTEM_CLOCK
from core.errors import SettingsError, StorageFailed
from core.export import retention
from core.settings import Settings
from data import home_copy, installation, placing
from data.engine import read_session, write_session
from data.models import UNFINISHED, Association, Group, ImportStage, Person, Run
from data.sign_in_models import SignIn
from tests.stage.processes import ROOT

pytestmark = pytest.mark.sqlite_file

# A home that holds something of everything, and of an earlier version.
OLD_HOME = ROOT / "tests" / "fixtures" / "home-0005"
MANIFEST, HASH, DATABASE = "manifest.json", "manifest.sha256", "cohort_bridge.db"


@dataclass(frozen=True)
class Made:
    """A backup, and the home that it was made of."""

    home: Path
    file: Path
    manifest: Manifest


def settings_of(home: Path, **values: Any) -> Settings:
    return Settings(home=home, _env_file=None, **values)  # type: ignore[call-arg]


def opened(home: Path) -> Bridge:
    return open_bridge(settings_of(home))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("backup")
    shutil.copytree(OLD_HOME, folder / "home")
    (folder / "home" / "secret.key").chmod(0o600)
    bridge = opened(folder / "home")
    manifest = back_up(bridge, LOCAL, folder / "backup.tar")
    bridge.engine.dispose()
    return Made(folder / "home", folder / "backup.tar", manifest)


@pytest.fixture
def empty(tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "empty")


def restore_here(to: Settings, file: Path) -> Restored:
    return restore(to, file, SYSTEM_CLOCK)


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file, "r:") as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def is_untouched(home: Path) -> bool:
    return not placing.list_occupied(home, home / DATABASE) and not list(home.glob("restore.*art"))


# --- what is in it -------------------------------------------------------------------------------------------------


def test_all_that_rows_name_is_in_it_and_no_key_log_or_state_of_the_sandbox(made: Made):
    with closing(sqlite3.connect(made.home / DATABASE)) as database:
        named = {
            name
            for column in ("snapshot", "restore_snapshot", "difference", "excluded")
            for (name,) in database.execute(f"SELECT DISTINCT {column} FROM run WHERE {column} IS NOT NULL")
        }
        key = (made.home / "secret.key").read_text().strip()
    held = members(made.file)

    expected = {f"snapshots/{name}.parquet" for name in named} - {
        f"snapshots/{name}.parquet" for name in made.manifest.lost
    }
    assert {name for name in held if name.startswith("snapshots/")} == expected
    assert {name for name in held if "/" not in name} == {DATABASE, "audit.head", "deliveries.mark", MANIFEST, HASH}
    assert {name for name in held if name.startswith("associations/")} == {
        "associations/00000001/outcomes.csv",
        "associations/00000001/plan.parquet",
        "associations/00000002/raw/000000000.parquet",
        "associations/00000003/outcomes.csv",
        "associations/00000003/plan.parquet",
    }
    assert all(content == (made.home / name).read_bytes() for name, content in held.items() if "/" in name)
    assert not [name for name, content in held.items() if key.encode() in content]
    assert not (made.home / "backup.part").exists()


def test_what_does_not_hold_elsewhere_is_taken_out(made: Made, empty: Settings):
    restore_here(empty, made.file)

    bridge = opened(empty.home)
    with read_session(bridge.engine) as session:
        runs = {run.id: run for run in session.exec(select(Run)).all()}
        assert not [run.id for run in runs.values() if run.status in UNFINISHED]
        assert {runs[number].error_code for number in (32, 34)} == {"restored"}
        assert runs[17].status == "held"
        assert all(group.in_doubt for group in session.exec(select(Group)).all())
        stages = session.exec(select(Association.stage).order_by(col(Association.id))).all()
        assert stages == [ImportStage.DONE, ImportStage.TO_CHECK, ImportStage.FAILED]
        assert all(sign_in.ended_at or sign_in.refused for sign_in in session.exec(select(SignIn)).all())
        assert all(person.sign_ins_from for person in session.exec(select(Person)).all())
    check = audit_log.verify_audit(bridge, LOCAL)
    bridge.engine.dispose()
    assert (check.problems, len(check.notes)) == ([], 1)
    assert (empty.home / "associations/00000003/outcomes.csv").read_bytes() == (
        made.home / "associations/00000003/outcomes.csv"
    ).read_bytes()


def test_a_backup_of_an_earlier_version_is_brought_up_to_date(made: Made, empty: Settings, tmp_path: Path):
    files = {DATABASE: OLD_HOME / DATABASE, "audit.head": OLD_HOME / "audit.head"}
    with (tmp_path / "old.tar").open("wb") as target:
        write(target, files.items(), lambda held: Manifest(FORMAT, "0.0.9", "0005", "2026-01-01", {}, [], held))

    restore_here(empty, tmp_path / "old.tar")

    bridge = opened(empty.home)
    assert audit_log.verify_audit(bridge, LOCAL).ok
    bridge.engine.dispose()


@pytest.mark.parametrize("key", ["same", "other", "none"])
def test_connections_whose_secrets_no_key_opens_are_named(made: Made, empty: Settings, key: str, tmp_path: Path):
    empty.home.mkdir()
    if key == "same":
        shutil.copy(made.home / "secret.key", empty.home)
    elif key == "other":
        bridge = opened(tmp_path / "third")
        bridge.engine.dispose()
        shutil.copy(tmp_path / "third" / "secret.key", empty.home)

    done = restore_here(empty, made.file)

    assert done.without_key == ([] if key == "same" else ["mixpanel default", "destination default"])
    assert (empty.home / "secret.key").exists() is (key != "none")


# --- while everything runs -----------------------------------------------------------------------------------------


def test_what_retention_removes_while_the_database_is_copied_is_there_all_the_same(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(made.home, tmp_path / "home")
    bridge = opened(tmp_path / "home")
    copy_database = home_copy.copy_database
    monkeypatch.setattr(retention, "SNAPSHOTS_KEPT", 1)
    kept = len(list(bridge.snapshots.folder.glob("*.parquet")))

    def copy_then_remove(*arguments: Any) -> None:
        copy_database(*arguments)
        for group in (1, 2, 3, 4):
            retention.forget_old_snapshots(bridge, group)

    monkeypatch.setattr(home_copy, "copy_database", copy_then_remove)
    manifest = back_up(bridge, LOCAL, tmp_path / "backup.tar")

    assert len(list(bridge.snapshots.folder.glob("*.parquet"))) < kept
    bridge.engine.dispose()
    assert manifest.lost == made.manifest.lost
    assert manifest.files.keys() == made.manifest.files.keys()


def test_a_file_that_comes_and_goes_while_the_database_is_copied_makes_another_copy(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(made.home, tmp_path / "home")
    bridge = opened(tmp_path / "home")
    copy_database, names = home_copy.copy_database, ["excluded-passing"]

    def name(text: str | None) -> None:
        with write_session(bridge.engine) as session:
            session.exec(update(Run).where(col(Run.id) == 17).values(excluded=text))

    def copy_between(*arguments: Any) -> None:
        if names:  # its row is in the copy, and its file is gone by the time that anybody looks
            name(names.pop())
            copy_database(*arguments)
            name(None)
        else:
            copy_database(*arguments)

    monkeypatch.setattr(home_copy, "copy_database", copy_between)
    manifest = back_up(bridge, LOCAL, tmp_path / "backup.tar")
    bridge.engine.dispose()

    assert manifest.lost == made.manifest.lost


def test_two_backups_at_a_time_are_refused_and_leftovers_of_one_that_works_stay(made: Made, tmp_path: Path):
    bridge = opened(made.home)
    with leftovers.backing_up_alone(made.home):
        (made.home / "backup.part").mkdir()
        with pytest.raises(UnderWay):
            back_up(bridge, LOCAL, tmp_path / "second.tar")
        leftovers.remove_leftovers(bridge)
        assert (made.home / "backup.part").exists()
    leftovers.remove_leftovers(bridge)
    bridge.engine.dispose()
    assert not (made.home / "backup.part").exists()


# --- where it is refused -------------------------------------------------------------------------------------------


def test_a_backup_takes_the_place_of_nothing_and_lies_outside_the_home(made: Made, tmp_path: Path):
    bridge = opened(made.home)
    there, link = tmp_path / "there.tar", tmp_path / "link.tar"
    there.write_text("something else")
    link.symlink_to(there)
    os.mkfifo(tmp_path / "pipe")
    inside = tmp_path / "inside"
    inside.symlink_to(made.home)
    for file in (there, link, tmp_path / "no" / "x.tar", tmp_path, made.home / "x.tar", inside / "x.tar"):
        with pytest.raises(SettingsError, match="^FILE: "):
            back_up(bridge, LOCAL, file)
    for file in (link, tmp_path / "pipe", tmp_path):
        with pytest.raises(SettingsError, match="^FILE: "):
            back_up(bridge, LOCAL, file, force=True)
    assert there.read_text() == "something else"

    back_up(bridge, LOCAL, there, force=True)

    bridge.engine.dispose()
    assert members(there).keys() == members(made.file).keys()


@pytest.mark.parametrize("url", ["mysql://user:pass-word@127.0.0.1/x", "sqlite://", "nothing"])
def test_nothing_is_restored_into_what_is_no_database_of_ours(made: Made, empty: Settings, url: str):
    with pytest.raises(SettingsError, match="COHORT_BRIDGE_DATABASE_URL") as refused:
        restore_here(settings_of(empty.home, database_url=url), made.file)
    assert "pass-word" not in str(refused.value)
    assert is_untouched(empty.home)


@pytest.mark.parametrize(
    "name", [DATABASE, f"{DATABASE}-wal", "audit.head", "deliveries.mark", "snapshots/run.parquet"]
)
def test_nothing_is_restored_where_something_of_ours_is(made: Made, empty: Settings, name: str):
    (empty.home / name).parent.mkdir(parents=True)
    (empty.home / name).write_text("ours")

    with pytest.raises(HomeNotEmpty, match=name.partition("/")[0]):
        restore_here(empty, made.file)

    assert (empty.home / name).read_text() == "ours"
    assert [path.name for path in empty.home.glob("*.db")] == [name] * (name == DATABASE)


def test_what_is_started_in_the_home_meanwhile_is_left_alone(
    made: Made, empty: Settings, monkeypatch: pytest.MonkeyPatch
):
    unpack = Archive.unpack

    def start(*arguments: Any) -> None:
        if not (empty.home / DATABASE).exists():
            bridge = opened(empty.home)
            people.add_person(bridge, LOCAL, "ann@example.com", "viewer")
            bridge.engine.dispose()
        unpack(*arguments)

    monkeypatch.setattr(Archive, "unpack", start)
    with pytest.raises(HomeNotEmpty):
        restore_here(empty, made.file)
    assert not list(empty.home.glob("restore.*art"))
    assert not (empty.home / "associations").exists()


def test_a_home_that_was_only_started_is_restored_into_and_starts_with_a_key_of_its_own(made: Made, empty: Settings):
    bridge = opened(empty.home)
    with pytest.raises(HomeNotEmpty, match=DATABASE):  # a process has it open
        restore_here(empty, made.file)
    first = installation.find(bridge.engine)
    bridge.engine.dispose()
    assert (empty.home / "snapshots" / "installation.id").exists()

    done = restore_here(empty, made.file)

    assert done.without_key == ["mixpanel default", "destination default"]
    bridge = opened(empty.home)
    own = installation.find(bridge.engine)
    assert first
    assert own
    assert (own.keys, own.storage_id) == (first.keys, installation.read_storage_id(bridge.storage))
    assert audit_log.verify_audit(bridge, LOCAL).problems == []
    names = {path.name for path in (empty.home / "snapshots").iterdir()}
    assert names == {Path(name).name for name in done.manifest.files if "snapshots/" in name} | {"installation.id"}
    bridge.engine.dispose()


def test_a_database_elsewhere_is_restored_elsewhere(made: Made, tmp_path: Path):
    elsewhere = tmp_path / "data" / "db.sqlite"
    to = settings_of(tmp_path / "empty", database_url=f"sqlite:///{elsewhere}")

    restore_here(to, made.file)

    assert elsewhere.exists()
    assert not (to.home / DATABASE).exists()
    bridge = open_bridge(to)
    assert audit_log.verify_audit(bridge, LOCAL).ok
    bridge.engine.dispose()


# --- hostile and damaged ones --------------------------------------------------------------------------------------


def rewrite(made: Made, target: Path, change: Callable[[tarfile.TarFile, dict[str, bytes]], None]) -> Path:
    """Write a backup again, after something was changed in what it holds; `change` may add to the archive itself."""
    held = members(made.file)
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        change(tar, held)
        for name, content in held.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target


def with_manifest(held: dict[str, bytes], **changes: Any) -> None:
    """Change the manifest so that all else of it fits."""
    manifest = msgspec.json.decode(held[MANIFEST], type=Manifest)
    files = {
        name: Held(len(content), hashlib.sha256(content).hexdigest())
        for name, content in held.items()
        if name not in (MANIFEST, HASH)
    }
    held[MANIFEST] = msgspec.json.encode(msgspec.structs.replace(manifest, **({"files": files} | changes)))
    held[HASH] = hashlib.sha256(held[MANIFEST]).hexdigest().encode()


def entry(name: str, **values: Any) -> Callable[[tarfile.TarFile, dict[str, bytes]], None]:
    """Add an entry whose manifest has it as well, as if it were in order."""

    def add(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        with_manifest(held | {name: b""})
        info = tarfile.TarInfo(name)
        for key, value in values.items():
            setattr(info, key, value)
        tar.addfile(info)

    return add


def drop(name: str) -> Callable[[tarfile.TarFile, dict[str, bytes]], None]:
    return lambda _, held: held.pop(name) and None


def change_manifest(**changes: Any) -> Callable[[tarfile.TarFile, dict[str, bytes]], None]:
    return lambda _, held: with_manifest(held, **changes)


def change_content(name: str, content: bytes, *, fitting: bool) -> Callable[[tarfile.TarFile, dict[str, bytes]], None]:
    def change(_: tarfile.TarFile, held: dict[str, bytes]) -> None:
        held[name] = content
        if fitting:
            with_manifest(held)

    return change


def change_database(*statements: str) -> Callable[[tarfile.TarFile, dict[str, bytes]], None]:
    def change(_: tarfile.TarFile, held: dict[str, bytes]) -> None:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(held[DATABASE].replace(b"\x02\x02", b"\x01\x01", 1))  # no log in memory
            for statement in statements:
                database.execute(statement)
            database.commit()
            held[DATABASE] = database.serialize()
        with_manifest(held)

    return change


HOSTILE = {
    "a path from the root": entry("/evil.parquet"),
    "a path that leads out": entry("snapshots/../../evil.parquet"),
    "a name that no backup has": entry("secret.key"),
    "a link": entry("snapshots/x.parquet", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": entry("snapshots/x.parquet", type=tarfile.LNKTYPE, linkname=DATABASE),
    "a device": entry("snapshots/x.parquet", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "a pipe": entry("snapshots/x.parquet", type=tarfile.FIFOTYPE),
    "a folder": entry("snapshots", type=tarfile.DIRTYPE),
    "a sparse file": entry("snapshots/x.parquet", type=tarfile.GNUTYPE_SPARSE),
    "a long name": entry("snapshots/" + "x" * 200 + ".parquet"),
    "a file twice": entry("audit.head"),
    "a size that nothing has": entry("snapshots/x.parquet", size=2**60),
    "no database": drop(DATABASE),
    "no manifest": drop(MANIFEST),
    "no hash": drop(HASH),
    "a file less": drop("audit.head"),
    "another file": change_content("audit.head", b"1 abc\n", fitting=False),
    "a manifest that is none": change_content(MANIFEST, b"[]", fitting=False),
    "a newer form": change_manifest(format=2),
    "a newer version": change_manifest(revision="9999"),
    "another version than it is": change_manifest(revision="0005"),
    "no database in it": change_content(DATABASE, b"not a database" * 500, fitting=True),
    "an empty database": change_content(DATABASE, b"", fitting=True),
    "a database that acts by itself": change_database(
        "CREATE TRIGGER t AFTER UPDATE ON alembic_version BEGIN DELETE FROM person; END"
    ),
    "a row that names a file elsewhere": change_database("UPDATE run SET difference = '../../evil' WHERE id = 1"),
    "a group that names a file elsewhere": change_database(
        "UPDATE group_at_destination SET base_snapshot = '/etc/evil'"
    ),
    "a database without its tables": change_database("DROP TABLE run_log"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_archive_that_is_not_as_we_write_them_is_refused_and_leaves_nothing(
    made: Made, empty: Settings, tmp_path: Path, what: str
):
    file = rewrite(made, tmp_path / "hostile.tar", HOSTILE[what])

    with pytest.raises((BackupUnusable, StorageFailed)) as refused:
        restore_here(empty, file)

    assert ("newer version" in refused.value.message) is ("newer" in what)
    assert is_untouched(empty.home)
    assert not Path("/evil.parquet").exists()


def test_what_is_no_file_is_not_waited_for(empty: Settings, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageFailed, match="pipe"):
        restore_here(empty, tmp_path / "pipe")
    with pytest.raises(SettingsError, match="no file"):
        restore_here(empty, tmp_path / "missing.tar")


def test_any_damage_is_found_or_changes_nothing(made: Made, tmp_path: Path):
    whole, rng = made.file.read_bytes(), random.Random(14)
    places = [rng.randrange(len(whole)) for _ in range(60)] + [rng.randrange(4 * 512) for _ in range(20)]
    end = len(whole) - whole.rfind(b"\x00" * 512) - 512
    assert end == 0
    damaged = [whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :] for place in places]
    damaged += [whole[:length] for length in (0, 1, 511, 512, 5000, len(whole) // 2, len(whole) - 20_000)]
    found = 0
    for content in damaged:
        try:
            assert unpacked(content) == {
                name: held for name, held in members(made.file).items() if "manifest" not in name
            }
        except BackupUnusable:
            found += 1
    assert found > 60


def unpacked(content: bytes) -> dict[str, bytes]:
    archive, files = Archive(io.BytesIO(content)), dict[str, bytes]()
    for name in archive.manifest.files:
        target = io.BytesIO()
        archive.unpack(name, target)
        files[name] = target.getvalue()
    return files
