"""What is opened once per process and shared by every session."""

from __future__ import annotations

import streamlit as st

from core import bridge as core_bridge
from core import settings
from core.bridge import Bridge
from core.errors import CohortBridgeError
from pages.shared.text import said


def _close(bridge: Bridge) -> None:
    bridge.engine.dispose()


@st.cache_resource(show_spinner="Opening …", on_release=_close)
def _open() -> Bridge:
    return core_bridge.open_bridge(settings.read())


def bridge() -> Bridge:
    """Return the process's bridge. Ends the page with a sentence when the storage cannot be used."""
    try:
        return _open()
    except CohortBridgeError as exc:
        st.error(said(exc), icon=":material/database_off:", title="Cohort Bridge cannot open its storage")
        st.button("Try again", key="resources_again")
        st.stop()
