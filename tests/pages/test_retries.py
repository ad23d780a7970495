"""A run that waits to try again says so, why and when, and never counts more than there is."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import update

from core.access.roles import LOCAL
from core.associate.retrying import RETRYING
from core.bridge import Bridge
from core.reports import overview
from core.syncs import runs
from data.engine import write_session
from data.models import Association, Run, RunLogRow, RunStatus
from tests.pages.dashboard import HISTORY, MATCHING, open_page, shown
from tests.stage.home import copy_home, export
from tests.stage.sandbox import POWER, Sandbox, wait_until
from tests.stage.seeds import few

# The first wait is a fifteenth of it, and longer than a page takes to be drawn.
OVER_S = 60.0


@pytest.fixture
def patient(connected_template: Path, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    """A home whose runs wait for seconds before they try again."""
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_URL", sandbox.url)
    with copy_home(connected_template, tmp_path / "home").bridge(
        mixpanel_url=sandbox.url, retry_over_s=OVER_S
    ) as bridge:
        yield bridge


@contextmanager
def run_that_waits(bridge: Bridge) -> Generator[tuple[Run, Future[Run]]]:
    """Export until something waits to be tried again; the run continues afterwards."""
    with ThreadPoolExecutor(1) as threads:
        ending = threads.submit(export, bridge, POWER)

        def waits() -> bool:
            assert not ending.done(), ending.result()
            active = runs.active_runs(bridge, LOCAL)
            log = (active and overview.get_run_log(bridge, LOCAL, active[0].id or 0)) or {}
            return bool(log.get("retry"))

        wait_until(waits)
        yield runs.active_runs(bridge, LOCAL)[0], ending


@few(1)
@pytest.mark.parametrize(
    ("fault", "options", "why", "bar", "row"),
    [
        (
            "server_error", {"target": "apptimize"}, "The Apptimize endpoint answered with an error of its own (500).",
            "Sending members: ", "4 messages",
        ),
        ("load_shedding", {"target": "mixpanel", "after": 1}, "Mixpanel", "Reading profiles", "profiles in"),
    ],
    ids=["delivering", "reading"],
)  # fmt: skip
def test_a_run_that_tries_again_says_why_and_when(
    patient: Bridge, sandbox: Sandbox, fault: str, options: dict[str, Any], why: str, bar: str, row: str
):
    sandbox.fault(fault, times=1, **options)

    with run_that_waits(patient) as (run, ending):
        at = open_page(HISTORY, run=run.id)
        assert not ending.done()
        ended = ending.result()

    text = shown(at)
    assert why in text
    assert "1 try has failed in this step; it is tried again" in text
    assert bar in at.main.get("progress")[0].proto.text
    assert ended.status == RunStatus.SUCCEEDED
    steps = open_page(HISTORY, run=run.id, show="steps").table[-1].value
    assert [what for what in steps["What"] if row in what and what.endswith(", 1 try failed")]


@pytest.mark.parametrize(("sent", "failed", "shown_sent"), [(2, 1, 1), (5, 5, 0), (5, 4, 1), (9, 0, 2), (0, 1, 0)])
def test_progress_never_counts_more_messages_than_there_are(exported: Bridge, sent: int, failed: int, shown_sent: int):
    with write_session(exported.engine) as session:
        values = {"status": "running", "step": "delivering", "messages": sent, "messages_expected": 2}
        session.exec(update(Run).values(finished_at=None, **values))
        log = {"steps": [], "calls": [], "totals": [], "refusals": {"delivering": failed}, "retry": None}
        session.merge(RunLogRow(run_id=1, log=log))

    bar = open_page(HISTORY, run=1).main.get("progress")[0].proto

    assert bar.text == f"Sending members: {shown_sent} of 2 messages"
    assert bar.value <= 99


def test_a_run_of_an_earlier_version_has_a_log_that_knows_no_tries(exported: Bridge):
    with write_session(exported.engine) as session:
        values = {"status": "running", "step": "delivering", "messages": 3, "messages_expected": 1}
        session.exec(update(Run).values(finished_at=None, **values))
        session.merge(RunLogRow(run_id=1, log={"steps": [], "calls": [], "totals": []}))

    assert open_page(HISTORY, run=1).main.get("progress")[0].proto.text == "Sending members: 1 of 1 message"


def test_an_association_that_tries_again_says_why_and_when(exported: Bridge):
    with write_session(exported.engine) as session:
        counts = {"rows": 2_000, "writable": 1_990, "written": 40, "refused": 2}
        how = {"mixpanel_id": 1, "project_id": 1, "match_property": "$apptimize_user_id", "aliases": True}
        why = {"error_code": RETRYING, "error_message": "Mixpanel is busy.", "error_advice": "It is tried again now."}
        now = exported.clock.now()
        session.add(Association(actor="local", source="a.csv", stage="writing", created_at=now, **counts, **how, **why))

    at = open_page(MATCHING, association=1)

    assert "Mixpanel is busy. It is tried again now." in shown(at)
    assert at.main.get("progress")[0].proto.text == "Writing: 42 of 1,990 rows"
