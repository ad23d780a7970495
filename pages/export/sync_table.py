"""The recurring syncs as a table: which of them are asked for, and what is shown of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from core.reports.overview import Freshness
from core.reports.run_history import RunMark
from core.reports.slots import OnTime
from core.syncs.listing import SyncView
from data.models import RunStatus, SyncState
from pages.export import freshness_table
from pages.parts import causes, run_status, run_strip, state_chips, tables
from pages.parts.filters import Filters
from pages.parts.formatting import age, clock, in_gray, number, percent_number, timing_text
from pages.shell import resources

ALL, ACTIVE, PAUSED, LATE, HELD, FAILING = "All", "Active", "Paused", "Late", "Held", "Failing"
_STATES = (ALL, ACTIVE, PAUSED, LATE, HELD, FAILING)
_TABLE = "syncs"
OWN_TIMES = (
    "A new or resumed sync runs at once, then at its own times: each sync with an interval has others, so that not all "
    "of them ask Mixpanel at once."
)


def filtered(syncs: list[Freshness], filters: Filters) -> list[Freshness]:
    """Show how many syncs are in which state, and the search; return those that are asked for."""
    counts = {state: sum(is_in(sync, state) for sync in syncs) for state in _STATES}
    tags = sorted({tag for sync in syncs for tag in sync.view.sync.tags}, key=str.casefold)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        state = filters.one(
            st.segmented_control, "State", "state",
            {name: in_gray(f"{name} ({number(count)})") for name, count in counts.items()},
            default=ALL, in_address={name: name.lower() for name in _STATES}, required=True, wrap=True,
        )  # fmt: skip
        text = filters.text(
            st.text_input, "Search", "search", live="400ms", width=220, placeholder="Group, cohort or destination"
        )
        chosen: list[str] = []
        if tags or filters.asks_for("tags"):
            chosen = filters.many(
                st.multiselect, "Tags", "tags", {tag: tag for tag in tags}, width=220, placeholder="Any"
            )
    words = text.casefold()
    return [
        sync
        for sync in syncs
        if is_in(sync, state)
        and words in f"{sync.view.group.name}\n{sync.view.group.cohort_name}\n{sync.view.destination}".casefold()
        and set(chosen) <= set(sync.view.sync.tags)
    ]


def is_in(sync: Freshness, state: str) -> bool:
    """Return whether a sync is in one of the states that can be asked for."""
    is_on = sync.view.sync.state == SyncState.ACTIVE
    return {
        ALL: True,
        ACTIVE: is_on,
        PAUSED: not is_on,
        LATE: sync.is_late,
        HELD: sync.view.is_held,
        FAILING: sync.view.is_failing,
    }[state]


def show(
    syncs: list[Freshness],
    latest: Mapping[int, Sequence[RunMark]],
    on_time: Mapping[int, OnTime],
    go_to: Callable[[Any], None],
) -> None:
    """Show syncs as rows: each to be opened by its name, and to be selected for what is done with many."""
    now = resources.now()
    states = [state_chips.of_sync(sync) for sync in syncs]
    rows = [
        _row(sync, state, latest.get(sync.view.sync.id or 0, ()), on_time[sync.view.sync.id or 0], now)
        for sync, state in zip(syncs, states, strict=True)
    ]
    tables.rows_to_select(
        rows,
        [sync.view.sync.id for sync in syncs],
        key=_TABLE,
        order=tables.filled(rows, "Cause"),
        label="Recurring syncs",
        go_to=go_to,
        opens="Group",
        opens_width=140,
        columns={
            "State": state_chips.column(states),
            **tables.numbers(rows, Members=""),
            **tables.texts(rows, Destination=120, Cause=156, Updated=105, Schedule=150),
            "Next run": st.column_config.TextColumn(help=OWN_TIMES),
            "Latest runs": run_strip.column(),
            **freshness_table.on_time_column(),
            "Tags": st.column_config.ListColumn(),
        },
    )


def selected(syncs: list[Freshness]) -> list[SyncView]:
    """Return which of these syncs are selected in the table, whether it shows them at the moment or not."""
    ids = tables.selected(_TABLE, [sync.view.sync.id for sync in syncs])
    return [sync.view for sync in syncs if sync.view.sync.id in ids]


def clear_selection() -> None:
    """Select nothing at the next drawing."""
    tables.clear_selection(_TABLE)


def _row(
    sync: Freshness, states: list[str], latest: Sequence[RunMark], on_time: OnTime, now: datetime
) -> dict[str, object]:
    view = sync.view
    return {
        "Group": view.group.name,
        "State": states,
        "Members": view.group.members if view.group.delivered_at else None,
        "Cause": causes.of_sync(view),
        "Destination": view.destination,
        "Latest runs": run_strip.strip(latest),
        "Updated": "Not delivered yet" if sync.at is None else age(sync.at),
        "Next run": next_run(view, now),
        "Schedule": timing_text(view.sync),
        freshness_table.ON_TIME: percent_number(on_time.share),
        "Last result": _last_result(view),
        "Latest runs in words": run_strip.words(latest),
        "Tags": view.sync.tags,
    }


def _last_result(view: SyncView) -> str:
    run = view.last_run
    if run is None:
        return "No run yet"
    if run.status != RunStatus.SUCCEEDED:
        return run_status.status_text(run)
    if run.write == "none":
        return "Verified, nothing to write"
    return f"{number(run.added)} added, {number(run.removed)} removed"


def next_run(view: SyncView, now: datetime) -> str:
    """Format when the sync runs next; empty when it does not."""
    run = view.last_run
    if run and run_status.is_active(run):
        return f"Tried again at {clock(at, now=now)}" if (at := run_status.tried_again_at(run)) else "Now"
    at = view.sync.next_run_at
    if at is None:
        return ""
    return "Due now" if at <= now else clock(at, now=now)
