"""Which way work is handed out, and what is said where it cannot be the way that is set."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from core.bridge import Bridge
from core.errors import SettingsError
from core.worker.dispatch.choice import choose_dispatch
from core.worker.dispatch.embedded import EmbeddedDispatch
from core.worker.dispatch.port import Dispatch
from core.worker.run_tasks import RunTasks
from tests.stage import databases


def chosen(bridge: Bridge, dispatch: str | None) -> Dispatch:
    settings = bridge.settings.model_copy(update={"dispatch": dispatch})
    changed = replace(bridge, settings=settings)
    return choose_dispatch(changed, RunTasks(changed, "one"))


def test_the_table_is_enough_where_it_is_set(bridge: Bridge):
    assert isinstance(chosen(bridge, "embedded"), EmbeddedDispatch)


@pytest.mark.skipif(bool(databases.SERVER), reason="about SQLite")
def test_sqlite_hands_out_by_the_table_without_loading_an_engine_and_refuses_one(bridge: Bridge):
    assert isinstance(chosen(bridge, None), EmbeddedDispatch)
    with pytest.raises(SettingsError, match="jobs lie in PostgreSQL, and the database is SQLite"):
        chosen(bridge, "procrastinate")
    assert "procrastinate" not in sys.modules


@pytest.mark.skipif(not databases.SERVER, reason="about PostgreSQL")
def test_postgres_hands_out_by_jobs_where_the_library_is_there(bridge: Bridge, monkeypatch: pytest.MonkeyPatch):
    assert not isinstance(chosen(bridge, None), EmbeddedDispatch)

    monkeypatch.delitem(sys.modules, "core.worker.dispatch.procrastinate", raising=False)
    monkeypatch.setitem(sys.modules, "procrastinate", None)

    assert isinstance(chosen(bridge, None), EmbeddedDispatch)
    with pytest.raises(SettingsError) as caught:
        chosen(bridge, "procrastinate")
    assert caught.value.advice == "Run: pip install -r requirements-postgres.txt"
