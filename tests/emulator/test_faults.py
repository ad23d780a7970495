"""With each fault switched on, an export ends right, or fails with advice and leaves the group as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import col, update

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.clock import SYSTEM_CLOCK
from core.connections import destinations, mixpanel_connection
from core.leases import lease
from core.moments import moment_text
from core.sandbox import faults
from core.syncs import groups, one_time, runs
from core.worker import inline_run, service
from data import leases, run_queue
from data.engine import write_session
from data.models import LeaseKind, Run
from data.query_models import QuerySpend
from tests.stage.home import PRACTICE, Home, copy_home, export, get_counts, group_row
from tests.stage.oracle import Answer
from tests.stage.sandbox import LATER_S, POWER, Sandbox
from tests.stage.seeds import SEEDS, few

RIGHT = None
ONCE: dict[str, Any] = {"times": 1}
ALWAYS: dict[str, Any] = {}
SECOND_ON: dict[str, Any] = {"after": 1}
NEVER_STRIKES = "never strikes"
PAST_END = ("page_past_end", "page_past_end_refused")
SIZED = tuple(name for name, fault in faults.KNOWN.items() if fault.when == "sized")

# What each fault of Mixpanel's queries comes to: once, always, from the second request on, on the second page.
# Counted queries are first pages alone here, since the list of cohorts is available.
MIXPANEL = {
    "rate_limit_hour": ("no_query_slot", "no_query_slot", NEVER_STRIKES, NEVER_STRIKES),
    "rate_limit_concurrency": (RIGHT, "rate_limited", NEVER_STRIKES, NEVER_STRIKES),
    "load_shedding": (RIGHT, "rate_limited", "rate_limited", "rate_limited"),
    "server_error": (RIGHT, "mixpanel_unavailable", "mixpanel_unavailable", "mixpanel_unavailable"),
    "unauthorized": ("mixpanel_unauthorized",) * 4,
    "bad_request": ("mixpanel_refused",) * 4,
    "cut_off_json": (RIGHT, *("mixpanel_unreadable_answer",) * 3),
    "cut_off_body": (RIGHT, *("mixpanel_unreachable",) * 3),
    "html_200": (RIGHT, *("mixpanel_unreadable_answer",) * 3),
    "query_failed": (RIGHT, *("mixpanel_failed",) * 3),
    "slow": (RIGHT,) * 4,
    "reset_before": (RIGHT, *("mixpanel_unreachable",) * 3),
    "reset_after": (RIGHT, *("mixpanel_unreachable",) * 3),
    "list_odd": (NEVER_STRIKES,) * 4,  # the list of cohorts is available: tests/emulator/test_odd_entries.py
    "page_repeated": ("incomplete_read",) * 4,
    "page_ignored": ("incomplete_read",) * 4,
    "page_rows_missing": ("incomplete_read",) * 4,
    "total_wrong": (RIGHT, "held_total", NEVER_STRIKES, NEVER_STRIKES),
    "session_forgotten": (RIGHT, *("session_lost",) * 3),
    # Without a size that was asked for no page past the end is, nor does any of these strike: test_page_sizes.py.
    **dict.fromkeys(PAST_END, (RIGHT, NEVER_STRIKES, NEVER_STRIKES, NEVER_STRIKES)),
    **dict.fromkeys(SIZED, (NEVER_STRIKES,) * 4),
}
# The same for messages to Apptimize.
APPTIMIZE = {
    "load_shedding": (RIGHT, *("apptimize_unavailable",) * 3),
    "server_error": (RIGHT, *("apptimize_unavailable",) * 3),
    "unauthorized": ("apptimize_unauthorized",) * 4,
    "cut_off_json": (RIGHT, *("apptimize_unreadable_answer",) * 3),
    "cut_off_body": (RIGHT, *("apptimize_unreachable",) * 3),
    "html_200": (RIGHT, *("apptimize_unreadable_answer",) * 3),
    "slow": (RIGHT,) * 4,
    "reset_before": (RIGHT, *("apptimize_unreachable",) * 3),
    "reset_after": (RIGHT, *("apptimize_unreachable",) * 3),
    "apptimize_failure_200": (RIGHT, *("apptimize_unavailable",) * 3),
}
# The message was taken and only the answer is lost: no one can know whether the group was written.
ANSWER_LOST = ("cut_off_json", "cut_off_body", "reset_after")


def cases(table: dict[str, tuple[str | None, ...]], *, page: int) -> list[Any]:
    """Spell a table out: fault, options, and the code that the run fails with.

    The short form leaves out the times at which a fault comes to the same as at another one of them.
    """
    times = {"once": ONCE, "always": ALWAYS, "second on": SECOND_ON, "one page": {"page": page}}
    return [
        pytest.param(name, options, code, id=f"{name}-{when}")
        for name, codes in table.items()
        for number, ((when, options), code) in enumerate(zip(times.items(), codes, strict=True))
        if code != NEVER_STRIKES and (SEEDS or code not in codes[:number])
    ]


@dataclass
class Scene:
    """A group that was delivered earlier, and a cohort that others have joined and left since."""

    sandbox: Sandbox
    home: Home
    before: dict[str, str]
    now: Answer

    def export(self, **options: Any) -> Run:
        """Export in full: a delivery of differences that is cut off is `tests/faults`' matter."""
        with self.home.bridge() as bridge:
            return export(bridge, POWER, full=True, **options)

    @property
    def group(self) -> dict[str, str] | None:
        return self.sandbox.group(POWER)

    @property
    def in_doubt(self) -> bool:
        with self.home.bridge() as bridge:
            return group_row(bridge, POWER).in_doubt


@pytest.fixture(scope="module")
def delivered_template(
    module_sandbox: Sandbox, connected_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    module_sandbox.reset()
    home = copy_home(connected_template, tmp_path_factory.mktemp("delivered") / "home")
    with home.bridge() as bridge:
        export(bridge, POWER)
    return home.path


@pytest.fixture
def scene(sandbox: Sandbox, delivered_template: Path, tmp_path: Path) -> Iterator[Scene]:
    before = sandbox.answer(POWER).group
    sandbox.fill(POWER, before)
    sandbox.at(LATER_S)
    now = sandbox.answer(POWER)
    assert before.keys() - now.group.keys()
    assert now.group.keys() - before.keys()
    sandbox.forget_requests()
    yield Scene(sandbox, copy_home(delivered_template, tmp_path / "home"), before, now)
    sandbox.clear_faults()


def check_failure(run: Run, code: str) -> None:
    assert run.status == ("held" if code.startswith("held") else "failed")
    assert run.error_code == code
    assert run.error_message
    assert run.error_advice
    assert run.finished_at


# --- every fault ---------------------------------------------------------------------------------------------------


def test_every_fault_of_the_sandbox_is_tried():
    both = {name for name, fault in faults.KNOWN.items() if "mixpanel" in fault.targets}

    assert set(MIXPANEL) == both
    assert set(APPTIMIZE) == {name for name, fault in faults.KNOWN.items() if "apptimize" in fault.targets}


@few(6)
@pytest.mark.parametrize(("name", "options", "code"), cases(MIXPANEL, page=1))
def test_a_read_that_goes_wrong_writes_nothing(scene: Scene, name: str, options: dict[str, Any], code: str | None):
    scene.sandbox.fault(name, target="mixpanel", **options, **({"seconds": 0.1} if name == "slow" else {}))

    run = scene.export()

    assert scene.sandbox.struck(name)
    if code is RIGHT:
        assert (run.status, run.error_code) == ("succeeded", None)
        assert scene.group == scene.now.group
        assert get_counts(run) == scene.now.counts
    else:
        check_failure(run, code)
        assert scene.group == scene.before
        assert scene.sandbox.messages() == []
        assert not scene.in_doubt


@few(6)
@pytest.mark.parametrize(("name", "options", "code"), cases(APPTIMIZE, page=2))
def test_a_delivery_that_goes_wrong_never_leaves_part_of_a_cohort(
    scene: Scene, name: str, options: dict[str, Any], code: str | None
):
    scene.sandbox.fault(name, target="apptimize", **options, **({"seconds": 0.1} if name == "slow" else {}))

    run = scene.export()

    assert scene.sandbox.struck(name)
    if code is RIGHT:
        assert (run.status, run.error_code) == ("succeeded", None)
        assert scene.group == scene.now.group
        assert not scene.in_doubt
    else:
        check_failure(run, code)
        assert scene.group == scene.before or (name in ANSWER_LOST and scene.group == scene.now.group)
        assert scene.in_doubt


@few(4)
@pytest.mark.parametrize("name", [name for name in MIXPANEL if faults.KNOWN[name].when in ("any", "counted")])
def test_a_list_of_cohorts_that_cannot_be_had_writes_nothing(sandbox: Sandbox, home: Home, name: str):
    before = {"i_before": "u-before"}
    sandbox.fill(POWER, before)
    sandbox.forget_requests()
    sandbox.fault(name, target="mixpanel", path="cohorts/list", **({"seconds": 0.1} if name == "slow" else {}))

    with home.bridge() as bridge:
        run = export(bridge, POWER)

    assert sandbox.struck(name)
    if name == "slow":
        assert run.status == "succeeded"
    else:
        check_failure(run, MIXPANEL[name][1] or "")
        assert (sandbox.group(POWER), sandbox.messages(), sandbox.asked("engage")) == (before, [], [])


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_session_is_read_again_from_its_first_page(scene: Scene, times: int):
    scene.sandbox.fault("session_forgotten", times=times, page=1)

    run = scene.export()

    first_pages = [page for page in scene.sandbox.asked("engage") if page["page"] == 0]
    assert len(first_pages) == run.queries == times + 1
    assert (run.status, scene.group) == ("succeeded", scene.now.group)


def test_a_session_that_is_lost_three_times_fails(scene: Scene):
    scene.sandbox.fault("session_forgotten", times=3, page=1)

    run = scene.export()

    check_failure(run, "session_lost")
    assert (run.queries, scene.group) == (3, scene.before)


@pytest.mark.parametrize("by", [3, 700, -500])
def test_a_total_that_is_wrong_twice_running_is_held_with_both_numbers(scene: Scene, by: int):
    scene.sandbox.fault("total_wrong", by=by)

    run = scene.export()

    check_failure(run, "held_total")
    assert f"{scene.now.profiles + by:,}" in (run.error_message or "")
    assert f"{scene.now.profiles:,}" in (run.error_message or "")
    assert get_counts(run) == scene.now.counts, "what the pages hold is told, and it adds up"
    assert (scene.group, scene.sandbox.messages(), scene.in_doubt) == (scene.before, [], False)


@pytest.mark.parametrize("by", [10**18, 10**30, -(10**6)])
def test_a_total_that_no_cohort_has_ends_the_read_by_the_field_s_name(scene: Scene, by: int):
    scene.sandbox.fault("total_wrong", by=by)

    run = scene.export()

    check_failure(run, "mixpanel_odd_number")
    assert "“total”" in (run.error_message or "")
    assert [page["page"] for page in scene.sandbox.asked("engage")] == [0] * 5
    assert (scene.group, scene.sandbox.messages(), scene.in_doubt) == (scene.before, [], False)


def test_a_total_of_a_thousand_million_is_not_asked_for_page_by_page(scene: Scene):
    scene.sandbox.fault("total_wrong", by=10**9 - scene.now.profiles)

    run = scene.export()

    check_failure(run, "held_total")
    assert f"{scene.now.profiles:,}" in (run.error_message or "")
    assert len(scene.sandbox.asked("engage")) < 100
    assert (scene.group, scene.sandbox.messages()) == (scene.before, [])


@pytest.mark.parametrize("by", [-500, 3000])
def test_a_total_that_is_wrong_once_is_read_again(scene: Scene, by: int):
    scene.sandbox.fault("total_wrong", by=by, times=1)

    run = scene.export()

    assert (run.status, run.queries, scene.group) == ("succeeded", 2, scene.now.group)
    assert get_counts(run) == scene.now.counts


def test_rows_that_the_last_page_lacks_are_held_too(scene: Scene):
    scene.sandbox.fault("page_rows_missing", page=2, rows=7)

    run = scene.export()

    check_failure(run, "held_total")
    assert f"{scene.now.profiles:,}" in (run.error_message or "")
    assert f"{scene.now.profiles - 7:,}" in (run.error_message or "")
    assert (scene.group, scene.sandbox.messages()) == (scene.before, [])


@pytest.mark.parametrize("page", [0, 1])
def test_a_page_without_any_rows_is_an_incomplete_read(scene: Scene, page: int):
    scene.sandbox.fault("page_rows_missing", page=page, rows=1000)

    run = scene.export()

    check_failure(run, "incomplete_read")
    assert (scene.group, scene.sandbox.messages()) == (scene.before, [])


def test_profiles_that_all_lost_their_id_are_held(scene: Scene):
    with scene.home.bridge(mixpanel_url=scene.sandbox.url) as bridge:
        mixpanel_connection.connect_mixpanel(bridge, LOCAL, replace(PRACTICE, match_property="renamed"))

    run = scene.export()

    check_failure(run, "held_no_ids")
    assert "renamed" in (run.error_advice or "")
    assert (scene.group, scene.sandbox.messages(), scene.in_doubt) == (scene.before, [], False)


# --- the hour ------------------------------------------------------------------------------------------------------


def test_without_a_query_slot_it_says_when_the_next_one_opens(scene: Scene):
    scene.sandbox.limit(hourly_limit=1)
    scene.export()

    run = scene.export()

    check_failure(run, "no_query_slot")
    opens = SYSTEM_CLOCK.now() + timedelta(hours=1)
    said = {moment_text(opens - timedelta(seconds=back), with_seconds=True) for back in range(60)}
    assert any(time in (run.error_message or "") for time in said)
    assert "--wait" in (run.error_advice or "")
    assert len(scene.sandbox.asked("engage")) == 3  # those of the first export: a spent hour is not asked again


def test_a_refusal_for_the_hour_is_waited_for_and_then_recovered(scene: Scene):
    scene.sandbox.limit(hourly_limit=7200)  # the share of one query in the hour is half a second
    scene.sandbox.fault("rate_limit_hour", times=1)
    told: list[str] = []

    with scene.home.bridge() as bridge:
        lease_owner = lease.new_lease_owner()
        run = one_time.start_export(bridge, LOCAL, POWER, lease_owner=lease_owner)
        assert run.id
        done = asyncio.run(
            inline_run.carry_out_here(bridge, run.id, lease_owner=lease_owner, patience_s=None, notify=told.append)
        )

    assert (done.status, scene.group) == ("succeeded", scene.now.group)
    assert len(told) == 1
    assert "the next slot opens at" in told[0]


def test_a_worker_leaves_a_run_waiting_and_continues_when_the_hour_has_passed(scene: Scene):
    scene.sandbox.limit(hourly_limit=1)
    scene.export()
    with scene.home.bridge() as bridge:
        run_id = one_time.start_export(bridge, LOCAL, POWER).id
        assert run_id

        asyncio.run(service.Worker(bridge).once())

        waiting = runs.get_run(bridge, LOCAL, run_id)
        assert (waiting.status, waiting.error_code) == ("waiting", None)
        assert leases.list_held(bridge.engine, LeaseKind.RUN) == []
        assert waiting.waiting_until
        assert timedelta(minutes=59) < waiting.waiting_until - bridge.clock.now() <= timedelta(hours=1)

        let_an_hour_pass(bridge, run_id)
        scene.sandbox.forget_requests()
        asyncio.run(service.Worker(bridge).once())

        assert runs.get_run(bridge, LOCAL, run_id).status == "succeeded"
    assert scene.group == scene.now.group


def let_an_hour_pass(bridge: Bridge, run_id: int) -> None:
    hour = timedelta(hours=1)
    with write_session(bridge.engine) as session:
        session.exec(update(QuerySpend).values(at=bridge.clock.now() - hour - timedelta(seconds=1)))
        session.exec(update(Run).where(col(Run.id) == run_id).values(waiting_until=bridge.clock.now()))


# --- writing -------------------------------------------------------------------------------------------------------


@few(2)
@pytest.mark.parametrize("name", ["server_error", "reset_after", "unauthorized", "html_200"])
def test_after_a_delivery_that_failed_the_next_export_repairs_the_group(scene: Scene, name: str):
    scene.sandbox.fault(name, target="apptimize", page=2)
    failed = scene.export()
    scene.sandbox.clear_faults()
    scene.sandbox.at(2 * LATER_S)

    run = scene.export()

    assert failed.status == "failed"
    assert (run.status, run.write) == ("succeeded", "full")
    assert scene.group == scene.sandbox.answer(POWER).group
    assert not scene.in_doubt


def test_the_base_is_still_the_last_delivery_that_was_accepted_whole(scene: Scene):
    scene.sandbox.fault("server_error", target="apptimize", page=2)

    scene.export()

    with scene.home.bridge() as bridge:
        group = group_row(bridge, POWER)
        assert group.id
        lines = list(groups.group_csv(bridge, LOCAL, group.id))
        kept = sorted(path.stem for path in bridge.settings.snapshots.glob("run-*"))
    assert len(lines) - 1 == group.members == len(scene.before)
    assert kept == [group.base_snapshot]


def test_a_token_that_was_deleted_is_refused_with_advice(scene: Scene):
    token = scene.sandbox.new_token()
    with scene.home.bridge() as bridge:
        destinations.connect_endpoint(bridge, LOCAL, url=scene.sandbox.endpoint, token=SecretStr(token))
    scene.sandbox.delete_newest_token()

    run = scene.export()

    check_failure(run, "apptimize_unauthorized")
    assert "Tokens page" in (run.error_advice or "")
    assert run.messages <= 3  # one try each: a token that is refused is not tried again
    assert (scene.group, scene.in_doubt) == (scene.before, True)


def test_a_message_whose_answer_was_lost_is_sent_again_and_does_no_harm(scene: Scene):
    scene.sandbox.fault("reset_after", target="apptimize", times=2)

    run = scene.export()

    sent = scene.sandbox.messages()
    assert len(sent) == 3 + 2
    assert len({message["session_id"] for message in sent}) == 1
    assert (run.status, scene.group) == ("succeeded", scene.now.group)


def test_a_run_that_is_cancelled_while_it_delivers_leaves_the_group_in_doubt(scene: Scene):
    scene.sandbox.fault("slow", target="apptimize", seconds=30)

    with scene.home.bridge() as bridge:
        run = asyncio.run(cancelled_while_delivering(bridge, scene.sandbox))

    assert (run.status, run.error_code) == ("cancelled", "cancelled")
    assert (scene.group, scene.in_doubt) == (scene.before, True)


async def cancelled_while_delivering(bridge: Bridge, sandbox: Sandbox) -> Run:
    lease_owner = lease.new_lease_owner()
    run_id = one_time.start_export(bridge, LOCAL, POWER, lease_owner=lease_owner).id
    assert run_id
    work = asyncio.create_task(inline_run.carry_out_here(bridge, run_id, lease_owner=lease_owner, patience_s=0))
    await asyncio.to_thread(sandbox.wait_for, "cohort-sync")
    await asyncio.to_thread(run_queue.ask_to_cancel, bridge.engine, run_id, now=bridge.clock.now())
    return await work
