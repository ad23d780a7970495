"""Syncs: what is recurring, how it does, and every button on it."""

from __future__ import annotations

import asyncio

import pytest

from core import recurring, syncs, worker
from core.access import LOCAL
from core.bridge import Bridge
from data import models
from data.models import Run, Status, SyncState
from tests.emulator.stage import IMPORTED, NOON, SPENDERS, TRIAL, Sandbox
from tests.pages.dashboard import COHORTS, HISTORY, SYNCS, drawn, open_page, shown


def work(bridge: Bridge) -> Run:
    asyncio.run(worker.Worker(bridge).once())
    return syncs.list_runs(bridge, LOCAL, limit=1)[0]


def start(bridge: Bridge, cohort: int = TRIAL, **options: int) -> int:
    sync = recurring.add_sync(bridge, LOCAL, cohort, **options)
    assert sync.id is not None
    return sync.id


@pytest.fixture
def held(practising: Bridge, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that the brake holds: half an hour later some people have left."""
    shift = [0.0]
    monkeypatch.setattr(models, "wall_s", lambda: NOON + shift[0])
    start(practising, TRIAL, max_shrink=0)
    work(practising)
    shift[0] = 1800.0
    sandbox.at(1800)
    return work(practising)


def test_without_syncs_the_page_says_how_to_start_one(practising: Bridge):
    assert "No recurring syncs yet" in shown(open_page(SYNCS))


def test_a_recurring_sync_is_started_from_its_cohort(practising: Bridge):
    at = open_page(COHORTS, cohort=TRIAL)
    drawn(at.radio(key=f"cohorts_kind_{TRIAL}").set_value("Recurring (dynamic)").run())
    at.selectbox(key=f"cohorts_every_{TRIAL}").set_value(30)
    drawn(at.checkbox(key=f"cohorts_has_brake_{TRIAL}").set_value(True).run())
    at.number_input(key=f"cohorts_brake_{TRIAL}").set_value(10)

    at = drawn(at.button(key=f"cohorts_start_{TRIAL}").click().run())

    (view,) = recurring.list_syncs(practising, LOCAL)
    assert (view.sync.cohort_id, view.sync.every_minutes, view.sync.state) == (TRIAL, 30, SyncState.ACTIVE)
    assert view.sync.max_shrink == 10
    assert "its first run is due now" in shown(at)


def test_syncs_are_listed_with_what_they_did_last_paused_ones_first(practising: Bridge):
    start(practising, TRIAL)
    paused = start(practising, SPENDERS)
    work(practising)
    recurring.pause_sync(practising, LOCAL, paused)

    table = open_page(SYNCS).dataframe[0].value

    assert list(table["State"]) == ["Paused", "Active"]
    assert list(table["Group"])[0] == '"Big <b>spenders</b>" & Käufer 東京'
    assert "added" in list(table["Last result"])[1]


def test_a_paused_sync_says_why_and_which_button_starts_it_again(practising: Bridge, sandbox: Sandbox):
    sync_id = start(practising)
    sandbox.fault("unauthorized", target="apptimize")
    work(practising)

    at = open_page(SYNCS, sync=sync_id)
    assert "does not accept the token" in shown(at)
    drawn(at.button(key="syncs_resume").click().run())

    assert recurring.get_sync(practising, LOCAL, sync_id).sync.state == SyncState.ACTIVE


def test_interval_and_brake_are_changed(practising: Bridge):
    sync_id = start(practising)
    work(practising)
    at = open_page(SYNCS, sync=sync_id)
    at.selectbox(key=f"syncs_every_{sync_id}").set_value(60)
    at.checkbox(key=f"syncs_has_brake_{sync_id}").set_value(True)
    at.number_input(key=f"syncs_brake_{sync_id}").set_value(5)

    drawn(at.button(key=f"syncs_save_{sync_id}").click().run())

    sync = recurring.get_sync(practising, LOCAL, sync_id).sync
    assert (sync.every_minutes, sync.max_shrink) == (60, 5)


def test_run_now_queues_a_run_and_shows_it(practising: Bridge):
    sync_id = start(practising)
    work(practising)
    at = open_page(SYNCS, sync=sync_id)

    drawn(at.button(key="syncs_run").click().run())

    assert syncs.list_runs(practising, LOCAL, limit=1)[0].status == Status.QUEUED


def test_a_held_run_shows_who_would_leave_and_can_be_discarded(practising: Bridge, held: Run):
    at = open_page(HISTORY, run=held.id)
    assert "the brake is set at 0%" in shown(at)
    assert f"{held.removed} member" in shown(at)

    drawn(at.button(key="history_discard").click().run())

    assert syncs.get_run(practising, LOCAL, held.id or 0).status == Status.CANCELLED


def test_a_run_that_wrote_nothing_says_that_it_verified(practising: Bridge):
    sync_id = start(practising, IMPORTED)
    work(practising)
    recurring.run_now(practising, LOCAL, sync_id)
    run = work(practising)

    assert "verified: nothing had changed" in shown(open_page(HISTORY, run=run.id))


def test_an_address_that_names_no_sync_says_so(practising: Bridge):
    assert "There is no sync 99" in shown(open_page(SYNCS, sync=99))
