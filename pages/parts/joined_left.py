"""Who joined and left a group in a period: one list over all its runs, to page through and to download."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.access.roles import Actor
from core.bridge import Bridge
from core.invisible import revealed
from core.reports import joined_left
from core.reports.joined_left import JoinedOrLeft, Period, PeriodPage
from core.rules.id_words import IdWords, id_words
from data.models import Group
from pages.parts import download, links, periods, tables
from pages.parts.filters import Filters
from pages.parts.formatting import date, moment, number, pluralize
from pages.parts.pager import Pager
from pages.parts.selection import opener

PAGER = Pager("groups_joined_page", rows=50, name="page")
# What of the address belongs to this list.
PARAMS = ("period", "from", "to", "change", PAGER.name)
_WEEK = "Last 7 days"
_WAYS = {"added": "Joined", "removed": "Left"}
_IN_ADDRESS = {"added": "joined", "removed": "left"}
_DISTINCT_ID = "Mixpanel distinct id"
_TIME_PX, _RUN_PX, _ID_PX = 150, 60, 272
# With what stands above and below them they fit into two windows.
_SHOWN_ROWS = 15
# The last column takes what is left; a rollback needs more words.
_CHANGE_PX, _ROLLBACK_PX, _REST_PX = 70, 125, 180


def show(bridge: Bridge, person: Actor, group: Group) -> None:
    """Show who joined and left in the period that is chosen."""
    assert group.id is not None
    filters = Filters("groups", PAGER)
    period = _choose(bridge, filters)
    filters.show_unknown()
    listed = partial(joined_left.list_joined_and_left, bridge, person, group.id, period, limit=PAGER.rows)
    page = PAGER.find(lambda offset: listed(offset=offset))
    if page.known_since:
        st.info(
            f"Who joined and left is kept for {joined_left.CHANGES_KEPT_FOR.days} days: changes before "
            f"{date(page.known_since)} are no longer listed.",
            icon=":material/history_toggle_off:",
        )
    if not page.total:
        filters.show_none("No member joined or left in this period. Choose a longer one.")
        return
    _show_counts(bridge, person, group, period, page)
    _show_rows(group, page)
    PAGER.buttons(page.total)
    _explain_gaps(page)


def _choose(bridge: Bridge, filters: Filters) -> Period:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        since, until = periods.choose(filters, bridge.clock.now(), default=_WEEK)
        kind = filters.one(
            st.selectbox, "Change", "change", _WAYS, in_address=_IN_ADDRESS, placeholder="Joined or left", width=170
        )
    return Period(since, until, kind)


def _show_counts(bridge: Bridge, person: Actor, group: Group, period: Period, page: PeriodPage) -> None:
    counts = {"added": f"{number(page.joined)} joined", "removed": f"{number(page.left)} left"}
    told = " and ".join(counts[kind] for kind in period.kinds)
    shown = PAGER.range_text(page.shown, number(page.total), total=page.total)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(f"{told}, in {pluralize(page.runs, 'run')}. {shown}, the newest run first.", width="content")
        download.offer_csv(
            partial(joined_left.joined_and_left_csv, bridge, person, group.id or 0, period),
            file_name=f"group-{group.id}-joined-and-left.csv",
            key="groups_joined_download",
            help="Everybody who joined or left in this period; times are in UTC.",
        )


def _show_rows(group: Group, page: PeriodPage) -> None:
    words = id_words(group.base_match)
    own = _own_title(words, page)
    ids = [row.member.apptimize_id if row.member else None for row in page.rows]
    tables.rows_to_open(
        [_row(row, own) for row in page.rows],
        ids,
        key="groups_joined",
        label="Who joined and left",
        go_to=opener(links.USERS, "id", group=group.id),
        columns={
            "Time": st.column_config.TextColumn(width=_TIME_PX),
            "Change": st.column_config.TextColumn(width=_ROLLBACK_PX if any(map(_is_undo, page.rows)) else _CHANGE_PX),
            "Run": st.column_config.TextColumn(width=_RUN_PX),
            **({own: st.column_config.TextColumn(width=_ID_PX)} if own else {}),
            _DISTINCT_ID: st.column_config.TextColumn(width=_REST_PX if own else _ID_PX),
        },
        button_width=85,
        most_rows=_SHOWN_ROWS,
    )


def _own_title(words: IdWords, page: PeriodPage) -> str:
    """Name the column of the ids that the group knows people by, nothing where that is the distinct id."""
    if page.has_other_ids:
        return "Id at the destination"
    return "" if words.code == "distinct" else words.title


def _is_undo(row: JoinedOrLeft) -> bool:
    return row.change.trigger == "undo"


def _row(row: JoinedOrLeft, own: str) -> dict[str, object]:
    undo = " (rollback)" if _is_undo(row) else ""
    # Who comes before when: a narrow window shows the first columns only.
    cells: dict[str, object] = {
        "": "History" if row.member else None,
        "Change": f"{_WAYS[row.kind]}{undo}",
        own or _DISTINCT_ID: f"{pluralize(row.people, 'member')}, ids not kept",
        "Time": moment(row.change.at),
        "Run": str(row.change.run_id),
    }
    if row.member is None:
        return cells
    ids = {own: revealed(row.member.apptimize_id)} if own else {}
    return cells | ids | {_DISTINCT_ID: revealed(row.member.distinct_id)}


def _explain_gaps(page: PeriodPage) -> None:
    lost = sorted({row.change.run_id for row in page.rows if row.member is None})
    if lost:
        named = ", ".join(map(str, lost[:5])) + (" and others" if len(lost) > 5 else "")
        st.caption(
            f"The list of run {named} is missing or damaged: only its counts are known."
            if len(lost) == 1
            else f"The lists of the runs {named} are missing or damaged: only their counts are known."
        )
    if page.missing:
        st.caption(
            f"{pluralize(page.missing, 'row')} of this page {'is' if page.missing == 1 else 'are'} not shown: those "
            "people were forgotten here."
        )
