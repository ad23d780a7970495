"""Settings: each is explained, and one that cannot be used is named."""

from __future__ import annotations

import pytest

from core import settings
from core.errors import SettingsError
from tests.stage.processes import ROOT


def test_every_setting_is_explained_in_the_example():
    explained = (ROOT / ".env.example").read_text()

    missing = [name for name in settings.Settings.model_fields if f"COHORT_BRIDGE_{name.upper()}=" not in explained]

    assert missing == []


def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COHORT_BRIDGE_MESSAGES_IN_FLIGHT", "many")

    with pytest.raises(SettingsError, match="COHORT_BRIDGE_MESSAGES_IN_FLIGHT"):
        settings.read()
