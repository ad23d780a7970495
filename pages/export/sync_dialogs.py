"""The dialogs of recurring syncs: each names what is affected, and stays open until it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, time, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.errors import SettingsError, SyncGone
from core.rules import pause_ends
from core.rules.due_times import INTERVALS
from core.rules.zones import to_utc
from core.syncs import listing, recurring
from core.syncs.listing import SyncView
from data.models import MIXPANEL_SIDE, Connection, Schedule, Sync
from pages.export import sync_table
from pages.parts.actions import confirm_buttons, perform, show_errors
from pages.parts.formatting import clock, escape_markdown, number, pluralize, span, timing_phrase, zone
from pages.shell import page_frame, resources

PLACE = "syncs"
_DIALOG, _IN_DIALOG = "syncs", "syncs_dialog"
# So many names are written out where a question names what is affected, or one of them is chosen.
_NAMED, _MOST_RADIO = 8, 5
_COPY_TO = "syncs_clone_to"

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
            case Question.COPY if others := list_others(views[0], connections):
                _ask_to_copy(bridge, person, views[0], others, go_to)
            case Question.COPY:
                page_frame.close_dialog()  # the only other destination was removed elsewhere
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
    if has_end := st.checkbox("Resume them by themselves", key="syncs_many_ends"):
        _end_fields("syncs_many")
    resumed = " A worker resumes the syncs then, and a first run of each is due at that moment." if has_end else ""
    st.markdown(f"Their groups stay as they are and are no longer updated. Their queued runs are cancelled.{resumed}")

    def pause() -> int:
        until = _read_end("syncs_many") if has_end else None
        return recurring.pause_syncs(bridge, person, _ids(views), until=until)

    _confirm_many(f"Pause {number(len(views))}", pause, "paused")


@page_frame.dialog(_DIALOG, "Resume these syncs?", icon="play_arrow")
def _ask_to_resume(bridge: Bridge, person: Actor, views: Sequence[SyncView]) -> None:
    _name_syncs(views)
    st.markdown("Each runs now, and then again at its interval or set times.")
    resume = partial(recurring.resume_syncs, bridge, person, _ids(views))
    _confirm_many(f"Resume {number(len(views))}", resume, "resumed")


def _name_syncs(views: Sequence[SyncView]) -> None:
    names = "\n".join(
        f"- **{escape_markdown(view.group.name)}** at {escape_markdown(view.destination)}" for view in views[:_NAMED]
    )
    more = f"\n- and {number(len(views) - _NAMED)} more" if len(views) > _NAMED else ""
    st.markdown(names + more)


def _confirm_many(label: str, action: Callable[[], int], done: str) -> None:
    def perform_it() -> int | None:
        changed = perform(
            PLACE,
            action,
            lambda count: f"{pluralize(count, 'sync')} {done}.",
            failure="Nothing was changed.",
            fields={pause_ends.FIELD: _end_key("syncs_many")},
            failed_at=_IN_DIALOG,
        )
        if changed is not None:
            sync_table.clear_selection()
        return changed

    confirm_buttons(
        label, key="syncs_many", icon=":material/check:", action=perform_it, stays_after_failure=True, is_at_right=True
    )
    page_frame.show_answer(_IN_DIALOG)


@page_frame.dialog(_DIALOG, "Pause this sync until", icon="snooze")
def _ask_until_when(bridge: Bridge, person: Actor, view: SyncView) -> None:
    _end_fields("syncs_until")
    st.markdown(
        f"**{escape_markdown(view.group.name)}** at {escape_markdown(view.destination)} is not updated until then.\n\n"
        "A worker resumes the sync, and its first run is due at that moment."
    )

    def pause_until() -> Sync:
        return recurring.pause_sync(bridge, person, view.sync.id or 0, until=_read_end("syncs_until"))

    def pause() -> Sync | None:
        paused = perform(PLACE, pause_until, fields={pause_ends.FIELD: _end_key("syncs_until")}, failed_at=_IN_DIALOG)
        if paused and paused.paused_until:
            page_frame.toast(f"The sync is paused until {clock(paused.paused_until)}.", ":material/check:")
        return paused

    confirm_buttons(
        "Pause", key="syncs_until", icon=":material/snooze:", action=pause, stays_after_failure=True, is_at_right=True
    )
    page_frame.show_answer(_IN_DIALOG)


def _end_key(prefix: str) -> str:
    """Return where an error about the end of a pause is shown."""
    return f"{prefix}_end"


def _end_fields(prefix: str) -> None:
    """Ask for the end of a pause, on the reader's clocks: next Monday at 08:00 to begin with.

    What the dialog says stands below these fields, and its buttons at the right: the calendar lies over neither button.
    """
    here = zone()
    today = resources.now().astimezone(here).date()
    monday = today + timedelta(days=7 - today.weekday())
    left, right = st.columns(2)
    left.date_input("Day", monday, min_value=today, key=f"{prefix}_day")
    right.time_input(f"Time ({escape_markdown(here.key)})", time(8), key=f"{prefix}_time")
    page_frame.show_answer(_end_key(prefix), f"{prefix}_day", f"{prefix}_time")
    with suppress(SettingsError):  # said once it is pressed
        st.caption(_end_text(_read_end(prefix)))


def _end_text(end: datetime) -> str:
    local, now = end.astimezone(zone()), resources.now()
    if end <= now:
        return "That time has passed."
    return f"That is {local:%A, %-d %B %Y, %H\\:%M} ({escape_markdown(zone().key)}), in {span(end - now)}."


def _read_end(prefix: str) -> datetime:
    """Return the end that stands in the fields, in UTC: a press may come together with what was entered before it.

    Raises: SettingsError naming the field where one of them is empty.
    """
    day, at = (st.session_state.get(f"{prefix}_{name}") for name in ("day", "time"))
    if day is None or at is None:
        raise SettingsError(f"{pause_ends.FIELD}: choose a day and a time.")
    return to_utc(datetime.combine(day, at), zone())


@page_frame.dialog(_DIALOG, "Copy this sync to another destination", icon="content_copy")
def _ask_to_copy(bridge: Bridge, person: Actor, view: SyncView, others: list[str], go_to: GoTo) -> None:
    """Ask where the copy delivers to, where there is a choice; all else is as it is here."""
    if len(others) > 1:
        _choose_destination(others)
    limit = "" if view.sync.max_shrink is None else f", shrink limit {view.sync.max_shrink}%"
    often = timing_phrase(view.sync)
    place = "the other destination" if len(others) > 1 else escape_markdown(others[0])
    st.markdown(
        f"The cohort **{escape_markdown(view.group.cohort_name)}** is also kept in "
        f"**{escape_markdown(view.group.name)}** at {place}: {escape_markdown(often)}{limit}. "
        "The first run is due at once."
    )

    def copy() -> Sync | None:
        to = st.session_state[_COPY_TO] if len(others) > 1 else others[0]
        made = perform(
            PLACE,
            partial(_copy, bridge, person, view, to),
            "This is the copy: its first run is due now.",
            failed_at=_IN_DIALOG,
        )
        if made:
            go_to(made.id)
            page_frame.take_answer_along()
        return made

    confirm_buttons(
        "Copy sync",
        key="syncs_clone",
        icon=":material/content_copy:",
        action=copy,
        stays_after_failure=True,
        is_at_right=True,
    )
    page_frame.show_answer(_IN_DIALOG)


def _choose_destination(places: list[str]) -> None:
    """Show the choice of a destination: a few of them side by side, many as a list, which opens beside the buttons."""
    if len(places) <= _MOST_RADIO:
        st.radio("Destination", places, format_func=escape_markdown, key=_COPY_TO)
    else:
        st.columns(2)[0].selectbox("Destination", places, key=_COPY_TO)


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
