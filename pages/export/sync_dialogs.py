"""The dialogs of recurring syncs: each names what is affected, and stays open until it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, time, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.errors import SyncGone
from core.rules.due_times import INTERVALS
from core.rules.zones import to_utc
from core.syncs import listing, recurring
from core.syncs.listing import SyncView
from data.models import MIXPANEL_SIDE, Connection, Schedule, Sync
from pages.export import sync_table
from pages.parts.actions import confirm_buttons, perform, show_errors
from pages.parts.formatting import clock, escape_markdown, number, pluralize, timing_phrase, zone
from pages.shell import page_frame, resources

PLACE = "syncs"
_DIALOG = "syncs"
# So many names are written out where a question names what is affected.
_NAMED = 8

GoTo = Callable[[Any], None]


class Question(StrEnum):
    """What a dialog asks."""

    PAUSE_MANY = "pause_many"
    RESUME_MANY = "resume_many"
    PAUSE_UNTIL = "pause_until"
    COPY = "copy"
    REMOVE = "remove"


def ask(question: Question, *views: SyncView) -> None:
    """Open the dialog that asks this about these syncs."""
    page_frame.forget_answer()
    page_frame.open_dialog(_DIALOG, {"question": str(question), "sync_ids": _ids(views)})


def show(bridge: Bridge, person: Actor, connections: list[Connection], go_to: GoTo) -> None:
    """Show the dialog while it is open: a page that is drawn again meanwhile, for whatever reason, leaves it so."""
    asked = page_frame.dialog_state(_DIALOG)
    if not asked:
        return
    with show_errors():
        views = _find(bridge, person, asked["sync_ids"])
        if not views:
            page_frame.close_dialog()  # they were removed elsewhere
            return
        match asked["question"]:
            case Question.PAUSE_MANY:
                _ask_to_pause(bridge, person, views)
            case Question.RESUME_MANY:
                _ask_to_resume(bridge, person, views)
            case Question.PAUSE_UNTIL:
                _ask_until_when(bridge, person, views[0])
            case Question.COPY:
                _ask_to_copy(bridge, person, views[0], list_others(views[0], connections), go_to)
            case _:
                _ask_to_remove(bridge, person, views[0], go_to)


def list_others(view: SyncView, connections: list[Connection]) -> list[str]:
    """List the destinations that a sync does not deliver to."""
    return [place.name for place in connections if place.side != MIXPANEL_SIDE and place.name != view.destination]


def _find(bridge: Bridge, person: Actor, sync_ids: Sequence[int]) -> list[SyncView]:
    if len(sync_ids) > 1:
        return [view for view in listing.list_syncs(bridge, person) if view.sync.id in sync_ids]
    try:
        return [listing.get_sync(bridge, person, sync_ids[0])]
    except SyncGone:
        return []


def _ids(views: Sequence[SyncView]) -> list[int]:
    return [view.sync.id for view in views if view.sync.id is not None]


@page_frame.dialog(_DIALOG, "Pause these syncs?", icon="pause")
def _ask_to_pause(bridge: Bridge, person: Actor, views: Sequence[SyncView]) -> None:
    _name_syncs(views)
    st.markdown("Their groups stay as they are and are no longer updated. Their queued runs are cancelled.")
    until = None
    if st.checkbox("Resume them by themselves", key="syncs_many_ends"):
        until = _end_fields("syncs_many")

    def pause() -> int:
        return recurring.pause_syncs(bridge, person, _ids(views), until=until)

    _confirm_many(f"Pause {pluralize(len(views), 'sync')}", pause, "paused")


@page_frame.dialog(_DIALOG, "Resume these syncs?", icon="play_arrow")
def _ask_to_resume(bridge: Bridge, person: Actor, views: Sequence[SyncView]) -> None:
    _name_syncs(views)
    st.markdown("Each runs now, and then again at its interval or set times.")
    resume = partial(recurring.resume_syncs, bridge, person, _ids(views))
    _confirm_many(f"Resume {pluralize(len(views), 'sync')}", resume, "resumed")


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


@page_frame.dialog(_DIALOG, "Pause this sync until", icon="snooze")
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


@page_frame.dialog(_DIALOG, "Copy this sync to another destination", icon="content_copy")
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
        made = perform(
            PLACE,
            partial(_copy, bridge, person, view, to),
            lambda sync: f"This is the copy, sync {sync.id}: its first run is due now.",
        )
        if made:
            go_to(made.id)
            page_frame.take_answer_along()

    confirm_buttons("Copy sync", key="syncs_clone", icon=":material/content_copy:", action=copy)


def _copy(bridge: Bridge, person: Actor, view: SyncView, to: str) -> Sync:
    return recurring.add_sync(
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


@page_frame.dialog(_DIALOG, "Remove this sync?", icon="delete")
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
