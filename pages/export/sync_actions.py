"""What can be done with recurring syncs: the buttons. What they ask first: `sync_dialogs` beside this."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports.overview import Freshness
from core.syncs import recurring
from core.syncs.listing import SyncView
from data.models import Connection, SyncState
from pages.export import sync_dialogs, sync_table
from pages.export.sync_dialogs import PLACE, GoTo, Question
from pages.parts import answers, tables
from pages.parts.actions import perform
from pages.parts.formatting import number


def buttons_for_selected(syncs: list[Freshness], shown: list[Freshness], go_to: GoTo) -> None:
    """Show what can be done with those of the syncs that are selected, in the table that shows some of them."""
    selected = sync_table.selected(syncs)
    hidden = len(selected) - len(sync_table.selected(shown))
    active = [view for view in selected if view.sync.state == SyncState.ACTIVE]
    paused = [view for view in selected if view.sync.state == SyncState.PAUSED]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Pause {number(len(active))}" if active else "Pause",
            key="syncs_bulk_pause",
            icon=":material/pause:",
            disabled=not active,
            on_click=sync_dialogs.ask,
            args=(Question.PAUSE_MANY, *active),
        )
        st.button(
            f"Resume {number(len(paused))}" if paused else "Resume",
            key="syncs_bulk_resume",
            icon=":material/play_arrow:",
            disabled=not paused,
            on_click=sync_dialogs.ask,
            args=(Question.RESUME_MANY, *paused),
        )
        if len(selected) == 1:
            st.button("Open", key="syncs_open_one", on_click=go_to, args=(selected[0].sync.id,))
        count = tables.selection_text(len(selected), "sync", hidden=hidden)
        st.caption(count if selected else "Select syncs to pause or resume several at once.", width="content")
        if hidden:
            st.button("Select none", key="syncs_select_none", type="tertiary", on_click=sync_table.clear_selection)


def show_buttons(bridge: Bridge, person: Actor, view: SyncView, connections: list[Connection]) -> None:
    """Show what can be done with one sync as a whole."""
    others = sync_dialogs.list_others(view, connections)
    with st.container(horizontal=True, vertical_alignment="center"):
        if view.sync.state == SyncState.PAUSED:
            _button(bridge, person, view, recurring.resume_sync, "Resume", "play_arrow", "The sync is resumed.")
        else:
            _button(bridge, person, view, recurring.pause_sync, "Pause", "pause", "The sync is paused.")
        _asking(view, Question.PAUSE_UNTIL, "Pause until", key="syncs_until", icon="snooze")
        _button(bridge, person, view, recurring.run_now, "Run now", "refresh", "A run is queued.")
        _asking(
            view,
            Question.COPY,
            "Copy",
            key="syncs_clone",
            icon="content_copy",
            help_text="The same sync to another destination." if others else "There is no other destination yet.",
            disabled=not others,
        )
        _asking(view, Question.REMOVE, "Remove", key="syncs_remove", icon="delete")
    answers.show(bridge, person, PLACE)


def _asking(
    view: SyncView, question: Question, label: str, *, key: str, icon: str, help_text: str = "", disabled: bool = False
) -> None:
    """Show a button whose press asks first."""
    st.button(
        label,
        key=key,
        icon=f":material/{icon}:",
        help=help_text or None,
        disabled=disabled,
        on_click=sync_dialogs.ask,
        args=(question, view),
    )


def _button(
    bridge: Bridge, person: Actor, view: SyncView, action: Callable[..., object], label: str, icon: str, done: str
) -> None:
    st.button(
        label,
        key=f"syncs_{label.partition(' ')[0].lower()}",
        type="primary" if label == "Resume" else "secondary",
        icon=f":material/{icon}:",
        on_click=perform,
        args=(PLACE, partial(action, bridge, person, view.sync.id)),
        kwargs={"toast": done},
    )
