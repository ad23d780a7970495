"""The link to a group on the sandbox's own pages, in practice mode."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from data.models import Connection
from pages.parts.connections.wording import is_apptimize
from pages.shell import page_frame


def show(
    place: Connection | None,
    project_id: int,
    cohort_id: int,
    *,
    key: str,
    type: Literal["primary", "secondary"] = "secondary",
) -> None:
    """Link to a group where the sandbox shows it; nothing where it was delivered elsewhere."""
    sandbox = page_frame.find_sandbox([place]) if place else None
    if not sandbox or not place:
        return
    label, path = (
        ("See it on Apptimize's Groups page", f"apptimize/groups/{project_id}/{cohort_id}")
        if is_apptimize(place)
        else ("See what the practice receivers hold", "sandbox/receivers")
    )
    st.link_button(label, f"{sandbox}/{path}", key=key, icon=":material/open_in_new:", type=type)
