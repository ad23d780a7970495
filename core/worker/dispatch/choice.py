"""Which way work is handed out in this installation."""

from __future__ import annotations

from core.bridge import Bridge
from core.errors import SettingsError
from core.worker.dispatch.embedded import EmbeddedDispatch
from core.worker.dispatch.port import Dispatch
from core.worker.run_tasks import RunTasks


def choose_dispatch(bridge: Bridge, runs: RunTasks) -> Dispatch:
    """Return what is set; without that Procrastinate, where the database is PostgreSQL and it is installed.

    Raises SettingsError where it is set and cannot be.
    """
    wanted, is_shared = bridge.settings.dispatch, bridge.engine.dialect.name == "postgresql"
    if wanted == "embedded" or not (wanted or is_shared):
        return EmbeddedDispatch(runs)
    if not is_shared:
        raise _refused("its jobs lie in PostgreSQL, and the database is SQLite", "Unset it, or use PostgreSQL.")
    try:
        from core.worker.dispatch.procrastinate import ProcrastinateDispatch  # no other installation loads the library
    except ImportError:
        if wanted:
            raise _refused("Procrastinate is not installed", "Run: pip install -r requirements-postgres.txt") from None
        return EmbeddedDispatch(runs)
    return ProcrastinateDispatch(bridge, runs)


def _refused(why: str, advice: str) -> SettingsError:
    return SettingsError(f"COHORT_BRIDGE_DISPATCH cannot be used: {why}.", advice=advice, code="bad_setting")
