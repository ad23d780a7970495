"""The one lease: one owner at a time, fenced by its row, dead when its heartbeat stands still for its length."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sqlmodel import select

from core.bridge import Bridge
from data import leases
from data.engine import read_session, write_session
from data.leases import Stillness
from data.models import Lease, LeaseKind

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RUN = LeaseKind.RUN


def claim(bridge: Bridge, lease_owner: str, *, key: object = 1, dead: Lease | None = None) -> bool:
    with write_session(bridge.engine) as session:
        return leases.claim(session, RUN, key, lease_owner=lease_owner, now=NOON, dead=dead)


def hand_back(bridge: Bridge, lease_owner: str) -> bool:
    with write_session(bridge.engine) as session:
        return leases.hand_back(session, RUN, 1, lease_owner=lease_owner)


def read(bridge: Bridge, kind: LeaseKind = RUN) -> Lease:
    (lease,) = leases.list_held(bridge.engine, kind)
    return lease


def test_a_lease_is_taken_by_one_of_many_who_try_at_once(bridge: Bridge):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: claim(bridge, f"owner-{number}"), range(16)))

    assert won.count(True) == 1


def test_a_lease_names_the_process_that_took_it(bridge: Bridge):
    claim(bridge, "one")

    lease = read(bridge)
    assert (lease.lease_owner, lease.pid, lease.taken_at, lease.still_s) == ("one", os.getpid(), NOON, 0.0)
    assert lease.machine


def test_a_claim_of_what_is_ours_already_is_a_heartbeat(bridge: Bridge):
    claim(bridge, "one")
    before = read(bridge).heartbeat

    assert claim(bridge, "one")
    assert read(bridge).heartbeat == before + 1


def test_a_lease_that_is_handed_back_is_free_and_can_neither_be_renewed_nor_handed_back_again(bridge: Bridge):
    claim(bridge, "one")

    assert hand_back(bridge, "one")
    assert leases.list_held(bridge.engine, RUN) == []
    assert not leases.heartbeat(bridge.engine, RUN, 1, lease_owner="one")
    assert not hand_back(bridge, "one")
    assert claim(bridge, "other")
    assert not hand_back(bridge, "one")


def test_leases_of_other_kinds_and_keys_are_others(bridge: Bridge):
    claim(bridge, "one")

    assert claim(bridge, "other", key=2)
    with write_session(bridge.engine) as session:
        assert leases.claim(session, LeaseKind.ASSOCIATION, 1, lease_owner="other", now=NOON)
        leases.free_all_of(session, "other")
    assert read(bridge).lease_owner == "one"
    assert leases.list_held(bridge.engine, LeaseKind.ASSOCIATION) == []


def test_a_dead_holders_lease_is_taken_over_and_one_that_moved_since_is_not(bridge: Bridge):
    claim(bridge, "one")
    seen = read(bridge)
    leases.heartbeat(bridge.engine, RUN, 1, lease_owner="one")

    assert not claim(bridge, "other", dead=seen)
    assert claim(bridge, "other", dead=read(bridge))
    assert not leases.heartbeat(bridge.engine, RUN, 1, lease_owner="one")


def test_a_lease_that_was_handed_back_and_taken_again_is_not_the_one_that_was_seen(bridge: Bridge):
    claim(bridge, "one")
    seen = read(bridge)
    hand_back(bridge, "one")
    claim(bridge, "one")

    with write_session(bridge.engine) as session:
        assert not leases.end_if_unmoved(session, seen)


def test_two_watchers_do_not_add_the_same_seconds_twice(bridge: Bridge):
    claim(bridge, "one")
    seen = read(bridge)

    leases.note_stillness(bridge.engine, [Stillness(seen, 0.0, 5.0)])
    leases.note_stillness(bridge.engine, [Stillness(seen, 0.0, 4.0)])

    assert read(bridge).still_s == 5.0
    leases.heartbeat(bridge.engine, RUN, 1, lease_owner="one")
    assert read(bridge).still_s == 0.0
    leases.note_stillness(bridge.engine, [Stillness(seen, 0.0, 6.0)])
    assert read(bridge).still_s == 0.0


def test_a_lease_is_found_by_the_number_in_another_table(bridge: Bridge):
    claim(bridge, "one", key=7)

    with read_session(bridge.engine) as session:
        asked = [
            session.exec(select(leases.is_held(RUN, 7))).one(),
            session.exec(select(leases.is_held(RUN, 8))).one(),
            session.exec(select(leases.is_held(RUN, 7, but_by="one"))).one(),
            session.exec(select(leases.is_held(RUN, 7, but_by="other"))).one(),
        ]
    assert asked == [True, False, False, True]
