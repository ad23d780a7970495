"""One budget per Mixpanel project: what is counted, what is learnt, and when the next slot opens."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from core.bridge import Bridge
from core.clock import Clock
from core.connections.query_budget import ProjectBudget
from core.errors import NoQuerySlot
from core.export.cohort_reader import ResizableSemaphore
from core.leases import slots
from core.vendors.query_budget import QueryLimit, stated_limit
from data import query_slots
from tests.stage.clock import FakeClock

PROJECT = "mixpanel.com/1"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POLICY = {"RateLimit-Policy": '"project";q=3;w=600, "project-concurrency";q=5;qu="concurrent-requests"'}


def budget(bridge: Bridge, *, at: float = 0.0, project: str = PROJECT) -> ProjectBudget:
    """The project's budget, `at` so many minutes past noon."""
    return ProjectBudget(bridge.engine, project, Clock(now=lambda: NOON + timedelta(minutes=at)))


def spend_at(bridge: Bridge, *minutes: float) -> list[int]:
    return [budget(bridge, at=at).spend() for at in minutes]


def learn(bridge: Bridge, headers: dict[str, str]) -> None:
    """Take from an answer what it says of the limit, as the client does."""
    if limit := stated_limit(headers):
        budget(bridge).learn(limit)


def test_sixty_queries_fit_into_an_hour_and_the_next_opens_when_the_oldest_leaves_it(bridge: Bridge):
    spend_at(bridge, *range(60))

    with pytest.raises(NoQuerySlot) as caught:
        spend_at(bridge, 59.5)

    assert caught.value.next_at == NOON + timedelta(minutes=60)
    assert "13:00:00\u00a0UTC" in caught.value.message


def test_the_hour_rolls(bridge: Bridge):
    spend_at(bridge, *range(60))

    spend_at(bridge, 60.01)

    assert budget(bridge, at=60.5).status().used == 60


def test_the_limit_is_learnt_from_an_answer(bridge: Bridge):
    assert stated_limit(POLICY) == QueryLimit(3, 600)
    learn(bridge, POLICY)
    spend_at(bridge, 0, 1, 2)

    with pytest.raises(NoQuerySlot) as caught:
        spend_at(bridge, 3)

    assert caught.value.next_at == NOON + timedelta(minutes=10)


@pytest.mark.parametrize(
    "header", ['"project"; q=3; w=600', ' "other";q=9;w=9 , "project" ;q = 3;w=600', "project;w=600;q=3"]
)
def test_a_limit_is_learnt_however_its_header_is_spaced(header: str):
    assert stated_limit({"RateLimit-Policy": header}) == QueryLimit(3, 600)


UNUSABLE = [
    "",
    "nonsense",
    '"project";q=0;w=3600',
    '"other";q=3;w=600',
    '"project";q=-3;w=600',
    f'"project";q=3;w={10**30}',
    f'"project";q={10**30};w=600',
    f'"project";q=3;w={10**9}',
    '"project";q=3.5;w=600',
]


@pytest.mark.parametrize("header", UNUSABLE)
def test_a_header_that_says_nothing_usable_changes_nothing(bridge: Bridge, header: str):
    learn(bridge, {"RateLimit-Policy": header})

    assert budget(bridge).status().limit == 60


def test_a_query_that_mixpanel_did_not_count_is_given_back(bridge: Bridge):
    (entry,) = spend_at(bridge, 0)

    budget(bridge).give_back(entry)

    assert budget(bridge).status().used == 0


def test_projects_do_not_share_a_budget(bridge: Bridge):
    learn(bridge, POLICY)
    spend_at(bridge, 0, 1, 2)

    other = budget(bridge, at=3, project="mixpanel.com/2")
    other.spend()

    assert other.status().used == 1


def test_an_unexplained_refusal_blocks_for_one_share_of_the_hour_and_then_for_longer(bridge: Bridge):
    first = budget(bridge).block()
    second = budget(bridge, at=61 / 60).block()

    assert first.next_at == NOON + timedelta(seconds=60)
    assert second.next_at == NOON + timedelta(seconds=61 + 120)


def test_at_most_five_requests_of_a_project_are_in_flight_no_matter_who_asks(bridge: Bridge):
    first, second = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)

    assert first.take() == 5
    assert second.take() == 0
    assert len(query_slots.list_held(bridge.engine, PROJECT)) == 5


def test_who_holds_all_slots_hands_back_when_another_found_none(bridge: Bridge):
    first, second = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    first.take()
    second.take()

    assert first.renew() == 3
    first.hand_back()
    assert second.take() == 2
    assert first.renew() == 3


def test_slots_that_are_given_up_stay_held_while_requests_are_in_flight_on_them(bridge: Bridge):
    first, second = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    first.take()
    second.take()

    first.renew()

    assert second.take() == 0
    assert first.renew() == 3
    first.hand_back()
    assert second.take() == 2


def test_one_slot_is_taken_until_more_are_wanted_and_then_what_the_others_left(bridge: Bridge):
    first, second = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    for run_slots in (first, second):
        run_slots.want(1)

    assert (first.take(), second.take()) == (1, 1)
    first.want(240)
    assert first.take() == 4
    assert (first.renew(), second.renew()) == (4, 1)


def test_who_wants_more_slots_takes_those_that_are_handed_back_later(bridge: Bridge):
    large, small = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    small.want(1)
    widths = [small.take(), large.take()]

    small.release()
    widths.append(large.renew(grow=False))
    widths.append(large.renew())

    assert widths == [1, 4, 4, 5]


def test_what_others_asked_before_a_run_had_its_slot_keeps_it_from_nothing(bridge: Bridge):
    before, waiting = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    before.take()
    waiting.take()
    before.release()
    run_slots, others = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    run_slots.want(1)
    widths = [run_slots.take(), others.take()]
    widths.append(run_slots.renew())  # page 0 takes its time

    run_slots.want(5)
    others.release()
    widths.append(run_slots.renew())

    assert widths == [1, 4, 1, 5]


def test_who_was_asked_to_share_takes_no_more_for_a_while(bridge: Bridge, fake_clock: FakeClock):
    large, small = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    small.want(1)
    asked = (large.take(), small.take())
    shared = large.renew()
    large.hand_back()
    small.take()
    small.release()  # a small cohort is read at once, and the next one is not far

    soon = large.renew()
    fake_clock.ahead_s = 11
    later = large.renew()

    assert asked == (5, 0)
    assert (shared, soon, later) == (3, 3, 5)


def test_slots_that_were_released_are_free(bridge: Bridge):
    first, second = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    first.take()

    first.release()

    assert second.take() == 5


def test_the_slots_of_a_dead_process_are_free_after_a_lease_on_our_own_clock(bridge: Bridge, fake_clock: FakeClock):
    dead, living = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    dead.take()
    living.take()

    fake_clock.ahead_s = bridge.lease_times.lease_s + 1

    assert living.take() == 5
    assert dead.renew() == 0


def test_the_slots_of_a_living_process_stay_its_own(bridge: Bridge, fake_clock: FakeClock):
    run_slots, other = slots.RequestSlots(bridge, PROJECT), slots.RequestSlots(bridge, PROJECT)
    run_slots.take()
    other.take()
    run_slots.renew()  # gives up two, and moves
    run_slots.hand_back()
    other_width = other.take()

    fake_clock.ahead_s = bridge.lease_times.lease_s + 1
    run_slots.renew()

    assert other_width == 2
    assert other.take() == 2


def test_a_clock_that_is_set_back_delays_the_next_query_by_an_hour_and_no_longer(bridge: Bridge):
    spend_at(bridge, *[180] * 60)
    with pytest.raises(NoQuerySlot):
        spend_at(bridge, 0)
    with pytest.raises(NoQuerySlot):
        spend_at(bridge, 30)

    spend_at(bridge, 60.01)

    assert budget(bridge, at=60.1).status().used == 1


def test_a_width_that_is_narrowed_takes_free_places_at_once_and_waits_for_the_others():
    async def narrowed() -> list[object]:
        idle, busy = ResizableSemaphore(5), ResizableSemaphore(5)
        for _ in range(4):
            await busy.acquire()
        idle.resize(2)
        busy.resize(2)
        seen: list[object] = [idle.settled, busy.settled, busy.locked()]
        busy.release()
        busy.release()
        seen += [busy.settled, busy.locked()]
        for _ in range(2):
            await idle.acquire()
        return [*seen, idle.locked()]

    assert asyncio.run(narrowed()) == [True, False, True, True, True, True]


def test_places_that_were_released_are_not_taken_again_by_a_heartbeat_that_comes_late(bridge: Bridge):
    flight = slots.RequestSlots(bridge, PROJECT)
    flight.take()
    flight.release()

    assert (flight.renew() or flight.take()) == 0
    assert len(query_slots.list_held(bridge.engine, PROJECT)) == 0
