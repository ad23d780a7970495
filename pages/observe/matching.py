"""Matching: who gets from a cohort into its group, who does not and why, and how that is mended."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial

import altair as alt
import pandas as pd
import streamlit as st

from core.access.roles import Actor, Role
from core.bridge import Bridge
from core.connections.connect import MIXPANEL_SIDE
from core.errors import CohortBridgeError
from core.reports import match_funnel, user_lookup
from core.reports.match_funnel import DUPLICATE, Funnel, shown_row
from core.rules.matching import Reason
from data.models import Connection, Run
from pages.parts import download, lookback, run_status, tables
from pages.parts.associate import screen as associate
from pages.parts.formatting import (
    age,
    error_text,
    escape_markdown,
    in_gray,
    moment,
    number,
    percent_of,
    pluralize,
    zone,
)
from pages.shell import gate, page_frame, resources

COHORTS = "pages/export/cohorts.py"
GROUPS = "pages/observe/groups.py"
PAGE_ROWS = 50
MOST_LINKS = 5
# More lines than these cannot be told apart.
_LINES = 6
_TIMES = "%-d %b, %H:%M"
FUNNEL, ASSOCIATE, LOOK_UP = "From cohort to group", "Associate by hand", "Look up a user"
ALL = "All cohorts"
REASONS = {
    Reason.UNMATCHED: "Unmatched: no Apptimize id",
    **run_status.REASONS,
    DUPLICATE: "Another profile has the id",
}
WHAT_TO_DO = [
    (
        "No profile",
        "Mixpanel knows the user only as a visitor.",
        "Set at least one profile property in the app; users without one are never exported.",
    ),
    (
        "Unmatched",
        "The profile has no Apptimize id.",
        "Install both SDKs and switch ThirdPartyImporting on: they set the id together. With the Mixpanel Swift SDK, "
        "set it in the app from `Apptimize.getPartnerID`, or associate the users by hand.",
    ),
    (
        "Invalid",
        "The id is there and cannot be used: blank, a list, too long.",
        "Find what sets the property in your app or import, and have it set what `Apptimize.getPartnerID` returns.",
    ),
    (
        "Duplicate",
        "Several profiles have the same id, which is in the group once.",
        "Nothing for the group. Many of them mean that people sign in on shared devices, or that ids are not merged.",
    ),
    (
        "No prefix",
        "The id starts with neither `i_` nor `a_`; it is exported all the same.",
        "Set the value of `Apptimize.getPartnerID` and not your own user id: Apptimize will not recognise the latter.",
    ),
]


def stages(found: Funnel) -> list[tuple[str, int | None, str]]:
    """Name the steps of the funnel, each with what it counts."""
    steps: list[tuple[str, int | None, str]] = [
        ("In cohort", found.in_cohort, "As Mixpanel last counted, users without a profile included."),
        ("With a profile", found.with_profile, "Users who have at least one profile property."),
        ("With an id", found.with_id, "Profiles that have the match property."),
        ("Valid", found.valid, "Profiles whose id can be used."),
        ("Distinct", found.distinct, "Different ids: the members of the group."),
    ]
    if found.expects_prefix:
        steps.append(("With a prefix", found.prefixed, "Members whose id starts with i_ or a_."))
    return steps


def show_funnel(bridge: Bridge, person: Actor) -> None:
    """Show the funnel of a cohort, or of all of them, and what it leaves out."""
    latest = match_funnel.latest_reads(bridge, person)
    if not latest:
        st.info(
            "Export a cohort, or preview one: every reading shows here how many users can be targeted.",
            title="Nothing was read yet",
            icon=":material/filter_alt:",
        )
        st.page_link(COHORTS, label="Pick a cohort", icon=":material/groups:")
        return
    names = {str(run.cohort_id): run.cohort_name for run in latest}
    asked = st.query_params.get("cohort", "")
    options = ["", *names]
    chosen = st.selectbox(
        "Cohort",
        options,
        index=options.index(asked) if asked in options else 0,
        format_func={"": ALL, **{one: escape_markdown(name) for one, name in names.items()}}.__getitem__,
        key="matching_cohort",
        width=420,
    )
    if chosen:
        st.query_params["cohort"] = chosen
        run = next(run for run in latest if str(run.cohort_id) == chosen)
        show_cohort(bridge, person, run)
    else:
        st.query_params.pop("cohort", None)
        st.caption(f"The latest reading of {pluralize(len(latest), 'cohort')}; a user in two of them counts twice.")
        show_numbers(match_funnel.add_up([match_funnel.get_funnel(run) for run in latest]))
        show_cohorts(latest)
        show_shares(match_funnel.list_reads(bridge, person, limit=500), [run.cohort_id for run in latest])
    show_what_to_do()


def show_cohort(bridge: Bridge, person: Actor, run: Run) -> None:
    """Show one cohort: its latest reading, the readings before, and who was left out."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        id_merge, _, match_property = run.matched_by.partition(":")
        how = f", matched on {escape_markdown(match_property)} ({id_merge} ID merge)" if match_property else ""
        st.caption(f"Read {age(run.finished_at)}{how}.", width="content")
        run_status.link(run)
    show_numbers(match_funnel.get_funnel(run))
    show_trend(match_funnel.list_reads(bridge, person, run.cohort_id))
    if run.excluded:
        show_excluded(bridge, person, run)
    elif run.profiles > run.members:
        st.caption("The profiles that were left out are not kept any more: the next reading keeps them.")


def show_numbers(found: Funnel) -> None:
    """Show the steps as bars with their numbers, and who the members are."""
    steps = [(label, value, text) for label, value, text in stages(found) if value is not None]
    most = max((value for _, value, _ in steps), default=0) or 1
    table = pd.DataFrame(
        {
            "Step": [label for label, _, _ in steps],
            "Users": [value for _, value, _ in steps],
            "Share": [f"{value / most:.1%}" for _, value, _ in steps],
            "What it counts": [text for _, _, text in steps],
        }
    )
    left, right = st.columns([5, 4], gap="medium")
    bars = alt.Chart(table).encode(
        y=alt.Y("Step:N", sort=None, title=None, axis=alt.Axis(labelLimit=160)),
        x=alt.X("Users:Q", title=None, axis=alt.Axis(tickCount=4, format=",d")),
        tooltip=["Step", alt.Tooltip("Users", format=",d"), "Share", "What it counts"],
    )
    left.altair_chart(
        bars.mark_bar(cornerRadiusEnd=3, height=20),
        height=44 * len(steps) + 20,
        key="matching_funnel",
        alt="From cohort to group: " + ", ".join(f"{label} {value:,}" for label, value, _ in steps),
    )
    with right:
        st.table(
            table[["Step", "Users", "Share"]].assign(Users=table["Users"].map("{:,}".format)),
            hide_index=True,
            border="horizontal",
        )
    run_status.tiles(excluded_tiles(found))
    if found.expects_prefix:
        run_status.tiles(prefix_tiles(found))


def excluded_tiles(found: Funnel) -> list[tuple[str, str, str]]:
    """Write how many profiles made no member, and why."""
    return [
        ("Unmatched", number(found.unmatched), "Profiles without an Apptimize id."),
        ("Invalid", number(found.invalid), "Profiles whose id cannot be used."),
        ("Duplicates", number(found.duplicates), "Profiles with an id that another one has too."),
    ]


def prefix_tiles(found: Funnel) -> list[tuple[str, str, str]]:
    """Write who the members are, by what their ids start with."""
    return [
        ("Identified (i_)", _share(found.identified, found.distinct), f"{number(found.identified)} members."),
        ("Anonymous (a_)", _share(found.anonymous, found.distinct), f"{number(found.anonymous)} members."),
        ("No prefix", _share(found.unprefixed, found.distinct), f"{number(found.unprefixed)} members."),
    ]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def time_axis(frame: pd.DataFrame) -> alt.X:
    """Lay readings out over time: a few within a minute are not spread until all bear the same time."""
    last = frame["Time"].max()
    scale = alt.Scale(domain=[min(frame["Time"].min(), last - timedelta(minutes=10)).isoformat(), last.isoformat()])
    return alt.X("Time:T", title=None, scale=scale, axis=alt.Axis(format=_TIMES, tickCount=4, labelOverlap=True))


def show_trend(readings: list[Run]) -> None:
    """Show over the readings where the profiles went."""
    if len(readings) < 2:
        st.caption("The trend shows from the second reading on.")
        return
    st.header("Over the readings", anchor=False)
    parts = [("Members", "members"), ("Unmatched", "unmatched"), ("Invalid", "invalid"), ("Duplicates", "duplicates")]
    frame = pd.DataFrame(
        [
            {
                "Time": run.finished_at.astimezone(zone()).replace(tzinfo=None),
                "Run": run.id,
                "Profiles": label,
                "Number": getattr(run, name),
            }
            for run in readings
            if run.finished_at
            for label, name in parts
        ]
    )
    order = [label for label, _ in parts]
    legend = alt.Legend(symbolType="stroke", symbolSize=400, title=None)
    chart = (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=time_axis(frame),
            y=alt.Y("Number:Q", title="Profiles", axis=alt.Axis(format=",d", tickCount=5)),
            color=alt.Color("Profiles:N", sort=order, legend=legend),
            strokeDash=alt.StrokeDash("Profiles:N", sort=order, legend=legend),
            tooltip=[
                "Profiles",
                alt.Tooltip("Number", format=",d"),
                "Run",
                alt.Tooltip("Time", format=_TIMES),
            ],
        )
    )
    first, last = readings[0], readings[-1]
    changes = [f"{label} from {number(getattr(first, name))} to {number(getattr(last, name))}" for label, name in parts]
    st.altair_chart(
        chart,
        height=260,
        key="matching_trend",
        alt=f"Where profiles went, over the latest {number(len(readings))} readings: {', '.join(changes)}",
    )


def show_shares(readings: list[Run], cohort_ids: list[int]) -> None:
    """Show over the readings which share of each cohort could be targeted."""
    counts = Counter(run.cohort_id for run in readings if run.profiles)
    shown = [cohort_id for cohort_id, times in counts.most_common(_LINES) if times > 1 and cohort_id in cohort_ids]
    if not shown:
        return
    st.header("Over the readings", anchor=False)
    more = len(cohort_ids) - len(shown)
    st.caption(
        "The share of profiles with a usable Apptimize id."
        + (f" {pluralize(more, 'cohort is', 'cohorts are')} not drawn: choose one above." if more > 0 else "")
    )
    frame = pd.DataFrame(
        [
            {
                "Time": run.finished_at.astimezone(zone()).replace(tzinfo=None),
                "Run": run.id,
                "Cohort": f"{run.cohort_name} ({run.cohort_id})",
                "Matched": (run.members + run.duplicates) / run.profiles,
            }
            for run in readings
            if run.finished_at and run.profiles and run.cohort_id in shown
        ]
    )
    legend = alt.Legend(symbolType="stroke", symbolSize=400, title=None, orient="bottom", columns=2, labelLimit=170)
    chart = (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=time_axis(frame),
            y=alt.Y("Matched:Q", title="Matched", axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("Cohort:N", legend=legend),
            strokeDash=alt.StrokeDash("Cohort:N", legend=legend),
            tooltip=[
                "Cohort",
                alt.Tooltip("Matched", format=".1%"),
                "Run",
                alt.Tooltip("Time", format=_TIMES),
            ],
        )
    )
    lines = frame.groupby("Cohort", sort=False)["Matched"]
    changes = [f"{name} from {percent_of(line.iloc[0])}% to {percent_of(line.iloc[-1])}%" for name, line in lines]
    st.altair_chart(
        chart,
        height=300,
        key="matching_shares",
        alt=f"Matched share of each cohort over its readings: {', '.join(changes)}",
    )


def show_cohorts(latest: list[Run]) -> None:
    """Show every cohort with its share of users who can be targeted."""
    st.header("By cohort", anchor=False)
    rows = [(run, match_funnel.get_funnel(run)) for run in latest]
    st.dataframe(
        [
            {
                "Cohort": run.cohort_name,
                "Profiles": one.with_profile,
                "Members": one.distinct,
                "Matched": percent_of(one.valid / one.with_profile if one.with_profile else None),
                "Unmatched": one.unmatched,
                "Invalid": one.invalid,
                "Duplicates": one.duplicates,
                "No prefix": one.unprefixed,
                "Read": age(run.finished_at),
            }
            for run, one in rows
        ],
        key="matching_cohorts",
        hide_index=True,
        height=tables.height(len(rows)),
        placeholder="",
        alt="Cohorts with their matching",
        column_config={
            "Cohort": st.column_config.TextColumn(width="medium"),
            "Matched": st.column_config.NumberColumn(
                format="%.1f%%", help="Profiles with a usable Apptimize id, when the cohort was last read."
            ),
            **{
                name: st.column_config.NumberColumn(format="localized")
                for name in ("Profiles", "Members", "Unmatched", "Invalid", "Duplicates", "No prefix")
            },
        },
    )


def to_first_page() -> None:
    """Begin at the first page when something else is asked for."""
    st.session_state["matching_page"] = 1


@st.fragment
def show_excluded(bridge: Bridge, person: Actor, run: Run) -> None:
    """Page and search through the profiles that made no member, and offer them for download."""
    assert run.id is not None
    st.header("Who was left out", anchor=False)
    present = [
        name
        for name, size in (
            (Reason.UNMATCHED.value, run.unmatched),
            *((name, size) for name, size in run.reasons.items()),
            (DUPLICATE, run.duplicates),
        )
        if size
    ]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        reasons = st.multiselect(
            "Reason",
            present,
            format_func={name: REASONS.get(name, name) for name in present}.__getitem__,
            key="matching_reasons",
            placeholder="All",
            width=340,
            on_change=to_first_page,
        )
        search = st.text_input(
            "Search",
            key="matching_search",
            type="search",
            live="400ms",
            placeholder="Part of an id",
            width=260,
            on_change=to_first_page,
        ).strip()
        download.offer_csv(
            partial(match_funnel.excluded_csv, bridge, person, run.id, reasons=tuple(reasons), search=search),
            file_name=f"excluded-{run.cohort_id}.csv",
            key="matching_download",
            help="Those that are listed here, safe to open in a spreadsheet.",
        )
    page = st.session_state.get("matching_page", 1)
    try:
        found = match_funnel.excluded(
            bridge,
            person,
            run.id,
            reasons=reasons,
            search=search,
            offset=(page - 1) * PAGE_ROWS,
            limit=PAGE_ROWS,
        )
    except CohortBridgeError as exc:
        st.error(error_text(exc), icon=":material/error:")
        return
    if not found.total:
        st.info("No profile matches the filters.", icon=":material/search_off:")
        return
    first = (page - 1) * PAGE_ROWS + 1
    st.caption(f"{number(first)}–{number(first + len(found.rows) - 1)} of {pluralize(found.total, 'profile')}")
    st.dataframe(
        [
            {
                "Mixpanel distinct id": distinct_id,
                "Why": REASONS.get(reason, reason),
                "Apptimize id": apptimize_id or "",
            }
            for reason, distinct_id, apptimize_id in map(shown_row, found.rows)
        ],
        key="matching_excluded",
        hide_index=True,
        height=tables.height(len(found.rows), most=12),
        alt="Profiles that were left out",
        column_config={"Mixpanel distinct id": st.column_config.TextColumn(width=260)},
    )
    pages = -(-found.total // PAGE_ROWS)
    if pages > 1:
        st.pagination(pages, key="matching_page")


def show_what_to_do() -> None:
    """Say what each way of being left out means, and what to do about it."""
    with st.expander("What each of these means, and what to do about it", icon=":material/help:"):
        for name, meaning, advice in WHAT_TO_DO:
            st.markdown(f"**{name}.** {meaning} {advice}")


def show_user(bridge: Bridge, person: Actor) -> None:
    """Look a user up."""
    wanted = st.text_input(
        "Distinct id or Apptimize id",
        value=st.query_params.get("id", ""),
        key="matching_id",
        placeholder="The whole id, as Mixpanel or Apptimize has it",
        width=520,
    )
    if not wanted.strip():
        st.caption("What is known comes from readings and associations; Mixpanel is not asked.")
        return
    st.query_params["id"] = wanted
    with st.spinner("Looking through the groups …"):
        found = user_lookup.look_up_user(bridge, person, wanted, look_through=lookback.look_through("matching"))
    if not found.is_known:
        st.info(
            "No group and no reading had this id. The user may have no profile, or be in no cohort that was exported.",
            title="Not known",
            icon=":material/person_off:",
        )
        lookback.show(found.lookback, place="matching")
        return
    left, right = st.columns(2)
    for column, label, ids in (
        (left, "Mixpanel distinct ids", found.distinct_ids),
        (right, "Apptimize ids", found.apptimize_ids),
    ):
        with column.container(border=True):
            st.caption(label)
            for one in ids[:20]:
                st.text(one)
            if not ids:
                st.text("None known")
            if len(ids) > 20:
                st.caption(f"and {pluralize(len(ids) - 20, 'more', 'more')}")
    if found.is_cut_short:
        st.caption("More ids belong together than are followed here: not all of them are shown.")
    st.header("Groups", anchor=False)
    if found.groups:
        st.dataframe(
            [group_row(one) for one in found.groups],
            key="matching_groups",
            hide_index=True,
            height=tables.height(len(found.groups)),
            alt="The user's groups",
            column_config={"Why": st.column_config.TextColumn(width="large")},
        )
    else:
        st.caption("No group was delivered yet.")
    for one in found.apptimize_ids[:MOST_LINKS]:
        st.page_link(
            GROUPS,
            label=f"When {escape_markdown(one)} was in which group",
            icon=":material/timeline:",
            query_params={"member": one},
        )
    for one, member in found.associated:
        st.caption(
            f"{escape_markdown(member.distinct_id)} was given {escape_markdown(member.apptimize_id)} by hand: "
            f"{escape_markdown(one.confirmed_by)}, "
            f"{age(one.finished_at or one.started_at)}."
        )
    lookback.show(found.lookback, place="matching")


def group_row(one: user_lookup.InGroup) -> dict[str, object]:
    """Write what one group says of the user."""
    return {
        "Group": f"Mixpanel: {one.group.delivered_name or one.group.name}",
        "State": "In the group"
        if one.is_member
        else "Not known"
        if one.reason == user_lookup.LOST
        else "Not in the group",
        "Since": moment(one.since) if one.since else (f"Before {moment(one.kept_since)}" if one.is_member else ""),
        "Destination": one.destination,
        "Why": why(one),
    }


def why(one: user_lookup.InGroup) -> str:
    """Say why the user is missing, or under which other profile they are in."""
    if one.is_member:
        return f"Counted under the profile {one.instead}, which has the same id" if one.instead else ""
    if one.reason == user_lookup.LOST:
        return "The group's members are gone from the disk: its next run writes it anew"
    if one.reason == "removed":
        return f"Left the cohort: run {one.run_id} removed the id"
    if one.reason:
        return REASONS.get(one.reason, one.reason)
    return "Not in the cohort when it was last read, or without a profile"


def mixpanel_of(found: list[Connection]) -> Connection | None:
    """Pick the Mixpanel connection that actions go through."""
    sides = [one for one in found if one.side == MIXPANEL_SIDE]
    return next((one for one in sides if one.name == "default"), sides[0] if sides else None)


def first_view(views: list[str]) -> str:
    """Choose the view that the address asks for."""
    if "association" in st.query_params and ASSOCIATE in views:
        return ASSOCIATE
    return LOOK_UP if "id" in st.query_params else FUNNEL


person = gate.require(Role.VIEWER)
bridge = resources.bridge()
connected = page_frame.open_page(
    bridge, person, "Matching", "Who gets from a cohort into its group, who does not, and how to mend it."
)
views = [FUNNEL, ASSOCIATE, LOOK_UP] if person.role >= Role.ANALYST else [FUNNEL, LOOK_UP]
view = st.segmented_control(
    "View",
    views,
    default=first_view(views),
    required=True,
    format_func=in_gray,
    key="matching_view",
    label_visibility="collapsed",
)
try:
    if view == ASSOCIATE:
        associate.show(bridge, person, mixpanel_of(connected))
    elif view == LOOK_UP:
        show_user(bridge, person)
    else:
        show_funnel(bridge, person)
except CohortBridgeError as exc:
    st.error(error_text(exc), icon=":material/error:")
