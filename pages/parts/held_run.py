"""What a person decides about a run: let a held one through or drop it, or put the group back to it."""

from __future__ import annotations

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.reports.members import are_members_kept
from core.syncs import held_runs, undo
from data.models import Run, RunStatus
from pages.parts.formatting import error_text, escape_markdown, moment, pluralize
from pages.shell import page_frame


def held(bridge: Bridge, person: Actor, run: Run, *, place: str) -> None:
    """Show the two ways to go on from a held run."""
    if run.status != RunStatus.HELD or run.dry_run or run.id is None:
        return
    if person.role < Role.ANALYST:
        st.caption("An analyst can apply it once, or discard it.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        buttons(bridge, person, run, place=place, key=place)
        st.caption("Applying reads the cohort again and writes whatever it finds then.", width="content")


def buttons(bridge: Bridge, person: Actor, run: Run, *, place: str, key: str) -> None:
    """Show the buttons that let a held run through once, or drop it."""
    assert run.id is not None
    if st.button("Apply once", key=f"{key}_apply", type="primary", icon=":material/check:"):
        _ask_to_apply(bridge, person, run, place)
    st.button(
        "Discard",
        key=f"{key}_discard",
        icon=":material/close:",
        on_click=_discard,
        args=(bridge, person, run.id, place),
    )


@st.dialog("Apply this once?", icon=":material/front_hand:")
def _ask_to_apply(bridge: Bridge, person: Actor, run: Run, place: str) -> None:
    would = f" As of this run {pluralize(run.removed, 'member')} would leave." if run.removed else ""
    st.markdown(
        f"The cohort is read again, and **{escape_markdown(run.group_name)}** at {escape_markdown(run.destination)} is made equal to it, "
        f"even if it loses members.{would}"
    )
    with st.container(horizontal=True):
        if st.button("Apply once", key="decide_apply_yes", type="primary", icon=":material/check:"):
            _apply(bridge, person, run, place)
            st.rerun()
        if st.button("Not now", key="decide_apply_no"):
            st.rerun()


def _apply(bridge: Bridge, person: Actor, run: Run, place: str) -> None:
    assert run.id is not None
    try:
        queued = held_runs.apply_held(bridge, person, run.id)
    except CohortBridgeError as exc:
        page_frame.answer(place, error_text(exc), failed=True)
        return
    page_frame.answer(place, f"Run {queued.id} is queued: it writes what it finds.")


def _discard(bridge: Bridge, person: Actor, run_id: int, place: str) -> None:
    try:
        held_runs.discard_held(bridge, person, run_id)
    except CohortBridgeError as exc:
        page_frame.answer(place, error_text(exc), failed=True)
        return
    page_frame.answer(place, f"Run {run_id} was discarded; the group stays as it is.")


def show_undo(bridge: Bridge, person: Actor, run: Run, *, place: str) -> None:
    """Offer to put the group back to its members as of this run, while they are kept."""
    if person.role < Role.ANALYST:
        return
    if run.status != RunStatus.SUCCEEDED or run.dry_run or not are_members_kept(bridge, person, run):
        return
    if st.button(
        "Put the group back to this run",
        key=f"{place}_undo",
        icon=":material/undo:",
        help="Writes the members that the group had after this run, and pauses its recurring sync.",
    ):
        _ask_to_roll_back(bridge, person, run, place)


@st.dialog("Put the group back?", icon=":material/undo:")
def _ask_to_roll_back(bridge: Bridge, person: Actor, run: Run, place: str) -> None:
    st.markdown(
        f"**{escape_markdown(run.group_name)}** at {escape_markdown(run.destination)} gets the {pluralize(run.members, 'member')} back that "
        f"it had after run {run.id} of {escape_markdown(moment(run.finished_at))}. Its recurring sync, if it has one, is paused, "
        "or the next run would undo the undo."
    )
    with st.container(horizontal=True):
        if st.button("Put it back", key="decide_undo_yes", type="primary", icon=":material/undo:"):
            _roll_back(bridge, person, run, place)
            st.rerun()
        if st.button("Leave it", key="decide_undo_no"):
            st.rerun()


def _roll_back(bridge: Bridge, person: Actor, run: Run, place: str) -> None:
    assert run.id is not None
    try:
        queued = undo.undo_to(bridge, person, run.id)
    except CohortBridgeError as exc:
        page_frame.answer(place, error_text(exc), failed=True)
        return
    page_frame.answer(place, f"Run {queued.id} is queued: it puts the group back to run {run.id}.")
