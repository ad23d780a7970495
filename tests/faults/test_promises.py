"""What people do with recurring syncs, and what is promised to them: budget, holding, undo, pruning, stopping."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import col, update

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import BudgetTooSmall, NotFound, SettingsError
from core.export import retention as export_retention
from core.syncs import cohorts, held_runs, listing, one_time, queueing, recurring, runs, settings, undo
from core.worker import retention, run_execution, service
from data import leases, run_queue
from data.engine import read_session, write_session
from data.models import Connection, LeaseKind, Run, RunStatus, SyncState
from data.query_models import QuerySpend
from tests.faults import process
from tests.faults.population import (
    COHORTS,
    ONE,
    THREE,
    TWO,
    Population,
    all_runs,
    last,
    list_unfinished,
    sync_once,
    without_ids,
)
from tests.stage.claims import claimable
from tests.stage.clock import BothClocks
from tests.stage.home import Home, group_row
from tests.stage.sandbox import NOON, wait_until
from tests.stage.seeds import LONG, SEEDS, few

# What the sandbox is slow to take arrives at a cohort that no other test looks at.
LATE = COHORTS[15]


def sync_row(bridge: Bridge, sync_id: int = 1):
    return listing.get_sync(bridge, LOCAL, sync_id).sync


# --- the budget ----------------------------------------------------------------------------------------------------


def test_fourteen_syncs_stay_inside_sixty_queries_in_any_hour_and_the_fifteenth_is_told_what_fits(
    bridge: Bridge, population: Population, clock: BothClocks
):
    for cohort in COHORTS[:14]:
        population.set(cohort, range(cohort, cohort + 5))
        recurring.add_sync(bridge, LOCAL, cohort)
    with pytest.raises(BudgetTooSmall) as caught:
        recurring.add_sync(bridge, LOCAL, COHORTS[14])

    asked: list[float] = []
    step, minutes = (1, 180) if SEEDS else (15, 46)
    for minute in range(0, minutes, step):
        population.forget_log()
        service.once(bridge)
        asked += [minute for request in population.log()["requests"] if request.get("counted")]
        assert [request for request in population.log()["requests"] if request["status"] == 429] == []
        clock.pass_minutes(step)

    assert caught.value.advice == "All 15 fit every 30 minutes: give the others that interval first."
    assert max(sum(start <= at < start + 60 for at in asked) for start in range(minutes)) <= 60
    ended = [run for run in all_runs(bridge) if run.status == RunStatus.SUCCEEDED]
    for sync_id in range(1, 15):
        times = [run.finished_at for run in ended if run.sync_id == sync_id and run.finished_at]
        assert max(later - earlier for earlier, later in zip(times, times[1:], strict=False)) <= timedelta(minutes=31)


def test_a_run_without_a_query_slot_waits_until_one_opens_while_others_go_on(
    bridge: Bridge, population: Population, clock: BothClocks
):
    population.limit(hourly_limit=3)
    cohorts.list_cohorts(bridge, LOCAL)
    for cohort in (ONE, TWO, THREE):
        population.set(cohort, range(20))
        one_time.start_export(bridge, LOCAL, cohort)
    service.once(bridge)
    first, second, third = sorted(all_runs(bridge), key=lambda run: run.status == RunStatus.WAITING)
    waiting_until = third.waiting_until
    undo.undo_to(bridge, LOCAL, first.id or 0)

    service.once(bridge)
    undone = last(bridge)
    clock.pass_minutes(60.1)
    service.once(bridge)

    assert [first.status, second.status, third.status] == [RunStatus.SUCCEEDED, RunStatus.SUCCEEDED, RunStatus.WAITING]
    assert waiting_until is not None
    assert 3590 < waiting_until.timestamp() - NOON <= 3600
    assert (undone.trigger, undone.status) == ("undo", RunStatus.SUCCEEDED)
    assert runs.get_run(bridge, LOCAL, third.id or 0).status == RunStatus.SUCCEEDED
    assert population.members(third.cohort_id) == population.expected_members(third.cohort_id)


def test_a_sync_is_resumed_by_the_limit_of_its_own_project_where_several_are_connected(
    bridge: Bridge, population: Population, clock: BothClocks
):
    recurring.add_sync(bridge, LOCAL, ONE)
    recurring.pause_sync(bridge, LOCAL, 1)
    with write_session(bridge.engine) as session:
        session.exec(update(Connection).where(col(Connection.side) == "mixpanel").values(name="shop"))
        session.add(
            Connection(
                created_at=bridge.clock.now(),
                side="mixpanel",
                kind="mixpanel",
                name="another",
                project_id=7,
                base_url="https://other",
            )
        )

    resumed = recurring.resume_sync(bridge, LOCAL, 1)

    assert resumed.state == SyncState.ACTIVE


def test_an_export_that_is_queued_already_becomes_a_whole_one_when_that_is_asked_for(
    bridge: Bridge, population: Population, clock: BothClocks
):
    population.set(ONE, range(20))
    one_time.start_export(bridge, LOCAL, ONE)
    service.once(bridge)
    one_time.start_export(bridge, LOCAL, ONE)
    one_time.start_export(bridge, LOCAL, ONE, full=True)

    service.once(bridge)

    assert [run.write for run in all_runs(bridge)] == ["full", "full"]


# --- stopping and going on -----------------------------------------------------------------------------------------


def test_a_worker_that_was_stopped_for_fifty_minutes_runs_each_sync_once(
    bridge: Bridge, population: Population, clock: BothClocks
):
    for cohort in (ONE, TWO, THREE):
        population.set(cohort, range(20))
        recurring.add_sync(bridge, LOCAL, cohort)
    service.once(bridge)
    clock.pass_minutes(50)
    population.set(ONE, range(30))

    service.once(bridge)
    service.once(bridge)

    assert sorted(run.sync_id for run in all_runs(bridge)) == [1, 1, 2, 2, 3, 3]
    assert population.members(ONE) == population.expected_members(ONE)


@few(1)
@pytest.mark.parametrize(
    ("target", "kind", "page"),
    [("mixpanel", "cohorts", None), ("mixpanel", "engage", 1), ("apptimize", "cohort-sync", 2)],
)
def test_a_worker_that_is_told_to_stop_hands_its_run_back_within_ten_seconds_whatever_it_waits_for(
    home: Home, bridge: Bridge, population: Population, target: str, kind: str, page: int | None
):
    population.set(LATE, range(2500))
    population.fault("slow", target=target, seconds=30, **({} if page is None else {"page": page}))
    recurring.add_sync(bridge, LOCAL, LATE)
    worker = process.start(home, "worker")
    population.wait_for(kind, page=page)

    took_s = process.stop(worker)

    assert took_s < 10
    assert (last(bridge).status, leases.list_held(bridge.engine, LeaseKind.RUN)) == (RunStatus.QUEUED, [])
    population.clear_faults()
    service.once(bridge)
    assert population.members(LATE) == population.expected_members(LATE)
    assert len(all_runs(bridge)) == 1


@LONG
def test_a_worker_that_works_once_and_is_told_to_stop_hands_its_run_back_and_ends_with_0(
    home: Home, bridge: Bridge, population: Population
):
    population.set(LATE, range(20))
    population.fault("slow", target="mixpanel", seconds=30)
    recurring.add_sync(bridge, LOCAL, LATE)
    worker = home.start("worker", "--once")
    population.wait_for("cohorts")
    worker.terminate()

    assert home.finish(worker).code == 0
    assert last(bridge).status == RunStatus.QUEUED


def test_a_run_that_is_cancelled_ends_at_its_next_heartbeat_and_the_next_slot_is_as_usual(
    home: Home, bridge: Bridge, population: Population
):
    population.set(LATE, range(2500))
    population.fault("slow", target="apptimize", seconds=20, page=2)
    recurring.add_sync(bridge, LOCAL, LATE)
    worker = process.start(home, "worker", lease_s=None)
    population.wait_for("cohort-sync", page=2)
    runs.cancel_run(bridge, LOCAL, last(bridge).id or 0)

    wait_until(lambda: not list_unfinished(bridge), within_s=15)

    process.stop(worker)
    assert last(bridge).status == RunStatus.CANCELLED
    assert sync_row(bridge).state == SyncState.ACTIVE
    population.clear_faults()
    recurring.run_now(bridge, LOCAL, 1)
    service.once(bridge)
    assert last(bridge).write == "full"
    assert population.members(LATE) == population.expected_members(LATE)


@pytest.mark.parametrize("lets_go", ["wait", "hand_back"])
def test_a_run_that_was_to_be_cancelled_is_not_taken_up_again_when_its_holder_lets_go_of_it(
    bridge: Bridge, population: Population, lets_go: str
):
    run = one_time.start_export(bridge, LOCAL, ONE)
    run_id = run.id or 0
    assert run_queue.claim(bridge.engine, run_id, lease_owner="one", now=bridge.clock.now())
    runs.cancel_run(bridge, LOCAL, run_id)
    now = bridge.clock.now()

    if lets_go == "wait":
        run_queue.wait(bridge.engine, run_id, lease_owner="one", until=now, keep=False, now=now)
    else:
        run_queue.hand_back(bridge.engine, run_id, lease_owner="one", now=now)

    assert claimable(bridge, now=now) == []
    assert last(bridge).status == RunStatus.CANCELLED


def test_pausing_stops_slots_and_queued_runs_and_resuming_is_due_at_once(
    bridge: Bridge, population: Population, clock: BothClocks
):
    sync_once(bridge, population, range(20))
    recurring.run_now(bridge, LOCAL, 1)
    recurring.pause_sync(bridge, LOCAL, 1)
    clock.pass_minutes(60)
    population.set(ONE, range(10))
    service.once(bridge)
    paused = [run.status for run in all_runs(bridge)]

    recurring.resume_sync(bridge, LOCAL, 1)
    service.once(bridge)

    assert paused == [RunStatus.SUCCEEDED, RunStatus.CANCELLED]
    assert population.members(ONE) == population.expected_members(ONE)


def test_a_removed_sync_leaves_its_group_as_it_is(bridge: Bridge, population: Population, clock: BothClocks):
    sync_once(bridge, population, range(20))
    before = population.members(ONE)
    population.set(ONE, range(10))

    recurring.remove_sync(bridge, LOCAL, 1)
    clock.pass_minutes(60)
    service.once(bridge)

    assert population.members(ONE) == before
    assert len(all_runs(bridge)) == 1


@LONG
def test_another_interval_holds_from_the_next_slot_on(bridge: Bridge, population: Population, clock: BothClocks):
    recurring.add_sync(bridge, LOCAL, ONE)
    service.once(bridge)

    settings.edit_sync(bridge, LOCAL, 1, every_minutes=60, max_shrink=20)
    for _ in range(12):
        clock.pass_minutes(15)
        service.once(bridge)

    assert len(all_runs(bridge)) == 1 + 3
    assert sync_row(bridge).max_shrink == 20


def test_a_dead_run_of_a_sync_that_was_paused_since_is_not_recovered_against_that_decision(
    bridge: Bridge, population: Population, clock: BothClocks
):
    recurring.add_sync(bridge, LOCAL, ONE)
    queueing.queue_due(bridge.engine, now=bridge.clock.now())
    run_id = last(bridge).id or 0
    run_queue.claim(bridge.engine, run_id, lease_owner="dead", now=bridge.clock.now())
    recurring.pause_sync(bridge, LOCAL, 1)

    (lease,) = leases.list_held(bridge.engine, LeaseKind.RUN)
    run_execution.interrupt(bridge, lease)

    assert [run.status for run in all_runs(bridge)] == [RunStatus.INTERRUPTED]


# --- cohorts that change -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 400])
def test_a_cohort_that_was_deleted_never_empties_its_group_and_pauses_the_sync_with_advice(
    bridge: Bridge, population: Population, clock: BothClocks, status: int
):
    sync_once(bridge, population, range(20))
    before = population.members(ONE)
    population.remove(ONE)
    if status == 400:
        population.fault("bad_request")

    clock.pass_minutes(15)
    service.once(bridge)

    assert population.members(ONE) == before
    assert last(bridge).error_code == "cohort_unknown"
    assert sync_row(bridge).state == SyncState.PAUSED
    assert "the group stays as it is" in (sync_row(bridge).paused_reason or "")


def test_a_refusal_without_a_reason_is_the_connections_while_the_cohort_is_still_listed(
    bridge: Bridge, population: Population, clock: BothClocks
):
    sync_once(bridge, population, range(20))
    population.fault("bad_request")
    population.forget_log()

    clock.pass_minutes(15)
    service.once(bridge)

    assert last(bridge).error_code == "mixpanel_refused"
    assert "Mixpanel connection" in (sync_row(bridge).paused_reason or "")
    assert len(population.asked("cohorts")) == 1


def test_a_cohort_with_another_name_renames_its_group_by_a_whole_overwrite(
    bridge: Bridge, population: Population, clock: BothClocks
):
    sync_once(bridge, population, range(20))
    population.name(ONE, "Another name")

    clock.pass_minutes(31)
    service.once(bridge)

    assert (last(bridge).write, last(bridge).group_name) == ("full", "Another name")
    assert population.group_name(ONE) == "Another name"
    assert population.members(ONE) == population.expected_members(ONE)


# --- held runs -----------------------------------------------------------------------------------------------------


def test_a_run_that_finds_no_usable_id_at_all_is_held_and_the_next_with_ids_takes_its_place(
    bridge: Bridge, population: Population, clock: BothClocks
):
    numbers = range(2901, 2915)
    sync_once(bridge, population, numbers)
    before = population.members(ONE)
    without_ids(population, numbers)
    clock.pass_minutes(15)
    service.once(bridge)
    held, then = last(bridge), population.members(ONE)
    without_ids(population, numbers, set_again=True)

    clock.pass_minutes(15)
    service.once(bridge)

    assert (held.status, held.error_code, held.removed) == (RunStatus.HELD, "held_no_ids", len(before or ()))
    assert then == before
    assert last(bridge).status == RunStatus.SUCCEEDED
    assert population.members(ONE) == population.expected_members(ONE)
    assert runs.get_run(bridge, LOCAL, held.id or 0).status == RunStatus.SUPERSEDED


def test_a_newer_held_run_replaces_the_older_and_can_be_applied_once_or_discarded(
    bridge: Bridge, population: Population, clock: BothClocks
):
    population.set(ONE, range(1, 101))
    recurring.add_sync(bridge, LOCAL, ONE, max_shrink=10)
    service.once(bridge)
    before = population.members(ONE)
    for left in (50, 40):
        population.set(ONE, range(1, left))
        clock.pass_minutes(15)
        service.once(bridge)
    older, newer = all_runs(bridge)[1:]
    held_runs.discard_held(bridge, LOCAL, newer.id or 0)
    discarded = population.members(ONE)
    clock.pass_minutes(15)
    service.once(bridge)
    held_again = last(bridge)

    with pytest.raises(SettingsError):
        held_runs.apply_held(bridge, LOCAL, older.id or 0)
    population.set(ONE, range(1, 45))
    held_runs.apply_held(bridge, LOCAL, held_again.id or 0)
    service.once(bridge)

    assert (older.status, newer.status) == (RunStatus.SUPERSEDED, RunStatus.HELD)
    assert discarded == before
    assert held_again.status == RunStatus.HELD
    assert population.members(ONE) == population.expected_members(ONE)


def test_a_total_that_disagrees_twice_is_held_and_can_be_applied_once(
    bridge: Bridge, population: Population, clock: BothClocks
):
    population.set(ONE, range(50))
    recurring.add_sync(bridge, LOCAL, ONE)
    population.fault("total_wrong", by=3)
    service.once(bridge)
    held = last(bridge)

    held_runs.apply_held(bridge, LOCAL, held.id or 0)
    service.once(bridge)

    assert (held.status, held.error_code) == (RunStatus.HELD, "held_total")
    assert "53" in (held.error_message or "")
    assert last(bridge).status == RunStatus.SUCCEEDED
    assert population.members(ONE) == population.expected_members(ONE)


def test_applying_what_was_held_lets_nothing_else_through(bridge: Bridge, population: Population, clock: BothClocks):
    numbers = range(2921, 2971)
    population.set(ONE, numbers)
    recurring.add_sync(bridge, LOCAL, ONE, max_shrink=10)
    service.once(bridge)
    before = population.members(ONE)
    population.set(ONE, numbers[:20])
    clock.pass_minutes(15)
    service.once(bridge)
    looked_at = last(bridge)
    without_ids(population, numbers[:20])

    held_runs.apply_held(bridge, LOCAL, looked_at.id or 0)
    service.once(bridge)

    held = last(bridge)
    without_ids(population, numbers[:20], set_again=True)
    assert looked_at.error_code == "held_shrink"
    assert (held.status, held.error_code) == (RunStatus.HELD, "held_no_ids")
    assert population.members(ONE) == before


def test_the_shrink_limit_holds_when_who_was_in_the_group_is_no_longer_known(
    bridge: Bridge, population: Population, clock: BothClocks
):
    population.set(ONE, range(50))
    recurring.add_sync(bridge, LOCAL, ONE, max_shrink=10)
    service.once(bridge)
    before = population.members(ONE)
    bridge.snapshots.remove(last(bridge).snapshot or "")
    population.set(ONE, range(100, 150))
    clock.pass_minutes(15)

    service.once(bridge)

    held = last(bridge)
    assert (held.status, held.error_code, population.members(ONE)) == (RunStatus.HELD, "held_shrink", before)
    held_runs.apply_held(bridge, LOCAL, held.id or 0)
    service.once(bridge)
    assert population.members(ONE) == population.expected_members(ONE)


@LONG
def test_what_a_dropped_hold_would_have_changed_is_not_kept(bridge: Bridge, population: Population, clock: BothClocks):
    population.set(ONE, range(50))
    recurring.add_sync(bridge, LOCAL, ONE, max_shrink=10)
    service.once(bridge)
    for left in (20, 10):
        population.set(ONE, range(left))
        clock.pass_minutes(15)
        service.once(bridge)
    older, newer = all_runs(bridge)[1:]

    assert older.difference is None
    assert newer.difference
    assert held_runs.discard_held(bridge, LOCAL, newer.id or 0).difference is None


def test_an_undo_leaves_the_list_of_those_who_were_excluded(bridge: Bridge, population: Population):
    numbers = range(2981, 2996)
    population.set(ONE, numbers)
    without_ids(population, numbers[:5])
    recurring.add_sync(bridge, LOCAL, ONE)
    service.once(bridge)
    read = last(bridge)

    undo.undo_to(bridge, LOCAL, read.id or 0)
    service.once(bridge)

    without_ids(population, numbers[:5], set_again=True)
    assert (last(bridge).trigger, last(bridge).status) == ("undo", RunStatus.SUCCEEDED)
    assert bridge.snapshots.exists(runs.get_run(bridge, LOCAL, read.id or 0).excluded)


# --- undo and what is kept -----------------------------------------------------------------------------------------


def test_a_run_that_has_to_wait_while_its_group_is_put_back_does_not_undo_the_undo_later(
    bridge: Bridge, population: Population, clock: BothClocks
):
    sync_once(bridge, population, range(20))
    first, before = last(bridge), population.members(ONE)
    population.set(ONE, range(10))
    busy = recurring.run_now(bridge, LOCAL, 1).id or 0
    run_queue.claim(bridge.engine, busy, lease_owner="busy", now=bridge.clock.now())
    undo.undo_to(bridge, LOCAL, first.id or 0)
    now = bridge.clock.now()
    run_queue.wait(bridge.engine, busy, lease_owner="busy", until=now + timedelta(minutes=5), keep=False, now=now)

    service.once(bridge)
    clock.pass_minutes(60)
    service.once(bridge)

    assert population.members(ONE) == before
    assert runs.get_run(bridge, LOCAL, busy).status == RunStatus.CANCELLED


@LONG
def test_the_last_thirty_states_are_kept_and_the_others_can_not_be_gone_back_to(
    bridge: Bridge, population: Population, clock: BothClocks, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export_retention, "SNAPSHOTS_KEPT", 3)
    recurring.add_sync(bridge, LOCAL, ONE)
    for size in (10, 20, 20, 30, 40):
        population.set(ONE, range(1, size))
        clock.pass_minutes(15)
        service.once(bridge)
    first, second, third, *_ = all_runs(bridge)

    with pytest.raises(NotFound, match="not kept"):
        undo.undo_to(bridge, LOCAL, first.id or 0)
    undo.undo_to(bridge, LOCAL, third.id or 0)
    service.once(bridge)

    assert second.snapshot == third.snapshot
    kept = {path.stem for path in bridge.snapshots.folder.glob("run-*.parquet")}
    assert first.snapshot is None
    assert len(kept - {first.difference}) == 3
    assert first.difference in kept  # it tells who began the group
    assert len(population.members(ONE) or ()) == second.members


def test_a_member_whose_distinct_id_is_another_one_makes_a_new_base_and_no_message(
    bridge: Bridge, population: Population
):
    # Two profiles share an id; then the one that stood for it leaves.
    sync_once(bridge, population, [10, 22, 23])
    before = group_row(bridge, ONE).base_snapshot
    population.set(ONE, [10, 23])
    population.forget_requests()
    recurring.run_now(bridge, LOCAL, 1)

    service.once(bridge)

    run, group = last(bridge), group_row(bridge, ONE)
    assert (run.write, run.added, run.removed, run.unchanged, run.difference) == ("none", 0, 0, 2, None)
    assert group.base_snapshot == run.snapshot != before
    assert population.messages() == []
    assert [row for chunk in bridge.snapshots.iterate(run.snapshot or "") for row in chunk] == [
        ("i_10", "p-00010"),
        ("i_22", "p-00023"),
    ]


@LONG
def test_history_is_forgotten_in_small_steps_and_a_group_keeps_its_base(
    bridge: Bridge, population: Population, clock: BothClocks
):
    recurring.add_sync(bridge, LOCAL, ONE)
    for size in (10, 20, 30, 40, 40, 40):
        population.set(ONE, range(1, size))
        clock.pass_minutes(15)
        service.once(bridge)
    base = group_row(bridge, ONE).base_run_id
    clock.pass_minutes(181 * 24 * 60)

    steps = [retention.forget_old_runs(bridge, most=2) for _ in range(4)]

    assert steps == [2, 2, 1, 0]
    assert [run.id for run in all_runs(bridge)] == [base]
    assert bridge.snapshots.exists(group_row(bridge, ONE).base_snapshot)
    with read_session(bridge.engine) as session:
        assert session.get(Run, base) is not None


def test_spent_queries_of_the_future_do_not_keep_a_project_waiting(
    bridge: Bridge, population: Population, clock: BothClocks
):
    sync_once(bridge, population, range(5))
    with write_session(bridge.engine) as session:
        session.exec(update(QuerySpend).values(at=bridge.clock.now() + timedelta(days=300)))
    clock.pass_minutes(30)

    service.once(bridge)

    assert last(bridge).status == RunStatus.SUCCEEDED
