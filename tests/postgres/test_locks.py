"""Two writers at once come to what one after the other comes to, and wait only for whom they must."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlmodel import col, select

from core.access import people
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.worker.service import Worker
from data import (
    alert_states,
    cohort_list,
    leases,
    locks,
    outbox,
    page_sizes,
    query_budget,
    query_slots,
    run_queue,
    tokens,
    workers,
)
from data.audit import events, reader, refusals
from data.audit.scope import Scope
from data.engine import Engine, as_one, read_session, write_session
from data.models import AuditEntry, LeaseKind, Person, Run
from data.query_budget import BudgetStatus, Spent
from data.query_models import QueryBudget
from data.repeating import repeated
from data.seen import ChangedSinceSeen
from tests.stage.concurrent import meet

PROJECT = "mixpanel.com/1"
ORDERS = pytest.mark.parametrize("swapped", [False, True])
# Does something to a bridge, and returns what came of it.
Does = Callable[[Bridge], Any]


def scope(bridge: Bridge, who: str = "a@example.com") -> Scope:
    return Scope(who, "try", bridge.settings.audit_head, bridge.clock.now)


def set_up(bridge: Bridge) -> None:
    """Change something that is set up, of the kind that keeps out all who rely on it."""
    alert_states.set_failing_after(bridge.engine, 5)


def spend(bridge: Bridge, project: str = PROJECT) -> Spent | BudgetStatus:
    return query_budget.spend(bridge.engine, project, clock=bridge.clock.now)


def take_slots(bridge: Bridge, owner: str, most: int = 3) -> list[int]:
    now = bridge.clock.now()
    return query_slots.take(bridge.engine, PROJECT, lease_owner=owner, most=most, ask=True, now=now).numbers


def acquire(bridge: Bridge, owner: str, kind: LeaseKind = LeaseKind.COHORT_LIST) -> bool:
    return leases.acquire(bridge.engine, kind, PROJECT, lease_owner=owner, now=bridge.clock.now())


def claim(bridge: Bridge, run: Run, owner: str = "one") -> bool:
    return run_queue.claim(bridge.engine, run.id or 0, lease_owner=owner, now=bridge.clock.now())


BY_ROWS: list[Does] = [
    lambda bridge: leases.heartbeat(bridge.engine, LeaseKind.COHORT_LIST, "held", lease_owner="one"),
    lambda bridge: leases.release(bridge.engine, LeaseKind.COHORT_LIST, "held", lease_owner="one"),
    lambda bridge: run_queue.heartbeat(bridge.engine, 1, lease_owner="one", log={}),
    spend,
    lambda bridge: query_budget.block(bridge.engine, PROJECT, clock=bridge.clock.now),
    lambda bridge: take_slots(bridge, "two"),
    lambda bridge: query_slots.renew(bridge.engine, PROJECT, lease_owner="two"),
    lambda bridge: acquire(bridge, "two"),
    lambda bridge: cohort_list.share(bridge.engine, PROJECT, [], read_at=bridge.clock.now()),
    lambda bridge: Worker(bridge).sign_on(),
    lambda bridge: workers.sign_off(bridge.engine, "nobody"),
    lambda bridge: outbox.mark_next(bridge.engine, lease_owner="one", now=bridge.clock.now()),
    lambda bridge: events.note(bridge.engine, scope(bridge), "something"),
    lambda bridge: people.add_person(bridge, LOCAL, "b@example.com"),
    lambda bridge: tokens.note_used(bridge.engine, 1, now=bridge.clock.now()),
]


@pytest.mark.parametrize("number", range(len(BY_ROWS)))
def test_what_is_a_matter_of_rows_waits_for_no_writer_that_hangs(bridge: Bridge, number: int):
    leases.acquire(bridge.engine, LeaseKind.COHORT_LIST, "held", lease_owner="one", now=bridge.clock.now())

    assert not meet(bridge.engine, lambda: set_up(bridge), lambda: BY_ROWS[number](bridge)).waited


def test_what_changes_what_is_set_up_waits_for_another_that_does(bridge: Bridge):
    assert meet(bridge.engine, lambda: set_up(bridge), lambda: set_up(bridge)).waited


def test_of_two_who_save_at_once_what_both_saw_otherwise_the_second_is_refused(bridge: Bridge):
    engine, seen = bridge.engine, alert_states.read_failing_after(bridge.engine)

    met = meet(
        engine,
        lambda: alert_states.set_failing_after(engine, 5, seen=seen),
        lambda: alert_states.set_failing_after(engine, 7, seen=seen),
    )

    assert met.waited
    assert isinstance(met.second, ChangedSinceSeen)
    assert alert_states.read_failing_after(engine) == 5


def test_the_last_query_of_an_hour_is_spent_once(bridge: Bridge):
    query_budget.keep_limit(bridge.engine, PROJECT, queries=1, window_s=3600)

    met = meet(bridge.engine, lambda: spend(bridge), lambda: spend(bridge))

    assert met.waited
    assert isinstance(met.first, Spent)
    assert isinstance(met.second, BudgetStatus)


def test_the_first_query_of_a_project_is_spent_by_both(bridge: Bridge):
    met = meet(bridge.engine, lambda: spend(bridge), lambda: spend(bridge))

    assert [type(one) for one in (met.first, met.second)] == [Spent, Spent]


def test_projects_do_not_wait_for_each_other_s_budget(bridge: Bridge):
    assert not meet(bridge.engine, lambda: spend(bridge), lambda: spend(bridge, "mixpanel.com/2")).waited


@ORDERS
def test_a_limit_that_is_learnt_and_a_block_do_not_undo_each_other(bridge: Bridge, swapped: bool):
    def learn() -> None:
        query_budget.keep_limit(bridge.engine, PROJECT, queries=7, window_s=600)

    def block() -> BudgetStatus:
        return query_budget.block(bridge.engine, PROJECT, clock=bridge.clock.now)

    spend(bridge)
    meet(bridge.engine, *((block, learn) if swapped else (learn, block)))

    with read_session(bridge.engine) as session:
        rules = session.get_one(QueryBudget, PROJECT)
    assert (rules.queries, rules.window_s, rules.blocked_until is None) == (7, 600, False)


def test_slots_are_held_by_one_each(bridge: Bridge):
    met = meet(bridge.engine, lambda: take_slots(bridge, "one"), lambda: take_slots(bridge, "two"))

    assert sorted(met.first + met.second) == [0, 1, 2, 3, 4]


def test_holders_of_slots_are_asked_to_share_as_often_as_somebody_asks(bridge: Bridge):
    take_slots(bridge, "holder", most=5)

    meet(bridge.engine, lambda: take_slots(bridge, "one"), lambda: take_slots(bridge, "two"))

    assert query_slots.renew(bridge.engine, PROJECT, lease_owner="holder")[1] == 2


@pytest.mark.parametrize("kind", [LeaseKind.COHORT_LIST, LeaseKind.FORGETTING])
def test_a_lease_that_is_free_is_had_by_one(bridge: Bridge, kind: LeaseKind):
    met = meet(bridge.engine, lambda: acquire(bridge, "one", kind), lambda: acquire(bridge, "two", kind))

    assert (met.first, met.second) == (True, False)


def test_a_lease_of_the_dead_is_taken_by_one(bridge: Bridge):
    acquire(bridge, "dead")
    (dead,) = leases.list_held(bridge.engine, LeaseKind.COHORT_LIST)

    def take(owner: str) -> bool:
        return leases.acquire(
            bridge.engine, LeaseKind.COHORT_LIST, PROJECT, lease_owner=owner, now=bridge.clock.now(), dead=dead
        )

    met = meet(bridge.engine, lambda: take("one"), lambda: take("two"))
    assert (met.first, met.second) == (True, False)


@ORDERS
def test_a_heartbeat_and_the_end_of_its_lease_do_not_both_count(bridge: Bridge, swapped: bool):
    acquire(bridge, "one")
    (seen,) = leases.list_held(bridge.engine, LeaseKind.COHORT_LIST)

    def beat() -> bool:
        return leases.heartbeat(bridge.engine, LeaseKind.COHORT_LIST, PROJECT, lease_owner="one")

    def end() -> bool:
        return leases.end(bridge.engine, seen)

    met = meet(bridge.engine, *((end, beat) if swapped else (beat, end)))
    assert (met.first, met.second) == (True, False)


def test_a_size_of_pages_is_tried_by_one(bridge: Bridge):
    def begin(owner: str) -> str:
        now = bridge.clock.now()
        return page_sizes.begin_trial(bridge.engine, PROJECT, 5000, mark="m", lease_owner=owner, now=now)

    met = meet(bridge.engine, lambda: begin("one/1"), lambda: begin("two/2"))

    assert met.first == "begun"
    assert met.second in ("taken", "in doubt")


def test_the_chain_is_whole_under_eight_writers(bridge: Bridge):
    def write(writer: int) -> None:
        for number in range(4):
            events.note(bridge.engine, scope(bridge), f"{writer}-{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    check = reader.verify(bridge.engine, bridge.settings.audit_head)
    assert (check.entries, check.problems) == (32, [])
    with read_session(bridge.engine) as session:
        times = list(session.exec(select(AuditEntry.at).order_by(col(AuditEntry.number))).all())
    assert times == sorted(times)


def test_one_refusal_that_is_noted_twice_at_once_is_one_line(bridge: Bridge):
    def note() -> None:
        refusals.note(bridge.engine, scope(bridge), "why", now=bridge.clock.now())

    meet(bridge.engine, note, note)

    assert reader.count_entries(bridge.engine, reader.AuditFilter()) == 1


def test_of_two_admins_who_disable_each_other_one_stays(bridge: Bridge):
    ids = [people.add_person(bridge, LOCAL, f"{name}@example.com", "admin").id or 0 for name in "ab"]

    def disable(number: int) -> Person:
        return people.disable_person(bridge, LOCAL, ids[number])

    met = meet(bridge.engine, lambda: disable(0), lambda: disable(1))

    assert isinstance(met.second, CohortBridgeError)
    with read_session(bridge.engine) as session:
        assert len(session.exec(select(Person).where(col(Person.disabled).is_(False))).all()) == 1


def test_a_person_is_added_once(bridge: Bridge):
    def add() -> Person:
        return people.add_person(bridge, LOCAL, "a@example.com")

    met = meet(bridge.engine, add, add)

    assert isinstance(met.first, Person)
    assert isinstance(met.second, CohortBridgeError)


def test_all_in_one_waits_for_people_and_audit_in_the_order_of_all(bridge: Bridge):
    def in_one() -> None:
        with as_one(bridge.engine):
            people.add_person(bridge, LOCAL, "a@example.com")
            people.add_person(bridge, LOCAL, "b@example.com")

    met = meet(bridge.engine, lambda: people.add_person(bridge, LOCAL, "c@example.com"), in_one)

    assert met.waited
    assert met.second is None
    assert reader.verify(bridge.engine, bridge.settings.audit_head).ok


def test_of_two_that_wait_for_each_other_one_is_done_again(bridge: Bridge):
    people_ids = [people.add_person(bridge, LOCAL, f"{name}@example.com").id or 0 for name in "ab"]
    tries = list[str]()

    @repeated
    def name_both(engine: Engine, ids: list[int], name: str, between: Callable[[], None]) -> None:
        tries.append(name)
        with write_session(engine, by_rows=True) as session:
            for number in ids:
                session.get_one(Person, number).name = name
                session.flush()
                between()

    barrier = threading.Barrier(2)
    met_once = [False, False]

    def meet_once(number: int) -> None:
        if not met_once[number]:
            met_once[number] = True
            barrier.wait(30)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(name_both, bridge.engine, people_ids, "one", lambda: meet_once(0))
        two = pool.submit(name_both, bridge.engine, people_ids[::-1], "two", lambda: meet_once(1))
        assert (one.result(), two.result()) == (None, None)

    with read_session(bridge.engine) as session:
        names = set(session.exec(select(Person.name).where(col(Person.id).in_(people_ids))).all())
    assert len(names) == 1
    assert len(tries) == 3


def test_names_of_locks_are_told_apart_and_taken_in_their_order():
    statement = locks.statement([locks.AUDIT, locks.of_group(7), locks.RELYING, locks.of_group(7)])

    assert statement.count("pg_advisory_xact_lock") == 3
    assert statement.index("_shared") < statement.index(str(7_021_000 + locks.Kind.GROUP)) < statement.rindex("7021009")
