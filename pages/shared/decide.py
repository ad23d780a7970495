"""What a person decides about a run: let a held one through or drop it, or put the group back to it."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core import recurring
from core.access import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.recurring import Change
from data.models import Run, Status
from pages.shared import notices
from pages.shared.text import counted, moment, plain, said

_SAMPLES = 20


def held(bridge: Bridge, person: Actor, run: Run, *, place: str) -> None:
    """Show who would have come and gone, and the two ways to go on from a held run."""
    if run.status != Status.HELD or run.dry_run or run.id is None:
        return
    _samples(bridge, person, run)
    if person.role < Role.ANALYST:
        st.caption("An analyst can apply it once, or discard it.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Apply once", key=f"{place}_apply", type="primary", icon=":material/check:"):
            _ask_to_apply(bridge, person, run, place)
        st.button(
            "Discard",
            key=f"{place}_discard",
            icon=":material/close:",
            on_click=_discard,
            args=(bridge, person, run.id, place),
        )
        st.caption("Applying reads the cohort again and writes whatever it finds then.", width="content")


def _samples(bridge: Bridge, person: Actor, run: Run) -> None:
    if not run.difference:
        return
    leaving, coming = st.columns(2)
    _sample(leaving, bridge, person, run, "removed", run.removed, "would leave")
    _sample(coming, bridge, person, run, "added", run.added, "would come")


def _sample(
    column: DeltaGenerator,
    bridge: Bridge,
    person: Actor,
    run: Run,
    change: Change,
    total: int,
    what: str,
) -> None:
    if not total:
        return
    assert run.id is not None
    rows = recurring.run_changes(bridge, person, run.id, change, limit=_SAMPLES)
    first = f", the first {len(rows)} of them" if total > len(rows) else ""
    column.caption(f"{counted(total, 'member')} {what}{first}:")
    column.dataframe(
        [{"Apptimize id": one, "Distinct id": other} for one, other in rows],
        key=f"decide_{change}",
        hide_index=True,
        height=210,
        alt=f"Members who {what}",
    )


@st.dialog("Apply this once?", icon=":material/front_hand:")
def _ask_to_apply(bridge: Bridge, person: Actor, run: Run, place: str) -> None:
    st.markdown(
        f"The cohort is read again, and **{plain(run.group_name)}** at {plain(run.destination)} is made equal to it, "
        f"even if it loses members. As of this run {counted(run.removed, 'member')} would leave."
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
        queued = recurring.apply_held(bridge, person, run.id)
    except CohortBridgeError as exc:
        notices.answer(place, said(exc), failed=True)
        return
    notices.answer(place, f"Run {queued.id} is queued: it writes what it finds.")


def _discard(bridge: Bridge, person: Actor, run_id: int, place: str) -> None:
    try:
        recurring.discard_held(bridge, person, run_id)
    except CohortBridgeError as exc:
        notices.answer(place, said(exc), failed=True)
        return
    notices.answer(place, f"Run {run_id} was discarded; the group stays as it is.")


def undo(bridge: Bridge, person: Actor, run: Run, *, place: str) -> None:
    """Offer to put the group back to its members as of this run, while they are kept."""
    if person.role < Role.ANALYST:
        return
    if run.status != Status.SUCCEEDED or run.dry_run or not bridge.snapshots.exists(run.snapshot):
        return
    if st.button(
        "Put the group back to this run",
        key=f"{place}_undo",
        icon=":material/undo:",
        help="Writes the members that the group had after this run, and pauses its recurring sync.",
    ):
        _ask_to_undo(bridge, person, run, place)


@st.dialog("Put the group back?", icon=":material/undo:")
def _ask_to_undo(bridge: Bridge, person: Actor, run: Run, place: str) -> None:
    st.markdown(
        f"**{plain(run.group_name)}** at {plain(run.destination)} gets the {counted(run.members, 'member')} back that "
        f"it had after run {run.id} of {plain(moment(run.finished_at))}. Its recurring sync, if it has one, is paused, "
        "or the next run would undo the undo."
    )
    with st.container(horizontal=True):
        if st.button("Put it back", key="decide_undo_yes", type="primary", icon=":material/undo:"):
            _undo(bridge, person, run, place)
            st.rerun()
        if st.button("Leave it", key="decide_undo_no"):
            st.rerun()


def _undo(bridge: Bridge, person: Actor, run: Run, place: str) -> None:
    assert run.id is not None
    try:
        queued = recurring.undo_to(bridge, person, run.id)
    except CohortBridgeError as exc:
        notices.answer(place, said(exc), failed=True)
        return
    notices.answer(place, f"Run {queued.id} is queued: it puts the group back to run {run.id}.")
