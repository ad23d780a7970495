"""Syncs: what is recurring, how it does, and every button on it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlmodel import col, update
from streamlit.testing.v1 import AppTest

from core.access import audit_log
from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.connections import destinations
from core.syncs import cohorts, held_runs, listing, recurring, runs, settings
from core.worker import service
from data.engine import write_session
from data.models import NOTE_LENGTH, Run, RunStatus, Schedule, SyncState
from tests.pages.dashboard import (
    AUDIT,
    COHORTS,
    HISTORY,
    OVERVIEW,
    SYNCS,
    drawn,
    open_page,
    page_buttons,
    shown,
)  # fmt: skip
from tests.stage.clock import FakeClock
from tests.stage.home import export
from tests.stage.sandbox import IMPORTED, NOON, SPENDERS, TRIAL, Sandbox
from tests.stage.seeds import few


def work(bridge: Bridge) -> Run:
    asyncio.run(service.Worker(bridge).once())
    return runs.list_runs(bridge, LOCAL, limit=1)[0]


def start(bridge: Bridge, cohort: int = TRIAL, **options: int) -> int:
    sync = recurring.add_sync(bridge, LOCAL, cohort, **options)
    assert sync.id is not None
    return sync.id


@pytest.fixture
def held(practising: Bridge, sandbox: Sandbox, fake_clock: FakeClock) -> Run:
    """A run that the shrink limit holds: half an hour later some people have left."""
    bridge = replace(practising, clock=fake_clock.clock)
    fake_clock.start_s = NOON
    start(bridge, TRIAL, max_shrink=0)
    work(bridge)
    fake_clock.shift_s = 1800.0
    sandbox.at(1800)
    return work(bridge)


def test_without_syncs_the_page_says_how_to_start_one(practising: Bridge):
    assert "No recurring syncs yet" in shown(open_page(SYNCS))


def test_a_recurring_sync_is_started_from_its_cohort(practising: Bridge):
    at = open_page(COHORTS, cohort=TRIAL)
    drawn(at.radio(key=f"cohorts_kind_{TRIAL}").set_value("Recurring (dynamic)").run())
    at.selectbox(key=f"cohorts_every_{TRIAL}").set_value(30)
    assert at.checkbox(key=f"cohorts_has_shrink_limit_{TRIAL}").value
    assert at.number_input(key=f"cohorts_shrink_limit_{TRIAL}").value == 10
    at.number_input(key=f"cohorts_shrink_limit_{TRIAL}").set_value(12)

    at = drawn(at.button(key=f"cohorts_start_{TRIAL}").click().run())

    (view,) = listing.list_syncs(practising, LOCAL)
    assert (view.sync.cohort_id, view.sync.every_minutes, view.sync.state) == (TRIAL, 30, SyncState.ACTIVE)
    assert view.sync.max_shrink == 12
    assert "its first run is due now" in shown(at)


@pytest.mark.parametrize(
    ("every", "times"),
    [
        (15, r"Every 15 minutes, at :\d\d, :\d\d, :\d\d and :\d\d, to default"),
        (30, r"Every 30 minutes, at :\d\d and :\d\d, to default"),
        (1440, r"Every day, at (\d\d:\d\d), to default"),
    ],
)
def test_a_sync_says_at_which_times_of_its_own_it_runs(practising: Bridge, every: int, times: str):
    sync_id = start(practising, TRIAL, every_minutes=every)
    work(practising)
    next_run_at = listing.get_sync(practising, LOCAL, sync_id).sync.next_run_at
    assert next_run_at

    found = re.search(times, shown(open_page(SYNCS, sync=sync_id)))

    assert found
    assert f"{next_run_at:%H:%M}"[0 if every == 1440 else 2 :] in found[0]


def test_syncs_are_listed_with_what_they_did_last_paused_ones_first(practising: Bridge):
    start(practising, TRIAL)
    paused = start(practising, SPENDERS)
    work(practising)
    recurring.pause_sync(practising, LOCAL, paused)

    table = open_page(SYNCS).dataframe[0].value

    assert [list(states) for states in table["State"]] == [["Paused"], ["Active"]]
    assert list(table["Group"])[0] == '"Big <b>spenders</b>" & Käufer 東京'
    assert "added" in list(table["Last result"])[1]


def test_the_last_runs_of_a_sync_are_a_strip_and_words(practising: Bridge, sandbox: Sandbox):
    sync_id = start(practising)
    work(practising)
    sandbox.fault("unauthorized")
    recurring.run_now(practising, LOCAL, sync_id)
    work(practising)

    (row,) = open_page(SYNCS).dataframe[0].value.to_dict("records")
    text = shown(open_page(SYNCS, sync=sync_id))

    assert row["Latest runs"].startswith("data:image/svg+xml,")
    assert row["Latest runs in words"] == "1 of 2 succeeded, 1 failed"
    assert row["Cause"] == "Mixpanel refused access"
    assert "The last 2 runs: 1 of 2 succeeded, 1 failed." in text


def test_a_held_run_that_was_decided_does_not_count_as_cancelled(practising: Bridge, held: Run):
    held_runs.discard_held(practising, LOCAL, held.id or 0)

    (row,) = open_page(SYNCS).dataframe[0].value.to_dict("records")

    assert row["Latest runs in words"] == "1 of 2 succeeded, 1 discarded"
    page = shown(open_page(SYNCS, sync=held.sync_id))
    assert "The last 2 runs: 1 of 2 succeeded, 1 discarded." in page
    assert page.index("Save matching") < page.index("Last run"), "settings are found above all that has happened"
    at = open_page(OVERVIEW)
    drawn(at.button(key="frame_search").click().run())
    drawn(at.text_input(key="search_text_1").set_value(f"run {held.id}").run())
    assert at.button(key=f"search_run_{held.id}").label.startswith(f"**Run {held.id}**, discarded:")


@pytest.mark.parametrize("is_newest", [True, False])
def test_a_sync_whose_run_is_held_looks_so_wherever_it_is_shown_until_that_is_decided(
    practising: Bridge, held: Run, is_newest: bool
):
    if not is_newest:
        later = recurring.run_now(practising, LOCAL, held.sync_id)
        with write_session(practising.engine) as session:
            failed = {"status": "failed", "finished_at": later.queued_at, "error_message": "It broke."}
            session.exec(update(Run).where(col(Run.id) == later.id).values(**failed))

    at = open_page(SYNCS, state="held")
    (row,) = at.dataframe[0].value.to_dict("records")
    assert "Held" in row["State"]
    assert "Active" not in row["State"]
    assert row["Cause"] == "Too many would leave"
    assert "Held (1)" in str(at.segmented_control[0].proto)
    assert "Failing (0)" in str(at.segmented_control[0].proto)
    fresh = open_page(OVERVIEW).dataframe[0].value
    assert ["Held" in states for states in fresh["State"]] == [True]
    page = open_page(SYNCS, sync=held.sync_id)
    assert ":orange-badge[:material/front_hand: Held]" in shown(page)
    assert ":material/sync: Active" not in shown(page)
    assert [key for key in page_buttons(page) if (key or "").endswith("_discard")] == ["syncs_discard"]
    cohort = open_page(COHORTS, cohort=TRIAL)
    assert ":orange-badge[:material/front_hand: Held]" in shown(cohort)
    assert len([key for key in page_buttons(cohort) if (key or "").endswith("_discard")]) == 1

    held_runs.discard_held(practising, LOCAL, held.id or 0)

    assert "Held (0)" in str(open_page(SYNCS).segmented_control[0].proto)
    assert ":material/front_hand: Held]" not in shown(open_page(SYNCS, sync=held.sync_id))


def test_a_paused_sync_says_why_and_which_button_starts_it_again(practising: Bridge, sandbox: Sandbox):
    sync_id = start(practising)
    sandbox.fault("unauthorized", target="apptimize")
    work(practising)

    at = open_page(SYNCS, sync=sync_id)
    assert "does not accept the token" in shown(at)
    drawn(at.button(key="syncs_resume").click().run())

    assert listing.get_sync(practising, LOCAL, sync_id).sync.state == SyncState.ACTIVE


def test_a_shrink_limit_that_cannot_be_is_refused_at_its_field(practising: Bridge):
    at = open_page(COHORTS, cohort=TRIAL)
    drawn(at.radio(key=f"cohorts_kind_{TRIAL}").set_value("Recurring (dynamic)").run())
    limit = at.number_input(key=f"cohorts_shrink_limit_{TRIAL}").set_value(150)
    assert isinstance(limit.value, int)
    assert not limit.proto.has_max, "what the field itself refuses is replaced by its last number, unsaid"

    at = drawn(at.button(key=f"cohorts_start_{TRIAL}").click().run())

    assert "Shrink limit: this is a share from 0 to 100 percent." in shown(at)
    assert listing.list_syncs(practising, LOCAL) == []


def test_interval_and_shrink_limit_are_changed(practising: Bridge):
    sync_id = start(practising)
    work(practising)
    at = open_page(SYNCS, sync=sync_id)
    at.selectbox(key=f"syncs_every_{sync_id}").set_value(60)
    assert f"syncs_shrink_limit_{sync_id}" not in {field.key for field in at.number_input}
    drawn(at.checkbox(key=f"syncs_has_shrink_limit_{sync_id}").set_value(True).run())
    at.number_input(key=f"syncs_shrink_limit_{sync_id}").set_value(5)

    at = drawn(at.button(key=f"syncs_save_{sync_id}").click().run())

    sync = listing.get_sync(practising, LOCAL, sync_id).sync
    assert (sync.every_minutes, sync.max_shrink) == (60, 5)
    assert "Saved." in shown(at)


def test_a_limit_that_somebody_else_took_away_or_set_is_not_stored_again_with_something_else(practising: Bridge):
    sync_id = start(practising, max_shrink=20)
    at = open_page(SYNCS, sync=sync_id)
    tick = f"syncs_has_shrink_limit_{sync_id}"
    assert at.checkbox(key=tick).value

    for limit in (None, 30):
        settings.edit_sync(practising, LOCAL, sync_id, every_minutes=15, max_shrink=limit)
        drawn(at.run())
        assert at.checkbox(key=tick).value is (limit is not None)
        drawn(at.button(key=f"syncs_save_{sync_id}").click().run())
        assert listing.get_sync(practising, LOCAL, sync_id).sync.max_shrink == limit


def test_what_somebody_else_stored_is_not_taken_back_by_saving_something_else(practising: Bridge):
    sync_id = start(practising)
    at = open_page(SYNCS, sync=sync_id)
    mondays = Schedule("45 7 * * 1", "Europe/Berlin")
    fridays = Schedule("0 9,17 * * 5", "Europe/Berlin")

    for every, schedule, tags in (
        (60, None, ["vip"]),
        (None, mondays, ["launch"]),
        (None, fridays, []),
        (30, None, []),
    ):
        settings.edit_sync(
            practising, LOCAL, sync_id, every_minutes=every, schedule=schedule, max_shrink=None, tags=tags
        )
        drawn(at.run())
        drawn(at.button(key=f"syncs_save_{sync_id}").click().run())
        sync = listing.get_sync(practising, LOCAL, sync_id).sync
        assert (sync.timing, sync.tags) == (schedule or every, tags)


def test_what_somebody_else_stored_since_the_page_was_drawn_is_not_overwritten_unseen(practising: Bridge):
    sync_id = start(practising, every_minutes=30)
    at = open_page(SYNCS, sync=sync_id)
    settings.edit_sync(practising, LOCAL, sync_id, every_minutes=60, max_shrink=5)

    drawn(at.button(key=f"syncs_save_{sync_id}").click().run())

    assert "Somebody else has changed this sync meanwhile. Nothing was saved." in shown(at)
    sync = listing.get_sync(practising, LOCAL, sync_id).sync
    assert (sync.every_minutes, sync.max_shrink) == (60, 5)
    assert at.selectbox(key=f"syncs_every_{sync_id}").value == 60
    drawn(at.button(key=f"syncs_save_{sync_id}").click().run())
    assert "Saved." in shown(at)


def test_match_settings_that_somebody_else_stored_are_not_overwritten_unseen(practising: Bridge):
    sync_id = start(practising, every_minutes=30)
    at = open_page(SYNCS, sync=sync_id)
    settings.change_sync_matching(practising, LOCAL, sync_id, match_property="crm", expects_prefix=False)

    drawn(at.button(key=f"syncs_match_save_{sync_id}").click().run())

    assert "Somebody else has changed this sync meanwhile. Nothing was saved." in shown(at)
    assert listing.get_sync(practising, LOCAL, sync_id).sync.match_property == "crm"
    assert at.text_input(key=f"syncs_property_{sync_id}").value == "crm"


def test_the_shrink_limit_that_is_offered_goes_by_what_the_chosen_group_lost(practising: Bridge, tmp_path: Path):
    destinations.connect_csv(practising, LOCAL, folder=str(tmp_path / "groups"))
    run = export(practising, TRIAL, to="default")
    with write_session(practising.engine) as session:
        dropped = {"removed": 15, "unchanged": 85, "difference": "d"}
        session.exec(update(Run).where(Run.id == run.id).values(**dropped))
    at = open_page(COHORTS, cohort=TRIAL)
    drawn(at.radio(key=f"cohorts_kind_{TRIAL}").set_value("Recurring (dynamic)").run())
    limit = f"cohorts_shrink_limit_{TRIAL}"
    assert at.number_input(key=limit).value == 30
    assert "The most that a run has removed so far is 15.0% of the members" in shown(at)

    drawn(at.selectbox(key=f"cohorts_to_{TRIAL}").set_value("csv").run())
    assert at.number_input(key=limit).value == 10
    assert "The group has no past yet" in shown(at)
    drawn(at.number_input(key=limit).set_value(33).run())
    drawn(at.selectbox(key=f"cohorts_to_{TRIAL}").set_value("default").run())

    assert at.number_input(key=limit).value == 33, "what was entered stays"


def test_a_sync_without_a_limit_is_started_by_taking_the_tick_away(practising: Bridge):
    at = open_page(COHORTS, cohort=TRIAL)
    drawn(at.radio(key=f"cohorts_kind_{TRIAL}").set_value("Recurring (dynamic)").run())
    drawn(at.checkbox(key=f"cohorts_has_shrink_limit_{TRIAL}").set_value(False).run())

    drawn(at.button(key=f"cohorts_start_{TRIAL}").click().run())

    (view,) = listing.list_syncs(practising, LOCAL)
    assert view.sync.max_shrink is None


def test_run_now_queues_a_run_and_shows_it(practising: Bridge):
    sync_id = start(practising)
    work(practising)
    at = open_page(SYNCS, sync=sync_id)

    drawn(at.button(key="syncs_run").click().run())

    assert runs.list_runs(practising, LOCAL, limit=1)[0].status == RunStatus.QUEUED


def test_what_stands_below_a_run_stays_in_its_place_when_that_ends(practising: Bridge):
    sync_id = start(practising)
    work(practising)
    recurring.run_now(practising, LOCAL, sync_id)

    def figures() -> tuple[int, list[str]]:
        """Return the place of the figures among the parts of the page, and what they say."""
        at = open_page(SYNCS, sync=sync_id)
        (place,) = [place for place, part in at.main.children.items() if getattr(part, "metric", None)]
        return place, [figure.value for figure in at.metric]

    under_way, unknown = figures()
    work(practising)
    ended, known = figures()

    assert under_way == ended
    assert unknown == ["–"] * 3
    assert "–" not in known


def test_a_held_run_shows_who_would_leave_and_can_be_discarded(practising: Bridge, held: Run):
    at = open_page(HISTORY, run=held.id)
    assert "the shrink limit is 0%" in shown(at)
    assert f"{held.removed} member" in shown(at)

    drawn(at.button(key="history_discard").click().run())

    assert runs.get_run(practising, LOCAL, held.id or 0).status == RunStatus.CANCELLED


def test_a_press_in_a_dialog_that_a_newer_hold_that_keeps_to_it_has_overtaken_applies_the_newer_one(
    practising: Bridge, held: Run, fake_clock: FakeClock
):
    at = open_page(HISTORY, run=held.id)
    drawn(at.button(key="history_apply").click().run())
    recurring.run_now(practising, LOCAL, held.sync_id)
    newer = work(replace(practising, clock=fake_clock.clock))
    assert runs.get_run(practising, LOCAL, held.id or 0).status == RunStatus.SUPERSEDED
    old = open_page(HISTORY, run=held.id)
    assert f"Run {newer.id} has taken its place." in shown(old)
    assert f"View run {newer.id}" in shown(old)

    drawn(at.button(key="held_run_apply_yes").click().run())

    queued = runs.list_runs(practising, LOCAL, limit=1)[0]
    assert (queued.status, queued.approvals) == (RunStatus.QUEUED, [(held.hold or {}) | {"held_run_id": newer.id}])
    applied = runs.get_run(practising, LOCAL, newer.id or 0)
    assert (applied.step, applied.decided_by) == ("applied", "local")
    assert f"Run {queued.id} is queued" in shown(at)
    assert "is made equal to it" not in shown(at)


def test_a_press_that_a_newer_hold_goes_beyond_is_answered_in_the_dialog_which_shows_the_new_numbers(
    practising: Bridge, held: Run, sandbox: Sandbox, fake_clock: FakeClock
):
    at = open_page(SYNCS, sync=held.sync_id)
    drawn(at.button(key="syncs_apply").click().run())
    assert get_figures(at, "To remove") == [held.removed]
    fake_clock.shift_s = 7200.0
    sandbox.at(7200)
    newer = work(replace(practising, clock=fake_clock.clock))
    assert newer.removed > held.removed

    drawn(at.run())  # the page notices the newer run by itself: the dialog stays as it was looked at
    assert get_figures(at, "To remove")[-1] == held.removed
    drawn(at.button(key="held_run_apply_yes").click().run())

    assert f"Run {newer.id} has taken the place of run {held.id}" in shown(at)
    assert get_figures(at, "To remove")[-1] == newer.removed
    assert runs.list_runs(practising, LOCAL, limit=1)[0].id == newer.id
    drawn(at.button(key="held_run_apply_yes").click().run())
    assert runs.list_runs(practising, LOCAL, limit=1)[0].approvals == [(newer.hold or {}) | {"held_run_id": newer.id}]


def test_a_press_for_what_somebody_decided_meanwhile_says_who_and_what(practising: Bridge, held: Run):
    at = open_page(HISTORY, run=held.id)
    drawn(at.button(key="history_apply").click().run())
    held_runs.discard_held(practising, Actor("ann", Role.ANALYST), held.id or 0)

    drawn(at.button(key="held_run_apply_yes").click().run())

    assert f"Run {held.id} was discarded already by ann" in shown(at)
    assert runs.list_runs(practising, LOCAL, limit=1)[0].id == held.id
    drawn(at.button(key="held_run_apply_no").click().run())
    assert "is made equal to it" not in shown(at)
    assert "Discarded by ann." in shown(at)


def test_why_a_held_run_was_let_through_is_kept_and_shown(practising: Bridge, held: Run):
    at = open_page(HISTORY, run=held.id)
    drawn(at.button(key="history_apply").click().run())
    drawn(at.text_input(key="held_run_note").set_value("Campaign\x00 over").run())

    drawn(at.button(key="held_run_apply_yes").click().run())
    assert "Note: it holds characters that cannot be used here." in shown(at)
    drawn(at.text_input(key="held_run_note").set_value("x" * 10_000).run())
    assert "Note: " not in shown(at)
    drawn(at.button(key="held_run_apply_yes").click().run())
    assert f"Note: at most {NOTE_LENGTH:,} characters." in shown(at)
    assert runs.get_run(practising, LOCAL, held.id or 0).status == RunStatus.HELD
    drawn(at.text_input(key="held_run_note").set_value(" The *campaign* is over ").run())
    drawn(at.button(key="held_run_apply_yes").click().run())

    kept = runs.get_run(practising, LOCAL, held.id or 0)
    assert (kept.step, kept.decision_note) == ("applied", "The *campaign* is over")
    told = "Applied by local. Note: “The *campaign* is over”"
    assert told in shown(open_page(HISTORY, run=held.id))
    queued = runs.list_runs(practising, LOCAL, limit=1)[0]
    applied = open_page(HISTORY, run=held.id)
    assert f"Run {queued.id} followed." in shown(applied)
    assert "history_again" not in page_buttons(applied), "that run does it"
    assert f"Follows run {held.id}, which was held. {told}" in shown(open_page(HISTORY, run=queued.id))
    with write_session(practising.engine) as session:  # as versions before kept them
        session.get_one(Run, held.id).hold = held.hold
        looked_at = (queued.approvals or [])[-1]
        session.get_one(Run, queued.id).approvals = [
            {name: value for name, value in looked_at.items() if name != "held_run_id"}
        ]
    assert f"Run {queued.id} followed." in shown(open_page(HISTORY, run=held.id))
    assert f"Follows run {held.id}, which was held. {told}" in shown(open_page(HISTORY, run=queued.id))
    with write_session(practising.engine) as session:
        session.get_one(Run, queued.id).actor = "ann"
    assert "followed." not in shown(open_page(HISTORY, run=held.id)), "somebody else let another one through"
    line = audit_log.list_audit(practising, LOCAL)[0]
    assert line.after[f"run {held.id}"]["decision_note"] == "The *campaign* is over"
    assert "Why it was let through" in shown(open_page(AUDIT, line=line.number))


def test_a_dialog_that_is_closed_or_left_by_another_page_is_closed(practising: Bridge, held: Run):
    at = open_page(HISTORY, run=held.id)
    drawn(at.button(key="history_apply").click().run())
    assert "is made equal to it" in shown(at)

    drawn(at.button(key="held_run_apply_no").click().run())
    assert "is made equal to it" not in shown(at)
    drawn(at.button(key="history_apply").click().run())
    at.switch_page(SYNCS)
    assert "is made equal to it" not in shown(drawn(at.run()))


def get_figures(at: AppTest, label: str) -> list[int]:
    """Return the figures under this label, the dialog's last."""
    return [int(metric.value.replace(",", "")) for metric in at.metric if metric.label == label]


def test_a_run_that_wrote_nothing_says_that_it_verified(practising: Bridge):
    sync_id = start(practising, IMPORTED)
    work(practising)
    recurring.run_now(practising, LOCAL, sync_id)
    run = work(practising)

    assert "verified: nothing had changed" in shown(open_page(HISTORY, run=run.id, show="steps"))


def test_an_address_that_names_no_sync_says_so(practising: Bridge):
    assert "There is no sync 99" in shown(open_page(SYNCS, sync=99))


def tick(at: AppTest, *rows: int) -> AppTest:
    table = at.session_state["syncs_drawn"]["table"]
    at.session_state[table] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return drawn(at.run())


def test_states_are_counted_and_filtered(practising: Bridge):
    start(practising, TRIAL)
    recurring.pause_sync(practising, LOCAL, start(practising, SPENDERS))

    at = open_page(SYNCS)
    assert "Paused (1)" in str(at.segmented_control[0].proto)
    drawn(at.segmented_control(key="syncs_state").set_value("Paused").run())

    assert [list(states) for states in at.dataframe[0].value["State"]] == [["Paused"]]
    drawn(at.text_input(key="syncs_search").set_value("nothing like it").run())
    assert "No sync matches the filters." in shown(at)


def test_several_syncs_are_paused_after_a_question_that_names_them(practising: Bridge):
    cohorts.list_cohorts(practising, LOCAL)
    for cohort in (TRIAL, SPENDERS, IMPORTED):
        start(practising, cohort)
    at = tick(open_page(SYNCS), 0, 1)
    drawn(at.text_input(key="syncs_search").set_value("trial").run())
    assert "2 syncs selected, 1 of them not in this list." in shown(at)
    drawn(at.text_input(key="syncs_search").set_value("").run())

    drawn(at.button(key="syncs_bulk_pause").click().run())

    text = shown(at)
    # Once in the table, and once more in the question.
    named = [text.count(name) for name in ("Trial ends this week", "spenders", "Imported from the old shop")]
    assert named == [2, 2, 1]
    assert at.button(key="syncs_many_yes").label == "Pause 2"
    assert all(view.sync.state == SyncState.ACTIVE for view in listing.list_syncs(practising, LOCAL))


def test_a_run_that_is_held_for_a_damaged_file_tells_of_it_once_and_of_no_number_as_known(practising: Bridge):
    sync_id = start(practising, TRIAL, max_shrink=10)
    work(practising)
    for file in practising.snapshots.folder.glob("run-*.parquet"):
        file.write_bytes(b"")
    recurring.run_now(practising, LOCAL, sync_id)
    held = work(practising)

    at = open_page(HISTORY, run=held.id)

    assert "the file of the members that it was given last is damaged" in shown(at)
    assert "Not as usual" not in shown(at)
    drawn(at.button(key="history_apply").click().run())
    assert {"To remove, at most", "To add, at most"} <= {one.label for one in at.metric}


def test_tags_are_given_and_found(practising: Bridge):
    sync_id = start(practising, TRIAL)
    settings.edit_sync(practising, LOCAL, start(practising, SPENDERS), every_minutes=15, max_shrink=None, tags=["vip"])
    settings.edit_sync(practising, LOCAL, sync_id, every_minutes=15, max_shrink=None, tags=["launch"])

    at = open_page(SYNCS)
    drawn(at.multiselect(key="syncs_tags").set_value(["vip"]).run())

    assert [list(tags) for tags in at.dataframe[0].value["Tags"]] == [["vip"]]
    drawn(open_page(SYNCS, sync=sync_id).button(key=f"syncs_save_{sync_id}").click().run())
    assert listing.get_sync(practising, LOCAL, sync_id).sync.tags == ["launch"]


def test_a_copy_asks_for_the_destination_and_names_what_is_copied(practising: Bridge, tmp_path: Path):
    sync_id = start(practising, TRIAL, every_minutes=30, max_shrink=10)
    destinations.connect_csv(practising, LOCAL, folder=str(tmp_path / "groups"))
    at = open_page(SYNCS, sync=sync_id)

    drawn(at.button(key="syncs_clone").click().run())

    assert "at csv: every 30 minutes, shrink limit 10%" in shown(at)
    destinations.connect_csv(practising, LOCAL, folder=str(tmp_path / "others"), name="others")
    drawn(at.run())
    assert at.radio(key="syncs_clone_to").options == ["csv", "others"]
    at.radio(key="syncs_clone_to").set_value("others")
    drawn(at.button(key="syncs_clone_yes").click().run())
    assert [view.destination for view in listing.list_syncs(practising, LOCAL)] == ["default", "others"]


@few(1)
@pytest.mark.parametrize(
    ("button", "field"), [("syncs_until", "date_input"), ("syncs_clone", ""), ("syncs_remove", "")]
)
def test_a_question_about_a_sync_stays_while_the_page_is_drawn_again(
    practising: Bridge, tmp_path: Path, button: str, field: str
):
    sync_id = start(practising, TRIAL)
    destinations.connect_csv(practising, LOCAL, folder=str(tmp_path / "groups"))
    at = open_page(SYNCS, sync=sync_id)
    drawn(at.button(key=button).click().run())

    work(practising)
    drawn(at.run())  # by itself: there is a newer run

    assert f"{button}_yes" in page_buttons(at)
    assert not field or at.get(field)
    drawn(at.button(key=f"{button}_no").click().run())
    assert f"{button}_yes" not in page_buttons(drawn(at.run()))


def test_a_question_about_several_syncs_stays_while_the_list_is_kept_up_to_date(practising: Bridge):
    for cohort in (TRIAL, SPENDERS):
        start(practising, cohort)
    at = tick(open_page(SYNCS), 0, 1)
    drawn(at.button(key="syncs_bulk_pause").click().run())

    drawn(at.run())
    drawn(at.button(key="syncs_many_yes").click().run())

    assert all(view.sync.state == SyncState.PAUSED for view in listing.list_syncs(practising, LOCAL))
    assert "2 syncs paused." in shown(at)
    assert "syncs_many_yes" not in page_buttons(at)


def test_an_end_of_a_pause_that_cannot_be_is_said_in_the_dialog_which_stays(practising: Bridge):
    sync_id = start(practising)
    at = open_page(SYNCS, sync=sync_id)
    drawn(at.button(key="syncs_until").click().run())
    at.date_input(key="syncs_until_day").set_value(date(2028, 1, 1))

    drawn(at.button(key="syncs_until_yes").click().run())

    assert "is more than a year away" in shown(at)
    assert "That is Saturday, 1 January 2028, 08:00 (UTC)" in shown(at).replace("\\", "")
    assert at.date_input(key="syncs_until_day").value == date(2028, 1, 1)
    tomorrow = practising.clock.now().date() + timedelta(days=1)
    drawn(at.date_input(key="syncs_until_day").set_value(tomorrow).run())
    assert "is more than a year away" not in shown(at)
    at.date_input(key="syncs_until_day").set_value(None)
    drawn(at.button(key="syncs_until_yes").click().run())
    assert "Until: choose a day and a time." in shown(at)
    assert listing.get_sync(practising, LOCAL, sync_id).sync.state == SyncState.ACTIVE


def test_what_is_wrong_with_a_field_stands_at_the_field(practising: Bridge):
    sync_id = start(practising)
    at = open_page(SYNCS, sync=sync_id)
    at.multiselect(key=f"syncs_tags_{sync_id}").set_value(["a" * 41])

    drawn(at.button(key=f"syncs_save_{sync_id}").click().run())

    elements = [node for node in at._tree if getattr(node, "type", "") in ("multiselect", "error", "checkbox")]
    kinds = [element.type for element in elements]
    assert "Tag: at most 40 characters." in at.error[0].value.replace("\\", "")
    assert kinds.index("multiselect") < kinds.index("error") < kinds.index("checkbox")


def test_the_size_of_the_group_is_drawn_over_time(practising: Bridge):
    sync_id = start(practising)
    run = work(practising)

    at = open_page(SYNCS, sync=sync_id)
    assert list(at.dataframe[-1].value["Run"]) == [str(run.id)]
    drawn(at.segmented_control(key="syncs_one_show").set_value("Size over time").run())

    assert at.query_params["show"] == "size"
    assert len(at.get("vega_lite_chart")) == 2
    assert f"{run.members} members at the end of this period" in shown(at)


def test_a_sync_is_started_at_set_times_once_its_next_times_are_shown(practising: Bridge):
    at = open_page(COHORTS, cohort=TRIAL)
    drawn(at.radio(key=f"cohorts_kind_{TRIAL}").set_value("Recurring (dynamic)").run())
    drawn(at.selectbox(key=f"cohorts_every_{TRIAL}").set_value("At set times").run())
    at.multiselect(key=f"cohorts_times_{TRIAL}").set_value(["08:00", "17:30"])
    at = drawn(at.selectbox(key=f"cohorts_zone_{TRIAL}").set_value("Europe/Berlin").run())
    assert "The first run starts at once. Next:" in shown(at)
    assert "08:00" in shown(at).replace("\\", "")
    assert "For you:" in shown(at)

    at = drawn(at.button(key=f"cohorts_start_{TRIAL}").click().run())

    (view,) = listing.list_syncs(practising, LOCAL)
    assert view.sync.timing == Schedule("0 8 * * 1-5; 30 17 * * 1-5", "Europe/Berlin")
    assert list(open_page(SYNCS).dataframe[0].value["Schedule"]) == ["Weekdays at 08:00 and 17:30 Europe/Berlin"]


def test_times_are_changed_to_cron_and_what_cannot_run_is_refused_with_its_field(practising: Bridge):
    sync_id = start(practising)
    at = open_page(SYNCS, sync=sync_id)
    drawn(at.selectbox(key=f"syncs_every_{sync_id}").set_value("As cron").run())
    drawn(at.selectbox(key=f"syncs_zone_{sync_id}").set_value("UTC").run())
    at = drawn(at.text_input(key=f"syncs_cron_{sync_id}").set_value("*/5 * * * *").run())
    assert "two of its times lie 5 min apart" in at.warning[-1].value  # a colored caption is too pale to read
    at = drawn(at.button(key=f"syncs_save_{sync_id}").click().run())
    assert "Cron: two of its times lie 5 min apart" in shown(at).replace("\\", "")
    assert listing.get_sync(practising, LOCAL, sync_id).sync.every_minutes == 15

    at = drawn(at.text_input(key=f"syncs_cron_{sync_id}").set_value("0 8 1 * *").run())
    drawn(at.button(key=f"syncs_save_{sync_id}").click().run())

    sync = listing.get_sync(practising, LOCAL, sync_id).sync
    assert sync.timing == Schedule("0 8 1 * *", "UTC")
    assert sync.every_minutes is None


def test_the_end_of_a_pause_is_shown_wherever_the_pause_is(practising: Bridge):
    sync_id = start(practising)
    recurring.pause_sync(practising, LOCAL, sync_id, until=practising.clock.now() + timedelta(days=3))

    row = open_page(SYNCS).dataframe[0].value.iloc[0]
    assert list(row["State"]) == ["Paused"]
    assert row["Cause"].startswith("Until ")
    assert "A worker resumes it at" in shown(open_page(SYNCS, sync=sync_id))
    assert "A worker resumes it at" in shown(open_page(OVERVIEW))
    assert "Resumes at" in shown(open_page(COHORTS, cohort=TRIAL))
