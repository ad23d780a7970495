"""A process proves that it belongs to the installation of its database: by its secret key, and by its storage."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import key_rotation
from core.errors import NewerVersion, OfAnotherInstallation
from core.syncs import listing, recurring, runs
from core.vendors.http import connect_http
from core.worker import retention, service
from core.worker.run_execution import carry_out
from data import run_queue
from data.engine import write_session
from data.models import RunFilter, RunStatus, SyncState
from data.proof_models import Installation
from tests.stage.clock import FakeClock
from tests.stage.home import Home, export, newest_run
from tests.stage.machines import unbind
from tests.stage.sandbox import POWER, Sandbox
from tests.stage.seeds import some

pytestmark = some(5)


@pytest.fixture
def shared(home: Home, tmp_path: Path) -> dict[str, str]:
    """The settings by which another home uses the database and the members of the first."""
    with home.bridge() as bridge:
        database = str(bridge.engine.url.render_as_string(hide_password=False))
    return {"COHORT_BRIDGE_DATABASE_URL": database, "COHORT_BRIDGE_STORAGE_URL": str(home.path / "snapshots")}


@pytest.fixture
def second(tmp_path: Path, shared: dict[str, str]) -> Home:
    return Home(tmp_path / "second" / "home", env=shared)


def take_key(home: Home, to: Home) -> None:
    to.path.mkdir(parents=True)
    shutil.copy(home.path / "secret.key", to.path)


def test_a_second_worker_without_the_key_refuses_to_start_and_pauses_nothing(
    home: Home, second: Home, sandbox: Sandbox
):
    with home.bridge() as bridge:
        sync = recurring.add_sync(bridge, LOCAL, POWER)

    done = second.run("worker", "--once")

    assert done.code == 1
    assert "cannot be read with the available secret keys" in done.err
    assert "secret.key" in done.err
    assert "COHORT_BRIDGE_SECRET_KEY" in done.err
    assert len(done.err.splitlines()) <= 2
    assert not (second.path / "secret.key").exists()
    with home.bridge() as bridge:
        assert listing.get_sync(bridge, LOCAL, sync.id or 0).sync.state == SyncState.ACTIVE
        assert runs.list_runs(bridge, LOCAL, RunFilter(), limit=9) == []


@pytest.mark.parametrize("command", [("worker", "--once"), ("export", str(POWER)), ("syncs", "list")])
def test_every_command_with_another_key_refuses(home: Home, sandbox: Sandbox, command: tuple[str, ...]):
    done = home.run(*command, env={"COHORT_BRIDGE_SECRET_KEY": Fernet.generate_key().decode()})

    assert (done.code, "this installation has another key" in done.err) == (1, True)


def test_a_second_worker_with_a_folder_of_its_own_refuses_to_start(home: Home, second: Home):
    take_key(home, second)

    done = second.run("worker", "--once", env={"COHORT_BRIDGE_STORAGE_URL": ""})

    assert done.code == 1
    assert f"keeps members in {second.path / 'snapshots'}" in done.err
    assert "COHORT_BRIDGE_STORAGE_URL" in done.err


def test_a_key_that_is_lost_for_good_can_be_replaced(home: Home, second: Home):
    take_key(home, second)
    (second.path / "secret.key").write_text(Fernet.generate_key().decode())

    assert second.run("syncs", "list").code == 1
    assert second.run("installation", "adopt", "--key").code == 0
    assert second.run("syncs", "list").code == 0


def test_a_storage_that_is_lost_for_good_can_be_replaced(home: Home, sandbox: Sandbox, tmp_path: Path):
    assert home.run("export", str(POWER)).code == 0
    elsewhere = {"COHORT_BRIDGE_STORAGE_URL": str(tmp_path / "elsewhere")}

    assert home.run("groups", env=elsewhere).code == 1
    assert home.run("installation", "adopt", "--storage", env=elsewhere).code == 0

    assert home.run("export", str(POWER), env=elsewhere).code == 0
    assert home.run("groups").code == 1
    with home.bridge(storage_url=elsewhere["COHORT_BRIDGE_STORAGE_URL"]) as bridge:
        assert [run.write for run in runs.list_runs(bridge, LOCAL, RunFilter(), limit=1)] == ["full"]


def test_a_new_database_takes_no_storage_in_which_another_keeps_members(home: Home, sandbox: Sandbox, tmp_path: Path):
    unbind(home)
    lake = {"COHORT_BRIDGE_STORAGE_URL": str(tmp_path / "lake")}
    assert home.run("export", str(POWER), env=lake).code == 0
    other = Home(tmp_path / "other" / "home", env=lake)

    refused = other.run("syncs", "list")
    assert (refused.code, "Another installation keeps members in" in refused.err) == (1, True)
    assert home.run("syncs", "list", env=lake).code == 0

    assert other.run("installation", "adopt", "--storage").code == 0
    assert other.run("syncs", "list").code == 0


def test_a_storage_that_says_no_longer_whose_it_is_is_told(home: Home, sandbox: Sandbox, tmp_path: Path):
    unbind(home)
    lake = {"COHORT_BRIDGE_STORAGE_URL": str(tmp_path / "lake")}
    assert home.run("export", str(POWER), env=lake).code == 0
    (tmp_path / "lake" / "installation.id").unlink()

    refused = home.run("syncs", "list", env=lake)

    assert (refused.code, "does not say any more whose it is" in refused.err) == (1, True)
    assert home.run("installation", "adopt", "--storage", env=lake).code == 0
    assert home.run("syncs", "list", env=lake).code == 0


def test_nothing_is_removed_from_a_storage_that_turns_out_to_be_another(
    home: Home, sandbox: Sandbox, tmp_path: Path, fake_clock: FakeClock
):
    lake = tmp_path / "lake"
    unbind(home)
    with home.bridge(storage_url=str(lake), clock=fake_clock.clock) as bridge:
        export(bridge, POWER)
        left = lake / "run-00000099-0a0a0a0a.parquet"
        left.touch()
        fake_clock.shift_s += 2 * 24 * 3600
        (lake / "installation.id").write_text("of another\n")

        assert retention.remove_unnamed_files(bridge) == 0
        worker = service.Worker(bridge)
        worker.look_whether_storage_ours()
        with pytest.raises(OfAnotherInstallation, match="keeps them elsewhere"):
            worker._require_place()
    assert left.exists()


def test_a_key_is_changed_step_by_step_on_every_machine(home: Home, shared: dict[str, str]):
    old, new = (home.path / "secret.key").read_text().strip(), Fernet.generate_key().decode()

    with home.bridge(secret_key=f"{new},{old}") as bridge:
        with pytest.raises(OfAnotherInstallation), home.bridge(secret_key=old):
            pass  # what is sealed with the new key from now on could not be read
        key_rotation.rotate_key(bridge, LOCAL)

    with home.bridge(secret_key=new), home.bridge(secret_key=f"{new},{old}"):
        pass
    with pytest.raises(OfAnotherInstallation), home.bridge(secret_key=old):
        pass


def test_a_worker_whose_key_was_changed_elsewhere_hands_its_run_back_and_ends(home: Home, sandbox: Sandbox):
    old, new = (home.path / "secret.key").read_text().strip(), Fernet.generate_key().decode()
    with home.bridge(secret_key=old) as stale, home.bridge(secret_key=f"{new},{old}") as bridge:
        sync = recurring.add_sync(bridge, LOCAL, POWER)
        key_rotation.rotate_key(bridge, LOCAL)
        run = recurring.run_now(bridge, LOCAL, sync.id or 0)
        assert run_queue.claim(stale.engine, run.id or 0, lease_owner="stale", now=stale.clock.now())

        async def carry_out_there() -> None:
            async with connect_http() as http:
                await carry_out(stale, run.id or 0, lease_owner="stale", http=http)

        asyncio.run(carry_out_there())

        assert newest_run(bridge).status == RunStatus.QUEUED
        assert listing.get_sync(bridge, LOCAL, sync.id or 0).sync.state == SyncState.ACTIVE
        with pytest.raises(OfAnotherInstallation):
            service.once(stale)


def test_a_worker_ends_when_a_newer_version_has_changed_the_database(home: Home, bridge: Bridge):
    with write_session(bridge.engine) as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(NewerVersion, match="newer version"):
        asyncio.run(service.Worker(bridge).serve(asyncio.Event()))


def test_the_first_process_binds_a_home_of_an_earlier_version(home: Home):
    with home.bridge() as bridge, write_session(bridge.engine) as session:
        session.delete(session.get_one(Installation, 1))
    (home.path / "snapshots" / "installation.id").unlink(missing_ok=True)

    assert home.run("syncs", "list").code == 0

    done = home.run("syncs", "list", env={"COHORT_BRIDGE_SECRET_KEY": Fernet.generate_key().decode()})
    assert done.code == 1
