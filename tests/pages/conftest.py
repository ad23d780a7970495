"""The dashboard on a stage: a home of its own, and the sandbox over loopback in the vendors' place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import streamlit as st
from streamlit import config

from core.bridge import Bridge
from core.sandbox.server import running
from tests.emulator.stage import NOON, Home, Sandbox, connect


@pytest.fixture(scope="module")
def module_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with (
        running(tmp_path_factory.mktemp("sandbox"), clock=lambda: NOON) as server,
        closing(Sandbox(server.url)) as sandbox,
    ):
        yield sandbox


@pytest.fixture
def sandbox(module_sandbox: Sandbox) -> Sandbox:
    module_sandbox.reset()
    return module_sandbox


@pytest.fixture(autouse=True)
def fresh_dashboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A dashboard process that has opened nothing yet, that nobody signs in to, and that does not retry for long."""
    monkeypatch.setenv("COHORT_BRIDGE_RETRY_OVER_S", "0.1")
    secrets_files = config.get_option("secrets.files")
    config.set_option("secrets.files", [str(tmp_path / "secrets.toml")])
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()
    config.set_option("secrets.files", secrets_files)


@pytest.fixture
def practising(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridge]:
    """A home that is connected to the sandbox on both sides, and has exported nothing yet."""
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_URL", sandbox.url)
    with Home(tmp_path / "home").bridge(mixpanel_url=sandbox.url) as bridge:
        connect(bridge, sandbox)
        yield bridge
