"""What a recurring sync is set to, as fields: interval, shrink limit, tags, and how it matches users."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.errors import SettingsError
from core.rules.due_times import INTERVALS
from core.rules.holding import LEAST_SUGGESTED, MOST_SUGGESTED
from core.syncs import settings
from core.syncs.checks import MOST_TAGS, check_shrink_limit
from core.syncs.listing import SyncView
from core.syncs.settings import ShrinkSuggestion
from data.models import Sync, Timing
from pages.export import timing_fields
from pages.parts import answers, folded
from pages.parts.actions import perform
from pages.parts.formatting import error_text, escape_markdown, fine_percent
from pages.parts.member_words import words_for
from pages.parts.stored import offer
from pages.shell import page_frame

_EXPECTED: dict[str, bool | None] = {"Same as the connection": None, "Yes": True, "No": False}
_LIMIT_PX = 185
# Where the answers about the settings of a sync, and about its matching, are shown: beside their buttons.
_SAVED, _MATCHED = "syncs_settings", "syncs_matching"


def schedule_fields(prefix: str, row_id: int, *, suggestion: ShrinkSuggestion, why: str = "") -> str:
    """Show the fields for the times and the shrink limit of a new sync; `read_schedule` returns what they hold.

    `why` stands in place of what is said of the suggestion. Returns when the first runs of set times would be, which is
    to stand beside the button: below the fields it would push that out of a window.
    """
    # Beside each other the form fits into a window; where that is narrow, no list opens just above the button. The days
    # of a week take more room than there is in half of it.
    (left, right), below = st.columns(2), st.container()
    with left:
        timing_fields.show_interval(prefix, row_id, INTERVALS[0])
        times = timing_fields.show_times(prefix, row_id, INTERVALS[0], days_in=below)
    with right:
        shrink_fields(prefix, row_id, max_shrink=None, has_limit=True, suggestion=suggestion, why=why)
    # The first run of a new sync does not wait for its times.
    return f"The first run starts at once. {times}" if times else ""


def shrink_fields(
    prefix: str, row_id: int, *, max_shrink: int | None, has_limit: bool, suggestion: ShrinkSuggestion, why: str = ""
) -> None:
    """Show the tick for a shrink limit, and below it the limit: its own, else the suggested one."""
    offer(_key(prefix, "has_shrink_limit", row_id), has_limit)
    is_ticked = st.checkbox(
        "Hold a run that removes many members",
        key=_key(prefix, "has_shrink_limit", row_id),
        help="One that would remove more than the limit at once: nothing is written until someone has reviewed it.",
    )
    if not is_ticked:
        return
    key = _key(prefix, "shrink_limit", row_id)
    offer(key, suggestion.percent if max_shrink is None else max_shrink)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        # Without its own bounds: the field would put its last number back in place of one outside them, unsaid, and
        # the press that follows would start a sync with a limit that no one entered.
        st.number_input(
            "Shrink limit, in percent",
            step=1,
            key=key,
            help=f"The share of the group's members that one run may remove. {why or _reason(suggestion)}",
            width=_LIMIT_PX,
        )
        st.caption(why or f"Suggested: {suggestion.percent}%", width="content")
    _show_wrong_limit(key)


def _show_wrong_limit(key: str) -> None:
    """Show what is wrong with the limit at its field, whether it was tried to save it or not, until it is right."""
    try:
        check_shrink_limit(st.session_state[key])
    except SettingsError as exc:
        show = st.error if page_frame.has_failed(key) else st.warning
        show(error_text(exc), icon=":material/percent:")
    else:
        page_frame.show_answer(key)


def _reason(suggestion: ShrinkSuggestion) -> str:
    """Format why this limit is suggested; the limit itself stands beside the field."""
    drop = suggestion.largest_drop
    if drop is None:
        return "The group has no past yet to go by."
    if not drop:
        return "No run has removed members from this group so far."
    largest = f"The most that a run has removed so far is {fine_percent(drop)} of the members"
    if suggestion.percent == MOST_SUGGESTED:
        return f"{largest}; {suggestion.percent}% is the highest that is suggested."
    return f"{largest}; twice that is suggested, and at least {LEAST_SUGGESTED}%."


def read_schedule(prefix: str, row_id: int) -> tuple[Timing, int | None]:
    """Return how often to run, and the shrink limit in percent, None without one. Raises SettingsError."""
    has_limit = timing_fields.entered(prefix, "has_shrink_limit", row_id)
    max_shrink = timing_fields.entered(prefix, "shrink_limit", row_id) if has_limit else None
    return timing_fields.read(prefix, row_id), max_shrink


def error_places(prefix: str, row_id: int) -> dict[str, str]:
    """Return where an error about one of `schedule_fields` is shown, by the name that it begins with, or its code."""
    limit = {"Shrink limit": _key(prefix, "shrink_limit", row_id)}
    return timing_fields.error_places(prefix, row_id) | limit


def _key(prefix: str, name: str, row_id: int) -> str:
    return f"{prefix}_{name}_{row_id}"


def show_settings(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show all that a sync is set to, to be changed."""
    show = partial(_all_settings, bridge, person, view)
    folded.expander("Settings: interval, shrink limit, tags, matching", show, key=f"syncs_settings_{view.sync.id}")


def _all_settings(bridge: Bridge, person: Actor, view: SyncView) -> None:
    _settings_fields(bridge, person, view)
    st.subheader("Matching", anchor=False)
    _match_settings(bridge, person, view)


def _settings_fields(bridge: Bridge, person: Actor, view: SyncView) -> None:
    assert view.sync.id is not None
    sync_id, max_shrink = view.sync.id, view.sync.max_shrink
    timing = view.sync.timing or INTERVALS[0]
    # No form: what there is to enter depends on how often it runs. The button stands beside the fields, and after the
    # last of them where the window is narrow: a list that is open below its field covers what is under that alone.
    fields, button = st.columns([5, 1])
    with fields:
        left, right = st.columns(2)
        with left:
            timing_fields.show_interval("syncs", sync_id, timing)
        with right:
            _tags_field(view)
        if times := timing_fields.show_times("syncs", sync_id, timing):
            st.caption(times)
        shrink_fields(
            "syncs",
            sync_id,
            max_shrink=max_shrink,
            has_limit=max_shrink is not None,
            suggestion=settings.suggest_shrink_limit(bridge, person, view.group.id),
        )
    button.button(
        "Save",
        key=f"syncs_save_{sync_id}",
        icon=":material/save:",
        on_click=_save,
        args=(bridge, person, view.sync),
    )
    answers.show(bridge, person, _SAVED)


def _tags_field(view: SyncView) -> None:
    sync_id = view.sync.id or 0
    offer(_key("syncs", "tags", sync_id), list(view.sync.tags))
    st.multiselect(
        "Tags",
        view.sync.tags,
        accept_new_options=True,
        select_all=False,
        max_selections=MOST_TAGS,
        key=_key("syncs", "tags", sync_id),
        placeholder="Type a word and press Enter",
        help="To find and to pause together what belongs together.",
    )
    page_frame.show_answer(_key("syncs", "tags", sync_id))


def _save(bridge: Bridge, person: Actor, drawn: Sync) -> None:
    sync_id = drawn.id or 0
    fields = error_places("syncs", sync_id) | {name: _key("syncs", "tags", sync_id) for name in ("Tags", "Tag")}
    perform(_SAVED, partial(_edit, bridge, person, drawn), "Saved.", fields=fields)


def _edit(bridge: Bridge, person: Actor, drawn: Sync) -> Sync:
    """Store what is entered, unless somebody else has stored something since it was drawn."""
    sync_id = drawn.id or 0
    timing, max_shrink = read_schedule("syncs", sync_id)
    every, schedule = timing_fields.parts_of(timing)
    tags = st.session_state[f"syncs_tags_{sync_id}"]
    return settings.edit_sync(
        bridge,
        person,
        sync_id,
        every_minutes=every,
        schedule=schedule,
        max_shrink=max_shrink,
        tags=tags,
        seen=settings.see_settings(drawn),
    )


def _match_settings(bridge: Bridge, person: Actor, view: SyncView) -> None:
    rule = settings.get_match_rule(bridge, person, view)
    is_own = view.sync.match_property is not None or view.sync.expects_prefix is not None
    if not rule.is_apptimize:
        st.caption(f"{words_for(str(rule)).note} Match settings of the sync or of Mixpanel's connection do not matter.")
        return
    source = "set for this sync" if is_own else "set by the connection"
    st.caption(f"Matched on {escape_markdown(rule.match_property)}, {source}.")
    if rule.may_misattribute:
        st.warning(
            "This is a Simplified project that is matched on a property other than `$user_id`. Events that "
            "Apptimize sends back to Mixpanel may not be attributed to the right user.",
            icon=":material/warning:",
        )
    _matching_form(bridge, person, view)
    answers.show(bridge, person, _MATCHED)


def _matching_form(bridge: Bridge, person: Actor, view: SyncView) -> None:
    sync_id = view.sync.id
    with st.form(f"syncs_match_form_{sync_id}", border=False):
        left, right = st.columns(2)
        with left:
            offer(f"syncs_property_{sync_id}", view.sync.match_property or "")
            st.text_input(
                "Match property of this sync",
                key=f"syncs_property_{sync_id}",
                placeholder="Same as the connection",
                help="Another property overwrites the group in full at the next run.",
            )
            page_frame.show_answer(f"syncs_property_{sync_id}")
        names = {expected: name for name, expected in _EXPECTED.items()}
        offer(f"syncs_prefix_{sync_id}", names[view.sync.expects_prefix])
        # No list: it would open over Save where the window is narrow.
        right.radio("Expected to start with i_ or a_", list(_EXPECTED), key=f"syncs_prefix_{sync_id}", horizontal=True)
        st.form_submit_button(
            "Save matching",
            key=f"syncs_match_save_{sync_id}",
            icon=":material/save:",
            on_click=_save_matching,
            args=(bridge, person, view.sync),
        )


def _save_matching(bridge: Bridge, person: Actor, drawn: Sync) -> None:
    places = {"Match property": f"syncs_property_{drawn.id}"}
    perform(_MATCHED, partial(_change_matching, bridge, person, drawn), "Saved: the next run uses it.", fields=places)


def _change_matching(bridge: Bridge, person: Actor, drawn: Sync) -> Sync:
    """Store what is entered, unless somebody else has stored something since it was drawn."""
    sync_id, entered = drawn.id or 0, st.session_state
    return settings.change_sync_matching(
        bridge,
        person,
        sync_id,
        match_property=entered[f"syncs_property_{sync_id}"],
        expects_prefix=_EXPECTED[entered[f"syncs_prefix_{sync_id}"]],
        seen=settings.see_matching(drawn),
    )
