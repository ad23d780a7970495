"""The dashboard on a stage: its own home, and the sandbox over loopback in the vendors' place."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import streamlit as st
from streamlit import config
from streamlit.components.v2 import manifest_scanner

from core.bridge import Bridge
from tests.stage.home import copy_home, export
from tests.stage.sandbox import POWER, Sandbox


@pytest.fixture(scope="session", autouse=True)
def packages_searched_once() -> Iterator[None]:
    """Streamlit searches all installed packages for components whenever an app is made, which takes as long as it does.

    What is installed does not change while tests run: the first search's findings are taken again.
    """
    with pytest.MonkeyPatch.context() as patch:
        search = manifest_scanner.scan_component_manifests
        patch.setattr(manifest_scanner, search.__name__, functools.cache(search))
        yield


@pytest.fixture(autouse=True)
def fresh_dashboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A dashboard process that has opened nothing yet, that no one signs in to, and that does not retry for long."""
    monkeypatch.setenv("COHORT_BRIDGE_RETRY_OVER_S", "0.1")
    secrets_files = config.get_option("secrets.files")
    config.set_option("secrets.files", [str(tmp_path / "secrets.toml")])
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()
    config.set_option("secrets.files", secrets_files)


@pytest.fixture(scope="module")
def exported_template(
    module_sandbox: Sandbox, connected_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    module_sandbox.reset()
    home = copy_home(connected_template, tmp_path_factory.mktemp("exported") / "home")
    with home.bridge(mixpanel_url=module_sandbox.url) as bridge:
        assert export(bridge, POWER).status == "succeeded"
    return home.path


@contextmanager
def _practice(template: Path, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Generator[Bridge]:
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_URL", sandbox.url)
    with copy_home(template, tmp_path / "home").bridge(mixpanel_url=sandbox.url) as bridge:
        yield bridge


@pytest.fixture
def practising(
    connected_template: Path, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bridge]:
    """A home that is connected to the sandbox on both sides, and has exported nothing yet."""
    with _practice(connected_template, tmp_path, sandbox, monkeypatch) as bridge:
        yield bridge


@pytest.fixture
def exported(
    exported_template: Path, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bridge]:
    """The same once the power users were exported, as run 1; the sandbox has forgotten their group since."""
    with _practice(exported_template, tmp_path, sandbox, monkeypatch) as bridge:
        yield bridge
