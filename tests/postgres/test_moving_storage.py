"""A home moves to a database server and a bucket and back: every row, every member, and the next run is right."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.access import audit_log
from core.access.roles import LOCAL
from core.backup.backing_up import back_up
from core.backup.restoring import restore
from core.bridge import Bridge
from core.clock import Clock
from core.settings import Settings
from core.syncs import groups, recurring
from core.worker import service
from data import placing
from data.engine import sqlite_url
from data.models import RunStatus
from tests.faults import process
from tests.faults.process import Kill
from tests.postgres.moving import NOON, OLD_HOME, all_rows
from tests.stage import databases
from tests.stage.home import RETRY_OVER_S, Home, connect, export
from tests.stage.members import contents
from tests.stage.object_storage import environ, make_bucket, storage_at, use_keys
from tests.stage.sandbox import LATER_S, POWER, TRIAL, Sandbox
from tests.stage.seeds import PAGE_SIZE

PREFIX = "members"
# What is another one where a row is restored: the name of a file, and of an association's object.
_NAMES = re.compile(r"'(run|difference|excluded|tried)-\d{8}(-[0-9a-f]+)?'|'[0-9a-f]{24}'")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    use_keys(monkeypatch)


def in_file(home: Path) -> dict[str, str]:
    return {"database_url": sqlite_url(home / "cohort_bridge.db")}


def far(home: Path, bucket: str) -> dict[str, str]:
    return {"database_url": databases.url_of(home), "storage_url": f"s3://{bucket}/{PREFIX}"}


def restored(to: Path, file: Path, key: Path, where: dict[str, str]) -> Home:
    to.mkdir()
    shutil.copy(key, to)
    (to / "secret.key").chmod(0o600)
    databases.environment(to)  # the server has a database for it
    restore(Settings(home=to, **where, _env_file=None), file, Clock(now=lambda: NOON))  # type: ignore[arg-type]
    return Home(to)


def told(bridge: Bridge) -> dict[str, list[str]]:
    """Return all rows, whatever their files are called."""
    return {table: sorted(_NAMES.sub("NAME", row) for row in rows) for table, rows in all_rows(bridge.engine).items()}


def assert_next_runs_are_right(bridge: Bridge, sandbox: Sandbox, *, write: str = "full") -> None:
    for cohort in (TRIAL, POWER):
        run = export(bridge, cohort)
        assert (run.status, run.write) == (RunStatus.SUCCEEDED, write)
        assert sandbox.group(cohort) == sandbox.answer(cohort).group


def test_a_home_moves_to_a_server_and_a_bucket_and_back_with_every_row_and_member(tmp_path: Path, sandbox: Sandbox):
    first, bucket = Home(tmp_path / "first"), make_bucket()
    opened: dict[str, Any] = {"retry_over_s": RETRY_OVER_S, "page_size": PAGE_SIZE, "mixpanel_url": sandbox.url}
    with first.bridge(**in_file(first.path), **opened) as bridge:
        connect(bridge, sandbox)
        export(bridge, TRIAL)
        recurring.add_sync(bridge, LOCAL, POWER)
        service.once(bridge)
        sandbox.at(LATER_S)
        export(bridge, TRIAL)
        back_up(bridge, LOCAL, tmp_path / "first.tar")
    key = first.path / "secret.key"
    near = restored(tmp_path / "near", tmp_path / "first.tar", key, in_file(tmp_path / "near"))
    with near.bridge(**in_file(near.path)) as bridge:
        expected, files = told(bridge), contents(bridge)
    assert sum(content is not None for content in files.values()) > 5

    there = far(tmp_path / "server", bucket)
    server = restored(tmp_path / "server", tmp_path / "first.tar", key, there)
    with server.bridge(**there, **opened) as bridge:
        assert told(bridge) == expected
        assert contents(bridge) == files
        assert all(group.in_doubt for group in groups.list_groups(bridge, LOCAL))
        assert audit_log.verify_audit(bridge, LOCAL).problems == []
        back_up(bridge, LOCAL, tmp_path / "second.tar")
        assert_next_runs_are_right(bridge, sandbox)

    last = restored(tmp_path / "last", tmp_path / "second.tar", key, in_file(tmp_path / "last"))
    with last.bridge(**in_file(last.path), **opened) as bridge:
        rows = told(bridge)
        # Each restore writes another line; and a backup that was made tells of that.
        changed = {table for table in rows if rows[table] != expected[table]}
        assert changed <= {"audit_entry", "delivery_count", "sync", "group_at_destination", "lease", "worker_beat"}
        assert contents(bridge) == files
        assert all(group.in_doubt for group in groups.list_groups(bridge, LOCAL))
        sandbox.at(LATER_S * 2)
        assert_next_runs_are_right(bridge, sandbox)
        assert_next_runs_are_right(bridge, sandbox, write="none")


KILLS = [Kill("put", "before", 3), Kill("put", "after", 9), Kill("decide", "before"), Kill("decide", "after"),
         Kill("place_beside", "after"), Kill("clear", "before")]  # fmt: skip


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moving_far")
    shutil.copytree(OLD_HOME, folder / "home")
    (folder / "home" / "secret.key").chmod(0o600)
    with Home(folder / "home").bridge(**in_file(folder / "home")) as bridge:
        back_up(bridge, LOCAL, folder / "backup.tar")
    return folder / "backup.tar"


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_a_restore_into_a_bucket_that_is_killed_is_done_again(backup: Path, tmp_path: Path, kill: Kill):
    bucket, key = make_bucket(), OLD_HOME / "secret.key"
    near = restored(tmp_path / "near", backup, key, in_file(tmp_path / "near"))
    home = Home(tmp_path / "server")
    home.path.mkdir()
    shutil.copy(key, home.path)
    (home.path / "secret.key").chmod(0o600)
    there = far(home.path, bucket)
    env = environ() | {"COHORT_BRIDGE_STORAGE_URL": there["storage_url"]}

    assert process.run(home, "restore", str(backup), kill=kill, env=env) == -9
    before = {known.name for known in storage_at(bucket, prefix=PREFIX).list()}
    assert process.run(home, "restore", str(backup), env=env) == 0

    with near.bridge(**in_file(near.path)) as one, home.bridge(**there) as other:
        assert contents(other) == contents(one)
        assert before <= {known.name for known in storage_at(bucket, prefix=PREFIX).list()}, "others' objects stay"
        assert audit_log.verify_audit(other, LOCAL).problems == []
    assert not (home.path / placing.WHOLE).exists()
