"""What can be done about a run that did not succeed, by who looks at it."""

from __future__ import annotations

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections.failures import is_of_connection
from core.syncs import held_runs
from data.models import Run, RunStatus
from pages.parts import run_status, whom_to_ask


def show(bridge: Bridge, person: Actor, run: Run, *, key: str, place: str, with_retry: bool = True) -> None:
    """Show the retry, and the link to the connection that failed, or whom to ask; nothing where nothing is to be done.

    Without `with_retry` the page has a button of its own for that.
    """
    if not held_runs.may_run_again(run):
        return
    is_about_connection = run.status == RunStatus.FAILED and is_of_connection(run.error_code)
    with st.container(horizontal=True, vertical_alignment="center"):
        if with_retry:
            run_status.run_again_button(bridge, person, run, key=key, place=place)
        if is_about_connection:
            whom_to_ask.show_way_to_connections(bridge, person)
        elif with_retry and person.role < Role.ANALYST:
            st.caption("An analyst can run it again.", width="content")
