"""The dialogs that apply a held run once, or roll a group back: they stay until they are answered."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.errors import BadNote, CohortBridgeError, HoldChanged
from core.syncs import held_runs, runs, undo
from data.models import Run
from pages.parts import run_status
from pages.parts.actions import confirm_buttons, perform, show_errors, subject
from pages.parts.formatting import error_text, escape_markdown, moment, number, pluralize
from pages.shell import page_frame, resources

_DIALOG, _UNDO = "held_run", "roll_back"
_NOTE = "held_run_note"


def ask(run: Run, place: str) -> None:
    """Open the dialog about a held run, with what is shown of it now. Its answer is shown at `place`."""
    page_frame.open_dialog(_DIALOG, _about(run) | {"place": place, "failure": ""})
    st.session_state[_NOTE] = ""


def ask_to_roll_back(run: Run, place: str) -> None:
    """Open the dialog that rolls a group back to a run. Its answer is shown at `place`."""
    page_frame.open_dialog(_UNDO, {"run_id": run.id, "place": place})


def show(bridge: Bridge, person: Actor) -> None:
    """Show the dialog while it is open: a page that is drawn again meanwhile, for whatever reason, leaves it so."""
    if asked := page_frame.dialog_state(_DIALOG):
        _show(bridge, person, asked)
    elif asked := page_frame.dialog_state(_UNDO):
        with show_errors():
            _show_undo(bridge, person, runs.get_run(bridge, person, asked["run_id"]), asked["place"])


def _about(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "hold": run.hold,
        "cause": run.error_message or "",
        "group": run.group_name,
        "destination": run.destination,
        "at_most": ", at most" if run.notice else "",  # whom the group holds is not known any more
    }


@page_frame.dialog(_DIALOG, "Apply this once?", icon="front_hand")
def _show(bridge: Bridge, person: Actor, asked: dict[str, Any]) -> None:
    if asked["failure"]:
        st.warning(asked["failure"], icon=":material/front_hand:")
    if asked["hold"] is not None or not asked["failure"]:
        _show_numbers(asked)
    if asked["run_id"] is not None:
        _ask_for_note(asked)
    with st.container(horizontal=True):
        if asked["run_id"] is not None:
            st.button(
                "Apply once",
                key="held_run_apply_yes",
                type="primary",
                icon=":material/check:",
                on_click=_apply,
                args=(bridge, person, asked),
            )
        st.button(
            "Cancel" if asked["run_id"] is not None else "Close",
            key="held_run_apply_no",
            on_click=page_frame.close_dialog,
        )


def _ask_for_note(asked: dict[str, Any]) -> None:
    st.text_input(
        "Why it is let through (optional)",
        key=_NOTE,
        placeholder="The campaign has ended",
        help="Shown with the run in History, and kept in the audit log for good: name no users.",
    )
    page_frame.show_answer(_NOTE)


def _show_numbers(asked: dict[str, Any]) -> None:
    st.caption(escape_markdown(asked["cause"]))
    is_partial = (asked["hold"] or {}).get("cause") == "held_unknown_members"
    becomes = (
        "gets all of it, and members who are known to have left are removed" if is_partial else "is made equal to it"
    )
    st.markdown(
        f"The cohort is read again, and **{escape_markdown(asked['group'])}** at "
        f"{escape_markdown(asked['destination'])} {becomes}, unless a number is larger by then than in run "
        f"{asked['run_id']}, or something else has changed. In that case it is held again, with the new numbers."
    )
    run_status.tiles([(label, number(value), "") for label, value in _numbers(asked)])


def _numbers(asked: dict[str, Any]) -> list[tuple[str, int]]:
    """List what an approval lets through at most."""
    hold, at_most = asked["hold"] or {}, asked["at_most"]
    if hold.get("total") is not None:
        return [("Announced", hold["total"]), ("Read", hold["profiles"])]
    return [(f"To remove{at_most}", hold["removed"]), (f"To add{at_most}", hold["added"])] if hold else []


def _apply(bridge: Bridge, person: Actor, asked: dict[str, Any]) -> None:
    """Apply what the button was drawn with. What cannot be applied any more is said where it was pressed."""
    try:
        queued = held_runs.apply_held(bridge, person, asked["run_id"], asked["hold"], note=st.session_state[_NOTE])
    except BadNote as exc:
        page_frame.answer(_NOTE, error_text(exc), failed=True)
    except HoldChanged as exc:
        asked.update(_newer(bridge, person, asked["run_id"]), failure=error_text(exc))
    except CohortBridgeError as exc:
        asked.update(run_id=None, hold=None, failure=error_text(exc))
    else:
        text = f"Run {queued.id} is queued: it reads the cohort again, and writes what goes no further."
        page_frame.answer(asked["place"], text, about=subject(queued))
        page_frame.close_dialog()
        resources.forget_attention()


def _newer(bridge: Bridge, person: Actor, run_id: int) -> dict[str, Any]:
    try:
        return _about(held_runs.find_held(bridge, person, run_id))
    except CohortBridgeError:
        return {"run_id": None, "hold": None}  # it was decided on just now


@page_frame.dialog(_UNDO, "Roll this group back?", icon="undo")
def _show_undo(bridge: Bridge, person: Actor, run: Run, place: str) -> None:
    st.markdown(
        f"**{escape_markdown(run.group_name)}** at {escape_markdown(run.destination)} gets back the "
        f"{pluralize(run.members, 'member')} that it had after run {run.id} of "
        f"{escape_markdown(moment(run.finished_at))}. Its recurring sync, if it has one, is paused: otherwise the "
        "next run would undo the rollback."
    )

    def roll_back() -> None:
        action = partial(undo.undo_to, bridge, person, run.id or 0)
        perform(place, action, lambda queued: f"Run {queued.id} is queued: it rolls the group back to run {run.id}.")

    confirm_buttons("Roll back", key="held_run_undo", icon=":material/undo:", action=roll_back)
