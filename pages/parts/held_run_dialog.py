"""The dialog that applies a held run once: it stays with what was looked at until it is answered."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.errors import CohortBridgeError, HoldChanged
from core.syncs import held_runs
from data.models import Run
from pages.parts import run_status
from pages.parts.actions import subject
from pages.parts.formatting import error_text, escape_markdown, number
from pages.shell import page_frame, resources

_DIALOG = "held_run"
# In the session until the page was drawn with the dialog.
_TO_DRAW = "held_run_to_draw"


def ask(run: Run, place: str) -> None:
    """Open the dialog about a held run, with what is shown of it now. Its answer is shown at `place`."""
    page_frame.open_dialog(_DIALOG, _about(run) | {"place": place, "failure": ""})
    st.session_state[_TO_DRAW] = True


def redraw_if_asked() -> None:
    """Draw the whole page when the button was pressed in a fragment: the dialog is the page's, not the fragment's."""
    if st.session_state.pop(_TO_DRAW, False):
        st.rerun()


def show(bridge: Bridge, person: Actor) -> None:
    """Show the dialog while it is open: a page that is drawn again meanwhile, for whatever reason, leaves it so."""
    st.session_state.pop(_TO_DRAW, None)
    if page_frame.dialog_state(_DIALOG):
        _show(bridge, person)


def _about(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "hold": run.hold,
        "cause": run.error_message or "",
        "group": run.group_name,
        "destination": run.destination,
        "at_most": ", at most" if run.notice else "",  # whom the group holds is not known any more
    }


@st.dialog("Apply this once?", icon=":material/front_hand:", on_dismiss=page_frame.close_dialog)
def _show(bridge: Bridge, person: Actor) -> None:
    asked = page_frame.dialog_state(_DIALOG)
    if not asked:
        st.rerun()  # it was answered, or closed
    if asked["failure"]:
        st.warning(asked["failure"], icon=":material/front_hand:")
    if asked["hold"] is not None or not asked["failure"]:
        _show_numbers(asked)
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


def _show_numbers(asked: dict[str, Any]) -> None:
    st.caption(escape_markdown(asked["cause"]))
    is_partial = (asked["hold"] or {}).get("cause") == "held_unknown_members"
    becomes = "is given all of it, and who is known to have left is removed" if is_partial else "is made equal to it"
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
        queued = held_runs.apply_held(bridge, person, asked["run_id"], asked["hold"])
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
