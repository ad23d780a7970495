"""What a person decides about a run: apply a held one or discard it, or roll the group back to a run."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.reports.members import are_members_kept
from core.syncs import held_runs
from data.models import Run, RunStatus
from pages.parts import held_run_dialog, links
from pages.parts.actions import perform
from pages.parts.formatting import escape_markdown


def held(bridge: Bridge, person: Actor, run: Run, *, place: str, key: str = "") -> None:
    """Show what can be done with a held run; a `key` tells it from another one on the same page."""
    if run.status != RunStatus.HELD or run.dry_run or run.id is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        buttons(bridge, person, run, place=place, key=key or place)
        if person.role >= Role.ANALYST:
            st.caption("Applying reads the cohort again, and writes no larger change than this one.", width="content")


def buttons(bridge: Bridge, person: Actor, run: Run, *, place: str, key: str) -> None:
    """Show the buttons that apply a held run once, or discard it, as it is drawn here, or who may do that."""
    assert run.id is not None
    if person.role < Role.ANALYST:
        st.caption("An analyst can apply it once, or discard it.", width="content")
        return
    st.button(
        "Apply once",
        key=f"{key}_apply",
        type="primary",
        icon=":material/check:",
        on_click=held_run_dialog.ask,
        args=(run, place),
    )
    st.button(
        "Discard",
        key=f"{key}_discard",
        icon=":material/close:",
        on_click=perform,
        args=(
            place,
            partial(held_runs.discard_held, bridge, person, run.id, run.hold),
            _is_discarded,
        ),
    )


def _is_discarded(run: Run) -> str:
    return f"Run {run.id} was discarded: it writes nothing."


def show_other(bridge: Bridge, person: Actor, run: Run) -> None:
    """Show the run that a held one led to, or that took its place, and for what let it through the held run, with who
    decided and why.
    """
    held = held_runs.find_applied(bridge, person, run)
    if text := held_runs.follows(run, held):
        _show_run(text, held.id if held else None)
    if text := held_runs.followed_by(run):
        _show_run(text, run.applied_run_id or run.superseded_by_run_id)


def _show_run(text: str, run_id: int | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(escape_markdown(text), width="content")
        if run_id:
            links.view_run(run_id, label=f"View run {run_id}")


def show_undo(bridge: Bridge, person: Actor, run: Run, *, place: str) -> None:
    """Offer to roll the group back to its members as of this run, while they are kept."""
    if person.role < Role.ANALYST:
        return
    if run.status != RunStatus.SUCCEEDED or run.dry_run or not are_members_kept(bridge, person, run):
        return
    st.button(
        "Roll back to this run",
        key=f"{place}_undo",
        icon=":material/undo:",
        help="Writes the members that the group had after this run, and pauses its recurring sync.",
        on_click=held_run_dialog.ask_to_roll_back,
        args=(run, place),
    )
