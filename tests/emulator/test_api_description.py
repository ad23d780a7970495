"""What the HTTP API answers, compared with the description that it serves."""

from __future__ import annotations

from pathlib import Path

from tests.stage.api import exported_api
from tests.stage.clock import FakeClock
from tests.stage.described import ask_all
from tests.stage.sandbox import Sandbox


def test_answers_are_as_described(sandbox: Sandbox, connected_template: Path, tmp_path: Path, fake_clock: FakeClock):
    with exported_api(connected_template, tmp_path / "home", clock=fake_clock.clock) as api:
        told = ask_all(api, fake_clock, examples=2)

    assert {200, 400, 404} <= set(told)
