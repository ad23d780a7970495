"""What cannot work is refused with one clear sentence and advice, and changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.access.roles import LOCAL
from core.connections import destinations, lookup, mixpanel_connection
from core.sandbox import people
from core.sandbox.server import running
from core.syncs import cohorts, groups
from tests.stage.home import PRACTICE, Done, Home, copy_home, export, group_row, newest_run
from tests.stage.sandbox import COMPANIES, EVERYONE, LATER_S, POWER, PROJECT, WEB, Sandbox
from tests.stage.seeds import few, some

pytestmark = some(14)

BEFORE = {"i_before": "u-before"}


def check_refusal(done: Done, code: int, *words: str) -> None:
    """One line with what is wrong and what to do about it, on standard error; nothing on standard output."""
    assert (done.code, done.out) == (code, "")
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.count(". ") >= 1, f"no advice: {done.err}"
    assert all(word in done.err for word in words), done.err


# --- cohorts -------------------------------------------------------------------------------------------------------


def test_a_cohort_that_does_not_exist_is_unknown(sandbox: Sandbox, home: Home):
    done = home.run("export", "424242")

    check_refusal(done, 1, "Mixpanel has no cohort 424242", "python -m core cohorts")
    assert sandbox.messages() == []
    with home.bridge() as bridge:
        assert newest_run(bridge).error_code == "cohort_unknown"
        assert groups.list_groups(bridge, LOCAL) == []


@pytest.mark.parametrize("listed", [False, True])
def test_a_cohort_of_companies_is_not_exported(sandbox: Sandbox, home: Home, listed: bool):
    if listed:
        with home.bridge() as bridge:
            cohorts.list_cohorts(bridge, LOCAL)

    done = home.run("export", str(COMPANIES))

    check_refusal(done, 1, "group-analytics cohort", "Choose a cohort of users")
    assert (sandbox.messages(), sandbox.asked("engage")) == ([], [])


@pytest.mark.parametrize("cohort", ["twelve", "12.5", "1e3", "٣", "0", "9" * 30])
def test_a_cohort_is_named_by_a_whole_number(sandbox: Sandbox, home: Home, cohort: str):
    done = home.run("export", cohort)

    check_refusal(done, 2, "COHORT_ID", "not a whole number", "python -m core cohorts")
    assert sandbox.log()["requests"] == []


# --- connections ---------------------------------------------------------------------------------------------------


def test_without_connections_each_command_says_what_is_missing(sandbox: Sandbox, empty_home: Home):
    home = empty_home
    with home.bridge():
        pass
    exported, cohorts, runs, groups, members = home.run_all(
        ("export", str(POWER)), ("cohorts",), ("runs",), ("groups",), ("groups", "members", str(POWER))
    )

    for done in (exported, cohorts):
        check_refusal(done, 1, "Mixpanel is not connected.", "python -m core connect")
    assert [(done.code, done.out, done.err) for done in (runs, groups)] == [(0, "", "None yet.\n")] * 2
    check_refusal(members, 1, f"Cohort {POWER} has no group yet.", "Export it first.")


def test_without_a_destination_it_says_so(sandbox: Sandbox, empty_home: Home):
    with empty_home.bridge(mixpanel_url=sandbox.url) as bridge:
        mixpanel_connection.connect_mixpanel(bridge, LOCAL, PRACTICE)

    done = empty_home.run("export", str(POWER))

    check_refusal(done, 1, "No destination is connected.", "python -m core connect")


ADMIN = {"username": people.ADMIN_USERNAME, "secret": people.ADMIN_SECRET, "project": PROJECT}


@few(3)
@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"secret": "wrong"}, 1, ("does not accept the service account's username and secret", "expired")),
        ({"project": "99"}, 1, ("not an admin of this Mixpanel project", "project role admin or owner")),
        (
            {"username": people.ANALYST_USERNAME, "secret": people.ANALYST_SECRET},
            1,
            ("not an admin of this Mixpanel project", "project role admin or owner"),
        ),
        ({"username": people.EXPIRED_USERNAME, "secret": people.EXPIRED_SECRET}, 1, ("expired",)),
        ({"project": "shop"}, 2, ("Project id", "whole number")),
        ({"secret": ""}, 2, ("Service account secret", "COHORT_BRIDGE_MIXPANEL_SECRET")),
        ({"url": "http://127.0.0.1:9"}, 1, ("Mixpanel could not be reached",)),
    ],
    ids=["wrong secret", "wrong project", "analyst", "expired", "not a number", "no secret", "unreachable"],
)
def test_a_mixpanel_connection_that_does_not_work_is_not_stored(
    sandbox: Sandbox, empty_home: Home, given: dict[str, str], code: int, words: tuple[str, ...]
):
    entered = {"url": sandbox.url, **ADMIN, **given}
    with empty_home.bridge() as bridge:
        done = empty_home.run(
            "connect", "mixpanel", "--username", entered["username"], "--project-id", entered["project"],
            env={"COHORT_BRIDGE_MIXPANEL_URL": entered["url"], "COHORT_BRIDGE_MIXPANEL_SECRET": entered["secret"]},
        )  # fmt: skip

        assert lookup.list_connections(bridge, LOCAL) == []
    check_refusal(done, code, *words)


@few(2)
@pytest.mark.parametrize(
    ("endpoint", "token", "code", "words"),
    [
        (None, "apt_wrong", 1, ("Token: the endpoint does not accept it", "Tokens page")),
        (None, "", 2, ("Apptimize token", "COHORT_BRIDGE_APPTIMIZE_TOKEN")),
        ("http://127.0.0.1:9/cohort-sync", "apt_x", 2, ("this machine itself", "COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS")),
        ("http://example.com/cohort-sync", "apt_x", 2, ("only https",)),
        ("cohort-sync", "apt_x", 2, ("https://",)),
    ],
    ids=["wrong token", "no token", "nothing there", "not https", "no address"],
)
def test_an_endpoint_that_does_not_work_is_not_stored(
    sandbox: Sandbox, empty_home: Home, endpoint: str | None, token: str, code: int, words: tuple[str, ...]
):
    with empty_home.bridge() as bridge:
        done = empty_home.run(
            "connect", "apptimize", "--endpoint", endpoint or sandbox.endpoint,
            env={"COHORT_BRIDGE_APPTIMIZE_TOKEN": token},
        )  # fmt: skip

        assert lookup.list_connections(bridge, LOCAL) == []
    check_refusal(done, code, *words)


def test_an_endpoint_where_nothing_answers_is_not_stored(sandbox: Sandbox, empty_home: Home):
    env = {"COHORT_BRIDGE_APPTIMIZE_TOKEN": "apt_x", "COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS": "1"}

    done = empty_home.run("connect", "apptimize", "--endpoint", "http://127.0.0.1:9/cohort-sync", env=env)

    check_refusal(done, 1, "Endpoint: nothing answers at this address.", "Check the address")


def test_an_unreachable_mixpanel_leaves_the_group_as_it_was(sandbox: Sandbox, empty_home: Home, tmp_path: Path):
    sandbox.fill(WEB, BEFORE)
    sandbox.forget_requests()
    with empty_home.bridge() as bridge:
        destinations.connect_endpoint(bridge, LOCAL, url=sandbox.endpoint, token=SecretStr(sandbox.token))
    with running(tmp_path / "gone") as gone, empty_home.bridge(mixpanel_url=gone.url) as bridge:
        mixpanel_connection.connect_mixpanel(bridge, LOCAL, PRACTICE)

    done = empty_home.run("export", str(WEB))

    check_refusal(done, 1, "Mixpanel could not be reached.", "try again in a few minutes")
    assert (sandbox.group(WEB), sandbox.messages()) == (BEFORE, [])


def test_an_unreachable_endpoint_leaves_the_group_in_doubt(sandbox: Sandbox, home: Home, tmp_path: Path):
    with home.bridge() as bridge:
        with running(tmp_path / "gone") as gone, closing(Sandbox(gone.url)) as other:
            token = SecretStr(other.token)
            destinations.connect_endpoint(bridge, LOCAL, url=other.endpoint, token=token, if_taken="replace")
            export(bridge, WEB)

        done = home.run("export", str(WEB), "--full")

        check_refusal(done, 1, "connection to the Apptimize endpoint broke", "try again")
        assert group_row(bridge, WEB).in_doubt


# --- storage -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("a small disk can be mounted by root alone")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_up(disk: Path) -> None:
    with suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.sqlite_file
def test_a_full_disk_under_the_database_is_told(sandbox: Sandbox, home: Home, small_disk: Path):
    sandbox.fill(WEB, BEFORE)
    full = copy_home(home.path, small_disk / "home")
    fill_up(small_disk)

    done = full.finish(full.start("export", str(WEB)))

    check_refusal(done, 1, "disk", "is full", "has space")
    assert sandbox.group(WEB) == BEFORE


def test_a_full_disk_under_the_snapshots_is_told(sandbox: Sandbox, home: Home, small_disk: Path):
    sandbox.fill(EVERYONE, BEFORE)
    sandbox.forget_requests()
    moved = (home.path / "snapshots").replace(home.path / "moved-away")
    shutil.copytree(moved, small_disk, dirs_exist_ok=True)  # what says whose storage it is, above all
    (home.path / "snapshots").symlink_to(small_disk)
    fill_up(small_disk)

    done = home.run("export", str(EVERYONE))

    check_refusal(done, 1, "disk is full", "has space")
    assert (sandbox.group(EVERYONE), sandbox.messages()) == (BEFORE, [])
    with home.bridge() as bridge:
        assert newest_run(bridge).error_code == "storage_failed"


def test_a_full_disk_under_a_csv_keeps_the_file_of_before(sandbox: Sandbox, home: Home, small_disk: Path):
    with home.bridge() as bridge:
        destinations.connect_csv(bridge, LOCAL, folder=str(small_disk))
        export(bridge, EVERYONE, to="csv")
    before = sandbox.answer(EVERYONE).csv
    sandbox.at(LATER_S)
    fill_up(small_disk)

    done = home.run("export", str(EVERYONE), "--to", "csv")

    check_refusal(done, 1, "The CSV could not be written", "No space left", str(small_disk))
    assert [file.read_bytes() for file in small_disk.glob("*.csv")] == [before]
    assert not list(small_disk.glob(".*"))


@pytest.mark.parametrize("most_bytes", [1_000, 60_000])
def test_files_that_may_not_grow_are_told_without_a_traceback(sandbox: Sandbox, home: Home, most_bytes: int):
    sandbox.fill(EVERYONE, BEFORE)
    sandbox.forget_requests()

    done = home.finish(home.begin("export", str(EVERYONE), most_bytes=most_bytes))

    check_refusal(done, 1)
    assert (sandbox.group(EVERYONE), sandbox.messages()) == (BEFORE, [])


@pytest.mark.sqlite_file
def test_a_read_only_database_can_be_looked_into_and_nothing_more(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        export(bridge, WEB)
    sandbox.forget_requests()
    read_only = {"COHORT_BRIDGE_DATABASE_URL": f"sqlite:///file:{home.path}/cohort_bridge.db?mode=ro&uri=true"}

    exported, cancel, runs, members = home.run_all(
        ("export", str(WEB)), ("connect", "csv", "--folder", "x"), ("runs", "--json"), ("groups", "members", str(WEB)),
        env=read_only,
    )  # fmt: skip

    check_refusal(exported, 1, "The database is read-only.", "can be written")
    check_refusal(cancel, 1, "The database is read-only.", "can be written")
    assert [run["status"] for run in runs.json] == ["succeeded"]
    assert members.out.encode() == sandbox.answer(WEB).csv
    assert sandbox.log()["requests"] == []


@pytest.mark.sqlite_file
@pytest.mark.parametrize("at", [0, 4096])
def test_a_damaged_database_is_told(sandbox: Sandbox, home: Home, at: int):
    database = home.path / "cohort_bridge.db"
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(size - at))

    for done in home.run_all(("export", str(WEB)), ("runs",), ("groups",), ("worker", "--once")):
        check_refusal(done, 1, "database", "damaged")


@pytest.mark.sqlite_file
def test_a_database_of_something_else_is_told(sandbox: Sandbox, home: Home):
    (home.path / "cohort_bridge.db").write_text("Dear diary, today I was mistaken for a database.\n" * 100)

    done = home.run("runs", "--json")

    assert (done.code, done.json) == (1, [])
    assert "not a database of Cohort Bridge" in done.err


def test_a_home_that_cannot_be_used_is_told(empty_home: Home):
    done = empty_home.run("runs", env={"COHORT_BRIDGE_HOME": "/proc/cohort-bridge"})

    check_refusal(done, 1, "/proc/cohort-bridge", "cannot be used")


def test_the_dashboard_is_not_opened_to_others_while_no_one_signs_in(empty_home: Home):
    done = empty_home.run("up", "--address", "0.0.0.0")

    check_refusal(done, 2, "Sign-in is not set up", "0.0.0.0", "docs/sign-in")


def test_a_lost_secret_key_is_told(sandbox: Sandbox, home: Home):
    sandbox.fill(WEB, BEFORE)
    (home.path / "secret.key").unlink()

    for done in home.run_all(("export", str(WEB)), ("cohorts",)):
        check_refusal(done, 1, "cannot be read with the available secret keys", "COHORT_BRIDGE_SECRET_KEY")
    assert sandbox.group(WEB) == BEFORE


def test_a_secret_key_that_is_none_is_told(home: Home):
    done = home.run("runs", env={"COHORT_BRIDGE_SECRET_KEY": "not-a-key"})

    check_refusal(done, 2, "COHORT_BRIDGE_SECRET_KEY", "Fernet")
    assert "not-a-key" not in done.err


def test_a_setting_that_cannot_be_used_is_named(home: Home):
    done = home.run("runs", env={"COHORT_BRIDGE_PAGE_SIZE": "many"})

    check_refusal(done, 2, "COHORT_BRIDGE_PAGE_SIZE")
