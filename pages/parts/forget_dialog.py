"""The button that forgets a person, for admins, and the dialog that says first what goes and what stays."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.errors import CohortBridgeError
from core.forgetting import person as forgetting
from core.forgetting.traces import GROUPS_STAY, Traces, list_consequences, list_found
from core.invisible import revealed
from pages.parts.actions import confirm_buttons, perform
from pages.parts.formatting import error_text, escape_markdown
from pages.shell import page_frame

# Where the answer is shown.
PLACE = "users_forgotten"
_DIALOG = "forget"
# A page does not keep a person waiting for longer: what is running is named then.
_PATIENCE_S = 20.0


def show_button(bridge: Bridge, person: Actor, user_id: str) -> None:
    """Show the button to those who may press it."""
    if person.role < Role.ADMIN:
        return
    st.button(
        "Forget this person",
        key="users_forget",
        icon=":material/person_remove:",
        on_click=_open,
        args=(user_id,),
    )
    if asked := page_frame.dialog_state(_DIALOG):
        _ask(bridge, person, asked)


def _open(user_id: str) -> None:
    page_frame.forget_answer()
    page_frame.open_dialog(_DIALOG, {"user_id": user_id, "found": None})


@page_frame.dialog(_DIALOG, "Forget this person?", icon="person_remove")
def _ask(bridge: Bridge, person: Actor, asked: dict[str, Any]) -> None:
    user_id: str = asked["user_id"]
    st.markdown(f"**{escape_markdown(revealed(user_id))}**")
    try:
        found = _find(bridge, person, asked)
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")
        st.button("Close", key="users_forget_close", on_click=page_frame.close_dialog)
        return
    if found:
        st.write("Removed from all that is kept here, and not to be brought back:")
        st.markdown("\n".join(f"- {escape_markdown(line)}" for line in found))
    else:
        st.write("Nothing that is kept here is known to have this id. What damaged files hold is removed all the same.")
    st.write(f"**{GROUPS_STAY.partition(':')[0]}**:{GROUPS_STAY.partition(':')[2]}")
    st.caption(
        "Counts of earlier runs stay as they were told. Backups that were made before, and what was downloaded, still "
        "hold the person. The audit log keeps who did this and when, with a hash in place of the id."
    )
    confirm_buttons(
        "Forget",
        key="users_forget",
        icon=":material/person_remove:",
        action=partial(_forget, bridge, person, user_id),
    )


def _find(bridge: Bridge, person: Actor, asked: dict[str, Any]) -> list[str]:
    """List what is kept of the person; it is searched for once, however often the dialog is drawn."""
    if asked["found"] is None:
        with st.spinner("Searching all that is kept …"):
            asked["found"] = list_found(forgetting.find_traces(bridge, person, asked["user_id"]))
    return asked["found"]


def _forget(bridge: Bridge, person: Actor, user_id: str) -> None:
    perform(
        PLACE,
        partial(forgetting.forget_person, bridge, person, user_id, patience_s=_PATIENCE_S),
        _answer,
    )


def _answer(traces: Traces) -> str:
    begin = "The person was forgotten." if traces.are_any else "Nothing that is kept here had this id."
    return escape_markdown(" ".join([begin, *list_consequences(traces), GROUPS_STAY]))
