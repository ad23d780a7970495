"""Associations in the queue: one owner at a time; what a dead one leaves is resumed where it stopped."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.access.roles import LOCAL
from core.associate import actions
from core.associate.running import watch_associations
from core.bridge import Bridge
from data import associations, leases
from data.engine import write_session
from data.failure import Failure
from data.models import Association, AssociationBatch, Connection, ConnectionKind, ImportStage, Lease, LeaseKind
from tests.stage.clock import FakeClock


@pytest.fixture
def waiting(bridge: Bridge) -> int:
    """An association that was confirmed, and waits to be written."""
    with write_session(bridge.engine) as session:
        mixpanel = Connection(
            created_at=bridge.clock.now(), side="mixpanel", kind=ConnectionKind.MIXPANEL, name="default", project_id=1
        )
        session.add(mixpanel)
        session.flush()
        assert mixpanel.id is not None
        association = Association(
            mixpanel_id=mixpanel.id,
            project_id=1,
            actor="local",
            source="users.csv",
            stage=ImportStage.TO_WRITE,
            match_property="$apptimize_user_id",
            aliases=True,
            created_at=bridge.clock.now(),
        )
        session.add(association)
        session.flush()
        assert association.id is not None
        return association.id


def claim(bridge: Bridge, number: int, lease_owner: str) -> bool:
    return associations.claim(bridge.engine, number, lease_owner=lease_owner, now=bridge.clock.now())


def lease_now(bridge: Bridge) -> Lease:
    (lease,) = leases.list_held(bridge.engine, LeaseKind.ASSOCIATION)
    return lease


def interrupt(bridge: Bridge, lease: Lease) -> bool:
    failure = Failure("interrupted", "It died.", "")
    return associations.interrupt(bridge.engine, lease, failure=failure, now=bridge.clock.now())


def hand_back(bridge: Bridge, number: int, lease_owner: str) -> bool:
    return associations.hand_back(bridge.engine, number, lease_owner=lease_owner, now=bridge.clock.now())


def get_stage(bridge: Bridge, number: int) -> str:
    association = associations.get(bridge.engine, number)
    assert association
    return association.stage


def batch(number: int, start: int, refused: dict[str, str] | None = None) -> AssociationBatch:
    return AssociationBatch(association_id=number, start=start, end=start + 9, size=10, refused=refused or {})


def test_only_one_of_two_gets_it(bridge: Bridge, waiting: int):
    assert associations.claimable(bridge.engine) == [waiting]
    assert claim(bridge, waiting, "one")

    assert not claim(bridge, waiting, "other")
    assert associations.claimable(bridge.engine) == []
    assert get_stage(bridge, waiting) == ImportStage.WRITING


@pytest.mark.sqlite_file
def test_no_one_takes_it_over_while_its_owner_puts_a_plan_in_place(bridge: Bridge, waiting: int, tmp_path: Path):
    assert claim(bridge, waiting, "first")
    with closing(sqlite3.connect(tmp_path / "home" / "cohort_bridge.db", timeout=0.05)) as other:
        take_over = ("UPDATE lease SET lease_owner = 'second' WHERE key = ?", [str(waiting)])
        with associations.held(bridge.engine, waiting, lease_owner="first") as ours:
            assert ours
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute(*take_over)
        with other:
            other.execute(*take_over)
        with associations.held(bridge.engine, waiting, lease_owner="first") as ours:
            assert not ours


def test_a_batch_is_recorded_only_by_who_holds_the_lease(bridge: Bridge, waiting: int):
    claim(bridge, waiting, "one")

    assert not associations.record_batch(bridge.engine, batch(waiting, 2), lease_owner="other", requests=1)
    assert associations.last_row(bridge.engine, waiting) == 0
    assert associations.record_batch(bridge.engine, batch(waiting, 2, {"3": "odd"}), lease_owner="one", requests=1)
    assert associations.last_row(bridge.engine, waiting) == 11
    association = associations.get(bridge.engine, waiting)
    assert association
    assert (association.written, association.refused, association.requests) == (9, 1, 1)


def test_what_a_dead_process_had_goes_back_into_the_queue(bridge: Bridge, waiting: int, fake_clock: FakeClock):
    claim(bridge, waiting, "one")
    watch = watch_associations(bridge)
    watch.look()
    fake_clock.ahead_s = bridge.lease_times.lease_s - 1
    assert watch.look() == 0
    fake_clock.ahead_s = bridge.lease_times.lease_s + 2

    assert watch.look() == 1
    assert get_stage(bridge, waiting) == ImportStage.TO_WRITE
    assert claim(bridge, waiting, "other")
    assert not associations.record_batch(bridge.engine, batch(waiting, 2), lease_owner="one", requests=1)


def die(bridge: Bridge, number: int) -> None:
    """Claim it, and end without a word."""
    assert claim(bridge, number, "mortal")
    assert interrupt(bridge, lease_now(bridge))


def test_one_that_kills_its_process_again_and_again_is_left_alone_unless_it_gets_further(bridge: Bridge, waiting: int):
    for _ in range(3):
        die(bridge, waiting)
    claim(bridge, waiting, "one")
    associations.record_batch(bridge.engine, batch(waiting, 2), lease_owner="one", requests=1)
    hand_back(bridge, waiting, "one")
    for _ in range(3):
        die(bridge, waiting)
    assert get_stage(bridge, waiting) == ImportStage.TO_WRITE

    die(bridge, waiting)

    assert get_stage(bridge, waiting) == ImportStage.FAILED
    assert associations.claimable(bridge.engine) == []


def test_what_moved_since_it_was_looked_at_is_not_taken_for_dead(bridge: Bridge, waiting: int):
    claim(bridge, waiting, "one")
    seen = lease_now(bridge)
    associations.heartbeat(bridge.engine, waiting, lease_owner="one")

    assert not interrupt(bridge, seen)
    assert get_stage(bridge, waiting) == ImportStage.WRITING


def test_what_was_cancelled_is_not_taken_up_again_when_its_process_goes_away_or_dies(bridge: Bridge, waiting: int):
    claim(bridge, waiting, "one")
    actions.cancel_association(bridge, LOCAL, waiting)

    assert hand_back(bridge, waiting, "one")

    association = associations.get(bridge.engine, waiting)
    assert association
    assert (association.stage, association.finished_at is not None) == (ImportStage.CANCELLED, True)
    assert leases.list_held(bridge.engine, LeaseKind.ASSOCIATION) == []
    with write_session(bridge.engine) as session:
        association.stage, association.finished_at = ImportStage.TO_WRITE, None
        session.add(association)
    claim(bridge, waiting, "mortal")
    actions.cancel_association(bridge, LOCAL, waiting)
    interrupt(bridge, lease_now(bridge))
    assert get_stage(bridge, waiting) == ImportStage.CANCELLED


def test_rows_of_which_it_was_not_said_whether_they_were_taken_count_neither_way(bridge: Bridge, waiting: int):
    claim(bridge, waiting, "one")
    half = batch(waiting, 2, {"3": "odd"})
    half.unaliased = {"4": associations.NOT_REPORTED, "5": "the alias was refused"}

    associations.record_batch(bridge.engine, half, lease_owner="one", requests=1)

    association = associations.get(bridge.engine, waiting)
    assert association
    assert (association.written, association.refused) == (8, 1)
    assert [associations.is_written(bridge.engine, waiting, row) for row in (2, 3, 4, 5)] == [True, False, False, True]


def test_a_lease_whose_association_is_gone_keeps_no_other_from_being_recovered(
    bridge: Bridge, waiting: int, fake_clock: FakeClock
):
    claim(bridge, waiting, "one")
    assert leases.acquire(bridge.engine, LeaseKind.ASSOCIATION, 0, lease_owner="gone", now=bridge.clock.now())
    watch = watch_associations(bridge)
    watch.look()
    fake_clock.ahead_s = bridge.lease_times.lease_s + 1

    watch.look()

    assert get_stage(bridge, waiting) == ImportStage.TO_WRITE
    assert leases.list_held(bridge.engine, LeaseKind.ASSOCIATION) == []


def test_what_was_tried_again_is_not_kept_of_one_that_is_put_down(bridge: Bridge, waiting: int):
    retry = Failure("retrying", "Mixpanel is busy.", "It is tried again in 8 s.")
    for put_down in (lambda: hand_back(bridge, waiting, "one"), lambda: interrupt(bridge, lease_now(bridge))):
        assert claim(bridge, waiting, "one")
        associations.heartbeat(bridge.engine, waiting, lease_owner="one", retry=retry)
        working = associations.get(bridge.engine, waiting)
        assert working
        assert working.error_message == "Mixpanel is busy."

        assert put_down()

        association = associations.get(bridge.engine, waiting)
        assert association
        assert (association.stage, association.error_code) == (ImportStage.TO_WRITE, None)
