"""The next run is claimed in one statement: by one of many workers, the oldest that may start, and none in vain."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlmodel import col, select, update

from core.bridge import Bridge
from data import leases, run_queue
from data.engine import read_session, write_session
from data.models import Connection, ConnectionKind, Group, LeaseKind, Run, RunStatus
from data.run_queue import ClaimableRun
from tests.stage.claims import list_claimable

WORKERS = 4


def claim_next(bridge: Bridge, lease_owner: str = "one", **limits: object) -> ClaimableRun | None:
    return run_queue.claim_next(bridge.engine, lease_owner=lease_owner, now=bridge.clock.now(), **limits)  # type: ignore[arg-type]


def change(bridge: Bridge, *run_ids: int | None, **values: object) -> None:
    with write_session(bridge.engine) as session:
        session.exec(update(Run).where(col(Run.id).in_(run_ids)).values(**values))


def queue_in_groups_of_their_own(bridge: Bridge, like: Run, number: int) -> list[int]:
    """Queue a run of so many cohorts, each a second after the one before."""
    with write_session(bridge.engine) as session:
        first = session.get_one(Group, like.group_id)
        groups = [
            Group(**{**first.model_dump(exclude={"id"}), "cohort_id": 1000 + each, "name": f"Group {each}"})
            for each in range(number)
        ]
        session.add_all(groups)
        session.flush()
        values = like.model_dump(exclude={"id", "group_id", "queued_at"})
        runs = [
            Run(**values, group_id=group.id or 0, queued_at=bridge.clock.now() + timedelta(seconds=each))
            for each, group in enumerate(groups, 1)
        ]
        session.add_all(runs)
    return [run.id or 0 for run in runs]


def test_workers_that_look_at_once_get_one_run_each_and_none_in_vain(bridge: Bridge, group_with_runs: list[Run]):
    change(bridge, *(run.id for run in group_with_runs), status=RunStatus.CANCELLED)
    queued = queue_in_groups_of_their_own(bridge, group_with_runs[0], 24)

    def take_all_of(worker: int) -> list[int]:
        return [run.id for run in iter(lambda: claim_next(bridge, f"worker-{worker}"), None)]

    with ThreadPoolExecutor(WORKERS) as pool:
        taken = list(pool.map(take_all_of, range(WORKERS)))

    assert sorted(sum(taken, [])) == queued
    with read_session(bridge.engine) as session:
        running = session.exec(select(Run.id).where(Run.status == RunStatus.RUNNING)).all()
        held = session.exec(select(leases.Lease.key, leases.Lease.lease_owner)).all()
    assert sorted(run_id or 0 for run_id in running) == queued
    assert dict(held) == {str(run): f"worker-{worker}" for worker, runs in enumerate(taken) for run in runs}


def test_of_one_group_one_run_is_claimed_however_many_wait(bridge: Bridge, group_with_runs: list[Run]):
    with ThreadPoolExecutor(WORKERS) as pool:
        taken = list(pool.map(lambda worker: claim_next(bridge, f"worker-{worker}"), range(WORKERS)))

    assert [run.id for run in taken if run] == [group_with_runs[0].id]


def test_runs_are_claimed_in_the_order_in_which_they_were_queued(bridge: Bridge, group_with_runs: list[Run]):
    queued = queue_in_groups_of_their_own(bridge, group_with_runs[0], 3)
    change(bridge, queued[2], queued_at=bridge.clock.now() - timedelta(minutes=1))

    taken = [claim_next(bridge) for _ in range(5)]

    assert [run.id for run in taken if run] == [queued[2], group_with_runs[0].id, queued[0], queued[1]]


def test_one_run_alone_is_claimed_where_that_is_asked_for(bridge: Bridge, group_with_runs: list[Run]):
    second = group_with_runs[1].id or 0

    taken = claim_next(bridge, only=second)

    assert taken is not None
    assert taken.id == second
    assert claim_next(bridge, only=group_with_runs[0].id) is None  # its group is being written


def hold(bridge: Bridge, kind: LeaseKind, key: object) -> None:
    leases.acquire(bridge.engine, kind, key, lease_owner="another", now=bridge.clock.now())


WHAT_KEEPS_IT: dict[str, Callable[[Bridge, Run], None]] = {
    "it has ended": lambda bridge, run: change(bridge, run.id, status=RunStatus.SUCCEEDED),
    "it is running": lambda bridge, run: change(bridge, run.id, status=RunStatus.RUNNING),
    "it is held": lambda bridge, run: change(bridge, run.id, status=RunStatus.HELD),
    "it was cancelled": lambda bridge, run: change(bridge, run.id, status=RunStatus.CANCELLED),
    "its process has it": lambda bridge, run: hold(bridge, LeaseKind.RUN, run.id),
    "somebody is being forgotten": lambda bridge, run: hold(bridge, LeaseKind.FORGETTING, "one"),
    "it waits for a query": lambda bridge, run: change(
        bridge, run.id, status=RunStatus.WAITING, waiting_until=bridge.clock.now() + timedelta(minutes=9)
    ),
    "it waits after a death": lambda bridge, run: change(
        bridge, run.id, waiting_until=bridge.clock.now() + timedelta(hours=5)
    ),
}


@pytest.mark.parametrize("why", WHAT_KEEPS_IT)
def test_a_run_that_may_not_start_is_claimed_by_no_one(bridge: Bridge, group_with_runs: list[Run], why: str):
    first, *others = group_with_runs
    change(bridge, *(run.id for run in others), status=RunStatus.CANCELLED)
    WHAT_KEEPS_IT[why](bridge, first)

    assert claim_next(bridge) is None
    assert claim_next(bridge, only=first.id) is None


def test_a_wait_that_is_over_or_that_no_clock_explains_keeps_no_run(bridge: Bridge, group_with_runs: list[Run]):
    now = bridge.clock.now()
    over, unexplained = queue_in_groups_of_their_own(bridge, group_with_runs[0], 2)
    change(bridge, *(run.id for run in group_with_runs), status=RunStatus.CANCELLED)
    change(bridge, over, status=RunStatus.WAITING, waiting_until=now)
    change(bridge, unexplained, status=RunStatus.WAITING, waiting_until=now + timedelta(minutes=61))

    taken = [claim_next(bridge), claim_next(bridge)]

    assert [run.id for run in taken if run] == [over, unexplained]
    with read_session(bridge.engine) as session:
        assert session.get_one(Run, over).waiting_until is None


def test_a_full_destination_is_passed_over_but_for_previews(bridge: Bridge, group_with_runs: list[Run]):
    with write_session(bridge.engine) as session:
        full = session.exec(select(Connection.id).where(Connection.kind == ConnectionKind.CSV)).one() or 0
    change(bridge, group_with_runs[2].id, dry_run=True)

    taken = claim_next(bridge, full=[full])

    assert taken == ClaimableRun(group_with_runs[2].id or 0, None)
    assert claim_next(bridge, full=[full]) is None
    assert claim_next(bridge) == ClaimableRun(group_with_runs[0].id or 0, full)


def test_what_is_claimed_is_what_was_shown_as_claimable_first(bridge: Bridge, group_with_runs: list[Run]):
    queue_in_groups_of_their_own(bridge, group_with_runs[0], 4)

    for _ in range(5):
        first = list_claimable(bridge)[0]
        assert claim_next(bridge) == first
    assert list_claimable(bridge) == []


def test_the_next_of_very_many_runs_is_found_without_looking_at_all_of_them(bridge: Bridge, group_with_runs: list[Run]):
    if bridge.engine.dialect.name != "sqlite":
        pytest.skip("how a statement is planned is said in words of SQLite's own")
    said: list[tuple[str, object]] = []
    event.listen(bridge.engine, "before_cursor_execute", lambda *call: said.append((call[2], call[3])))
    claim_next(bridge)
    statement, parameters = next(each for each in said if each[0].startswith("UPDATE run"))

    with bridge.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()  # type: ignore[arg-type]

    steps = [row[3] for row in plan]
    assert any("USING INDEX run_to_claim" in step for step in steps)
    assert not any("TEMP B-TREE" in step and "ORDER" in step for step in steps)
