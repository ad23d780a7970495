"""Charts of matching over time: where a cohort's profiles went, and which share of each cohort can be targeted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import streamlit as st

from core.reports.match_funnel import ReadShare
from data.models import Run
from pages.parts import vega
from pages.parts.formatting import number, percent_number, pluralize, zone

# A cohort's number is one of its project.
Cohort = tuple[int, int]
# More lines than these cannot be distinguished.
_LINES = 6
_TIMES = "%-d %b, %H:%M"
_LEGEND = {"symbolType": "stroke", "symbolSize": 400, "title": None}
_PARTS = {"Members": "members", "Unmatched": "unmatched", "Invalid": "invalid", "Duplicates": "duplicates"}


def show_trend(reads: list[Run]) -> None:
    """Show where the profiles of one cohort went, over its reads."""
    if len(reads) < 2:
        st.caption("The trend shows from the second read on.")
        return
    st.header("Over time", anchor=False)
    first, last = reads[0], reads[-1]
    changes = [
        f"{label} from {number(getattr(first, name))} to {number(getattr(last, name))}"
        for label, name in _PARTS.items()
    ]
    st.vega_lite_chart(
        spec=_draw_parts(reads),
        height=260,
        key="matching_trend",
        alt=f"Where profiles went, over the latest {number(len(reads))} reads: {', '.join(changes)}",
    )


def show_shares(reads: list[ReadShare], cohorts: Sequence[Cohort]) -> None:
    """Show which share of each project's cohort could be targeted, over its reads."""
    counts = Counter(_cohort_of(read) for read in reads)
    shown = [cohort for cohort, times in counts.most_common(_LINES) if times > 1 and cohort in cohorts]
    if not shown:
        return
    st.header("Over time", anchor=False)
    more = len(cohorts) - len(shown)
    st.caption(
        "The share of profiles with a usable Apptimize id."
        + (f" {pluralize(more, 'cohort is', 'cohorts are')} not drawn: choose one above." if more > 0 else "")
    )
    drawn = [read for read in reads if _cohort_of(read) in shown]
    names = _line_names(drawn)
    lines: dict[str, list[float]] = {}
    for read in drawn:
        lines.setdefault(names[_cohort_of(read)], []).append(read.share)
    changes = [f"{name} from {percent_number(line[0])}% to {percent_number(line[-1])}%" for name, line in lines.items()]
    st.vega_lite_chart(
        spec=_draw_shares(drawn, names),
        height=300,
        key="matching_shares",
        alt=f"Matched share of each cohort over its reads: {', '.join(changes)}",
    )


def _draw_parts(reads: list[Run]) -> vega.Spec:
    rows = [
        {"Time": _local(run.finished_at), "Run": run.id, "Profiles": label, "Number": getattr(run, name)}
        for run in reads
        if run.finished_at
        for label, name in _PARTS.items()
    ]
    line = vega.name("Profiles", sort=list(_PARTS), legend=_LEGEND)
    y = vega.count("Number", title="Profiles", axis={"format": ",d", "tickCount": 5})
    return _lines(rows, y, line, [vega.name("Profiles"), vega.count("Number", format=",d")])


def _draw_shares(reads: list[ReadShare], names: Mapping[Cohort, str]) -> vega.Spec:
    rows = [
        {"Time": _local(read.at), "Run": read.run_id, "Cohort": names[_cohort_of(read)], "Matched": read.share}
        for read in reads
    ]
    line = vega.name("Cohort", legend={**_LEGEND, "orient": "bottom", "columns": 2, "labelLimit": 130})
    y = vega.count("Matched", title="Matched", axis={"format": ".0%"}, scale={"domain": [0, 1]})
    return _lines(rows, y, line, [vega.name("Cohort"), vega.count("Matched", format=".1%")])


def _lines(rows: list[vega.Spec], y: vega.Spec, line: vega.Spec, told: list[vega.Spec]) -> vega.Spec:
    """Draw lines over the time of reads, told apart by their dashes as well as by their colors."""
    tooltip = [*told, vega.count("Run"), vega.time("Time", format=_TIMES)]
    encoding = {"x": _time_axis(rows), "y": y, "color": line, "strokeDash": line, "tooltip": tooltip}
    return vega.chart(vega.layer(rows, {"type": "line", "point": True}, encoding))


def _cohort_of(read: ReadShare) -> Cohort:
    return read.project_id, read.cohort_id


def _line_names(reads: Sequence[ReadShare]) -> dict[Cohort, str]:
    """Name the line of each cohort, by what it is called now: one that was renamed has one line still."""
    several = len({read.project_id for read in reads}) > 1
    return {
        _cohort_of(read): f"{read.cohort_name} ({read.cohort_id}{f', project {read.project_id}' if several else ''})"
        for read in reads
    }


def _local(at: datetime) -> str:
    return vega.moment(at.astimezone(zone()).replace(tzinfo=None))


def _time_axis(rows: list[vega.Spec]) -> vega.Spec:
    """Lay reads out over time: a few within a minute are not spread until all have the same time."""
    times = [datetime.fromisoformat(row["Time"]) for row in rows]
    domain = [vega.moment(min(*times, max(times) - timedelta(minutes=10))), vega.moment(max(times))]
    axis = {"format": _TIMES, "tickCount": 4, "labelOverlap": True}
    return vega.time("Time", title=None, scale={"domain": domain}, axis=axis)
