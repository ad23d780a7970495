"""Folders and files that a person names, and what others put there: told, never waited for or written through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import destinations
from core.errors import StorageFailed
from core.syncs import one_time, runs
from core.vendors.csv_files import csv_name
from data.models import Run
from tests.emulator.test_refusals import check_refusal
from tests.stage.home import Home, export, group_row, newest_run
from tests.stage.hung import hangs, hung_folder
from tests.stage.sandbox import NEWSLETTER, POWER, TRIAL, WEB, Sandbox, wait_until
from tests.stage.seeds import some

pytestmark = some(3)


@pytest.fixture
def csv_home(home: Home, folder: Path) -> Home:
    """A home with two destinations, the other of which is the folder."""
    with home.bridge() as bridge:
        destinations.connect_csv(bridge, LOCAL, folder=str(folder))
    return home


def statuses(bridge: Bridge) -> dict[str, set[str]]:
    listed: list[Run] = runs.list_runs(bridge, LOCAL)
    return {name: {run.status for run in listed if run.destination == name} for name in ("csv", "default")}


def test_a_folder_that_hangs_keeps_half_of_the_places_and_a_worker_ends_as_it_is_told_to(
    sandbox: Sandbox, csv_home: Home, folder: Path
):
    with hung_folder(folder), csv_home.bridge() as bridge:
        for cohort in (POWER, NEWSLETTER, WEB, TRIAL):
            one_time.start_export(bridge, LOCAL, cohort, to="csv")
        one_time.start_export(bridge, LOCAL, POWER, to="default")
        worker = csv_home.begin("worker")
        wait_until(lambda: statuses(bridge)["default"] == {"succeeded"})
        assert statuses(bridge)["csv"] == {"queued", "running"}

        worker.terminate()

        assert csv_home.finish(worker, within_s=10).code == 0
        assert statuses(bridge)["csv"] == {"queued"}
    assert sandbox.group(POWER) == sandbox.answer(POWER).group


def test_an_export_to_a_folder_that_hangs_is_stopped_as_any_other(sandbox: Sandbox, csv_home: Home, folder: Path):
    with hung_folder(folder), csv_home.bridge() as bridge:
        process = csv_home.begin("export", str(POWER), "--to", "csv")
        wait_until(lambda: hangs(process.pid))

        process.interrupt()

        done = csv_home.finish(process, within_s=10)
        assert (done.code, newest_run(bridge).status) == (1, "cancelled")
    assert done.err.count("\n") == 1


def test_members_saved_to_a_folder_that_hangs_are_given_up_with_ctrl_c(sandbox: Sandbox, csv_home: Home, folder: Path):
    with csv_home.bridge() as bridge:
        export(bridge, WEB, to="default")
    with hung_folder(folder):
        process = csv_home.begin("groups", "members", str(WEB), "--out", str(folder / "web.csv"))
        wait_until(lambda: hangs(process.pid))

        process.interrupt()

        done = csv_home.finish(process, within_s=10)
    assert (done.code != 0, done.out, done.err) == (True, "", "")


def test_a_folder_that_does_not_answer_is_not_connected(bridge: Bridge, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(destinations, "_TRIED_S", 0.1)
    with hung_folder(folder), pytest.raises(StorageFailed, match="did not answer"):
        destinations.connect_csv(bridge, LOCAL, folder=str(folder))


def test_what_cannot_be_a_folder_is_not_connected(bridge: Bridge, folder: Path):
    os.mkfifo(folder / "pipe")
    (folder / "circle").symlink_to(folder / "circle")

    for entered in (folder / "pipe", folder / "circle", Path("~nobody-of-this-name/groups")):
        with pytest.raises(StorageFailed, match="Folder: it cannot be written") as caught:
            destinations.connect_csv(bridge, LOCAL, folder=str(entered))
        assert caught.value.code == "storage_failed"


def test_an_export_over_a_link_fails_with_its_name_and_the_next_one_without_it_is_right(
    sandbox: Sandbox, csv_home: Home, folder: Path, tmp_path: Path
):
    victim = tmp_path / "victim"
    victim.write_text("kept")
    with csv_home.bridge() as bridge:
        name = csv_name("Power users", POWER)
        (folder / name).symlink_to(victim)

        refused = export(bridge, POWER, to="csv")
        assert (refused.status, refused.error_code) == ("failed", "csv_not_written")
        assert f"{name} is a link, and no file" in (refused.error_message or "")
        assert victim.read_text() == "kept"

        (folder / name).unlink()
        assert export(bridge, POWER, to="csv").status == "succeeded"
    assert (folder / name).read_bytes() == sandbox.answer(POWER).csv


def test_files_that_are_none_are_refused_by_every_command_that_takes_one(
    sandbox: Sandbox, csv_home: Home, folder: Path, tmp_path: Path
):
    with csv_home.bridge() as bridge:
        export(bridge, WEB, to="default")
        assert group_row(bridge, WEB)
    pipe, link, victim = folder / "pipe", folder / "link", tmp_path / "victim"
    os.mkfifo(pipe)
    victim.write_text("kept")
    link.symlink_to(victim)

    associate, profiles, device, through_pipe, through_link = csv_home.run_all(
        ("associate", "--file", str(pipe)),
        ("sandbox", "--profiles", str(pipe), "--cohorts", str(pipe), "--port", "1"),
        ("associate", "--file", "/dev/zero"),
        ("groups", "members", str(WEB), "--out", str(pipe)),
        ("groups", "members", str(WEB), "--out", str(link)),
    )

    check_refusal(associate, 2, "--file", "is a pipe, and no file")
    assert "is a pipe, and no file" in profiles.err
    check_refusal(device, 2, "--file", "is a device, and no file")
    check_refusal(through_pipe, 1, "pipe is a pipe, and no file", str(folder))
    check_refusal(through_link, 1, "link is a link, and no file", str(folder))
    assert victim.read_text() == "kept"
