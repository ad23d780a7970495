"""What was told, what of that may not have arrived, and what is not well at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from core.access.roles import Actor, Role
from core.alerts import listing
from core.alerts.listing import OpenAlert, ToldMessage
from core.bridge import Bridge
from pages.parts import links, tables
from pages.parts.actions import perform
from pages.parts.formatting import age, escape_markdown, message_text, number, pluralize
from pages.parts.stored import offer
from pages.shell import page_frame

# So many are shown one by one.
MOST_ITEMS = 5
SETTING = "alerts_failing_after"
_PAGES = {"syncs": links.SYNCS, "history": links.HISTORY}
_SEVERITIES = {"critical": "Critical", "warning": "Warning", "recovered": "Recovered"}


def show_lost(bridge: Bridge, person: Actor, lost: Sequence[ToldMessage], *, place: str) -> None:
    """Show the messages that did not arrive, or perhaps not, and the button that says that somebody knows."""
    if not lost:
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge("Unconfirmed", icon=":material/notifications_off:", color="orange")
            st.markdown(f"**{pluralize(len(lost), 'alert')} may not have arrived**")
        st.caption("None is sent again: it may have arrived already, was refused, or was tried for a day.")
        for message in lost[:MOST_ITEMS]:
            st.markdown(
                f"**{escape_markdown(message.title)}** to {escape_markdown(message.channel)}, "
                f"{age(message.written_at)}: {escape_markdown(message.why)}"
            )
        if len(lost) > MOST_ITEMS:
            st.caption(f"{number(len(lost) - MOST_ITEMS)} more: see Alerts.")
        if person.role >= Role.ANALYST:
            st.button(
                "Seen",
                key=f"{place}_seen",
                icon=":material/done_all:",
                on_click=perform,
                args=(
                    place,
                    partial(listing.mark_messages_seen, bridge, person, [message.id for message in lost]),
                    lambda count: f"{pluralize(count, 'alert')} marked as seen.",
                ),
            )


def show_open(person: Actor, alerts: Sequence[OpenAlert]) -> None:
    """Show what is not well, what to do, and where."""
    for alert in alerts[:MOST_ITEMS]:
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                state, _, subject = alert.title.partition(": ")
                st.badge(state, icon=":material/error:", color="orange")
                st.markdown(f"**{escape_markdown(subject[:1].upper() + subject[1:])}**, {age(alert.since)}")
            st.markdown(message_text(alert.text, None))
            if person.role >= Role.ANALYST and (page := _PAGES.get(alert.place.page)):
                st.page_link(
                    page, label=alert.place.way, icon=":material/arrow_forward:", query_params=alert.place.params
                )
    if len(alerts) > MOST_ITEMS:
        st.caption(f"{pluralize(len(alerts) - MOST_ITEMS, 'more', 'more')}.")


def show_latest(bridge: Bridge, person: Actor) -> None:
    """Show the messages that were written last, each with what became of it."""
    latest = listing.list_told_messages(bridge, person)
    st.header("Messages", anchor=False)
    show_lost(
        bridge, person, [message for message in latest if message.is_lost and not message.seen_by], place="alerts"
    )
    if not latest:
        st.caption("No messages yet. What is sent to a channel is listed here, with what became of it.")
        return
    st.caption(f"The latest {number(len(latest))}, the newest first." if len(latest) > 1 else "The latest one.")
    st.dataframe(
        [
            {
                "Message": message.title,
                "Severity": _SEVERITIES.get(message.severity, message.severity),
                "Channel": message.channel,
                "Outcome": message.status,
                "Written": age(message.written_at),
                "Tries": message.tries,
                "Reason": message.why,
                "Seen by": message.seen_by or "",
            }
            for message in latest
        ],
        key="alerts_messages",
        hide_index=True,
        height=tables.height(len(latest), most=12),
        alt="The latest messages",
        column_config={
            "Message": st.column_config.TextColumn(width="medium"),
            "Outcome": st.column_config.TextColumn(width=130),
            "Reason": st.column_config.TextColumn(width="medium"),
            **tables.counts("Tries"),
        },
    )


def show_setting(bridge: Bridge, person: Actor) -> None:
    """Show after how many failures in a row somebody is told, and let that be changed."""
    st.header("When a sync is failing", anchor=False)
    present = listing.get_failing_after(bridge, person)
    offer(SETTING, present)
    # Without its own bounds: the field would put its last number back in place of one outside them, unsaid.
    st.number_input(
        "Failures in a row until a sync is failing",
        step=1,
        key=SETTING,
        width=320,
        help="The first failures of a sync are often over with its next run. "
        f"From {listing.LEAST_FAILURES} to {listing.MOST_FAILURES}.",
        on_change=_set_failing_after,
        args=(bridge, person, present),
    )
    page_frame.show_answer(SETTING)


def _set_failing_after(bridge: Bridge, person: Actor, drawn: int) -> None:
    failures: int = st.session_state[SETTING]

    def change() -> int:
        listing.set_failing_after(bridge, person, failures, seen=drawn)
        return failures

    told = f"A sync is failing after {pluralize(failures, 'failure')} in a row from now on."
    if perform(SETTING, change, told) is None:
        st.session_state.pop(SETTING)  # what is stored is shown again
