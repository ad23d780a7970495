"""What is held while the database is brought up to date stays held, and who is gone is found dead after it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.associate.running import watch_associations
from core.bridge import Bridge, open_bridge
from core.leases.slots import RequestSlots
from core.settings import Settings
from core.worker.run_execution import watch_runs
from data import associations, leases, runs
from data.models import ImportStage, LeaseKind, RunStatus
from tests.stage.clock import FakeClock

pytestmark = pytest.mark.sqlite_file

HOME = Path(__file__).resolve().parents[1] / "fixtures" / "home-0005"
PROJECT = "127.0.0.1:8600/3713224"
HELD_BEFORE = """
    UPDATE run SET owner = 'terminal', beat = 7 WHERE id = (SELECT max(id) FROM run WHERE status = 'queued');
    UPDATE association SET owner = 'gone', beat = 5, stage = 'writing' WHERE id = 3;
    UPDATE cohort_list SET reader = 'gone/33', reader_since = '2026-11-23 12:00:00.000000';
    INSERT INTO cohort_list (project, read_at, reader, cohorts) VALUES ('never read', '1970-01-01', 'gone/1', '[]');
    UPDATE query_slot SET holder = 'gone/33' WHERE number IN (1, 3);
    UPDATE run SET owner = 'gone', beat = 2 WHERE id = 33;
"""


@pytest.fixture
def migrated(tmp_path: Path, fake_clock: FakeClock) -> Iterator[Bridge]:
    """A home of the version before, in which everything that can be held was held by a process that is gone."""
    home = shutil.copytree(HOME, tmp_path / "earlier")
    (home / "secret.key").chmod(0o600)
    with closing(sqlite3.connect(home / "cohort_bridge.db")) as database:
        database.executescript(HELD_BEFORE)
    opened = open_bridge(Settings(home=home, _env_file=None), clock=fake_clock.clock)
    yield opened
    opened.engine.dispose()


def held(bridge: Bridge) -> dict[tuple[str, str], tuple[str, int]]:
    return {
        (lease.kind, lease.key): (lease.lease_owner, lease.heartbeat)
        for kind in LeaseKind
        for lease in leases.list_held(bridge.engine, kind)
    }


def test_every_lease_is_carried_over_with_its_heartbeat(migrated: Bridge):
    leased = held(migrated)

    ((queued, lease_of_queued),) = [
        (int(key), lease) for (kind, key), lease in leased.items() if kind == "run" and key != "33"
    ]
    run = runs.get(migrated.engine, queued)
    assert run
    assert (run.status, lease_of_queued) == (RunStatus.QUEUED, ("terminal", 7))
    assert leased["run", "33"] == ("gone", 2)
    assert leased["association", "3"] == ("gone", 5)
    assert leased["cohort_list", PROJECT][0] == "gone/33"
    assert {key for kind, key in leased if kind == "query_slot"} == {f"{PROJECT}/1", f"{PROJECT}/3"}
    slot = leases.list_held(migrated.engine, LeaseKind.QUERY_SLOT)[0]
    assert abs(slot.taken_at - datetime.now(UTC)).total_seconds() < 60
    assert (slot.machine, slot.pid, slot.process_started, slot.still_s) == (None, None, None, 0.0)


def test_work_whose_process_is_gone_is_recovered_once_after_the_migration(migrated: Bridge, fake_clock: FakeClock):
    watches = [watch_runs(migrated), watch_associations(migrated)]
    first = [watch.look() for watch in watches]
    (queued,) = [lease.key for lease in leases.list_held(migrated.engine, LeaseKind.RUN) if lease.key != "33"]
    leases.heartbeat(migrated.engine, LeaseKind.RUN, queued, lease_owner="terminal")

    fake_clock.ahead_s = migrated.lease_times.lease_s + 1
    recovered = [[watch.look() for watch in watches] for _ in range(2)]

    assert (first, recovered) == ([0, 0], [[1, 1], [0, 0]])
    run, association = runs.get(migrated.engine, 33), associations.get(migrated.engine, 3)
    assert run
    assert association
    assert (run.status, association.stage) == (RunStatus.INTERRUPTED, ImportStage.TO_WRITE)
    assert [(kind, owner) for (kind, _), (owner, _) in held(migrated).items()] == [
        ("run", "terminal"),
        ("cohort_list", "gone/1"),
    ]
    assert RequestSlots(migrated, PROJECT).take() == 5
