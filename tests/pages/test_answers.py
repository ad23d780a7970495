"""An action's answer is shown for as long as it holds, and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select, update

from core.access import people
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import destinations, mixpanel_connection
from core.syncs import listing, recurring, runs, settings
from data.engine import write_session
from data.models import MIXPANEL_SIDE, Connection, Run, RunFilter, Sync
from tests.pages.dashboard import CONNECTIONS, HISTORY, OVERVIEW, PEOPLE, SYNCS, drawn, open_page, shown
from tests.stage.home import export
from tests.stage.sandbox import NEWSLETTER, POWER, Sandbox
from tests.stage.seeds import few


def end(bridge: Bridge, run_id: int, status: str) -> None:
    with write_session(bridge.engine) as session:
        session.exec(update(Run).where(Run.id == run_id).values(status=status, finished_at=bridge.clock.now()))


def fail(bridge: Bridge, sandbox: Sandbox) -> Run:
    sandbox.fault("page_rows_missing")
    return export(bridge, POWER)


@few(2)
@pytest.mark.parametrize(
    ("status", "word"), [("running", "Running"), ("succeeded", "Succeeded"), ("failed", "Failed"), ("held", "Held")]
)
def test_a_run_that_was_queued_is_not_called_queued_once_it_has_moved_on(
    exported: Bridge, sandbox: Sandbox, status: str, word: str
):
    at = open_page(HISTORY, run=fail(exported, sandbox).id)
    drawn(at.button(key="history_again").click().run())
    queued = runs.list_runs(exported, LOCAL, limit=1)[0]
    assert f"Run {queued.id} is queued." in shown(at)

    end(exported, queued.id or 0, status)
    text = shown(drawn(at.run()))

    assert "is queued" not in text
    assert f"{word}]" in text
    assert f"Run {queued.id} in History" in text


def test_a_run_that_has_begun_already_is_not_called_queued(exported: Bridge):
    sync = recurring.add_sync(exported, LOCAL, POWER)
    ended = recurring.run_now(exported, LOCAL, sync.id or 0).id or 0
    end(exported, ended, "failed")
    begun = recurring.run_now(exported, LOCAL, sync.id or 0).id or 0
    end(exported, begun, "running")
    at = open_page(HISTORY, run=ended)

    drawn(at.button(key="history_again").click().run())

    assert f"Run {begun} of the same sync has already begun." in shown(at)


def test_on_overview_the_answer_goes_with_what_it_spoke_of(exported: Bridge, sandbox: Sandbox):
    failed = fail(exported, sandbox)
    at = open_page(OVERVIEW)
    drawn(at.button(key=f"overview_again_{failed.id}").click().run())
    assert "is queued." in shown(at)

    end(exported, runs.list_runs(exported, LOCAL, limit=1)[0].id or 0, "succeeded")

    assert "is queued." not in shown(drawn(at.run()))


def test_an_answer_is_not_shown_with_another_run(exported: Bridge, sandbox: Sandbox):
    at = open_page(HISTORY, run=fail(exported, sandbox).id)
    drawn(at.button(key="history_again").click().run())
    assert "is queued." in shown(at)

    at.query_params["run"] = "1"

    assert "is queued." not in shown(drawn(at.run()))
    at.query_params["run"] = "2"
    assert "is queued." not in shown(drawn(at.run()))


def test_what_is_said_of_a_sync_goes_once_its_run_is_no_longer_due(exported: Bridge):
    sync = recurring.add_sync(exported, LOCAL, NEWSLETTER)
    recurring.pause_sync(exported, LOCAL, sync.id or 0)
    at = open_page(OVERVIEW)
    drawn(at.button(key=f"overview_resume_{sync.id}").click().run())
    assert "is resumed: a run is due now." in shown(at)

    with write_session(exported.engine) as session:
        later = exported.clock.now() + timedelta(minutes=15)
        session.exec(update(Sync).where(Sync.id == sync.id).values(next_run_at=later))

    assert "is resumed" not in shown(drawn(at.run()))


def test_the_answer_to_a_copied_sync_is_shown_with_the_copy(practising: Bridge, tmp_path: Any):
    destinations.connect_csv(practising, LOCAL, folder=str(tmp_path / "groups"), name="files")
    with write_session(practising.engine) as session:
        first = session.exec(select(Connection).where(Connection.side == MIXPANEL_SIDE)).one()
        session.add(Connection(**{**first.model_dump(exclude={"id"}), "name": "second"}))
    sync = recurring.add_sync(practising, LOCAL, NEWSLETTER, to="default", mixpanel="second")
    sync = settings.change_sync_matching(practising, LOCAL, sync.id or 0, match_property="account", expects_prefix=True)
    at = open_page(SYNCS, sync=sync.id)
    drawn(at.button(key="syncs_clone").click().run())

    drawn(at.button(key="syncs_clone_yes").click().run())

    assert "This is the copy: its first run is due now." in shown(at)
    copy = listing.get_sync(practising, LOCAL, (sync.id or 0) + 1).sync
    alike = ("mixpanel_id", "match_property", "expects_prefix", "cohort_id", "every_minutes")
    assert [getattr(copy, name) for name in alike] == [getattr(sync, name) for name in alike]


def test_what_is_said_of_a_person_goes_once_somebody_else_changes_them(practising: Bridge):
    bob = people.add_person(practising, LOCAL, "bob@example.com", "analyst")
    at = open_page(PEOPLE, person=bob.id)
    drawn(at.radio(key=f"people_role_{bob.id}").set_value("viewer").run())
    assert "bob@example.com is viewer from the next click on." in shown(at)

    people.change_role(practising, LOCAL, bob.id or 0, "admin")

    assert "is viewer from the next click on" not in shown(drawn(at.run()))


def test_what_is_said_of_a_connection_goes_once_it_is_another_one(practising: Bridge):
    with write_session(practising.engine) as session:
        connection = session.get_one(Connection, 1)
    at = open_page(CONNECTIONS)
    save = f"connections_match_save_{connection.id}"
    drawn(at.button(key=save).click().run())
    assert "Users are matched on" in shown(at)

    mixpanel_connection.change_match_setting(
        practising, LOCAL, connection.id or 0, match_property="other", expects_prefix=None
    )

    assert "Users are matched on" not in shown(drawn(at.run()))


def test_a_run_that_is_gone_is_not_spoken_of(exported: Bridge, sandbox: Sandbox):
    at = open_page(HISTORY, run=fail(exported, sandbox).id)
    drawn(at.button(key="history_again").click().run())
    newest = runs.list_runs(exported, LOCAL, RunFilter(), limit=1)[0]
    with write_session(exported.engine) as session:
        session.delete(session.get_one(Run, newest.id))

    assert "is queued" not in shown(drawn(at.run()))
