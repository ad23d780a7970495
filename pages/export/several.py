"""Several cohorts at once: chosen in the list, exported alike, and watched together; the address names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.connections.project import destination_rule
from core.errors import CohortBridgeError
from core.reports.export_forecast import forecast_exports
from core.rules.holding import LEAST_SUGGESTED
from core.rules.query_forecast import Forecast
from core.syncs import several
from core.syncs.settings import ShrinkSuggestion
from core.syncs.several import MOST, ExportSettings, Started
from core.text import shown
from core.vendors.mixpanel_answers import Cohort
from data.models import MIXPANEL_SIDE, Connection, Group
from pages.export import cohort_form, sync_settings, timing_fields
from pages.export.cohort_form import PLACE
from pages.export.export_settings import KINDS, RECURRING
from pages.parts import answers, tables, whom_to_ask
from pages.parts.actions import perform
from pages.parts.formatting import clock, error_text, escape_markdown, number, pluralize
from pages.parts.member_words import words_for
from pages.parts.selection import read_ids, set_param
from pages.shell import resources

# The parameters of the address: what is chosen, as one cohort that is open is; and what was started of it.
CHOSEN, RUNS, SYNCS = "cohort", "exports", "recurring"
# The list that they are selected in.
TABLE = "cohorts"
_PREFIX, _ROW = "several", 0
_CHECKED = "several_checked"
# So many of what the address lists and is not there are named, and so much of each.
_NAMED, _LONGEST_NAMED = 5, 40
# What others do meanwhile may speak against a cohort, or not any more.
_CHECKED_FOR = timedelta(seconds=30)


class _Drawn(NamedTuple):
    """What the buttons were drawn with: the connection that the cohorts are listed through, and as of when."""

    mixpanel: str
    as_of: datetime | None


def offer(cohorts: Sequence[Cohort], shown: Sequence[int], go_to: Callable[[int], None]) -> None:
    """Show the button that exports those of the cohorts that are selected; one by itself is opened by `go_to`.

    `shown` are the ids of those that the list shows at the moment: others may be selected too.
    """
    ids = tables.selected(TABLE, [cohort.id for cohort in cohorts])
    hidden = len(set(ids) - set(shown))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Export {pluralize(len(ids), 'cohort')}" if len(ids) > 1 else "Export several",
            key="several_open",
            icon=":material/playlist_add_check:",
            disabled=not 1 < len(ids) <= MOST,
            on_click=_choose,
            args=(tuple(ids),),
        )
        if len(ids) == 1:
            st.button("Open", key="several_open_one", on_click=go_to, args=(ids[0],))
        text = "Select cohorts to export several at once."
        if ids:
            text = tables.selection_text(len(ids), "cohort", hidden=hidden)
        if len(ids) > MOST:
            text += f" Choose at most {MOST} at a time."
        st.caption(text, width="content")
        if hidden:
            st.button(
                "Select none",
                key="several_none",
                type="tertiary",
                on_click=tables.clear_selection,
                args=(TABLE,),
            )


def _choose(ids: Sequence[int]) -> None:
    set_param(CHOSEN, ",".join(map(str, ids)))


def show(
    bridge: Bridge,
    person: Actor,
    asked: str,
    cohorts: Sequence[Cohort],
    connections: Sequence[Connection],
    project: Connection,
    groups: Sequence[Group],
) -> None:
    """Show how the cohorts that are chosen are to be exported, and when that would be done."""
    by_id, (ids, others) = {cohort.id: cohort for cohort in cohorts}, read_ids(asked)
    chosen = [by_id[each] for each in ids if each in by_id][:MOST]
    st.header(f"Export {pluralize(len(chosen), 'cohort')}" if chosen else "Export several cohorts", anchor=False)
    _show_missing(ids, others, by_id)
    destinations = [connection for connection in connections if connection.side != MIXPANEL_SIDE]
    if not destinations:
        st.info("Connect Apptimize, or a folder for CSV files, before you export.", icon=":material/cable:")
        whom_to_ask.show_way_to_connections(bridge, person)
        return
    if not chosen:
        return
    destination = _fields(destinations)
    refused, as_of = _check(bridge, person, [cohort.id for cohort in chosen], project.name)
    left = [cohort for cohort in chosen if cohort.id not in refused]
    _show_forecast(bridge, person, left, project.name)
    _buttons(bridge, person, [cohort.id for cohort in chosen], refused, _Drawn(project.name, as_of))
    answers.show(bridge, person, PLACE)
    _show_cohorts(chosen, refused, [group for group in groups if group.destination_id == destination.id])


def _show_missing(ids: Sequence[int], others: Sequence[str], by_id: dict[int, Cohort]) -> None:
    missing = [*(str(each) for each in ids if each not in by_id), *others]
    if missing:
        listed = listed_ids(missing)
        st.warning(f"Mixpanel does not list these cohorts in this project: {listed}.", icon=":material/search_off:")
    if sum(each in by_id for each in ids) > MOST:
        st.warning(f"At most {MOST} cohorts are exported at a time: the others are left out.", icon=":material/rule:")


def listed_ids(texts: Sequence[str]) -> str:
    """Format what the address lists, the first few of it."""
    more = " and others" if len(texts) > _NAMED else ""
    return ", ".join(escape_markdown(shown(text, most=_LONGEST_NAMED)) for text in texts[:_NAMED]) + more


def _fields(destinations: list[Connection]) -> Connection:
    with st.container(border=True):
        to = st.selectbox(
            "Export to",
            [connection.name for connection in destinations],
            index=cohort_form.usual_index(destinations),
            format_func={
                place.name: f"{place.name} ({cohort_form.kind_text(place)})" for place in destinations
            }.__getitem__,
            key="several_to",
        )
        destination = next(place for place in destinations if place.name == to)
        if note := words_for(str(destination_rule(destination) or "")).note:
            st.caption(note)
        kind = st.radio(
            "Kind of export", list(KINDS), captions=list(KINDS.values()), key="several_kind", horizontal=True
        )
        if kind == RECURRING:
            # What each of the groups lost so far is not one suggestion for all.
            first_runs = sync_settings.schedule_fields(
                _PREFIX, _ROW, suggestion=ShrinkSuggestion(LEAST_SUGGESTED), why="The same for each of the groups."
            )
            if first_runs:
                st.caption(first_runs)
        st.caption("Each group keeps its name; a new one is named after its cohort.")
    return destination


def _is_recurring() -> bool:
    return st.session_state["several_kind"] == RECURRING


def _entered(mixpanel: str) -> ExportSettings:
    """Return what all are to have in common. Raises SettingsError naming the field."""
    to = st.session_state["several_to"]
    if not _is_recurring():
        return ExportSettings(to, mixpanel=mixpanel)
    timing, max_shrink = sync_settings.read_schedule(_PREFIX, _ROW)
    every, schedule = timing_fields.parts_of(timing)
    return ExportSettings(
        to, recurring=True, every_minutes=every, schedule=schedule, max_shrink=max_shrink, mixpanel=mixpanel
    )


def _check(bridge: Bridge, person: Actor, ids: list[int], mixpanel: str) -> tuple[dict[int, str], datetime | None]:
    """Return what speaks against cohorts, and as of when; None where what is entered cannot be used.

    To look takes the place of a writer for a moment: it is done where something else is entered, and now and then.
    """
    try:
        settings = _entered(mixpanel)
        asked = [*ids, repr(settings)]
        kept: dict[str, Any] | None = st.session_state.get(_CHECKED)
        now = resources.now()
        if kept is None or kept["asked"] != asked or not now - _CHECKED_FOR < kept["at"] <= now:
            refused = several.check_exports(bridge, person, ids, settings)
            causes = {each.cohort_id: f"{each.why} {each.advice}" for each in refused}
            kept = {"asked": asked, "at": now, "refused": causes}
            st.session_state[_CHECKED] = kept
    except CohortBridgeError as exc:
        if exc.message.partition(":")[0] not in sync_settings.error_places(_PREFIX, _ROW):  # else it stands there
            st.error(error_text(exc), icon=":material/error:")
        return {}, None
    return kept["refused"], kept["at"]


def _show_forecast(bridge: Bridge, person: Actor, chosen: list[Cohort], mixpanel: str) -> None:
    if chosen:
        forecast = forecast_exports(bridge, person, chosen, mixpanel=mixpanel)
        text = forecast_text(forecast, len(chosen), is_recurring=_is_recurring(), now=resources.now())
        st.info(text, icon=":material/schedule:")


def forecast_text(forecast: Forecast, count: int, *, is_recurring: bool, now: datetime) -> str:
    """Format when exports would be done, and what they wait for meanwhile."""
    whole_minute = forecast.done_at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    what = "The first run" if is_recurring and count == 1 else "The first runs" if is_recurring else "The export"
    if not is_recurring and count > 1:
        what = f"All {number(count)}"
    text = f"{what} would be done by about {clock(whole_minute, now=now)}."
    if forecast.waiting and forecast.first_at:
        who = f"{number(forecast.waiting)} of them" if count > 1 else "It"
        waits = "waits" if forecast.waiting == 1 else "wait"
        text += f" {who} {waits} for a Mixpanel query: the next is free at {clock(forecast.first_at, now=now)}."
    return text


def _buttons(bridge: Bridge, person: Actor, ids: list[int], refused: dict[int, str], drawn: _Drawn) -> None:
    left = [each for each in ids if each not in refused]
    what = "sync" if _is_recurring() else "export"
    # At the right: the lists of the times open at the left.
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
        if refused:
            cannot = "1 cohort cannot" if len(refused) == 1 else f"{number(len(refused))} cohorts cannot"
            st.caption(
                f"{cannot} be exported so: the causes stand below. All start together, or none.", width="content"
            )
        st.button(
            f"Start {pluralize(len(ids), what)}",
            key="several_start",
            type="primary",
            icon=":material/play_arrow:",
            disabled=bool(refused) or drawn.as_of is None,
            on_click=_start,
            args=(bridge, person, tuple(ids), drawn),
        )
        if refused and left:
            st.button(
                f"Leave {number(len(refused))} out",
                key="several_leave_out",
                icon=":material/playlist_remove:",
                on_click=_choose,
                args=(tuple(left),),
            )


def _start(bridge: Bridge, person: Actor, ids: Sequence[int], drawn: _Drawn) -> None:
    if not st.query_params.get(CHOSEN) or st.query_params.get(RUNS) or st.query_params.get(SYNCS):
        return  # pressed twice: the first press has led on
    start = partial(_start_all, bridge, person, ids, drawn)
    started = perform(PLACE, start, fields=sync_settings.error_places(_PREFIX, _ROW))
    st.session_state.pop(_CHECKED, None)
    if started:
        tables.clear_selection(TABLE)
        set_param(RUNS, ",".join(str(run.id) for run in started.runs) or None)
        set_param(SYNCS, ",".join(str(sync.id) for sync in started.syncs) or None)


def _start_all(bridge: Bridge, person: Actor, ids: Sequence[int], drawn: _Drawn) -> Started:
    return several.start_exports(bridge, person, ids, _entered(drawn.mixpanel), as_of=drawn.as_of)


def _show_cohorts(chosen: list[Cohort], refused: dict[int, str], groups: list[Group]) -> None:
    if refused:
        st.table(
            [
                {
                    "Cannot be exported so": escape_markdown(cohort.name),
                    "What speaks against it": escape_markdown(refused[cohort.id]),
                }
                for cohort in chosen
                if cohort.id in refused
            ],
            hide_index=True,
            border="horizontal",
        )
    present = {group.cohort_id: group for group in groups}
    rows = [_row(cohort, present.get(cohort.id)) for cohort in chosen if cohort.id not in refused]
    if rows:
        st.dataframe(
            rows,
            key="several_table",
            hide_index=True,
            height=tables.height(len(rows)),
            placeholder="",
            alt="The cohorts that are to be exported",
            column_config={
                "Cohort": st.column_config.TextColumn(width=200),
                "Group": st.column_config.TextColumn(width=200),
                **tables.counts("Users", "Members"),
            },
        )


def _row(cohort: Cohort, group: Group | None) -> dict[str, object]:
    return {
        "Cohort": cohort.name,
        "Users": cohort.count,
        "Group": group.name if group else "New",
        "Members": group.members if group else None,
        "Id": str(cohort.id),
    }
