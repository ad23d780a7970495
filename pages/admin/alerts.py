"""Alerts: where messages go when something goes wrong, and what each place wants to be told."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import streamlit as st

from core.access.roles import Actor, Role
from core.alerts import channels
from core.alerts.channels import AlertChannel
from core.bridge import Bridge
from core.reports import overview
from core.syncs import listing
from data.models import SyncKind
from pages.parts import answers, tables
from pages.parts.actions import perform, show_errors
from pages.parts.alerts import dialogs, messages
from pages.parts.alerts.dialogs import PLACE
from pages.parts.alerts.wording import DISABLED, REFUSED, WORKS, state_text, sync_names, wants_text
from pages.parts.formatting import age, escape_markdown, group_name, pluralize
from pages.parts.selection import Selection, tell_apart
from pages.shell import gate, page_frame, resources

CHANNELS = Selection("channel", key="alerts_back", all_rows="All channels", unknown="There is no channel {}.")
_COLORS: dict[str, Literal["red", "green", "gray"]] = {REFUSED: "red", WORKS: "green", DISABLED: "gray"}
_ICONS = {REFUSED: ":material/error:", WORKS: ":material/check_circle:", DISABLED: ":material/notifications_off:"}


def show_list(bridge: Bridge, person: Actor, found: list[AlertChannel]) -> None:
    """Show all channels, and the button that adds one."""
    answers.show(bridge, person, PLACE)
    if not found:
        st.info(
            "Until there is one, no one is told when a sync fails, is late or is held, or when no worker is running. "
            "A channel is mail, Slack, Teams, Discord, PagerDuty and many others, or a webhook of your own.",
            title="No channels yet",
            icon=":material/notifications_off:",
        )
        return
    st.caption(pluralize(len(found), "channel"))
    tables.rows_to_open(
        [table_row(channel) for channel in found],
        [channel.id for channel in found],
        key="alerts",
        label="Channels",
        go_to=CHANNELS.go_to,
        opens="Name",
        opens_width=150,
        columns={"Goes to": st.column_config.TextColumn(width="medium")},
    )


def table_row(channel: AlertChannel) -> dict[str, object]:
    """Format a channel for the table."""
    return {
        "Name": channel.name,
        "State": state_text(channel),
        "Goes to": channel.shown,
        "Told of": wants_text(channel),
        "Last accepted": age(channel.checked_at),
        "Problem": channel.trouble or "",
    }


def _name_removed(bridge: Bridge, person: Actor, channel: AlertChannel, names: Mapping[int, str]) -> dict[int, str]:
    """Name the syncs that a channel wants to be told of and that were removed."""
    if not set(channel.sync_ids) - names.keys():
        return {}
    known = overview.sync_names(bridge, person)
    return {each: f"{known[each]} (removed)" for each in channel.sync_ids if each in known}


def show_one(bridge: Bridge, person: Actor, channel: AlertChannel, names: Mapping[int, str], tags: list[str]) -> None:
    """Show one channel, and the buttons that test and change it."""
    CHANNELS.back_button()
    names = {**_name_removed(bridge, person, channel, names), **names}
    st.header(escape_markdown(channel.name), anchor=False)
    state = state_text(channel)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(state, color=_COLORS.get(state, "gray"), icon=_ICONS.get(state, ":material/help:"))
        accepted = (
            f"Last accepted: {age(channel.checked_at)}." if channel.checked_at else "No message was accepted yet."
        )
        st.caption(escape_markdown(accepted), width="content")
    st.text(f"Goes to {channel.shown}")
    st.text(f"Told of: {wants_text(channel)}")
    if channel.sync_ids:
        st.text(f"Syncs: {sync_names(channel, names)}")
    answers.show(bridge, person, PLACE)
    if channel.trouble and not page_frame.has_failed(PLACE):
        st.warning(
            f"{escape_markdown(channel.trouble)} Check the address, then send a test.",
            title="The last message was not accepted",
            icon=":material/error:",
        )
    _show_buttons(bridge, person, channel)
    dialogs.show(bridge, person, names, tags, channel)


def _show_buttons(bridge: Bridge, person: Actor, channel: AlertChannel) -> None:
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Send a test",
            key="alerts_test",
            type="primary",
            icon=":material/outgoing_mail:",
            on_click=send_test,
            args=(bridge, person, channel),
        )
        st.button(
            "Edit",
            key="alerts_edit",
            icon=":material/edit:",
            on_click=dialogs.open_form,
            args=(channel,),
        )
        st.button(
            "Disable" if channel.enabled else "Enable",
            key="alerts_toggle",
            icon=":material/notifications_off:" if channel.enabled else ":material/notifications_active:",
            on_click=toggle,
            args=(bridge, person, channel),
        )
        st.button(
            "Remove",
            key="alerts_remove",
            icon=":material/delete:",
            on_click=dialogs.open_removal,
            args=(channel,),
        )


def send_test(bridge: Bridge, person: Actor, channel: AlertChannel) -> None:
    """Send a test to the channel, and say what came of it."""
    toast = st.toast("Sending the test …", icon="spinner", duration="infinite")
    send = partial(channels.send_test_alert, bridge, person, channel.id or 0)
    if perform(PLACE, send, "The test was accepted. Look in the channel whether it arrived."):
        toast.toast("The test was accepted.", icon=":material/check:")
    else:
        toast.toast("The test was not accepted.", icon=":material/error:")


def toggle(bridge: Bridge, person: Actor, channel: AlertChannel) -> None:
    """Disable the channel, or enable it again."""
    act = channels.disable_channel if channel.enabled else channels.enable_channel
    perform(
        PLACE,
        partial(act, bridge, person, channel.id or 0),
        lambda changed: f"{escape_markdown(changed.name)} is sent {_told(changed)}.",
    )


def _told(channel: AlertChannel) -> str:
    return "alerts again" if channel.enabled else "nothing until it is enabled again"


person = gate.require(Role.ADMIN)
bridge = resources.bridge()
page_frame.open_page(bridge, person, "Alerts", "Who is told when a sync, or Cohort Bridge itself, needs attention.")
with show_errors():
    found = channels.list_channels(bridge, person)
    recurring = [view for view in listing.list_syncs(bridge, person) if view.sync.kind == SyncKind.RECURRING]
    names = tell_apart(
        {view.sync.id or 0: group_name(view.group) for view in recurring},
        {view.sync.id or 0: f", to {view.destination}" for view in recurring}.__getitem__,
    )
    tags = sorted({tag for view in recurring for tag in view.sync.tags}, key=str.casefold)
    if not CHANNELS.requested:
        st.button(
            "Add channel",
            key="alerts_add",
            type="primary",
            icon=":material/add_alert:",
            on_click=dialogs.open_form,
        )
        show_list(bridge, person, found)
        messages.show_latest(bridge, person)
        messages.show_setting(bridge, person)
        dialogs.show(bridge, person, names, tags)
    elif channel := CHANNELS.find({each.id: each for each in found}.get):
        show_one(bridge, person, channel, names, tags)
