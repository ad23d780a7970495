"""What all tests share: a home of their own, and no setting of the machine that runs them."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from core.bridge import Bridge, open_bridge
from core.settings import Settings


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings come from the test alone, and nothing is written outside its folder."""
    for name in list(os.environ):
        if name.startswith("COHORT_BRIDGE_") and name != "COHORT_BRIDGE_REQUIRE_BROWSER":
            monkeypatch.delenv(name)
    monkeypatch.setenv("COHORT_BRIDGE_HOME", str(tmp_path / "home"))


@pytest.fixture
def bridge(tmp_path: Path) -> Generator[Bridge]:
    """A real database and real folders; passing failures are retried within half a second."""
    opened = open_bridge(Settings(home=tmp_path / "home", retry_over_s=0.5, _env_file=None))
    yield opened
    opened.engine.dispose()
