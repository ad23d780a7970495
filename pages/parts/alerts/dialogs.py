"""What is asked before a channel is added, changed or removed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import streamlit as st
from pydantic import SecretStr

from core.access.roles import Actor
from core.alerts import channels
from core.alerts.channels import AlertChannel, ChannelForm
from core.bridge import Bridge
from pages.parts.actions import confirm_buttons, perform
from pages.parts.formatting import escape_markdown
from pages.shell import page_frame

PLACE = "alerts"
ALL, SOME = "All syncs", "Some syncs"
CRITICAL, WARNINGS = "Critical only", "Warnings too"
_SEVERITIES = {
    CRITICAL: "A sync is held, late, paused by the program, or fails again and again; or nothing runs any more.",
    WARNINGS: "Also a pause by a person, an account that expires soon, and too many queries for the project.",
}
_EXAMPLES = (
    "A webhook of your own, or of Slack, Teams or Discord, begins with `https://`; mail is "
    "`mailtos://user:password@example.com?smtp=smtp.example.com&to=ops@example.com`. "
    "`docs/operate/alerts.md` has the others."
)


def open_dialog(
    bridge: Bridge, person: Actor, names: Mapping[int, str], tags: list[str], channel: AlertChannel | None = None
) -> None:
    """Open the dialog that adds a channel, or changes this one, with what holds now."""
    page_frame.forget_answer()
    prefix, entered = _prefix(channel), st.session_state
    entered[f"{prefix}_name"] = channel.name if channel else ""
    entered[f"{prefix}_address"] = ""
    entered[f"{prefix}_which"] = ALL if channel is None or channel.all_syncs else SOME
    entered[f"{prefix}_syncs"] = channel.sync_ids if channel else []
    entered[f"{prefix}_tags"] = channel.tags if channel else []
    entered[f"{prefix}_severity"] = WARNINGS if channel and channel.warnings else CRITICAL
    if channel is None:
        ask_for_new(bridge, person, names, tags)
    else:
        ask_for_changes(bridge, person, names, tags, channel)


@st.dialog("Add channel", icon=":material/add_alert:")
def ask_for_new(bridge: Bridge, person: Actor, names: Mapping[int, str], tags: list[str]) -> None:
    """Ask where alerts are to go, and which."""
    _fields(None, names, tags)
    _save_button("Add channel", partial(_add, bridge, person), None)


@st.dialog("Edit channel", icon=":material/edit:")
def ask_for_changes(
    bridge: Bridge, person: Actor, names: Mapping[int, str], tags: list[str], channel: AlertChannel
) -> None:
    """Ask what a channel is to want from now on, and where it is to lead."""
    _fields(channel, names, tags)
    _save_button("Save", partial(_edit, bridge, person, channel.id or 0), channel)


def _prefix(channel: AlertChannel | None) -> str:
    """Return how the keys of a dialog's fields begin: what was entered in one must not stand in another."""
    return f"alerts_of_{channel.id}" if channel else "alerts_new"


def _fields(channel: AlertChannel | None, names: Mapping[int, str], tags: list[str]) -> None:
    prefix = _prefix(channel)
    st.text_input("Name", key=f"{prefix}_name", max_chars=channels.NAME_LENGTH, placeholder="Ops channel")
    st.text_input(
        "Address",
        type="password",
        key=f"{prefix}_address",
        help=_EXAMPLES,
        placeholder=f"Leave empty to keep {channel.shown}" if channel else "https://",
    )
    st.caption("It is kept sealed and not shown again.")
    st.radio("Told of", [ALL, SOME], key=f"{prefix}_which", horizontal=True)
    if st.session_state[f"{prefix}_which"] == SOME:
        kept = [sync_id for sync_id in st.session_state[f"{prefix}_syncs"] if sync_id not in names]
        labels = {**names, **{sync_id: f"Sync {sync_id} (removed)" for sync_id in kept}}
        st.multiselect(
            "Syncs", list(labels), key=f"{prefix}_syncs", format_func=lambda each: labels[each], select_all=False
        )
        st.multiselect(
            "Or every sync with one of these tags",
            sorted({*tags, *st.session_state[f"{prefix}_tags"]}, key=str.casefold),
            key=f"{prefix}_tags",
            accept_new_options=True,
            select_all=False,
        )
        st.caption("What is about no single sync, such as a missing worker, is told in any case.")
    st.radio("Severity", list(_SEVERITIES), captions=list(_SEVERITIES.values()), key=f"{prefix}_severity")


def _save_button(label: str, save: partial[None], channel: AlertChannel | None) -> None:
    """Show the button that saves. The dialog closes once that worked, and shows why it did not until then."""
    is_pressed = st.button(label, key=f"{_prefix(channel)}_save", type="primary", on_click=save)
    if page_frame.has_failed(PLACE):
        page_frame.show_answer(PLACE)
    elif is_pressed:
        st.rerun()


def _form(prefix: str) -> ChannelForm:
    """Read what was entered; the address does not stay in the session."""
    entered = st.session_state
    address = SecretStr(entered[f"{prefix}_address"])
    entered[f"{prefix}_address"] = ""
    return ChannelForm(
        entered[f"{prefix}_name"],
        address,
        all_syncs=entered[f"{prefix}_which"] == ALL,
        sync_ids=list(entered.get(f"{prefix}_syncs", [])),
        tags=list(entered.get(f"{prefix}_tags", [])),
        warnings=entered[f"{prefix}_severity"] == WARNINGS,
    )


def _add(bridge: Bridge, person: Actor) -> None:
    perform(
        PLACE,
        partial(channels.add_channel, bridge, person, _form("alerts_new")),
        lambda added: f"{escape_markdown(added.name)} was added. Only a message shows whether it arrives: send a test.",
    )


def _edit(bridge: Bridge, person: Actor, channel_id: int) -> None:
    perform(
        PLACE,
        partial(channels.edit_channel, bridge, person, channel_id, _form(f"alerts_of_{channel_id}")),
        lambda edited: f"{escape_markdown(edited.name)} was changed.",
    )


@st.dialog("Remove this channel?", icon=":material/delete:")
def ask_to_remove(bridge: Bridge, person: Actor, channel: AlertChannel) -> None:
    """Name what is removed before it is."""
    st.markdown(
        f"**{escape_markdown(channel.name)}**, {escape_markdown(channel.shown)}, is sent nothing any more, and its "
        "address is deleted."
    )

    def remove() -> None:
        def act() -> None:
            channels.remove_channel(bridge, person, channel.id or 0)

        perform(PLACE, act, f"{escape_markdown(channel.name)} was removed.")
        if not page_frame.has_failed(PLACE):
            st.query_params.pop("channel", None)
            page_frame.take_answer_along()

    confirm_buttons("Remove", key="alerts_remove", icon=":material/delete:", action=remove)
