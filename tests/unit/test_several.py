"""Several cohorts at once: all are started, or none, and what speaks against one is said of that one."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import project
from core.errors import CohortsRefused, SettingsError
from core.reports.export_forecast import forecast_exports
from core.syncs import one_time, recurring, runs, several
from core.syncs.several import MOST, ExportSettings
from core.vendors.mixpanel_answers import Cohort
from data.engine import read_session, write_session
from data.models import AuditEntry, Group, Run, RunStatus, Sync
from data.query_models import CohortList
from tests.stage.clock import FakeClock
from tests.stage.rows import build_folder, build_mixpanel
from tests.stage.sandbox import NOON

ONCE, DAILY = ExportSettings("csv"), ExportSettings("csv", recurring=True, every_minutes=1440)
LONG = "A name of two hundred characters <b>" + "x" * 164


def _cohort(number: int, **values: Any) -> Cohort:
    usual = {"name": f"Cohort {number}", "description": "", "count": 1000, "created": "", "is_visible": True}
    return Cohort(**{"id": number, **usual, "of_groups": False, **values})


COHORTS = [
    *map(_cohort, range(1, 61)),
    _cohort(61, name=LONG),
    _cohort(70, of_groups=True),
    _cohort(71, name="Twins"),
    _cohort(72, name="Twins"),
]


@pytest.fixture
def listed(bridge: Bridge, fake_clock: FakeClock) -> Bridge:
    """A home that is connected on both sides, and knows the project's cohorts; its clock stands still."""
    fake_clock.start_s = NOON
    mixpanel = build_mixpanel(bridge, "default", 1)
    with write_session(bridge.engine) as session:
        session.add_all([mixpanel, build_folder(bridge, "csv")])
        key, now = project.project_key(mixpanel), bridge.clock.now()
        session.add(CohortList(project=key, read_at=now, cohorts=[asdict(cohort) for cohort in COHORTS]))
    return bridge


def _all(bridge: Bridge, table: Any) -> list[Any]:
    with read_session(bridge.engine) as session:
        return list(session.exec(select(table)).all())


def test_each_of_several_is_queued_with_a_line_of_the_audit_log_of_its_own(listed: Bridge):
    started = several.start_exports(listed, LOCAL, [3, 1, 61, 3], ONCE)

    assert [run.cohort_id for run in started.runs] == [3, 1, 61]
    assert {run.status for run in _all(listed, Run)} == {RunStatus.QUEUED}
    assert [run.group_name for run in started.runs] == ["Cohort 3", "Cohort 1", LONG]
    lines = [line for line in _all(listed, AuditEntry) if line.action == "start_exports"]
    assert len(lines) == 3
    assert all(f"run {run.id}" in line.subject for run, line in zip(started.runs, lines, strict=True))


def test_recurring_syncs_of_several_have_what_they_have_in_common(listed: Bridge):
    settings = ExportSettings("csv", recurring=True, every_minutes=60, max_shrink=15)

    started = several.start_exports(listed, LOCAL, [1, 2], settings)

    assert [(sync.cohort_id, sync.every_minutes, sync.max_shrink) for sync in started.syncs] == [
        (1, 60, 15),
        (2, 60, 15),
    ]
    assert {sync.next_run_at for sync in started.syncs} == {listed.clock.now()}
    assert [each.run for each in several.get_exports(listed, LOCAL, [], [sync.id or 0 for sync in started.syncs])] == [
        None,
        None,
    ]


def test_nothing_is_started_where_one_is_refused_and_each_cause_is_said(listed: Bridge):
    recurring.add_sync(listed, LOCAL, 2, to="csv", every_minutes=1440)
    before = len(_all(listed, AuditEntry))

    with pytest.raises(CohortsRefused) as refused:
        several.start_exports(listed, LOCAL, [1, 2, 70, 71, 72, 99], DAILY)

    assert set(refused.value.causes) == {2, 70, 72, 99}
    assert "keeps the group Cohort 2 up to date already" in refused.value.causes[2]
    assert "its members are not users" in refused.value.causes[70]
    assert "Cohort 71, which is chosen too, has the same name" in refused.value.causes[72]
    assert "Mixpanel lists no cohort 99" in refused.value.causes[99]
    assert "4 of 6 cohorts cannot be exported so: nothing was started." in refused.value.message
    assert (_all(listed, Run), len(_all(listed, Sync)), len(_all(listed, Group))) == ([], 1, 1)
    assert len(_all(listed, AuditEntry)) == before


def test_looking_beforehand_says_the_same_and_changes_nothing(listed: Bridge):
    recurring.add_sync(listed, LOCAL, 2, to="csv", every_minutes=1440)
    before = len(_all(listed, AuditEntry))

    found = several.check_exports(listed, LOCAL, [1, 2, 70], DAILY)

    assert [each.cohort_id for each in found] == [2, 70]
    assert (_all(listed, Run), len(_all(listed, Sync)), len(_all(listed, Group))) == ([], 1, 1)
    assert len(_all(listed, AuditEntry)) == before
    # What is refused of a recurring sync is none of a one-time export's business.
    assert [each.cohort_id for each in several.check_exports(listed, LOCAL, [1, 2, 70], ONCE)] == [70]


def test_equal_names_are_told_apart_by_a_list_of_however_long_ago(listed: Bridge, fake_clock: FakeClock):
    fake_clock.shift_s = 3600.0  # the list is not to be gone by any more

    assert [each.cohort_id for each in several.check_exports(listed, LOCAL, [71, 72, 1], ONCE)] == [72]

    one_time.start_export(listed, LOCAL, 72, to="csv", group="A name of its own")
    assert several.check_exports(listed, LOCAL, [71, 72, 1], ONCE) == []


def test_a_name_that_another_cohorts_group_has_is_refused(listed: Bridge):
    one_time.start_export(listed, LOCAL, 71, to="csv")
    with write_session(listed.engine) as session:
        session.exec(select(Group)).one().delivered_at = listed.clock.now()

    [refused] = several.check_exports(listed, LOCAL, [1, 72], ONCE)

    assert refused.cohort_id == 72
    assert "71" in refused.why


def test_more_recurring_syncs_than_the_hour_has_queries_are_refused_before_any_is_added(listed: Bridge):
    often = ExportSettings("csv", recurring=True, every_minutes=15)

    refused = several.check_exports(listed, LOCAL, list(range(1, 21)), often)

    assert [each.cohort_id for each in refused] == list(range(15, 21))
    assert "Mixpanel allows this project 60 queries an hour" in refused[0].why
    assert several.check_exports(listed, LOCAL, list(range(1, 21)), DAILY) == []


@pytest.mark.parametrize("settings", [ONCE, DAILY], ids=["one-time", "recurring"])
def test_pressing_twice_starts_nothing_twice(listed: Bridge, fake_clock: FakeClock, settings: ExportSettings):
    as_of = listed.clock.now()
    first = several.start_exports(listed, LOCAL, [1, 2], settings, as_of=as_of)
    with write_session(listed.engine) as session:  # a worker was quick
        for run in session.exec(select(Run).where(col(Run.cohort_id) == 1)).all():
            run.status = RunStatus.SUCCEEDED
    fake_clock.shift_s += 2

    second = several.start_exports(listed, LOCAL, [1, 2], settings, as_of=as_of)

    assert [run.id for run in second.runs] == [run.id for run in first.runs]
    assert [sync.id for sync in second.syncs] == [sync.id for sync in first.syncs]
    assert len(_all(listed, Sync)) == 2
    assert len([line for line in _all(listed, AuditEntry) if line.action == "start_exports"]) == 2


@pytest.mark.parametrize("ended", [RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED])
def test_what_failed_since_is_none_that_was_pressed_twice(listed: Bridge, ended: RunStatus):
    as_of = listed.clock.now()
    [elsewhere] = several.start_exports(listed, LOCAL, [1], ONCE, as_of=as_of).runs
    with write_session(listed.engine) as session:
        session.get_one(Run, elsewhere.id).status = ended

    pressed = several.start_exports(listed, LOCAL, [1, 2], ONCE, as_of=as_of).runs

    assert elsewhere.id not in {run.id for run in pressed}
    assert [run.status for run in pressed] == [RunStatus.QUEUED] * 2


def test_pressing_again_later_exports_again(listed: Bridge, fake_clock: FakeClock):
    [first] = several.start_exports(listed, LOCAL, [1], ONCE, as_of=listed.clock.now()).runs
    with write_session(listed.engine) as session:
        session.get_one(Run, first.id).status = RunStatus.SUCCEEDED
    fake_clock.shift_s += 2

    [second] = several.start_exports(listed, LOCAL, [1], ONCE, as_of=listed.clock.now()).runs

    assert second.id != first.id


def test_a_sync_that_holds_runs_otherwise_is_none_that_was_pressed_twice(listed: Bridge):
    as_of = listed.clock.now()
    several.start_exports(listed, LOCAL, [1], replace(DAILY, max_shrink=10), as_of=as_of)

    for other in (None, 50):
        with pytest.raises(CohortsRefused, match="keeps the group Cohort 1 up to date already"):
            several.start_exports(listed, LOCAL, [1, 2], replace(DAILY, max_shrink=other), as_of=as_of)

    assert [sync.max_shrink for sync in _all(listed, Sync)] == [10]


def test_what_was_started_while_a_page_stood_open_for_long_is_exported_anew(listed: Bridge, fake_clock: FakeClock):
    opened = listed.clock.now()
    fake_clock.shift_s += 60
    [elsewhere] = several.start_exports(listed, LOCAL, [1], ONCE).runs
    with write_session(listed.engine) as session:
        session.get_one(Run, elsewhere.id).status = RunStatus.SUCCEEDED
    fake_clock.shift_s += 7200

    [pressed] = several.start_exports(listed, LOCAL, [1], ONCE, as_of=opened).runs

    assert pressed.id != elsewhere.id


@pytest.mark.parametrize("ids", [[], [0], list(range(1, MOST + 2))], ids=["none", "no id", "too many"])
def test_what_can_be_no_choice_is_refused(listed: Bridge, ids: list[int]):
    with pytest.raises(SettingsError, match="Cohort"):
        several.start_exports(listed, LOCAL, ids, ONCE)


def test_only_what_waits_is_cancelled_each_with_its_line(listed: Bridge):
    first, second, third = several.start_exports(listed, LOCAL, [1, 2, 3], ONCE).runs
    with write_session(listed.engine) as session:
        session.get_one(Run, second.id).status = RunStatus.SUCCEEDED

    assert several.cancel_waiting(listed, LOCAL, [run.id or 0 for run in (first, second, third)]) == 2

    states = {run.id: run.status for run in _all(listed, Run)}
    assert states == {first.id: "cancelled", second.id: "succeeded", third.id: "cancelled"}
    assert len([line for line in _all(listed, AuditEntry) if line.action == "cancel_waiting"]) == 2
    assert runs.get_run(listed, LOCAL, first.id or 0).finished_at is not None


def test_the_forecast_counts_what_waits_already(listed: Bridge):
    alone = forecast_exports(listed, LOCAL, COHORTS[:20])
    several.start_exports(listed, LOCAL, list(range(1, 51)), ONCE)

    behind = forecast_exports(listed, LOCAL, COHORTS[:20])

    assert (alone.waiting, behind.waiting) == (0, 10)
    assert behind.first_at is not None
    assert behind.first_at >= listed.clock.now() + timedelta(hours=1)
