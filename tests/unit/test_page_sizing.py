"""What one run leaves for the next of its project to know of the size of pages."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from threading import Event

import pytest
from sqlalchemy import event

from core.bridge import Bridge
from core.errors import IncompleteRead, RunTookTooLong, VendorUnavailable
from core.export.page_sizing import PageSizing
from core.rules.page_sizes import USUAL, Doubt, Unproven
from data import leases, page_sizes
from data.models import LeaseKind
from data.query_models import PageSize

PROJECT = "mixpanel.com/7"


def begin(bridge: Bridge, owner: str = "one/1", setting: int | str | None = None) -> PageSizing:
    """Begin a run that a process holds, over a cohort that was never read."""
    holder, _, run_id = owner.partition("/")
    leases.acquire(bridge.engine, LeaseKind.RUN, run_id, lease_owner=holder, now=bridge.clock.now())
    return choose(bridge, owner, setting)


def choose(
    bridge: Bridge, owner: str = "one/1", setting: int | str | None = None, listed: int = USUAL + 1
) -> PageSizing:
    sizing = PageSizing(bridge.engine, bridge.clock, setting=setting, project=PROJECT, lease_owner=owner)
    asyncio.run(sizing.choose(listed=listed, group_id=1))
    return sizing


def remembered(bridge: Bridge, size: int = USUAL) -> PageSize:
    return page_sizes.get(bridge.engine, PROJECT, size)


def test_the_second_run_waits_with_the_size_until_the_first_has_proven_it(bridge: Bridge):
    first, second = begin(bridge), begin(bridge, "two/2")
    assert (first.size, second.size) == (USUAL, None)

    asyncio.run(first.settle(profiles=USUAL))
    asyncio.run(second.settle(profiles=USUAL))

    assert [begin(bridge, f"{owner}/3").size for owner in ("three", "four")] == [USUAL, USUAL]


def test_who_set_a_number_does_not_wait(bridge: Bridge):
    sizes = [begin(bridge, f"{owner}/1", setting=500).size for owner in ("one", "two")]

    assert sizes == [500, 500]


@pytest.mark.parametrize("exc", [RunTookTooLong("x"), MemoryError()])
def test_a_run_that_ends_of_the_size_itself_leaves_a_doubt(bridge: Bridge, exc: BaseException):
    sizing = begin(bridge)

    asyncio.run(sizing.fail(exc))
    sizing.close()

    assert remembered(bridge).doubt == Doubt.FAILED
    following = begin(bridge, "two/2")
    assert following.size is None
    asyncio.run(following.settle(profiles=USUAL))
    assert (remembered(bridge).doubt, remembered(bridge).failures) == (None, 1)


def test_a_run_that_ends_of_something_else_after_its_read_leaves_none(bridge: Bridge):
    sizing = begin(bridge)
    asyncio.run(sizing.settle(profiles=USUAL))

    asyncio.run(sizing.fail(VendorUnavailable("the endpoint is down")))
    sizing.close()

    assert (remembered(bridge).is_proven, remembered(bridge).doubt) == (True, None)


def test_what_was_proven_is_doubted_too_and_tried_by_one_run_again(bridge: Bridge):
    asyncio.run(begin(bridge).settle(profiles=USUAL))
    proven = begin(bridge)
    asyncio.run(proven.drop(VendorUnavailable("x", status=504)))
    assert (proven.size, proven.tries) == (None, 2)

    asyncio.run(proven.settle(profiles=USUAL))

    assert (remembered(bridge).is_proven, remembered(bridge).failures) == (False, 1)
    assert [begin(bridge, f"{owner}/2").size for owner in ("two", "three")] == [USUAL, None]


def test_a_size_that_was_offered_is_asked_for_where_a_page_of_it_is_full(bridge: Bridge):
    sizing = begin(bridge)
    with pytest.raises(Unproven) as caught:
        sizing.prove_first(page_size=5000, rows=5000, total=USUAL)
    asyncio.run(sizing.drop(caught.value))
    asyncio.run(sizing.settle(profiles=USUAL))

    assert choose(bridge, listed=5000).size is None
    second = choose(bridge, listed=5001)
    assert second.size == 5000
    with pytest.raises(IncompleteRead):
        second.prove_first(page_size=2500, rows=2500, total=5000)


def test_a_small_cohort_or_one_that_is_left_to_the_vendor_asks_the_database_nothing(bridge: Bridge):
    asked = list[object]()
    event.listen(bridge.engine, "engine_connect", asked.append)

    assert choose(bridge, listed=999).size is None
    assert choose(bridge, setting="vendor").size is None
    assert asked == []
    assert choose(bridge).size is not None
    assert asked


@pytest.mark.parametrize("taken_over_by", [None, "another"])
def test_a_trial_whose_run_is_not_held_any_more_keeps_no_other_from_trying(bridge: Bridge, taken_over_by: str | None):
    begin(bridge, "killed/1")  # after its end was recorded, and before it said so of its trial
    leases.release(bridge.engine, LeaseKind.RUN, 1, lease_owner="killed")
    if taken_over_by:
        leases.acquire(bridge.engine, LeaseKind.RUN, 1, lease_owner=taken_over_by, now=bridge.clock.now())

    following = begin(bridge, "two/2")
    asyncio.run(following.settle(profiles=USUAL))

    assert (following.size, remembered(bridge).failures) == (None, 1)
    assert begin(bridge, "three/3").size == USUAL


@pytest.mark.sqlite_file
def test_no_trial_begins_once_a_run_that_was_stopped_has_given_up(bridge: Bridge):
    sizing, begins = (
        PageSizing(bridge.engine, bridge.clock, setting=None, project=PROJECT, lease_owner="one/1"),
        Event(),
    )

    def note_begin(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement == "BEGIN IMMEDIATE":
            begins.set()

    async def stop_while_it_begins() -> None:
        choosing = asyncio.create_task(sizing.choose(listed=USUAL + 1, group_id=1))
        await asyncio.to_thread(begins.wait)
        choosing.cancel()
        giving_up = asyncio.create_task(asyncio.to_thread(sizing.close))
        await asyncio.wait([choosing, giving_up], timeout=0.2)  # it may wait for the trial that begins, or not
        held.close()
        await giving_up

    event.listen(bridge.engine, "before_cursor_execute", note_begin)
    with closing(sqlite3.connect(bridge.settings.home / "cohort_bridge.db")) as held:
        held.execute("BEGIN IMMEDIATE")  # whoever writes waits
        asyncio.run(stop_while_it_begins())

    assert (remembered(bridge).doubt, leases.list_held(bridge.engine, LeaseKind.PAGE_SIZE)) == (None, [])


def test_a_lease_on_a_trial_goes_with_it(bridge: Bridge):
    begin(bridge).close()

    assert remembered(bridge).doubt is None
    assert begin(bridge, "two/2").size == USUAL
