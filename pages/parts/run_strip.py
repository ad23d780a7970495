"""The latest runs of a sync as a strip of cells, as status pages have it: one a run, the newest at the right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import streamlit as st

from core.reports.run_history import IN_A_ROW, RunMark
from data.models import Run, RunStatus
from pages.parts import causes, links, run_status, vega
from pages.parts.colors import DRAWN
from pages.parts.formatting import age, number, pluralize
from pages.parts.pictures import PADDING_PX, Bar, picture
from pages.parts.selection import opener

_CELL, _GAP, _HIGH, _LOW = 4, 1, 20, 13
_PICK = "run"
_HEIGHT_PX = 52


def column() -> Any:
    """Return the configuration of a list's column that holds such strips."""
    told = (
        f"The latest {IN_A_ROW} runs, one cell each, the newest at the right: green succeeded, red failed, orange was "
        "held or interrupted, gray was cancelled, applied, discarded or superseded, or is queued, blue is not done. "
        "Beside it in words."
    )
    return st.column_config.ImageColumn(width=IN_A_ROW * _CELL + PADDING_PX, help=told)


def strip(marks: Sequence[RunMark]) -> str:
    """Return a strip as the address of a picture: what did not succeed is higher, for those who see no colors."""
    return _strip(tuple(mark.status for mark in marks))


@lru_cache(maxsize=2048)  # the syncs of a list have had much the same runs, and each drawing has them again
def _strip(states: tuple[str, ...]) -> str:
    bars = list[Bar]()
    for place, status in enumerate(states, start=IN_A_ROW - len(states)):
        height = _LOW if status == RunStatus.SUCCEEDED else _HIGH
        bars.append(Bar(place * _CELL, _CELL - _GAP, height, _color(status)))
    return picture(bars, width=IN_A_ROW * _CELL)


def words(marks: Sequence[RunMark]) -> str:
    """Say the same in words: `30 succeeded`, `27 of 30 succeeded, 2 failed`."""
    if not marks:
        return "No run yet"
    counts = Counter(run_status.word_of(mark.status) for mark in marks)
    succeeded = counts.pop(run_status.word_of(RunStatus.SUCCEEDED), 0)
    if not counts:
        return f"{number(succeeded)} succeeded"
    others = ", ".join(f"{number(count)} {name}" for name, count in counts.most_common())
    return f"{number(succeeded)} of {number(len(marks))} succeeded, {others}"


def show(runs: Sequence[Run], *, key: str) -> None:
    """Show the strip of one sync, of these runs, the newest first: a cell tells of its run, and opens it."""
    written = [run for run in runs if not run.dry_run][:IN_A_ROW][::-1]
    if not written:
        return
    told = words([RunMark(run.id or 0, run.told_status) for run in written])
    st.caption(f"The last {pluralize(len(written), 'run')}: {told}.")
    st.vega_lite_chart(
        spec=_draw(written),
        height=_HEIGHT_PX,
        key=f"{key}_strip",
        alt=f"The latest runs of this sync, the newest at the right: {told}.",
        on_select=partial(_open, f"{key}_strip"),
        selection_mode=_PICK,
        width=14 * len(written) + 10,
    )


def _draw(written: Sequence[Run]) -> vega.Spec:
    rows = [
        {
            "run": run.id or 0,
            "state": run_status.state_word(run),
            "color": _color(run.told_status),
            "height": 0.65 if run.status == RunStatus.SUCCEEDED else 1.0,
            "when": age(run.finished_at or run.queued_at),
            "cause": causes.of_run(run),
        }
        for run in written
    ]
    told = {"run": "Run", "state": "State", "when": "When", "cause": "Cause"}
    encoding = {
        "x": {"field": "run", "type": "ordinal", "axis": None, "scale": {"paddingInner": 0.18}},
        "y": vega.count("height", axis=None, scale={"domain": [0, 1]}),
        "color": vega.name("color", scale=None),
        "tooltip": [vega.name(field, title=title) for field, title in told.items()],
    }
    return vega.chart(vega.layer(rows, {"type": "bar", "cornerRadius": 2, "cursor": "pointer"}, encoding), pick=_PICK)


def _open(key: str) -> None:
    picked = st.session_state[key]["selection"].get(_PICK) or []
    if picked:
        opener(links.HISTORY, "run")(picked[0]["run"])


def _color(status: str) -> str:
    badge = run_status.BADGES.get(status)
    return DRAWN[badge.color if badge else "gray"]
