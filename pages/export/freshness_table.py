"""How fresh the groups of recurring syncs are: their last 24 hours as lines, those that need attention first."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.reports import slots
from core.reports.overview import Freshness
from core.reports.slots import OnTime, SlotLine
from data.models import SyncState
from pages.parts import causes, links, selection, slot_line, state_chips, tables
from pages.parts.formatting import age, number, percent_number, pluralize, timing_text
from pages.shell import resources

# So many syncs are listed; Syncs has them all.
MOST_SYNCS = 12
ON_TIME = "On time"


def show(bridge: Bridge, person: Actor, freshness: list[Freshness]) -> None:
    """Show the syncs that need attention, then those whose groups are the oldest."""
    if not freshness:
        return
    late, shown = sum(each.is_late for each in freshness), sorted(freshness, key=_order)[:MOST_SYNCS]
    views = [each.view for each in shown]
    lines, on_time = slots.list_slot_lines(bridge, person, views), resources.on_time(bridge, person, views)
    # The page of a sync is for those who may change it; others are led to the group.
    may_change = person.role >= Role.ANALYST
    st.header("Freshness of recurring syncs", anchor=False)
    slot_line.legend(
        pluralize(len(freshness), "recurring sync")
        + (f", {number(late)} late" if late else ", none late")
        + (f". The {MOST_SYNCS} that need attention first" if len(freshness) > MOST_SYNCS else "")
    )
    states = [state_chips.of_sync(each) for each in shown]
    width = slot_line.NARROW if any(causes.of_sync(each.view) for each in shown) else slot_line.WIDE
    rows = [
        table_row(each, state, lines[each.view.sync.id or 0], on_time[each.view.sync.id or 0], width)
        for each, state in zip(shown, states, strict=True)
    ]
    tables.rows_to_open(
        rows,
        [each.view.sync.id if may_change else each.view.group.id for each in shown],
        key="overview_fresh",
        order=tables.filled(rows, "Cause"),
        label="Freshness of recurring syncs, those that need attention first",
        go_to=selection.opener(links.SYNCS, "sync") if may_change else selection.opener(links.GROUPS, "group"),
        opens="Group",
        opens_width=140,
        columns={
            "State": state_chips.column(states),
            **on_time_column(),
            **tables.texts(rows, Destination=120, Cause=156),
            "Updated": st.column_config.TextColumn(width=105),
            "Last 24 hours": slot_line.column(width),
            **tables.counts("Scheduled runs"),
        },
    )
    if may_change and len(freshness) > MOST_SYNCS:
        more = f"All {number(len(freshness))} recurring syncs: see Syncs"
        st.page_link(links.SYNCS, label=more, icon=":material/sync:")


def on_time_column() -> dict[str, Any]:
    """Return the configuration of the column that holds which share of scheduled runs were on time."""
    told = (
        "Of the times that the sync was due in the last 7 days, those after which a run had succeeded before the next "
        "one. While it is paused, none is due."
    )
    return {ON_TIME: st.column_config.NumberColumn(format="%.1f%%", width=72, alignment="left", help=told)}


def _order(sync: Freshness) -> tuple[bool, bool, bool]:
    """Put what is late first, then what is held or fails, then what is paused; the stalest first among each."""
    return (
        not sync.is_late,
        sync.view.unresolved_run is None,
        sync.view.sync.state != SyncState.PAUSED,
    )


def table_row(sync: Freshness, states: list[str], line: SlotLine, on_time: OnTime, width: int) -> dict[str, object]:
    """Format how fresh a sync's group is for the table."""
    view = sync.view
    return {
        "Group": view.group.name,
        "State": states,
        ON_TIME: percent_number(on_time.share),
        "Cause": causes.of_sync(view),
        "Destination": view.destination,
        "Updated": age(sync.at) if sync.at else "Not delivered yet",
        "Last 24 hours": slot_line.line(line, width),
        "Last 24 hours in words": slot_line.words(line),
        "Schedule": timing_text(view.sync),
        "Scheduled runs": on_time.due,
    }
