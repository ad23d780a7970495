"""Larger pages are asked for, and believed as far as they prove themselves: the group is exact, whatever comes."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.leases import lease
from core.rules.page_sizes import USUAL, Doubt
from core.syncs import one_time, runs
from core.worker import inline_run, service
from data import leases, page_sizes, run_queue
from data.engine import read_session, write_session
from data.models import LeaseKind, Run
from data.query_models import PageSize
from tests.stage.clock import FakeClock
from tests.stage.home import Home, export
from tests.stage.sandbox import NEWSLETTER, PROJECT, REFUND, TRIAL, Sandbox
from tests.stage.seeds import few, some

pytestmark = some(8)

SIZE = 100
# What each behavior of a server comes to: what is remembered of the size, and the counted queries that it costs.
BEHAVIORS: dict[str, tuple[str | None, int]] = {
    "": ("proven", 1),
    "page_size_capped": ("refused", 2),
    "page_size_ignored": ("refused", 2),
    "page_size_refused": ("refused", 2),
    "page_size_unsaid": ("failed once", 2),
    "page_size_changed": ("refused", 2),
    "page_size_held_back": ("failed once", 2),
    "page_size_cut": ("failed once", 2),
    "page_size_cut_smaller": ("refused", 2),
    "page_size_as_limit": ("failed once", 2),
    "page_size_shed": ("failed once", 6),
    "page_past_end": ("refused", 2),
    "page_past_end_refused": ("failed once", 2),
    "page_size_bad_request": ("failed once", 2),
    "page_size_forbidden": ("failed once", 2),
    "page_size_failure": ("failed once", 6),
}


@pytest.fixture
def sized(home: Home, fake_clock: FakeClock) -> Generator[Bridge]:
    with home.bridge(clock=fake_clock.clock, page_size=SIZE) as bridge:
        yield bridge


def remembered(bridge: Bridge, size: int = SIZE) -> PageSize:
    with read_session(bridge.engine) as session:
        rows = session.exec(select(PageSize).where(PageSize.size == size)).all()
    return rows[0] if rows else PageSize(project="", size=size)


def standing(bridge: Bridge, size: int = SIZE) -> str | None:
    """What is remembered: that the size is proven, or what speaks against it."""
    row = remembered(bridge, size)
    assert leases.list_held(bridge.engine, LeaseKind.PAGE_SIZE) == []
    if row.refused_at or row.is_proven:
        return "refused" if row.refused_at else "proven"
    return row.doubt or ("failed once" if row.failures else None)


def sizes_asked(sandbox: Sandbox) -> list[str | None]:
    """The sizes that first pages were asked for with, since the log was emptied."""
    return [page["arguments"].get("page_size") for page in sandbox.asked("engage") if page["page"] == 0]


def assert_exact(sandbox: Sandbox, run: Run, cohort: int = TRIAL) -> None:
    assert (run.status, run.error_code) == ("succeeded", None)
    assert sandbox.group(cohort) == sandbox.answer(cohort).group
    assert run.profiles == sandbox.answer(cohort).profiles


@few(3)
@pytest.mark.parametrize("fault", BEHAVIORS)
def test_whatever_a_server_makes_of_a_size_the_group_is_exact(sandbox: Sandbox, sized: Bridge, fault: str):
    if fault:
        sandbox.fault(fault, target="mixpanel")

    run = export(sized, TRIAL)

    assert_exact(sandbox, run)
    assert not fault or sandbox.struck(fault)
    assert (standing(sized), len(sizes_asked(sandbox))) == BEHAVIORS[fault]


def test_a_smaller_size_that_the_server_offers_is_asked_for_the_next_time(sandbox: Sandbox, home: Home):
    sandbox.fault("page_size_capped", target="mixpanel", rows=1500)
    with home.bridge(page_size=1900) as bridge:
        assert_exact(sandbox, export(bridge, NEWSLETTER), NEWSLETTER)
        assert standing(bridge, 1900) is None

        assert_exact(sandbox, export(bridge, NEWSLETTER, full=True), NEWSLETTER)

        assert sizes_asked(sandbox) == ["1900", None, "1500"]
        assert standing(bridge, 1900) == "proven"
        sandbox.fault("page_size_capped", target="mixpanel", rows=1200)
        assert_exact(sandbox, export(bridge, NEWSLETTER, full=True), NEWSLETTER)
        assert standing(bridge, 1900) == "refused", "sizes are not bargained over"


@few(2)
@pytest.mark.parametrize(
    ("fault", "size", "rows"),
    [
        ("page_size_cut_smaller", 1100, 1050),
        ("page_size_held_back", 2000, 1000),
        ("page_size_cut", 2000, 1000),
        ("page_size_cut_smaller", 2000, 1500),
    ],
)
def test_profiles_that_a_server_holds_back_without_contradicting_itself_are_in_the_group(
    sandbox: Sandbox, home: Home, fault: str, size: int, rows: int
):
    sandbox.fault(fault, target="mixpanel", rows=rows)
    with home.bridge(page_size=size) as bridge:
        for _ in range(2):
            assert_exact(sandbox, export(bridge, NEWSLETTER, full=True), NEWSLETTER)


@few(1)
@pytest.mark.parametrize(
    ("fault", "runs_before"), [("page_size_refused", 1), ("page_size_held_back", 2), ("page_size_unsaid", 2)]
)
def test_a_size_that_does_not_work_is_not_asked_for_for_thirty_days(
    sandbox: Sandbox, sized: Bridge, fake_clock: FakeClock, fault: str, runs_before: int
):
    sandbox.fault(fault, target="mixpanel")
    for _ in range(runs_before):
        assert_exact(sandbox, export(sized, TRIAL, full=True))
    assert standing(sized) == "refused"
    sandbox.forget_requests()

    export(sized, TRIAL, full=True)
    fake_clock.shift_s += timedelta(days=29, hours=23).total_seconds()
    export(sized, TRIAL, full=True)

    assert sizes_asked(sandbox) == [None, None]
    sandbox.clear_faults()
    fake_clock.shift_s += timedelta(hours=2).total_seconds()
    assert_exact(sandbox, export(sized, TRIAL, full=True))
    assert standing(sized) == "proven"


@pytest.mark.parametrize("fault", ["page_rows_missing", "page_repeated", "page_ignored", "cut_off_json"])
def test_what_goes_wrong_with_and_without_a_size_is_no_refusal(sandbox: Sandbox, sized: Bridge, fault: str):
    sandbox.fault(fault, target="mixpanel", page=1)

    run = export(sized, NEWSLETTER)

    assert run.status in ("failed", "held")
    assert sandbox.group(NEWSLETTER) is None
    assert standing(sized) is None


def test_a_failure_of_the_moment_is_forgotten_when_the_size_works_again(sandbox: Sandbox, sized: Bridge):
    sandbox.fault("page_size_failure", target="mixpanel")
    assert_exact(sandbox, export(sized, TRIAL))
    sandbox.clear_faults()
    assert_exact(sandbox, export(sized, TRIAL, full=True))
    sandbox.fault("page_size_failure", target="mixpanel")

    assert_exact(sandbox, export(sized, TRIAL, full=True))

    assert standing(sized) == "failed once"


def test_a_server_that_is_down_is_asked_twice_more_without_a_size(sandbox: Sandbox, sized: Bridge):
    sandbox.fault("server_error", target="mixpanel", path="engage")

    run = export(sized, TRIAL)

    assert run.error_code == "mixpanel_unavailable"
    assert sizes_asked(sandbox) == [str(SIZE)] * 5 + [None] * 2
    assert standing(sized) is None


def test_a_total_that_is_wrong_with_and_without_a_size_is_held_after_two_reads(sandbox: Sandbox, sized: Bridge):
    sandbox.fault("total_wrong", target="mixpanel")

    run = export(sized, TRIAL)

    assert (run.status, run.error_code) == ("held", "held_total")
    assert sizes_asked(sandbox) == [str(SIZE), None]
    assert standing(sized) is None


def test_a_session_that_is_lost_again_and_again_costs_as_many_queries_as_without_a_size(
    sandbox: Sandbox, sized: Bridge
):
    sandbox.fault("session_forgotten", target="mixpanel")

    run = export(sized, NEWSLETTER)

    assert (run.error_code, sizes_asked(sandbox)) == ("session_lost", [str(SIZE), None, None])


def test_without_a_query_left_the_run_waits_and_then_reads_without_the_size(
    sandbox: Sandbox, home: Home, fake_clock: FakeClock
):
    sandbox.fault("page_size_refused", target="mixpanel")
    with home.bridge(clock=fake_clock.clock, page_size=SIZE) as bridge:
        one_time.start_export(bridge, LOCAL, TRIAL)
        sandbox.limit(hourly_limit=2)
        asyncio.run(service.Worker(bridge).once())
        assert runs.list_runs(bridge, LOCAL)[0].status == "waiting"
        assert standing(bridge) == Doubt.REFUSED
        sandbox.forget_requests()
        fake_clock.shift_s += 3660

        asyncio.run(service.Worker(bridge).once())

        assert_exact(sandbox, runs.list_runs(bridge, LOCAL)[0])
        assert sizes_asked(sandbox) == [None]
        assert standing(bridge) == "refused"


def test_a_process_that_died_while_it_tried_leaves_a_doubt_that_the_next_run_settles(sandbox: Sandbox, sized: Bridge):
    begin_trial(sized, sandbox, "killed/101")
    with write_session(sized.engine) as session:
        for owner in ("killed", "killed/101"):  # as whoever finds the run dead does
            leases.free_all(session, owner)

    run = export(sized, TRIAL)

    assert_exact(sandbox, run)
    assert sizes_asked(sandbox) == [None]
    assert standing(sized) == "failed once"


def test_a_run_that_is_cancelled_while_it_tries_says_nothing_of_the_size(sandbox: Sandbox, sized: Bridge):
    sandbox.fault("slow", target="mixpanel", page=1, seconds=30)

    run = asyncio.run(cancelled_while_reading(sized, sandbox))

    assert (run.status, sizes_asked(sandbox)) == ("cancelled", [str(SIZE)])
    assert standing(sized) is None


async def cancelled_while_reading(bridge: Bridge, sandbox: Sandbox) -> Run:
    owner = lease.new_lease_owner()
    run_id = one_time.start_export(bridge, LOCAL, TRIAL, lease_owner=owner).id
    assert run_id
    work = asyncio.create_task(inline_run.carry_out_here(bridge, run_id, lease_owner=owner, patience_s=0))
    await asyncio.to_thread(sandbox.wait_for, "engage", page=1)
    await asyncio.to_thread(run_queue.ask_to_cancel, bridge.engine, run_id, now=bridge.clock.now())
    return await work


# --- when it is asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "cohort", "asked"),
    [("vendor", TRIAL, None), (None, TRIAL, None), (400, TRIAL, "400"), (600, TRIAL, None), (400, REFUND, None)],
)
def test_a_size_is_asked_for_where_a_page_of_it_would_be_full(
    sandbox: Sandbox, home: Home, setting: Any, cohort: int, asked: str | None
):
    with home.bridge(page_size=setting) as bridge:
        run = export(bridge, cohort)

    assert_exact(sandbox, run, cohort)
    assert sizes_asked(sandbox) == [asked]
    assert len(sandbox.answer(TRIAL).group) < USUAL


def test_one_run_at_a_time_tries_the_usual_size_and_others_ask_without_it_until_it_is_proven(
    sandbox: Sandbox, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("core.rules.page_sizes.USUAL", SIZE)
    begin_trial(bridge, sandbox, "another/101")
    assert_exact(sandbox, export(bridge, TRIAL))
    assert (sizes_asked(sandbox), remembered(bridge).doubt) == ([None], Doubt.TRYING)
    proven = PageSize(project=get_project(sandbox), size=SIZE, is_proven=True)
    with write_session(bridge.engine) as session:
        session.merge(proven)

    assert_exact(sandbox, export(bridge, TRIAL, full=True))

    assert sizes_asked(sandbox) == [None, str(SIZE)]


def begin_trial(bridge: Bridge, sandbox: Sandbox, owner: str) -> None:
    project, now = get_project(sandbox), bridge.clock.now()
    holder, _, run_id = owner.partition("/")
    leases.acquire(bridge.engine, LeaseKind.RUN, run_id, lease_owner=holder, now=now)
    begun = page_sizes.begin_trial(bridge.engine, project, SIZE, mark=Doubt.TRYING, lease_owner=owner, now=now)
    assert begun == "begun"


def get_project(sandbox: Sandbox) -> str:
    return f"{sandbox.url.removeprefix('http://')}/{PROJECT}"


def test_a_cohort_that_was_found_smaller_is_read_without_a_size_the_next_time(sandbox: Sandbox, home: Home):
    size = len(sandbox.raw(TRIAL)) + 1  # the list also counts users without a profile
    with home.bridge(page_size=size) as bridge:
        first, second = export(bridge, TRIAL), export(bridge, TRIAL, full=True)

        assert standing(bridge, size) is None
    assert sizes_asked(sandbox) == [str(size), None, None]
    for run in (first, second):
        assert_exact(sandbox, run, TRIAL)
