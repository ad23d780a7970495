"""What can be done with recurring syncs: the buttons, and the dialogs that name what is affected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.reports.overview import Freshness
from core.rules.due_times import INTERVALS
from core.rules.zones import to_utc
from core.syncs import recurring
from core.syncs.listing import SyncView
from data.models import MIXPANEL_SIDE, Connection, Schedule, SyncState
from pages.export import sync_table
from pages.parts import answers
from pages.parts.actions import confirm_buttons, perform
from pages.parts.formatting import clock, escape_markdown, number, pluralize, timing_phrase, zone
from pages.shell import page_frame, resources

PLACE = "syncs"
# So many names are written out where a question names what is affected.
_NAMED = 8

GoTo = Callable[[Any], None]


def buttons_for_selected(bridge: Bridge, person: Actor, syncs: list[Freshness], go_to: GoTo) -> None:
    """Show what can be done with the syncs that are selected in the table."""
    selected = sync_table.selected(syncs)
    active = [view for view in selected if view.sync.state == SyncState.ACTIVE]
    paused = [view for view in selected if view.sync.state == SyncState.PAUSED]
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            f"Pause {number(len(active))}" if active else "Pause",
            key="syncs_bulk_pause",
            icon=":material/pause:",
            disabled=not active,
        ):
            _ask_to_pause(bridge, person, active)
        if st.button(
            f"Resume {number(len(paused))}" if paused else "Resume",
            key="syncs_bulk_resume",
            icon=":material/play_arrow:",
            disabled=not paused,
        ):
            _ask_to_resume(bridge, person, paused)
        if len(selected) == 1:
            st.button("Open", key="syncs_open_one", on_click=go_to, args=(selected[0].sync.id,))
        count = f"{pluralize(len(selected), 'sync')} selected"
        st.caption(count if selected else "Select syncs to pause or resume several at once.", width="content")


@st.dialog("Pause these syncs?", icon=":material/pause:")
def _ask_to_pause(bridge: Bridge, person: Actor, views: Sequence[SyncView]) -> None:
    _name_syncs(views)
    st.markdown("Their groups stay as they are and are no longer updated. Their queued runs are cancelled.")
    until = None
    if st.checkbox("Resume them by themselves", key="syncs_many_ends"):
        until = _end_fields("syncs_many")

    def pause() -> int:
        return recurring.pause_syncs(bridge, person, _ids(views), until=until)

    _confirm_many(f"Pause {pluralize(len(views), 'sync')}", pause, "paused")


@st.dialog("Resume these syncs?", icon=":material/play_arrow:")
def _ask_to_resume(bridge: Bridge, person: Actor, views: Sequence[SyncView]) -> None:
    _name_syncs(views)
    st.markdown("Each runs at once, and then at its interval, or its set times, again.")
    resume = partial(recurring.resume_syncs, bridge, person, _ids(views))
    _confirm_many(f"Resume {pluralize(len(views), 'sync')}", resume, "resumed")


def _ids(views: Sequence[SyncView]) -> list[int]:
    return [view.sync.id for view in views if view.sync.id is not None]


def _name_syncs(views: Sequence[SyncView]) -> None:
    names = "\n".join(
        f"- **{escape_markdown(view.group.name)}** at {escape_markdown(view.destination)}" for view in views[:_NAMED]
    )
    more = f"\n- and {number(len(views) - _NAMED)} more" if len(views) > _NAMED else ""
    st.markdown(names + more)


def _confirm_many(label: str, action: Callable[[], int], done: str) -> None:
    def perform_it() -> None:
        sync_table.clear_selection()
        perform(PLACE, action, lambda count: f"{pluralize(count, 'sync')} {done}.", failure="Nothing was changed.")

    confirm_buttons(label, key="syncs_many", icon=":material/check:", action=perform_it)


def show_buttons(bridge: Bridge, person: Actor, view: SyncView, connections: list[Connection], go_to: GoTo) -> None:
    """Show what can be done with one sync as a whole."""
    others = [place.name for place in connections if place.side != MIXPANEL_SIDE and place.name != view.destination]
    with st.container(horizontal=True, vertical_alignment="center"):
        if view.sync.state == SyncState.PAUSED:
            _button(bridge, person, view, recurring.resume_sync, "Resume", "play_arrow", "The sync is resumed.")
        else:
            _button(bridge, person, view, recurring.pause_sync, "Pause", "pause", "The sync is paused.")
        if st.button("Pause until", key="syncs_until", icon=":material/snooze:"):
            _ask_until_when(bridge, person, view)
        _button(bridge, person, view, recurring.run_now, "Run now", "refresh", "A run is queued.")
        if st.button(
            "Copy", key="syncs_clone", icon=":material/content_copy:", disabled=not others,
            help="The same sync to another destination." if others else "There is no other destination yet.",
        ):  # fmt: skip
            _ask_to_copy(bridge, person, view, others, go_to)
        if st.button("Remove", key="syncs_remove", icon=":material/delete:"):
            _ask_to_remove(bridge, person, view, go_to)
    answers.show(bridge, person, PLACE)


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


@st.dialog("Pause this sync until", icon=":material/snooze:")
def _ask_until_when(bridge: Bridge, person: Actor, view: SyncView) -> None:
    st.markdown(
        f"**{escape_markdown(view.group.name)}** at {escape_markdown(view.destination)} is not updated until then. A "
        "worker resumes the sync, and its first run is due at that moment."
    )
    until = _end_fields("syncs_until")

    def pause() -> None:
        action = partial(recurring.pause_sync, bridge, person, view.sync.id or 0, until=until)
        perform(PLACE, action, toast=f"The sync is paused until {clock(until)}.")

    confirm_buttons("Pause", key="syncs_until", icon=":material/snooze:", action=pause)


def _end_fields(prefix: str) -> datetime:
    """Ask for the end of a pause, on the reader's clocks: next Monday at 08:00 to begin with. Returns it in UTC."""
    here = zone()
    today = resources.now().astimezone(here).date()
    monday = today + timedelta(days=7 - today.weekday())
    left, right = st.columns(2)
    day = left.date_input("Day", monday, min_value=today, key=f"{prefix}_day")
    at = right.time_input(f"Time ({escape_markdown(here.key)})", time(8), key=f"{prefix}_time")
    return to_utc(datetime.combine(day, at), here)


@st.dialog("Copy this sync to another destination", icon=":material/content_copy:")
def _ask_to_copy(bridge: Bridge, person: Actor, view: SyncView, others: list[str], go_to: GoTo) -> None:
    """Ask where the copy delivers to; all else is as it is here."""
    limit = "" if view.sync.max_shrink is None else f", shrink limit {view.sync.max_shrink}%"
    often = timing_phrase(view.sync)
    st.markdown(
        f"The cohort **{escape_markdown(view.group.cohort_name)}** is also kept in "
        f"**{escape_markdown(view.group.name)}** at the other destination: {escape_markdown(often)}{limit}. "
        "The first run is due at once."
    )
    to = st.selectbox("Destination", others, key="syncs_clone_to")

    def copy() -> None:
        add = partial(
            recurring.add_sync,
            bridge,
            person,
            view.sync.cohort_id,
            every_minutes=view.sync.every_minutes or INTERVALS[0],
            schedule=timing if isinstance(timing := view.sync.timing, Schedule) else None,
            group=view.group.own_name,
            to=to,
            max_shrink=view.sync.max_shrink,
            tags=view.sync.tags,
            like=view.sync,
        )
        made = perform(PLACE, add, lambda sync: f"This is the copy, sync {sync.id}: its first run is due now.")
        if made:
            go_to(made.id)
            page_frame.take_answer_along()

    confirm_buttons("Copy sync", key="syncs_clone", icon=":material/content_copy:", action=copy)


@st.dialog("Remove this sync?", icon=":material/delete:")
def _ask_to_remove(bridge: Bridge, person: Actor, view: SyncView, go_to: GoTo) -> None:
    """Name what is affected before a sync is removed."""
    st.markdown(
        f"**{escape_markdown(view.group.name)}** at {escape_markdown(view.destination)} is no longer updated. The "
        f"group stays as it is, with {pluralize(view.group.members, 'member')}, and its history stays too."
    )

    def remove() -> None:
        perform(PLACE, partial(recurring.remove_sync, bridge, person, view.sync.id or 0), toast="The sync was removed.")
        go_to(None)

    confirm_buttons("Remove", key="syncs_remove", icon=":material/delete:", action=remove)
