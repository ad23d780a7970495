"""Workers that are given a name: what one may be, and where it is shown."""

from __future__ import annotations

import re
import socket
from datetime import timedelta

import pytest

from core.access.roles import LOCAL
from core.api.metrics import Metrics
from core.bridge import Bridge
from core.errors import SettingsError
from core.leases import workers
from core.reports import overview
from core.syncs import runs
from core.worker.service import Worker
from data import run_queue
from data import workers as worker_rows
from data.models import Run

HERE = re.escape(socket.gethostname()[:24]) + r":\d+"


@pytest.mark.parametrize("name", ["A", "worker-2", "rack_7.b", "x" * 32])
def test_letters_digits_and_what_joins_them_make_a_name(name: str):
    assert workers.check_name(name) == name


@pytest.mark.parametrize("name", ["", " ", "-a", "x" * 33, "a b", "ä", "a\n", "a(b)", "<b>", "a:1", "a/1"])
def test_what_is_no_name_is_refused(name: str):
    with pytest.raises(SettingsError, match="no name for a worker"):
        workers.check_name(name)


def test_a_run_says_which_worker_did_it(bridge: Bridge, group_with_runs: list[Run]):
    first, second, _ = (run.id or 0 for run in group_with_runs)
    worker = Worker(bridge, "A")
    worker.sign_on()

    claimed = run_queue.claim_next(bridge.engine, lease_owner=worker._lease_owner, now=bridge.clock.now())

    assert claimed
    assert re.fullmatch(rf"A \({HERE}\)", runs.get_run(bridge, LOCAL, first).worker or "")
    assert runs.get_run(bridge, LOCAL, second).worker is None
    assert run_queue.hand_back(bridge.engine, first, lease_owner=worker._lease_owner, now=bridge.clock.now())
    assert run_queue.claim(bridge.engine, first, lease_owner="elsewhere:12:ab", now=bridge.clock.now())
    assert runs.get_run(bridge, LOCAL, first).worker == "elsewhere:12"


def test_the_log_says_once_which_worker_is_at_work(bridge: Bridge, caplog: pytest.LogCaptureFixture):
    worker = Worker(bridge, "A")

    with caplog.at_level("INFO", "core.worker.service"):
        worker.sign_on()
        worker.sign_on()

    assert len(re.findall(rf"worker works worker=A \({HERE}\)", caplog.text)) == 1


def test_two_workers_of_one_name_are_told_apart_by_where_they_run(bridge: Bridge):
    now = bridge.clock.now()
    for owner in ("one:7:ab", "two:7:cd"):
        worker_rows.sign_on(bridge.engine, owner, started_at=now, now=now, label="A")
    Worker(bridge).sign_on()

    called = sorted(workers.called(worker) for worker in overview.workers(bridge, LOCAL))

    assert called[:2] == ["A (one:7)", "A (two:7)"]
    assert re.fullmatch(HERE, called[2])
    with Metrics(bridge).read() as registry:
        assert registry.get_sample_value("cohort_bridge_workers", {"name": "A"}) == 2
        assert registry.get_sample_value("cohort_bridge_workers", {"name": ""}) == 1


def test_all_workers_are_counted_that_are_there_and_no_other(bridge: Bridge):
    now = bridge.clock.now()
    seen = {f"here:{number}:ab": now for number in range(30)}
    seen |= {"gone:1:ab": now - timedelta(minutes=2), "before the clock was set back:1:ab": now + timedelta(hours=1)}
    for owner, seen_at in seen.items():
        worker_rows.sign_on(bridge.engine, owner, started_at=now, now=seen_at, label=owner.partition(":")[0])

    assert len(overview.workers(bridge, LOCAL)) == 30
    assert workers.workers_up(bridge, LOCAL) == {"here": 30}
    assert workers.worker_is_up(bridge, LOCAL)


def test_without_a_worker_the_last_that_was_is_told_of(bridge: Bridge):
    now = bridge.clock.now()
    assert overview.workers(bridge, LOCAL) == []
    for owner, minutes in (("first:1:ab", 9), ("last:1:ab", 3)):
        worker_rows.sign_on(bridge.engine, owner, started_at=now, now=now - timedelta(minutes=minutes))

    assert [worker.name for worker in overview.workers(bridge, LOCAL)] == ["last:1:ab"]
    assert not workers.worker_is_up(bridge, LOCAL)
