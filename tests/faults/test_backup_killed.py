"""A backup or a restore that is killed, or finds its disk full, at any step: nothing is half there; the next works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.access import audit_log
from core.access.roles import LOCAL
from core.backup.leftovers import remove_leftovers
from core.syncs import groups
from data import placing
from tests.faults import process
from tests.faults.conftest import Tally
from tests.faults.population import ONE, TWO, Population, sync_once
from tests.faults.process import Kill
from tests.stage.home import Home, export
from tests.stage.sandbox import wait_until
from tests.stage.seeds import LONG, SEEDS, few

pytestmark = pytest.mark.sqlite_file

EVERY_STEP_OF_A_BACKUP = [Kill(step, when) for step in ("copy", "archive") for when in ("before", "after")]
# How often a restore of this backup takes each step.
_TIMES = {"unpack": 4, "place": 3}
EVERY_STEP_OF_A_RESTORE = [
    Kill(step, when, nth)
    for step in ("unpack", "settle", "decide", "place", "place_database")
    for nth in range(1, _TIMES.get(step, 1) + 1)
    for when in ("before", "after")
]
# The short form: both sides of what decides, and in the middle of what follows.
SHORT_BACKUP = [Kill("archive", "after")]


@pytest.fixture
def worked(home: Home, population: Population) -> Home:
    """A home with two groups."""
    with home.bridge() as bridge:
        sync_once(bridge, population, range(40))
        population.set(TWO, range(20, 90))
        export(bridge, TWO)
    return home


@pytest.fixture
def backup(worked: Home) -> Path:
    file = worked.path.parent / "backup.tar"
    assert process.run(worked, "backup", str(file)) == 0
    return file


def empty_beside(worked: Home) -> Home:
    other = Home(worked.path.parent / "other")
    other.path.mkdir(mode=0o700)
    shutil.copy(worked.path / "secret.key", other.path)
    return other


def assert_restored(other: Home, population: Population) -> None:
    population.set(ONE, range(10, 60))
    with other.bridge(mixpanel_url=population.url) as bridge:
        assert [group.in_doubt for group in groups.list_groups(bridge, LOCAL)] == [True, True]
        assert audit_log.verify_audit(bridge, LOCAL).problems == []
        for cohort in (ONE, TWO):
            assert export(bridge, cohort).write == "full"
            assert population.members(cohort) == population.expected_members(cohort)
        remove_leftovers(bridge)  # as a worker does when it starts
    for name in (placing.UNPACKED, placing.WHOLE):
        assert not (other.path / name).exists()


@LONG
@pytest.mark.parametrize("kill", EVERY_STEP_OF_A_RESTORE, ids=str)
def test_a_restore_that_is_killed_leaves_the_home_empty_or_whole(
    worked: Home, backup: Path, population: Population, kill: Kill, ran: Tally
):
    other = empty_beside(worked)
    ran("restores killed")

    assert process.run(other, "restore", str(backup), kill=kill) == -9

    database = other.path / "cohort_bridge.db"
    if not database.exists() and not (other.path / placing.WHOLE).exists():
        assert placing.list_occupied(other.path, database) == []
        assert process.run(other, "restore", str(backup)) == 0
    elif kill.step == "place" and kill.nth == 2:
        assert process.run(other, "restore", str(backup)) == 0  # finishes what the other had decided on
    assert_restored(other, population)


@pytest.mark.parametrize("kill", EVERY_STEP_OF_A_BACKUP if SEEDS else SHORT_BACKUP, ids=str)
def test_a_backup_that_is_killed_leaves_no_file_and_the_next_one_clears_up(
    worked: Home, population: Population, kill: Kill, ran: Tally
):
    file = worked.path.parent / "backup.tar"
    ran("backups killed")

    assert process.run(worked, "backup", str(file), kill=kill) == -9

    assert not file.exists()
    assert process.run(worked, "backup", str(file)) == 0
    assert not (worked.path / "backup.part").exists()
    assert [path.name for path in file.parent.glob("*backup.tar*")] == ["backup.tar"]
    other = empty_beside(worked)
    assert process.run(other, "restore", str(file)) == 0
    assert_restored(other, population)


def test_what_a_killed_backup_left_goes_as_a_worker_starts(worked: Home):
    kill = Kill("copy", "after")
    assert process.run(worked, "backup", str(worked.path.parent / "backup.tar"), kill=kill) == -9
    assert (worked.path / "backup.part" / "snapshots").is_dir()

    worker = process.start(worked, "worker")
    try:
        wait_until(lambda: not (worked.path / "backup.part").exists())
    finally:
        process.stop(worker)


@few(1)
@pytest.mark.usefixtures("fork_server")
@pytest.mark.parametrize("most_bytes", [200_000, 2_000])
def test_a_disk_that_is_full_leaves_no_backup_and_an_empty_home(
    worked: Home, population: Population, most_bytes: int, tmp_path: Path
):
    file = tmp_path / "backup.tar"
    done = worked.finish(worked.begin("backup", str(file), most_bytes=most_bytes))
    assert (done.code, file.exists()) == (1, False)
    assert "space" in done.err
    assert list(tmp_path.glob(".backup*")) == []
    assert worked.finish(worked.begin("backup", str(file))).code == 0

    other = empty_beside(worked)
    done = other.finish(other.begin("restore", str(file), most_bytes=most_bytes))
    assert done.code == 1
    assert placing.list_occupied(other.path, other.path / "cohort_bridge.db") == []
    assert process.run(other, "restore", str(file)) == 0
    assert_restored(other, population)
