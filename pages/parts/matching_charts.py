"""Charts of matching over time: where a cohort's profiles went, and which share of each cohort can be targeted."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import altair as alt
import pandas as pd
import streamlit as st

from data.models import Run
from pages.parts.formatting import number, percent_number, pluralize, zone

# More lines than these cannot be distinguished.
_LINES = 6
_TIMES = "%-d %b, %H:%M"
_PARTS = {"Members": "members", "Unmatched": "unmatched", "Invalid": "invalid", "Duplicates": "duplicates"}


def show_trend(reads: list[Run]) -> None:
    """Show where the profiles of one cohort went, over its reads."""
    if len(reads) < 2:
        st.caption("The trend shows from the second read on.")
        return
    st.header("Over time", anchor=False)
    frame = pd.DataFrame(
        [
            {"Time": _local(run), "Run": run.id, "Profiles": label, "Number": getattr(run, name)}
            for run in reads
            if run.finished_at
            for label, name in _PARTS.items()
        ]
    )
    order = list(_PARTS)
    legend = alt.Legend(symbolType="stroke", symbolSize=400, title=None)
    chart = (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=_time_axis(frame),
            y=alt.Y("Number:Q", title="Profiles", axis=alt.Axis(format=",d", tickCount=5)),
            color=alt.Color("Profiles:N", sort=order, legend=legend),
            strokeDash=alt.StrokeDash("Profiles:N", sort=order, legend=legend),
            tooltip=["Profiles", alt.Tooltip("Number", format=",d"), "Run", alt.Tooltip("Time", format=_TIMES)],
        )
    )
    first, last = reads[0], reads[-1]
    changes = [
        f"{label} from {number(getattr(first, name))} to {number(getattr(last, name))}"
        for label, name in _PARTS.items()
    ]
    st.altair_chart(
        chart,
        height=260,
        key="matching_trend",
        alt=f"Where profiles went, over the latest {number(len(reads))} reads: {', '.join(changes)}",
    )


def show_shares(reads: list[Run], cohort_ids: list[int]) -> None:
    """Show which share of each cohort could be targeted, over its reads."""
    counts = Counter(run.cohort_id for run in reads if run.profiles)
    shown = [cohort_id for cohort_id, times in counts.most_common(_LINES) if times > 1 and cohort_id in cohort_ids]
    if not shown:
        return
    st.header("Over time", anchor=False)
    more = len(cohort_ids) - len(shown)
    st.caption(
        "The share of profiles with a usable Apptimize id."
        + (f" {pluralize(more, 'cohort is', 'cohorts are')} not drawn: choose one above." if more > 0 else "")
    )
    frame = pd.DataFrame(
        [
            {
                "Time": _local(run),
                "Run": run.id,
                "Cohort": f"{run.cohort_name} ({run.cohort_id})",
                "Matched": (run.members + run.duplicates) / run.profiles,
            }
            for run in reads
            if run.finished_at and run.profiles and run.cohort_id in shown
        ]
    )
    lines = frame.groupby("Cohort", sort=False)["Matched"]
    changes = [
        f"{name} from {percent_number(line.iloc[0])}% to {percent_number(line.iloc[-1])}%" for name, line in lines
    ]
    st.altair_chart(
        _share_lines(frame),
        height=300,
        key="matching_shares",
        alt=f"Matched share of each cohort over its reads: {', '.join(changes)}",
    )


def _share_lines(frame: pd.DataFrame) -> alt.Chart:
    legend = alt.Legend(symbolType="stroke", symbolSize=400, title=None, orient="bottom", columns=2, labelLimit=170)
    return (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=_time_axis(frame),
            y=alt.Y("Matched:Q", title="Matched", axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("Cohort:N", legend=legend),
            strokeDash=alt.StrokeDash("Cohort:N", legend=legend),
            tooltip=["Cohort", alt.Tooltip("Matched", format=".1%"), "Run", alt.Tooltip("Time", format=_TIMES)],
        )
    )


def _local(run: Run) -> datetime | None:
    return run.finished_at.astimezone(zone()).replace(tzinfo=None) if run.finished_at else None


def _time_axis(frame: pd.DataFrame) -> alt.X:
    """Lay reads out over time: a few within a minute are not spread until all have the same time."""
    last = frame["Time"].max()
    scale = alt.Scale(domain=[min(frame["Time"].min(), last - timedelta(minutes=10)).isoformat(), last.isoformat()])
    return alt.X("Time:T", title=None, scale=scale, axis=alt.Axis(format=_TIMES, tickCount=4, labelOverlap=True))
