"""What is done to an association by a click, and where its answer is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.associate import actions
from core.bridge import Bridge
from data.models import Association
from pages.parts.actions import perform
from pages.parts.selection import Selection

PLACE = "associate"
ASSOCIATIONS = Selection(
    "association", key="associate_back", all_rows="All associations", unknown="There is no association {}."
)


def start(begin: Callable[[], Association], *, fields: Mapping[str, str] | None = None) -> None:
    """Start an association, and show it; an error about one of the fields stands where those say."""
    if association := perform(PLACE, begin, fields=fields):
        ASSOCIATIONS.go_to(association.id)
    st.rerun()


def cancel(bridge: Bridge, person: Actor, association_id: int) -> None:
    """Cancel an association, or discard one that was only checked."""
    perform(PLACE, partial(actions.cancel_association, bridge, person, association_id))


def confirm(bridge: Bridge, person: Actor, association_id: int, seen: Association) -> None:
    """Confirm that what was seen is written."""
    perform(PLACE, partial(actions.confirm_association, bridge, person, association_id, seen=seen))


def resume(bridge: Bridge, person: Actor, association_id: int) -> None:
    """Continue from the first row without an outcome."""
    perform(PLACE, partial(actions.resume_association, bridge, person, association_id))


def accept_problems(bridge: Bridge, person: Actor, association_id: int, ticks: Mapping[str, str]) -> None:
    """Apply which problems were accepted: `ticks` are those that can be, by the key of their tick."""
    accepted = [problem for key, problem in ticks.items() if st.session_state[key]]
    perform(PLACE, partial(actions.accept_problems, bridge, person, association_id, accepted))


def choose_prefix(bridge: Bridge, person: Actor, association_id: int) -> None:
    """Apply the prefix that was chosen to ids without one."""
    prefix = st.session_state[f"associate_prefix_{association_id}"]
    perform(PLACE, partial(actions.choose_prefix, bridge, person, association_id, prefix))
