"""Apply once lets through what was looked at, whatever happens between the look, the press, the read and the write."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest

from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.errors import HoldChanged, SettingsError
from core.syncs import held_runs, one_time, recurring, runs, settings, undo
from core.worker import service
from data import run_queue
from data.models import Run, RunStatus
from tests.faults import process
from tests.faults.population import ONE, Population, all_runs, last, without_ids
from tests.faults.process import Kill
from tests.stage.clock import BothClocks
from tests.stage.home import Home
from tests.stage.seeds import LONG, few, some

pytestmark = some(4)

ANN = Actor("ann", Role.ANALYST)
PEOPLE = range(2001, 2101)


class Group:
    """A group of a sync with a shrink limit, and what becomes of it."""

    def __init__(self, bridge: Bridge, population: Population, clock: BothClocks) -> None:
        self.bridge, self.population, self.clock = bridge, population, clock
        population.set(ONE, PEOPLE)
        recurring.add_sync(bridge, LOCAL, ONE, max_shrink=10)
        service.once(bridge)
        self.before = self.members()

    def shrink(self, to: int) -> Run:
        """Let people leave, and the next slot find that."""
        self.population.set(ONE, PEOPLE[:to])
        return self.next_slot()

    def next_slot(self) -> Run:
        self.clock.pass_minutes(15)
        service.once(self.bridge)
        return last(self.bridge)

    def press(self, run: Run) -> Run:
        """Press Apply in a dialog that shows a run, and let the worker do what that queued."""
        queued = self.apply(run)
        service.once(self.bridge)
        return self.now(queued)

    def apply(self, run: Run) -> Run:
        return held_runs.apply_held(self.bridge, ANN, run.id or 0, run.hold)

    def let_wait(self, run: Run, minutes: int) -> None:
        """Let a queued run wait for a query slot."""
        engine, run_id, now = self.bridge.engine, run.id or 0, self.bridge.clock.now()
        assert run_queue.claim(engine, run_id, lease_owner="one", now=now)
        until = now + timedelta(minutes=minutes)
        assert run_queue.wait(engine, run_id, lease_owner="one", until=until, keep=False, now=now)

    def now(self, run: Run) -> Run:
        return runs.get_run(self.bridge, LOCAL, run.id or 0)

    def members(self) -> frozenset[str] | None:
        return self.population.members(ONE)

    def is_right(self) -> bool:
        return self.members() == self.population.expected_members(ONE)


@pytest.fixture
def group(bridge: Bridge, population: Population, clock: BothClocks) -> Group:
    return Group(bridge, population, clock)


def outcome(run: Run) -> tuple[str, str | None]:
    return run.status, run.error_code


# --- a newer hold before the press ----------------------------------------------------------------------------------


def test_a_press_is_for_the_newer_hold_that_keeps_to_what_was_looked_at(group: Group):
    looked_at = group.shrink(to=50)
    newer = group.next_slot()

    applied = group.press(looked_at)

    assert outcome(newer) == (RunStatus.HELD, "held_shrink")
    assert (group.now(looked_at).status, group.now(looked_at).decided_by) == (RunStatus.SUPERSEDED, None)
    newer = group.now(newer)
    assert (newer.status, newer.step, newer.decided_by) == (RunStatus.CANCELLED, "applied", "ann")
    assert applied.status == RunStatus.SUCCEEDED
    assert group.is_right()


def test_a_press_for_what_a_newer_hold_goes_beyond_changes_nothing_and_says_so(group: Group):
    looked_at = group.shrink(to=50)
    newer = group.shrink(to=40)

    with pytest.raises(HoldChanged, match=f"Run {newer.id} has taken the place of run {looked_at.id}") as caught:
        group.apply(looked_at)

    assert f"apply run {newer.id} or discard it" in caught.value.advice
    assert held_runs.find_held(group.bridge, ANN, looked_at.id or 0).id == newer.id
    assert group.now(newer).status == RunStatus.HELD
    assert last(group.bridge).id == newer.id
    assert group.press(newer).status == RunStatus.SUCCEEDED
    assert group.is_right()


@LONG
@pytest.mark.usefixtures("fork_server")
def test_the_command_line_looks_at_the_numbers_that_are_kept_with_the_run(group: Group, home: Home):
    looked_at = group.shrink(to=50)
    newer = group.next_slot()
    larger = group.shrink(to=30)

    refused = home.run("run", "apply", str(looked_at.id), "--json")
    applied = home.run("run", "apply", str(larger.id), "--json")
    again = home.run("run", "apply", str(larger.id))
    shown = home.run("run", "show", str(larger.id), "--json")
    old = home.run("run", "show", str(newer.id), "--json")

    assert (refused.code, f"Run {larger.id} has taken the place" in refused.err) == (2, True)
    assert (applied.code, applied.json["status"]) == (0, "queued")
    assert (again.code, f"Run {larger.id} was applied already by local." in again.err) == (2, True)
    decided = [shown.json[name] for name in ("status", "decision", "decided_by")]
    assert decided == ["cancelled", "applied", "local"]
    assert [old.json[name] for name in ("status", "decision", "decided_by")] == ["superseded", None, None]


@LONG
def test_a_press_for_a_hold_that_is_over_says_what_became_of_it(group: Group):
    written, discarded = group.shrink(to=50), "was discarded already by ann"
    group.shrink(to=95)
    with pytest.raises(SettingsError, match=r"is no longer held: run \d+ has taken its place"):
        group.apply(written)

    dropped = group.shrink(to=20)
    held_runs.discard_held(group.bridge, ANN, dropped.id or 0, dropped.hold)
    with pytest.raises(SettingsError, match=discarded):
        group.apply(dropped)

    removed = group.next_slot()
    recurring.remove_sync(group.bridge, ANN, 1)
    with pytest.raises(SettingsError, match=discarded):
        group.apply(removed)
    assert group.now(removed).difference is None


def test_discarding_what_was_looked_at_discards_the_newer_hold_that_keeps_to_it(group: Group):
    looked_at = group.shrink(to=50)
    newer = group.next_slot()

    dropped = held_runs.discard_held(group.bridge, ANN, looked_at.id or 0, looked_at.hold)

    assert (dropped.id, dropped.step, dropped.decided_by) == (newer.id, "discarded", "ann")
    assert group.members() == group.before


@LONG
def test_discarding_a_newer_hold_takes_back_an_approval_that_still_waits(group: Group):
    queued = group.apply(group.shrink(to=50))
    group.let_wait(queued, minutes=60)
    newer = one_time.start_export(group.bridge, LOCAL, ONE)
    without_ids(group.population, PEOPLE)
    service.once(group.bridge)
    without_ids(group.population, PEOPLE, set_again=True)

    held_runs.discard_held(group.bridge, ANN, newer.id or 0)

    assert group.now(newer).step == "discarded"
    assert group.now(queued).status == RunStatus.CANCELLED
    assert group.members() == group.before


# --- the read after the press ---------------------------------------------------------------------------------------


def test_a_larger_number_at_the_new_read_is_held_again_and_a_smaller_one_goes_through(group: Group):
    looked_at = group.shrink(to=50)
    group.population.set(ONE, PEOPLE[:49])
    again = group.press(looked_at)
    untouched = group.members()
    group.population.set(ONE, PEOPLE[:60])

    applied = group.press(again)

    assert outcome(again) == (RunStatus.HELD, "held_shrink")
    assert again.hold
    assert looked_at.hold
    assert (again.removed, again.hold["removed"]) == (looked_at.removed + 1, looked_at.hold["removed"] + 1)
    assert untouched == group.before
    assert applied.status == RunStatus.SUCCEEDED
    assert group.is_right()


@LONG
def test_more_who_join_than_was_looked_at_are_held_again(group: Group):
    looked_at = group.shrink(to=50)
    group.population.set(ONE, [*PEOPLE[:50], *range(2200, 2210)])

    assert outcome(group.press(looked_at)) == (RunStatus.HELD, "held_shrink")
    assert group.members() == group.before


def test_an_approval_of_no_usable_ids_does_not_skip_the_shrink_limit(group: Group):
    without_ids(group.population, PEOPLE)
    looked_at = group.next_slot()
    without_ids(group.population, PEOPLE[:5], set_again=True)

    run = group.press(looked_at)

    without_ids(group.population, PEOPLE, set_again=True)
    assert outcome(looked_at) == (RunStatus.HELD, "held_no_ids")
    assert outcome(run) == (RunStatus.HELD, "held_shrink")
    assert group.members() == group.before


@LONG
def test_no_usable_ids_that_were_looked_at_empty_the_group_once_approved(group: Group):
    without_ids(group.population, PEOPLE)
    looked_at = group.next_slot()

    applied = group.press(looked_at)

    emptied = group.members()
    without_ids(group.population, PEOPLE, set_again=True)
    assert (applied.status, emptied) == (RunStatus.SUCCEEDED, frozenset())


@LONG
def test_a_total_that_disagrees_by_more_than_was_looked_at_is_held_again(group: Group):
    group.population.fault("total_wrong", by=3)
    looked_at = group.next_slot()
    group.population.fault("total_wrong", by=4)
    again = group.press(looked_at)
    untouched = group.members()

    applied = group.press(again)

    assert outcome(looked_at) == outcome(again) == (RunStatus.HELD, "held_total")
    assert again.hold
    assert (again.hold["total"], again.hold["profiles"]) == (len(PEOPLE) + 4, len(PEOPLE))
    assert untouched == group.before
    assert applied.status == RunStatus.SUCCEEDED


@LONG
def test_a_run_that_is_held_for_one_reason_after_another_goes_through_once_each_was_looked_at(group: Group):
    group.population.fault("total_wrong", by=3)
    for_total = group.shrink(to=50)
    for_shrinking = group.press(for_total)

    applied = group.press(for_shrinking)

    assert outcome(for_total) == (RunStatus.HELD, "held_total")
    assert outcome(for_shrinking) == (RunStatus.HELD, "held_shrink")
    assert applied.status == RunStatus.SUCCEEDED
    assert group.is_right()


def test_without_a_readable_base_all_members_count_as_removed(group: Group):
    group.bridge.snapshots.remove(last(group.bridge).snapshot or "")
    looked_at = group.shrink(to=50)

    applied = group.press(looked_at)

    assert looked_at.hold
    assert looked_at.hold["removed"] == len(group.before or ())
    assert (applied.status, applied.write) == (RunStatus.SUCCEEDED, "full")
    assert group.is_right()


def test_a_base_that_can_not_be_read_any_more_is_held_again(group: Group):
    looked_at = group.shrink(to=50)
    group.bridge.snapshots.remove(all_runs(group.bridge)[0].snapshot or "")

    again = group.press(looked_at)

    assert outcome(again) == (RunStatus.HELD, "held_shrink")
    assert again.hold
    assert again.hold["removed"] == len(group.before or ())
    assert group.members() == group.before


# --- what happens between press and read ----------------------------------------------------------------------------


@LONG
def test_a_base_that_a_one_time_export_moved_meanwhile_is_not_the_one_that_was_looked_at(group: Group):
    looked_at = group.shrink(to=50)
    queued = group.apply(looked_at)
    group.let_wait(queued, minutes=10)
    group.population.set(ONE, PEOPLE[:90])
    one_time.start_export(group.bridge, LOCAL, ONE)
    service.once(group.bridge)
    exported = group.members()

    group.population.set(ONE, PEOPLE[:70])
    group.next_slot()

    run = group.now(queued)
    assert outcome(run) == (RunStatus.HELD, "held_shrink")
    assert run.removed < looked_at.removed
    assert group.members() == exported != group.before


@LONG
def test_a_match_setting_that_was_changed_meanwhile_is_held_again(group: Group):
    looked_at = group.shrink(to=50)
    settings.change_sync_matching(group.bridge, LOCAL, 1, match_property="$user_id", expects_prefix=False)

    assert group.press(looked_at).status == RunStatus.HELD
    assert group.members() == group.before


def test_a_shrink_limit_that_was_changed_meanwhile_changes_nothing_of_what_was_looked_at(group: Group):
    looked_at = group.shrink(to=50)
    queued = group.apply(looked_at)
    settings.edit_sync(group.bridge, LOCAL, 1, every_minutes=15, max_shrink=1)

    service.once(group.bridge)

    assert group.now(queued).status == RunStatus.SUCCEEDED
    assert group.is_right()


@LONG
def test_an_approval_survives_the_hold_of_a_run_that_was_reading_when_it_was_given(group: Group):
    looked_at = group.shrink(to=50)
    reading = recurring.run_now(group.bridge, LOCAL, 1)
    queued = group.apply(looked_at)

    service.once(group.bridge)

    assert group.now(reading).status == RunStatus.SUPERSEDED
    assert group.now(queued).status == RunStatus.SUCCEEDED
    assert group.is_right()


@LONG
@few(1)
@pytest.mark.parametrize("kill", [Kill("page", "after"), Kill("message", "before"), Kill("record", "before")], ids=str)
def test_an_approval_survives_the_death_of_its_run(group: Group, home: Home, kill: Kill):
    looked_at = group.shrink(to=50)
    queued = group.apply(looked_at)

    status = process.run(home, "worker", "--once", kill=kill)
    process.run(home, "worker", "--once")

    assert (status, group.now(queued).status) == (-signal.SIGKILL, RunStatus.INTERRUPTED)
    assert (last(group.bridge).status, last(group.bridge).approvals) == (RunStatus.SUCCEEDED, queued.approvals)
    assert group.is_right()


@LONG
@pytest.mark.parametrize("after", [0, 1])
def test_an_approval_survives_runs_that_fail_until_one_does_what_was_approved(group: Group, after: int):
    group.population.set(ONE, [*PEOPLE[:50], 3000])
    held = group.next_slot()  # one message would remove those who left, the next add the one who joined
    group.population.fault("server_error", target="apptimize", after=after)
    failed = [group.press(held), group.next_slot()]
    group.population.clear_faults()

    done = group.next_slot()

    assert [run.status for run in failed] == [RunStatus.FAILED] * 2
    assert (done.status, group.is_right()) == (RunStatus.SUCCEEDED, True)
    assert group.shrink(to=5).status == RunStatus.HELD


@LONG
def test_an_approval_whose_run_failed_lets_nothing_else_through(group: Group):
    held = group.shrink(to=50)
    group.population.fault("server_error", target="apptimize")
    assert group.press(held).status == RunStatus.FAILED
    group.population.clear_faults()

    assert group.shrink(to=49).status == RunStatus.HELD
    assert group.members() == group.before


@LONG
def test_an_approval_waits_with_its_run_for_a_query_slot(group: Group):
    looked_at = group.shrink(to=50)
    queued = group.apply(looked_at)
    group.let_wait(queued, minutes=60)
    waited = [group.next_slot().status for _ in range(3)]

    applied = group.next_slot()

    assert waited == [RunStatus.WAITING] * 3
    assert (applied.id, applied.status) == (queued.id, RunStatus.SUCCEEDED)
    assert group.is_right()


def test_what_was_held_gives_way_to_an_undo(group: Group):
    first = last(group.bridge)
    looked_at = group.shrink(to=50)
    queued = group.apply(looked_at)
    undo.undo_to(group.bridge, LOCAL, first.id or 0)
    service.once(group.bridge)

    assert group.now(queued).status == RunStatus.CANCELLED
    assert group.members() == group.before


@LONG
def test_a_press_after_an_undo_was_asked_for_does_not_undo_it(group: Group):
    first = last(group.bridge)
    looked_at = group.shrink(to=50)
    undo.undo_to(group.bridge, LOCAL, first.id or 0)

    with pytest.raises(SettingsError, match="no longer held"):
        group.apply(looked_at)
    service.once(group.bridge)

    assert group.now(looked_at).status == RunStatus.SUPERSEDED
    assert group.members() == group.before


@LONG
def test_a_run_that_ends_later_takes_the_place_of_a_hold_whichever_was_queued_first(group: Group):
    waited = recurring.run_now(group.bridge, LOCAL, 1)
    group.let_wait(waited, minutes=10)
    without_ids(group.population, PEOPLE)
    held = one_time.start_export(group.bridge, LOCAL, ONE)
    service.once(group.bridge)
    then = group.now(held).status
    without_ids(group.population, PEOPLE, set_again=True)
    settings.edit_sync(group.bridge, LOCAL, 1, every_minutes=15, max_shrink=None)

    group.next_slot()

    assert then == RunStatus.HELD
    assert group.now(waited).status == RunStatus.SUCCEEDED
    assert group.now(held).status == RunStatus.SUPERSEDED


@LONG
def test_an_undo_that_failed_takes_back_what_was_approved_before_it(group: Group):
    first = last(group.bridge)
    held = group.shrink(to=50)
    group.population.fault("server_error", target="apptimize")
    assert group.press(held).status == RunStatus.FAILED
    undo.undo_to(group.bridge, LOCAL, first.id or 0)
    service.once(group.bridge)
    assert last(group.bridge).status == RunStatus.FAILED
    group.population.clear_faults()
    recurring.resume_sync(group.bridge, LOCAL, 1)

    again = group.next_slot()

    assert outcome(again) == (RunStatus.HELD, "held_shrink")
    assert group.members() == group.before


@LONG
def test_a_sync_that_is_removed_takes_what_was_approved_of_it_along(group: Group):
    held = group.shrink(to=50)
    group.population.fault("server_error", target="apptimize")
    assert group.press(held).status == RunStatus.FAILED
    group.population.clear_faults()
    recurring.remove_sync(group.bridge, LOCAL, 1)
    recurring.add_sync(group.bridge, LOCAL, ONE, max_shrink=10)

    again = group.next_slot()

    assert outcome(again) == (RunStatus.HELD, "held_shrink")
    assert group.members() == group.before
