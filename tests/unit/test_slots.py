"""What became of the times that a sync was due at: met, late, missed, or no times at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import delete, select

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.reports import slots as lines
from core.reports.on_time_kept import OnTimeKept
from core.rules.due_times import count_slots, list_slots
from core.rules.slots import SlotState, judge
from core.syncs import listing, recurring, settings
from data.engine import write_session
from data.models import Connection, Pause, Run, RunStatus, Schedule, Sync, SyncKind, SyncState, TimedRun
from data.pause_models import SyncPause
from data.pauses import list_pauses
from pages.parts.slot_line import words
from tests.stage.clock import FakeClock

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# Due at noon and at each of the next two hours; the one at three is not over.
DUE = [NOON + HOUR * hours for hours in range(4)]
LATER = NOON + HOUR * 3 - MINUTE
MET, LATE, MISSED, PAUSED, OPEN = (
    SlotState.MET, SlotState.LATE, SlotState.MISSED, SlotState.PAUSED, SlotState.OPEN,
)  # fmt: skip


def run(queued: float, finished: float | None, status: str = RunStatus.SUCCEEDED) -> TimedRun:
    """Make up a run that was queued, and ended, so many minutes after noon."""
    return TimedRun(NOON + MINUTE * queued, None if finished is None else NOON + MINUTE * finished, status)


@pytest.mark.parametrize(
    ("runs", "states"),
    [
        ([run(0, 2), run(60, 62), run(120, 122)], [MET, MET, MET]),
        # No worker was up, and one run was made for all that was missed.
        ([run(130, 132)], [MISSED, MISSED, MET]),
        # One that takes over an hour stands for the hour that it took from the next one as well.
        ([run(0, 70), run(120, 121)], [LATE, LATE, MET]),
        ([run(0, 2, RunStatus.FAILED), run(60, 61, RunStatus.HELD), run(120, None, RunStatus.RUNNING)],
         [MISSED, MISSED, OPEN]),
        # Somebody ran it again after it failed.
        ([run(0, 2, RunStatus.FAILED), run(10, 12), run(60, 62)], [MET, MET, OPEN]),
        ([run(0, None, RunStatus.RUNNING)], [OPEN, OPEN, OPEN]),
        ([], [MISSED, MISSED, OPEN]),
    ],
)  # fmt: skip
def test_a_time_is_met_by_a_run_that_is_done_before_the_next_one(runs: list[TimedRun], states: list[SlotState]):
    assert [slot.state for slot in judge(DUE, runs, [], now=LATER)] == states


def test_a_pause_has_no_times_to_be_missed_and_what_was_met_in_it_is_met():
    paused = [Pause(NOON - MINUTE, NOON + HOUR + MINUTE)]

    assert [slot.state for slot in judge(DUE, [], paused, now=LATER)] == [PAUSED, PAUSED, OPEN]
    assert [slot.state for slot in judge(DUE, [run(5, 6)], paused, now=LATER)] == [MET, PAUSED, OPEN]
    lasting = [Pause(NOON + HOUR, None)]
    assert [slot.state for slot in judge(DUE, [], lasting, now=LATER)] == [MISSED, PAUSED, PAUSED]


@pytest.mark.parametrize("timing", [15, 1440, Schedule("0 8,17 * * *", "Europe/Berlin")])
def test_slots_are_listed_as_they_are_counted(timing: int | Schedule):
    since, until = NOON - timedelta(days=3), NOON

    slots = list_slots(7, timing, since=since, until=until)

    assert len(slots) == count_slots(7, timing, since=since, until=until)
    assert all(since < slot <= until for slot in slots)
    assert slots == sorted(set(slots))


@pytest.fixture
def stopped_clock(fake_clock: FakeClock) -> FakeClock:
    """How many times lie in a while depends on when it begins: it is the same whenever the tests run."""
    fake_clock.start_s = NOON.timestamp()
    return fake_clock


@pytest.fixture
def sync(bridge: Bridge, stopped_clock: FakeClock, group_with_runs: list[Run]) -> Sync:
    """A sync that runs every hour, and is two days old; its group's runs are not among these."""
    with write_session(bridge.engine) as session:
        sync = session.get_one(Sync, group_with_runs[0].sync_id)
        sync.kind, sync.every_minutes, sync.state = SyncKind.RECURRING, 60, SyncState.ACTIVE
        sync.created_at = bridge.clock.now() - timedelta(days=2)
        session.add(sync)
        mixpanel = session.get_one(Connection, sync.mixpanel_id)
        mixpanel.secret = bridge.vault.encrypt("made up")  # who resumes a sync looks at the budget of its project
        session.add(mixpanel)
        for each in group_with_runs:
            session.delete(session.get_one(Run, each.id))
    return sync


def line_of(bridge: Bridge, sync: Sync) -> lines.SlotLine:
    view = listing.get_sync(bridge, LOCAL, sync.id or 0)
    return lines.list_slot_lines(bridge, LOCAL, [view])[sync.id or 0]


def test_a_paused_time_is_no_miss_however_it_ended_and_times_before_a_change_are_not_judged(
    bridge: Bridge, sync: Sync, fake_clock: FakeClock
):
    assert line_of(bridge, sync).counts[MISSED] in (23, 24)
    for _ in range(2):  # the first pause counts as well as the last
        recurring.pause_sync(bridge, LOCAL, sync.id or 0)
        fake_clock.shift_s += 3 * 3600
        recurring.resume_sync(bridge, LOCAL, sync.id or 0)
        fake_clock.shift_s += 2 * 3600

    counts = line_of(bridge, sync).counts
    settings.edit_sync(bridge, LOCAL, sync.id or 0, every_minutes=30, max_shrink=None)
    changed = line_of(bridge, sync).counts

    assert counts[PAUSED] in (6, 7, 8)  # and what was due in the minutes before
    assert counts[MISSED] + counts[OPEN] in (15, 16, 17, 18, 19)
    assert sum(changed.values()) <= 1


def test_a_sync_that_was_paused_before_pauses_were_noted_missed_nothing_since(
    bridge: Bridge, sync: Sync, fake_clock: FakeClock
):
    recurring.pause_sync(bridge, LOCAL, sync.id or 0)
    with write_session(bridge.engine) as session:
        session.exec(delete(SyncPause))
    fake_clock.shift_s += 3 * 3600

    paused = line_of(bridge, sync).counts
    recurring.resume_sync(bridge, LOCAL, sync.id or 0)
    resumed = line_of(bridge, sync).counts

    assert paused[MISSED] == 0
    assert resumed[PAUSED] in (2, 3)
    assert resumed[MISSED] in (19, 20, 21)


def test_a_sync_that_is_named_twice_is_paused_once(bridge: Bridge, sync: Sync):
    twice = [sync.id or 0] * 2
    began, until = bridge.clock.now() - MINUTE, bridge.clock.now() + HOUR

    assert recurring.pause_syncs(bridge, LOCAL, twice) == 1
    assert recurring.pause_syncs(bridge, LOCAL, twice, until=until) == 1  # it has an end now
    assert [pause.ended_at for pause in list_pauses(bridge.engine, twice, since=began)[twice[0]]] == [None]
    assert recurring.resume_syncs(bridge, LOCAL, twice) == 1
    assert len(list_pauses(bridge.engine, twice, since=began)[twice[0]]) == 1


def on_time_of(bridge: Bridge, sync: Sync) -> lines.OnTime:
    view = listing.get_sync(bridge, LOCAL, sync.id or 0)
    return lines.list_on_time(bridge, LOCAL, [view])[sync.id or 0]


def test_a_paused_sync_misses_nothing_in_its_share_either(bridge: Bridge, sync: Sync, fake_clock: FakeClock):
    def scheduled() -> int:
        return on_time_of(bridge, sync).due

    before = scheduled()
    recurring.pause_sync(bridge, LOCAL, sync.id or 0)
    fake_clock.shift_s += 5 * 3600
    paused = scheduled()
    with write_session(bridge.engine) as session:
        noted = session.exec(select(SyncPause)).one()
        session.delete(noted)  # as one that began before pauses were noted
    not_noted = scheduled()
    with write_session(bridge.engine) as session:
        session.add(SyncPause(sync_id=noted.sync_id, began_at=noted.began_at))
    recurring.resume_sync(bridge, LOCAL, sync.id or 0)
    fake_clock.shift_s += 3 * 3600 + 60
    resumed = scheduled()

    assert before in (46, 47, 48)
    assert paused - before in (0, 1)  # the last of its times may be over now
    assert not_noted == 0
    assert resumed - paused == 2  # its times since, but for the last; none was due while it was paused


def test_a_sync_that_was_given_other_times_is_judged_by_its_runs_at_these(
    bridge: Bridge, sync: Sync, fake_clock: FakeClock
):
    facts = {"sync_id": sync.id, "group_id": sync.group_id, "cohort_id": 7, "cohort_name": "", "group_name": "",
             "destination": "", "trigger": "schedule", "actor": "schedule", "status": "succeeded"}  # fmt: skip
    with write_session(bridge.engine) as session:
        ago = [bridge.clock.now() - HOUR * hours for hours in range(1, 40)]
        session.add_all(Run(**facts, queued_at=at, finished_at=at) for at in ago)
    settings.edit_sync(bridge, LOCAL, sync.id or 0, every_minutes=30, max_shrink=None)
    fake_clock.shift_s += 2 * 3600 + 60
    with write_session(bridge.engine) as session:
        session.add(Run(**facts, queued_at=bridge.clock.now() - HOUR, finished_at=bridge.clock.now() - HOUR))

    on_time = on_time_of(bridge, sync)

    assert (on_time.met, on_time.due) in ((1, 3), (1, 4))


def test_runs_in_the_database_meet_the_times_they_were_queued_in(bridge: Bridge, sync: Sync):
    due = list_slots(sync.id or 0, 60, since=bridge.clock.now() - timedelta(hours=5), until=bridge.clock.now())
    facts = {"sync_id": sync.id, "group_id": sync.group_id, "cohort_id": 7, "cohort_name": "", "group_name": "",
             "destination": "", "trigger": "schedule", "actor": "schedule"}  # fmt: skip
    with write_session(bridge.engine) as session:
        for at in due[:3]:
            session.add(Run(**facts, status="succeeded", queued_at=at, finished_at=at + MINUTE))
        # Neither says anything of freshness.
        session.add(Run(**facts, status="succeeded", dry_run=True, queued_at=due[3], finished_at=due[3]))
        undo = {"restore_snapshot": "run-1", "queued_at": due[3], "finished_at": due[3]}
        session.add(Run(**facts, status="succeeded", **undo))

    by_time = {slot.at: slot.state for slot in line_of(bridge, sync).slots}

    assert [by_time[at] for at in due[:4]] == [MET, MET, MET, MISSED]


@pytest.mark.parametrize(
    ("paused", "ran", "on_time"),
    [
        # The time that is not over yet is met, and counts once it is over.
        ([], [(3, 1, "succeeded")], (0, 3)),
        ([], [(2, 1, "succeeded"), (3, 1, "succeeded")], (1, 3)),
        # It still works, long after the next one was due: nothing it does is on time any more.
        ([], [(1, None, "running")], (0, 3)),
        # Resumed at once after it failed; and one that was resumed ran only when it was due again.
        ([(0.05, 0.2)], [(0, 1, "failed"), (0.2, 1, "succeeded")], (1, 3)),
        ([(-0.5, 2.5)], [(3, 1, "succeeded")], (0, 0)),
        ([(0.5, None)], [(0, 1, "succeeded")], (1, 1)),
    ],
)
def test_of_a_new_sync_share_line_and_words_agree_about_the_times_that_are_over(
    bridge: Bridge,
    sync: Sync,
    paused: list[tuple[float, float | None]],
    ran: list[tuple[float, float | None, str]],
    on_time: tuple[int, int],
):
    """Times are hours from the first time that it was due at; what a run took is in minutes."""
    first = list_slots(sync.id or 0, 60, since=bridge.clock.now() - 4 * HOUR, until=bridge.clock.now())[0]
    facts = {"sync_id": sync.id, "group_id": sync.group_id, "cohort_id": 7, "cohort_name": "", "group_name": "",
             "destination": "", "trigger": "schedule", "actor": "schedule"}  # fmt: skip
    with write_session(bridge.engine) as session:
        row = session.get_one(Sync, sync.id)
        row.created_at = first - 0.6 * HOUR
        row.state = SyncState.PAUSED if any(end is None for _, end in paused) else SyncState.ACTIVE
        for begin, end in paused:
            ended = None if end is None else first + end * HOUR
            session.add(SyncPause(sync_id=sync.id or 0, began_at=first + begin * HOUR, ended_at=ended))
        for at, took, status in ran:
            ended = None if took is None else first + at * HOUR + took * MINUTE
            session.add(Run(**facts, status=status, queued_at=first + at * HOUR, finished_at=ended))

    line = line_of(bridge, sync)

    assert on_time_of(bridge, sync) == line.on_time == lines.OnTime(*on_time)
    met, due = on_time
    assert words(line).startswith(f"{met} of {due} on time" if due else "On time so far")


@pytest.mark.parametrize("schedule", [None, Schedule("17 * * * *", "UTC")])
def test_the_share_of_times_met_is_the_one_that_the_line_shows(bridge: Bridge, sync: Sync, schedule: Schedule | None):
    with write_session(bridge.engine) as session:
        row = session.get_one(Sync, sync.id)
        row.created_at = bridge.clock.now() - timedelta(hours=12)
        if schedule:
            row.every_minutes, row.cron, row.zone = None, *schedule
        session.add(row)
        timing = row.timing
    assert timing is not None
    due = list_slots(sync.id or 0, timing, since=bridge.clock.now() - 10 * HOUR, until=bridge.clock.now())
    facts = {"sync_id": sync.id, "group_id": sync.group_id, "cohort_id": 7, "cohort_name": "", "group_name": "",
             "destination": ""}  # fmt: skip
    took = {0: MINUTE, 1: HOUR, 2: 70 * MINUTE, 5: 59 * MINUTE}  # the third stands for the fourth as well
    ended = [("schedule", "succeeded", due[place], due[place] + time) for place, time in took.items()]
    ended += [
        ("schedule", "failed", due[6], due[6] + MINUTE),
        ("manual", "succeeded", due[6] + MINUTE, due[6] + 2 * MINUTE),
    ]
    ended += [("schedule", "failed", due[7], due[7] + MINUTE), ("undo", "succeeded", due[8], due[8] + MINUTE)]
    with write_session(bridge.engine) as session:
        for trigger, status, queued_at, finished_at in ended:
            restore = "run-1" if trigger == "undo" else None
            session.add(Run(**facts, trigger=trigger, actor="", status=status, queued_at=queued_at,
                            finished_at=finished_at, restore_snapshot=restore))  # fmt: skip

    line, on_time = line_of(bridge, sync), on_time_of(bridge, sync)

    by_time = {slot.at: slot.state for slot in line.slots}
    assert [by_time[at] for at in due[:9]] == [MET, MET, LATE, LATE, MISSED, MET, MET, MISSED, MISSED]
    assert on_time == line.on_time
    assert (on_time.met, on_time.due) == (4, sum(line.counts[state] for state in (MET, LATE, MISSED)))
    assert on_time.share == pytest.approx(4 / on_time.due)


def test_what_was_counted_before_is_counted_again_where_anything_changed(
    bridge: Bridge, sync: Sync, fake_clock: FakeClock
):
    facts = {"sync_id": sync.id, "group_id": sync.group_id, "cohort_id": 7, "cohort_name": "", "group_name": "",
             "destination": "", "trigger": "schedule", "actor": "schedule"}  # fmt: skip
    due = list_slots(sync.id or 0, 60, since=bridge.clock.now() - 5 * HOUR, until=bridge.clock.now())
    counted, met = OnTimeKept(), list[int]()

    def count() -> None:
        view = listing.get_sync(bridge, LOCAL, sync.id or 0)
        kept = lines.list_on_time(bridge, LOCAL, [view], kept=counted)
        assert kept == lines.list_on_time(bridge, LOCAL, [view])
        met.append(kept[sync.id or 0].met)

    for at in due[-3:]:  # the last of them is not over
        count()
        with write_session(bridge.engine) as session:
            session.add(running := Run(**facts, status="running", queued_at=at))
        count()
        with write_session(bridge.engine) as session:
            ended = session.get_one(Run, running.id)
            ended.status, ended.finished_at = "succeeded", at + MINUTE
    count()
    fake_clock.shift_s += 3600
    count()

    assert met == [0, 0, 1, 1, 2, 2, 2, 3]


def test_no_time_of_a_sync_that_was_made_just_now_is_over(bridge: Bridge, sync: Sync):
    with write_session(bridge.engine) as session:
        session.get_one(Sync, sync.id).created_at = bridge.clock.now()

    assert on_time_of(bridge, sync) == lines.OnTime(0, 0)
    assert on_time_of(bridge, sync).share is None
    assert lines.list_on_time(bridge, LOCAL, []) == {}
