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
from streamlit.runtime import context
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.testing.v1 import app_test, local_script_runner

from core.bridge import Bridge
from tests.stage.home import copy_connected, copy_home, export
from tests.stage.sandbox import POWER, Sandbox, sandbox_at_noon


@pytest.fixture(scope="session", autouse=True)
def looked_up_once() -> Iterator[None]:
    """Let Streamlit look up once what does not change while tests run, and it looks up for each app, or each run of it.

    That is which components are installed, what the pages' files say, and the connection of a browser, of which there
    is none: in its place Streamlit would make up a new object for each of its parts that a page asks for.
    """
    search, pages = manifest_scanner.scan_component_manifests, ScriptCache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, search.__name__, functools.cache(search))
        for module in (app_test, local_script_runner):
            patch.setattr(module, ScriptCache.__name__, lambda: pages)
        patch.setattr(context, "_get_client_context", lambda: None)
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


@pytest.fixture
def first_day(migrated_template: Path, tmp_path: Path) -> Path:
    """The home of a dashboard that nothing is connected to yet."""
    return copy_home(migrated_template, tmp_path / "home").path


@pytest.fixture(scope="session")
def module_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Generator[Sandbox]:
    with sandbox_at_noon(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def connected_template(
    module_sandbox: Sandbox, migrated_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return copy_connected(migrated_template, tmp_path_factory.mktemp("connected") / "home", module_sandbox).path


@pytest.fixture(scope="session")
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
