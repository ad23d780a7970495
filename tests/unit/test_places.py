"""The places of a worker: one destination never has more than half, and the run that waits longest comes first."""

from __future__ import annotations

import pytest

from core.bridge import Bridge
from core.worker.places import Places
from core.worker.service import Worker
from data import run_queue
from data.engine import write_session
from data.models import Connection, ConnectionKind, Group, Run
from tests.stage.claims import claimable
from tests.stage.clock import FakeClock


@pytest.mark.parametrize(("most", "of_one"), [(1, 1), (2, 1), (3, 1), (4, 2), (32, 16)])
@pytest.mark.parametrize("destinations", [2, 9])
def test_of_several_destinations_one_is_full_when_it_has_half_of_the_places(most: int, of_one: int, destinations: int):
    _assert_full_with(of_one, most=most, destinations=destinations)


@pytest.mark.parametrize(("most", "of_one"), [(1, 1), (2, 1), (3, 2), (4, 3), (32, 31)])
def test_the_only_destination_leaves_one_place_to_previews(most: int, of_one: int):
    _assert_full_with(of_one, most=most, destinations=1)


def _assert_full_with(of_one: int, *, most: int, destinations: int) -> None:
    places = Places(most)
    seen: list[set[int]] = []
    for run_id in range(of_one):
        seen.append(places.find_full(destinations=destinations))
        places.take(run_id, 7)

    assert seen == [set()] * of_one
    assert (places.find_full(destinations=destinations), places.free) == ({7}, most - of_one)


def test_a_place_is_free_when_its_run_has_ended_and_a_preview_takes_none_of_a_destination():
    places = Places(4)
    for run_id, destination in [(1, 7), (2, 7), (3, None)]:
        places.take(run_id, destination)
    before = (places.find_full(destinations=2), places.free)

    places.keep_only({2, 3})

    assert before == ({7}, 1)
    assert (places.find_full(destinations=2), places.free) == (set(), 2)


def queue(bridge: Bridge, like: Run, *, destination: Connection, cohort_id: int, dry_run: bool = False) -> int:
    """Queue a run of another cohort, a minute after the one before."""
    with write_session(bridge.engine) as session:
        session.add(destination)
        session.flush()
        names = {"cohort_name": "Another", "cohort_id": cohort_id}
        assert destination.id is not None
        group = Group(
            destination_id=destination.id, project_id=1, name=str(cohort_id), created_at=bridge.clock.now(), **names
        )
        session.add(group)
        session.flush()
        run = Run(
            sync_id=like.sync_id,
            group_id=group.id or 0,
            group_name=group.name,
            destination=destination.name,
            trigger="manual",
            actor="local",
            queued_at=bridge.clock.now(),
            dry_run=dry_run,
            **names,
        )
        session.add(run)
    return run.id or 0


def test_a_worker_passes_over_a_full_destination_and_claims_the_oldest_runs_of_the_others(
    bridge: Bridge, group_with_runs: list[Run], fake_clock: FakeClock
):
    for run in group_with_runs:
        run_queue.ask_to_cancel(bridge.engine, run.id or 0, now=bridge.clock.now())
    first, second = (
        Connection(created_at=bridge.clock.now(), side="destination", kind=ConnectionKind.ENDPOINT, name=name)
        for name in ("first", "second")
    )
    queued: list[int] = []
    for number in range(30):  # more than are looked at in one go
        fake_clock.shift_s += 60
        queued.append(queue(bridge, group_with_runs[0], destination=first, cohort_id=100 + number))
    fake_clock.shift_s += 60
    preview = queue(bridge, group_with_runs[0], destination=first, cohort_id=200, dry_run=True)
    fake_clock.shift_s += 60
    other = queue(bridge, group_with_runs[0], destination=second, cohort_id=300)

    Worker(bridge).dispatch()

    waiting = claimable(bridge)
    assert waiting == queued[2:]
    assert {preview, other}.isdisjoint(waiting)
