"""The HTTP API against its own description, at length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import Tally
from tests.stage.api import exported_api
from tests.stage.clock import FakeClock
from tests.stage.described import ask_all
from tests.stage.sandbox import Sandbox
from tests.stage.seeds import SEEDS


@pytest.mark.skipif(not SEEDS, reason="tests/emulator/test_api_description.py is the short form")
def test_answers_are_as_described_however_often_they_are_asked(
    sandbox: Sandbox, connected_template: Path, tmp_path: Path, fake_clock: FakeClock, ran: Tally
):
    with exported_api(connected_template, tmp_path / "home", clock=fake_clock.clock) as api:
        told = ask_all(api, fake_clock, examples=10 * SEEDS, chosen_by=SEEDS)

    ran("requests of the HTTP API", told.total())
    assert {200, 400, 404} <= set(told)
