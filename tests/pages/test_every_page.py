"""What holds for every page, whatever the state of things."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.access.roles import LOCAL, Role
from core.bridge import Bridge
from core.syncs import one_time
from core.worker import service
from tests.pages.dashboard import (
    ALERTS,
    AUDIT,
    COHORTS,
    CONNECTIONS,
    GROUPS,
    HISTORY,
    MATCHING,
    OVERLAP,
    OVERVIEW,
    PAGES,
    PEOPLE,
    PRACTICE,
    ROOT,
    SYNCS,
    USERS,
    open_page,
    page_buttons,
    shown,
    sign_in_as,
)
from tests.stage.home import export
from tests.stage.sandbox import POWER, Sandbox


def test_no_screen_lies_directly_in_pages():
    """Streamlit would serve it without running `app.py`, past whatever `app.py` checks."""
    assert list((ROOT / "pages").glob("*.py")) == []


def test_every_screen_has_the_guard_at_its_top():
    for page in PAGES:
        assert "person = gate.require(Role." in (ROOT / page).read_text()


@pytest.mark.usefixtures("first_day")
@pytest.mark.parametrize("page", PAGES)
def test_with_nothing_connected_a_page_says_so_or_leads_on(page: str):
    text = shown(open_page(page))

    assert "Practice mode" not in text or page == PRACTICE
    expected = {
        OVERVIEW: "Connect Mixpanel and Apptimize",
        COHORTS: "Mixpanel is not connected yet",
        SYNCS: "No recurring syncs yet",
        GROUPS: "No groups yet",
        OVERLAP: "Nothing to compare yet",
        USERS: "Distinct id or Apptimize id",
        HISTORY: "No runs yet",
        MATCHING: "No cohort was read yet",
        CONNECTIONS: "Connect Mixpanel",
        PRACTICE: "No practice connection at the moment",
        PEOPLE: "Sign-in is not set up",
        AUDIT: "Nothing yet",
        ALERTS: "No channels yet",
    }
    assert expected[page] in text


@pytest.mark.parametrize("page", PAGES)
def test_practice_mode_and_a_missing_worker_are_said_on_every_page(practising: Bridge, page: str):
    text = shown(open_page(page))

    assert ":material/science: Practice mode" in text
    assert "No worker is running" in text


def test_who_cannot_start_a_worker_is_told_to_ask(practising: Bridge):
    assert "Start one with" in shown(open_page(OVERVIEW))

    vera = sign_in_as(practising, Role.VIEWER)

    assert "Ask the operator of Cohort Bridge to start one" in shown(open_page(OVERVIEW, user=vera))


def test_who_cannot_connect_is_not_sent_to_a_page_that_is_closed_to_them(bridge: Bridge):
    ann = sign_in_as(bridge, Role.ANALYST)

    assert "An admin does that, on Connections." in shown(open_page(COHORTS, user=ann))


@pytest.mark.parametrize("page", PAGES)
def test_a_worker_that_is_up_is_nothing_to_talk_about(practising: Bridge, page: str):
    service.Worker(practising).sign_on()

    assert "No worker is running" not in shown(open_page(page))


def test_pages_with_much_to_show_are_drawn(practising: Bridge):
    for _ in range(2):
        export(practising, POWER)
        export(practising, POWER, dry_run=True)
    one_time.start_export(practising, LOCAL, POWER)

    for page in PAGES:
        open_page(page)


def test_pages_are_drawn_while_mixpanel_is_down(practising: Bridge, sandbox: Sandbox):
    sandbox.fault("server_error")
    assert export(practising, POWER).status == "failed"

    for page in PAGES:
        open_page(page)


@pytest.mark.sqlite_file
@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_in_a_sentence_that_the_storage_cannot_be_used(tmp_path: Path, page: str):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cohort_bridge.db").write_text("This is not a database. " * 100)

    assert "Cohort Bridge cannot open its storage" in shown(open_page(page))


@pytest.mark.parametrize("page", PAGES)
def test_a_database_that_breaks_under_way_is_said_in_a_sentence(practising: Bridge, page: str):
    at = open_page(page)
    with practising.engine.begin() as database:
        for table in ("connection", "run", "sync", "person", "audit_entry"):
            database.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {table}_gone")

    at.run()

    assert not at.exception
    assert "The database could not be used" in shown(at)


@pytest.mark.sqlite_file
@pytest.mark.parametrize("page", [OVERVIEW, HISTORY, CONNECTIONS])
def test_a_database_with_damaged_pages_is_said_in_a_sentence(practising: Bridge, tmp_path: Path, page: str):
    practising.engine.dispose()
    path = tmp_path / "home" / "cohort_bridge.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        roots = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE tbl_name IN ('run', 'connection')"
        ).fetchall()
    with path.open("r+b") as file:
        for (root,) in roots:
            file.seek((root - 1) * 4096)
            file.write(b"\xaa" * 4096)

    text = shown(open_page(page))

    assert "The database file is damaged" in text
    assert "Restore it from a backup" in text


@pytest.mark.parametrize(
    ("page", "role"), [(COHORTS, Role.VIEWER), (CONNECTIONS, Role.ANALYST)], ids=["cohorts", "connections"]
)
def test_a_page_ends_before_it_shows_anything_to_someone_without_the_role(practising: Bridge, page: str, role: Role):
    vera = sign_in_as(practising, role)

    at = open_page(page, user=vera)

    assert "This needs the role" in at.error[0].value
    assert not at.title
    assert not page_buttons(at)
