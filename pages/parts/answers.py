"""An action's answer, shown where its click was for as long as it holds."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.access import people
from core.access.roles import Actor
from core.alerts import channels
from core.bridge import Bridge
from core.connections import lookup
from core.errors import CohortBridgeError
from core.syncs import listing, runs
from data.models import Run
from pages.parts import run_status
from pages.parts.actions import subject
from pages.parts.formatting import age
from pages.shell import page_frame


def show(bridge: Bridge, person: Actor, place: str, *, follow: bool = False) -> None:
    """Show the latest action's answer if it belongs here; once what it speaks of has moved on it goes.

    `follow` shows from then on what has become of the run that it speaks of, where the page itself does not.
    """
    if page_frame.latest_answer(place):
        _show(bridge, person, place, follow=follow)


@st.fragment(run_every="2s")
def _show(bridge: Bridge, person: Actor, place: str, *, follow: bool) -> None:
    latest = page_frame.latest_answer(place)
    if not latest:
        return
    about: dict[str, Any] | None = latest["about"]
    if about is None:
        page_frame.show_answer(place)
        return
    try:
        now = _find(bridge, person, about)
    except CohortBridgeError:
        return  # gone, or the page itself says that the storage cannot be read
    if now is not None and subject(now) == about:
        page_frame.show_answer(place)
    elif follow and isinstance(now, Run):
        text = run_status.step_text(now) if run_status.is_active(now) else age(now.finished_at).capitalize()
        run_status.headline(now, text)


def _find(bridge: Bridge, person: Actor, about: dict[str, Any]) -> object | None:
    """Return what an answer speaks of as it is now."""
    match about["kind"]:
        case "Run":
            return runs.get_run(bridge, person, about["id"])
        case "Sync":
            return listing.get_sync(bridge, person, about["id"]).sync
        case "Connection":
            return next((each for each in lookup.list_connections(bridge, person) if each.id == about["id"]), None)
        case "AlertChannel":
            return next((each for each in channels.list_channels(bridge, person) if each.id == about["id"]), None)
        case _:
            views = people.list_people(bridge, person)
            return next((view.person for view in views if view.person.id == about["id"]), None)
