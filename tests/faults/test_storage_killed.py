"""A process killed around a put into object storage: no row names what is not whole, nothing is left for good."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.associate import actions
from core.bridge import Bridge
from core.syncs import groups, recurring
from core.worker import upkeep
from data import proofs, run_retention
from data.association_retention import list_bundles, object_of
from data.models import ImportStage, RunStatus
from tests.emulator.test_associate import enter_token, outcomes, rows
from tests.faults import process
from tests.faults.conftest import Tally
from tests.faults.population import ONE, Population, all_runs, changed, last, sync_once
from tests.faults.process import Kill
from tests.faults.test_killed import assert_recovered
from tests.stage.clock import FakeClock
from tests.stage.home import Home
from tests.stage.machines import NOTES, unbind
from tests.stage.object_storage import environ, make_bucket, use_keys
from tests.stage.seeds import LONG, SEEDS

# A run whose group changes puts a snapshot, a difference and its excluded profiles.
_BOTH = ("before", "after")
EVERY_STEP_OF_A_RUN = [
    *(Kill(step, when, nth) for step in ("put", "send", "adopt") for nth in (1, 2, 3) for when in _BOTH),
    *(Kill(step, when) for step in ("difference", "doubt", "record") for when in _BOTH),
]
# The short form: the snapshot lies there and nobody knows.
SHORT_RUN = [Kill("send", "after")]
# An association is put as it is given, named by a row, put again as it was checked, and named by its row.
EVERY_STEP_OF_AN_ASSOCIATION = [
    *(Kill(step, when, nth) for step in ("put", "send") for nth in (1, 2) for when in _BOTH),
    *(Kill(step, when) for step in ("add_association", "record_check") for when in _BOTH),
]
PAIRS = [(f"p-{number:05}", f"i_given-{number}") for number in range(0, 170, 17)]


@pytest.fixture
def far(home: Home, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Generator[Bridge]:
    """The connected home, with its members in object storage."""
    use_keys(monkeypatch)
    unbind(home)
    url = f"s3://{make_bucket()}/members"
    home.env = {"COHORT_BRIDGE_STORAGE_URL": url, **environ()}
    with home.bridge(clock=fake_clock.clock, storage_url=url) as bridge:
        yield bridge


def objects(bridge: Bridge) -> set[str]:
    return {known.name for known in bridge.storage.list()} - NOTES


def named(bridge: Bridge) -> set[str]:
    files = {f"{name}.parquet" for name in run_retention.named_files(bridge.engine)}
    return files | {object_of(bundle) for bundle in list_bundles(bridge.engine).values()}


def assert_whole(bridge: Bridge, folder: Path) -> None:
    """All that rows name lies there whole, and is what they say."""
    assert named(bridge) <= objects(bridge)
    for name in named(bridge):
        bridge.storage.get_file(name, folder / "got")  # which compares it with what was put
    for run in all_runs(bridge):
        if run.status == RunStatus.SUCCEEDED and run.difference:
            assert bridge.snapshots.count_changes(run.difference) == (run.added, run.removed)
    for group in groups.list_groups(bridge, LOCAL):
        if group.base_snapshot:
            assert proofs.is_proven(bridge.engine, bridge.snapshots, group.base_snapshot, members=group.members)


def assert_tidied(bridge: Bridge, clock: FakeClock) -> None:
    """What was left goes once it is old, and nothing else does."""
    clock.shift_s += 2 * 24 * 3600
    upkeep.remove_unnamed(bridge, threading.Event())
    upkeep.tidy_copies(bridge)

    assert objects(bridge) == named(bridge)
    here = {path.name for path in bridge.snapshots.folder.rglob("*") if path.is_file()}
    assert here <= named(bridge)
    assert list(bridge.settings.associations.glob(".*")) == []


@pytest.mark.parametrize("kill", EVERY_STEP_OF_A_RUN if SEEDS else SHORT_RUN, ids=str)
def test_a_worker_that_is_killed_around_a_put_leaves_no_row_that_names_what_is_not_whole(
    home: Home, far: Bridge, population: Population, kill: Kill, fake_clock: FakeClock, tmp_path: Path, ran: Tally
):
    rng = random.Random(str(kill))
    numbers = rng.sample(range(3200), 300)
    sync_once(far, population, numbers)
    population.set(ONE, numbers := changed(rng, numbers, by=100))
    recurring.run_now(far, LOCAL, 1)

    assert process.run(home, "worker", "--once", kill=kill, env=home.env) == -signal.SIGKILL

    killed = last(far)
    assert_whole(far, tmp_path)
    population.set(ONE, changed(rng, numbers, by=rng.choice((1, 30))))
    if killed.status == RunStatus.SUCCEEDED:
        recurring.run_now(far, LOCAL, 1)
    assert process.run(home, "worker", "--once", env=home.env) == 0
    assert_recovered(far, population)
    assert_whole(far, tmp_path)
    assert_tidied(far, fake_clock)
    ran("kills around a put")


@LONG
@pytest.mark.parametrize("kill", EVERY_STEP_OF_AN_ASSOCIATION, ids=str)
def test_an_association_that_is_killed_around_a_put_is_whole_or_not_there(
    home: Home, far: Bridge, population: Population, kill: Kill, fake_clock: FakeClock, tmp_path: Path, ran: Tally
):
    enter_token(far)
    file = tmp_path / "users.csv"
    file.write_bytes(rows(*PAIRS))
    command = ("associate", "--file", str(file), "--dry-run", "--json")

    assert process.run(home, *command, kill=kill, env=home.env) == -signal.SIGKILL

    assert_whole(far, tmp_path)
    if not actions.list_associations(far, LOCAL):
        assert process.run(home, *command, env=home.env) == 0
    assert process.run(home, "worker", "--once", env=home.env) == 0  # checks what the dead one had begun with
    (association,) = actions.list_associations(far, LOCAL)
    assert (association.stage, association.writable) == (ImportStage.CHECKED, len(PAIRS))
    assert_whole(far, tmp_path)
    actions.confirm_association(far, LOCAL, association.id or 0)
    assert process.run(home, "worker", "--once", env=home.env) == 0
    done = actions.get_association(far, LOCAL, association.id or 0)
    assert (done.stage, done.written) == (ImportStage.DONE, len(PAIRS))
    assert {row["outcome"] for row in outcomes(far, done).values()} == {"written"}
    assert_tidied(far, fake_clock)
    ran("kills around a put")
