"""What a recurring sync is set to, as fields: interval, shrink limit, tags, and how it matches users."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.rules.due_times import INTERVALS
from core.syncs import settings
from core.syncs.listing import SyncView
from data.models import Sync, Timing
from pages.export import timing_fields
from pages.parts.actions import perform
from pages.parts.formatting import escape_markdown
from pages.parts.member_words import words_for

_USUAL_LIMIT = 20
_EXPECTED: dict[str, bool | None] = {"Same as the connection": None, "Yes": True, "No": False}


def schedule_fields(prefix: str, row_id: int, *, timing: Timing = INTERVALS[0], max_shrink: int | None = None) -> None:
    """Show the fields for the times and the shrink limit; `read_schedule` returns what they hold."""
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        timing_fields.show_interval(prefix, row_id, timing)
    right.number_input(
        "Shrink limit, in percent",
        min_value=0,
        max_value=100,
        value=_USUAL_LIMIT if max_shrink is None else max_shrink,
        key=f"{prefix}_shrink_limit_{row_id}",
        help="The share of the group's members that one run may remove.",
    )
    timing_fields.show_times(prefix, row_id, timing)
    st.checkbox(
        "Hold a run that would remove more members than the shrink limit",
        value=max_shrink is not None,
        key=f"{prefix}_has_shrink_limit_{row_id}",
        help="Nothing is written until someone has reviewed it.",
    )


def read_schedule(prefix: str, row_id: int) -> tuple[Timing, int | None]:
    """Return how often to run, and the shrink limit in percent, None without one. Raises SettingsError."""
    entered = st.session_state
    has_limit = entered[f"{prefix}_has_shrink_limit_{row_id}"]
    max_shrink = entered[f"{prefix}_shrink_limit_{row_id}"] if has_limit else None
    return timing_fields.read(prefix, row_id), max_shrink


def show_settings(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show times, shrink limit and tags, to be changed."""
    assert view.sync.id is not None
    sync_id = view.sync.id
    st.subheader("Interval, shrink limit and tags", anchor=False)
    # No form: what there is to enter depends on how often it runs.
    with st.container(border=True):
        schedule_fields("syncs", sync_id, timing=view.sync.timing or INTERVALS[0], max_shrink=view.sync.max_shrink)
        st.multiselect(
            "Tags",
            view.sync.tags,
            default=view.sync.tags,
            accept_new_options=True,
            max_selections=10,
            key=f"syncs_tags_{sync_id}",
            placeholder="Type a word and press Enter",
            help="To find and to pause together what belongs together.",
        )
        st.button(
            "Save", key=f"syncs_save_{sync_id}", icon=":material/save:", on_click=_save, args=(bridge, person, sync_id)
        )


def _save(bridge: Bridge, person: Actor, sync_id: int) -> None:
    perform("syncs", partial(_edit, bridge, person, sync_id), toast="Saved.")


def _edit(bridge: Bridge, person: Actor, sync_id: int) -> Sync:
    timing, max_shrink = read_schedule("syncs", sync_id)
    every, schedule = timing_fields.parts_of(timing)
    tags = st.session_state[f"syncs_tags_{sync_id}"]
    return settings.edit_sync(
        bridge, person, sync_id, every_minutes=every, schedule=schedule, max_shrink=max_shrink, tags=tags
    )


def show_matching(bridge: Bridge, person: Actor, view: SyncView) -> None:
    """Show the match settings that the sync has for itself, to be changed."""
    rule = settings.get_match_rule(bridge, person, view)
    is_own = view.sync.match_property is not None or view.sync.expects_prefix is not None
    with st.expander("Matching", key=f"syncs_matching_{view.sync.id}", icon=":material/join:"):
        if not rule.is_apptimize:
            st.caption(
                f"{words_for(str(rule)).note} Match settings of the sync or of Mixpanel's connection do not matter."
            )
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


def _matching_form(bridge: Bridge, person: Actor, view: SyncView) -> None:
    sync_id = view.sync.id
    with st.form(f"syncs_match_form_{sync_id}", border=False):
        left, right = st.columns(2)
        left.text_input(
            "Match property of this sync",
            value=view.sync.match_property or "",
            key=f"syncs_property_{sync_id}",
            placeholder="Same as the connection",
            help="Another property overwrites the group in full at the next run.",
        )
        right.selectbox(
            "Expected to start with i_ or a_",
            list(_EXPECTED),
            index=list(_EXPECTED.values()).index(view.sync.expects_prefix),
            key=f"syncs_prefix_{sync_id}",
        )
        st.form_submit_button(
            "Save matching",
            key=f"syncs_match_save_{sync_id}",
            icon=":material/save:",
            on_click=_save_matching,
            args=(bridge, person, sync_id),
        )


def _save_matching(bridge: Bridge, person: Actor, sync_id: int) -> None:
    entered = st.session_state
    change = partial(
        settings.change_sync_matching,
        bridge,
        person,
        sync_id,
        match_property=entered[f"syncs_property_{sync_id}"],
        expects_prefix=_EXPECTED[entered[f"syncs_prefix_{sync_id}"]],
    )
    perform("syncs", change, toast="Saved: the next run uses it.")
