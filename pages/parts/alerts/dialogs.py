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
from pages.parts import folded
from pages.parts.actions import confirm_buttons, perform, save_buttons
from pages.parts.formatting import escape_markdown
from pages.parts.stored import saving_in_dialog
from pages.shell import page_frame

PLACE = "alerts"
_DIALOG, _IN_DIALOG = "alerts", "alerts_dialog"
ADD, EDIT, REMOVE = "add", "edit", "remove"
ALL, SOME = "All syncs", "Some syncs"
CRITICAL, WARNINGS = "Critical only", "Warnings too"
_SEVERITIES = {
    CRITICAL: "A sync is held, late, paused by the program, or fails again and again; or nothing runs any more.",
    WARNINGS: "Also a pause by a person, an account that expires soon, and too many queries for the project.",
}


def open_form(channel: AlertChannel | None = None) -> None:
    """Open the dialog that adds a channel, or changes this one, with what holds now."""
    prefix, entered = _prefix(channel), st.session_state
    entered[f"{prefix}_name"] = channel.name if channel else ""
    entered[f"{prefix}_address"] = ""
    entered[f"{prefix}_which"] = ALL if channel is None or channel.all_syncs else SOME
    entered[f"{prefix}_syncs"] = channel.sync_ids if channel else []
    entered[f"{prefix}_tags"] = channel.tags if channel else []
    entered[f"{prefix}_severity"] = WARNINGS if channel and channel.warnings else CRITICAL
    _open(ADD if channel is None else EDIT, channel)


def open_removal(channel: AlertChannel) -> None:
    """Open the dialog that removes a channel."""
    _open(REMOVE, channel)


def _open(question: str, channel: AlertChannel | None) -> None:
    page_frame.forget_answer()
    page_frame.open_dialog(_DIALOG, {"question": question, "seen": channels.see_channel(channel) if channel else None})


def show(
    bridge: Bridge, person: Actor, names: Mapping[int, str], tags: list[str], channel: AlertChannel | None = None
) -> None:
    """Show the dialog that is open, about this channel if one is open on the page."""
    asked = page_frame.dialog_state(_DIALOG)
    if not asked:
        return
    if channel is None:
        _ask_for_new(bridge, person, names, tags)
    elif asked["question"] == EDIT:
        _ask_for_changes(bridge, person, names, tags, channel)
    else:
        _ask_to_remove(bridge, person, channel)


@page_frame.dialog(_DIALOG, "Add channel", icon="add_alert")
def _ask_for_new(bridge: Bridge, person: Actor, names: Mapping[int, str], tags: list[str]) -> None:
    _fields(None, names, tags)
    _save_buttons("Add channel", partial(_add, bridge, person), None)


@page_frame.dialog(_DIALOG, "Edit channel", icon="edit")
def _ask_for_changes(
    bridge: Bridge, person: Actor, names: Mapping[int, str], tags: list[str], channel: AlertChannel
) -> None:
    _fields(channel, names, tags)
    _save_buttons("Save", partial(_edit, bridge, person, channel), channel)


def _prefix(channel: AlertChannel | None) -> str:
    """Return how the keys of a dialog's fields begin: what was entered in one must not stand in another."""
    return f"alerts_of_{channel.id}" if channel else "alerts_new"


def _fields(channel: AlertChannel | None, names: Mapping[int, str], tags: list[str]) -> None:
    prefix = _prefix(channel)
    st.text_input("Name", key=f"{prefix}_name", placeholder="Ops channel")
    page_frame.show_answer(f"{prefix}_name")
    st.text_input(
        "Address",
        type="password",
        key=f"{prefix}_address",
        placeholder=f"Leave empty to keep {channel.shown}" if channel else "https://… or mailtos://…",
    )
    page_frame.show_answer(f"{prefix}_address")
    st.caption("It is kept sealed and not shown again.")
    folded.expander("Examples of addresses", _show_examples, key=f"{prefix}_examples")
    st.radio("Told of", [ALL, SOME], key=f"{prefix}_which", horizontal=True)
    if st.session_state[f"{prefix}_which"] == SOME:
        kept = [sync_id for sync_id in st.session_state[f"{prefix}_syncs"] if sync_id not in names]
        labels = {**names, **{sync_id: f"Sync {sync_id} (removed)" for sync_id in kept}}
        st.multiselect("Syncs", list(labels), key=f"{prefix}_syncs", format_func=labels.__getitem__, select_all=False)
        page_frame.show_answer(f"{prefix}_syncs", *(f"{prefix}_{name}" for name in ("which", "syncs", "tags")))
        st.multiselect(
            "Or every sync with one of these tags",
            sorted({*tags, *st.session_state[f"{prefix}_tags"]}, key=str.casefold),
            key=f"{prefix}_tags",
            accept_new_options=True,
            select_all=False,
        )
        page_frame.show_answer(f"{prefix}_tags")
        st.caption("What is about no single sync, such as a missing worker, is told in any case.")
    st.radio("Severity", list(_SEVERITIES), captions=list(_SEVERITIES.values()), key=f"{prefix}_severity")


def _show_examples() -> None:
    for receiver, address in channels.ADDRESS_EXAMPLES.items():
        st.markdown(f"{receiver}  \n`{address}`")
    st.caption("In a password, signs that an address cannot hold are written as there: `p@ss` as `p%40ss`.")


def _save_buttons(label: str, save: partial[AlertChannel | None], channel: AlertChannel | None) -> None:
    save_buttons(label, key=f"{_prefix(channel)}_save", save=save)
    page_frame.show_answer(_IN_DIALOG)


def _form(prefix: str) -> ChannelForm:
    """Read what was entered. A refused address is corrected where it stands: nothing sends it back to the browser, and
    it leaves the session with the dialog.
    """
    entered = st.session_state
    return ChannelForm(
        entered[f"{prefix}_name"],
        SecretStr(entered[f"{prefix}_address"]),
        all_syncs=entered[f"{prefix}_which"] == ALL,
        sync_ids=list(entered.get(f"{prefix}_syncs", [])),
        tags=list(entered.get(f"{prefix}_tags", [])),
        warnings=entered[f"{prefix}_severity"] == WARNINGS,
    )


def _add(bridge: Bridge, person: Actor) -> AlertChannel | None:
    return perform(
        PLACE,
        partial(channels.add_channel, bridge, person, _form(_prefix(None))),
        lambda added: f"{escape_markdown(added.name)} was added. Only a message shows whether it arrives: send a test.",
        fields=_error_places(None),
        failed_at=_IN_DIALOG,
    )


def _edit(bridge: Bridge, person: Actor, channel: AlertChannel) -> AlertChannel | None:
    """Change a channel, unless somebody else has changed it since the dialog was opened."""
    seen, form = (page_frame.dialog_state(_DIALOG) or {}).get("seen"), _form(_prefix(channel))

    def edit() -> AlertChannel:
        with saving_in_dialog():
            return channels.edit_channel(bridge, person, channel.id or 0, form, seen=seen)

    return perform(
        PLACE,
        edit,
        lambda edited: f"{escape_markdown(edited.name)} was changed.",
        fields=_error_places(channel),
        failed_at=_IN_DIALOG,
    )


def _error_places(channel: AlertChannel | None) -> dict[str, str]:
    """Return where an error about one of the fields is shown, by the name that it begins with."""
    prefix = _prefix(channel)
    places = {"Name": "name", "Address": "address", "Syncs": "syncs", "Tags": "tags", "Tag": "tags"}
    return {name: f"{prefix}_{field}" for name, field in places.items()}


@page_frame.dialog(_DIALOG, "Remove this channel?", icon="delete")
def _ask_to_remove(bridge: Bridge, person: Actor, channel: AlertChannel) -> None:
    """Name what is removed before it is."""
    st.markdown(
        f"**{escape_markdown(channel.name)}**, {escape_markdown(channel.shown)}, is sent nothing any more, and its "
        "address is deleted."
    )
    confirm_buttons(
        "Remove", key="alerts_remove", icon=":material/delete:", action=partial(_remove, bridge, person, channel)
    )


def _remove(bridge: Bridge, person: Actor, channel: AlertChannel) -> None:
    remove = partial(channels.remove_channel, bridge, person, channel.id or 0)
    if perform(PLACE, remove, f"{escape_markdown(channel.name)} was removed."):
        st.query_params.pop("channel", None)
        page_frame.take_answer_along()
