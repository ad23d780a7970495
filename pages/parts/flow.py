"""The way from a cohort to its group as one drawing: what is left at each step, and what branches off before it.

Nothing of a vendor is in the drawing: numbers and words of ours alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import streamlit as st

from core.reports.match_funnel import Funnel
from core.rules.id_words import IdWords
from pages.parts import folded, vega
from pages.parts.formatting import fine_percent, number

# By these names the theme's colors are given out, in its order: the same ones as in the charts of Matching. Text takes
# the gray, which can be read in light and dark.
_TONES = ["members", "unmatched", "invalid", "duplicates", "no prefix", "plain"]
_WIDTH = 760
# Pixels: a line of text, a bar below its lines, and the room below that in which branches leave.
_LINE, _BAR, _GAP = 21, 14, 12
# Streamlit keeps so much free below a chart, out of the height that it is given.
_BELOW = 20
# Shares of the drawing's width: the room that branches keep from the members, and what is drawn of very few.
_APART, _LEAST = 0.04, 0.006
_CURVE = 16
# Pixels: wide enough to fill letters and what is between them.
_RIM = 6
_WITH_ID = {"distinct": "Every profile has a distinct id."}
_OF_PROFILES = "of profiles"


@dataclass(frozen=True)
class Branch:
    """Users who do not get to a step, or who do and are to be noticed; `count` is None where that is not known."""

    label: str
    tone: str
    count: int | None
    share: str
    base: str
    """What it is a share of."""
    meaning: str

    @property
    def text(self) -> str:
        """The branch in a few words: Unmatched 200 · 2.1%."""
        if self.count is None:
            return f"{self.label}: not known"
        return f"{self.label} {number(self.count)} · {self.share}" if self.count else f"{self.label}: none"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Its line of the table."""
        if self.count is None:
            return self.label, "not known", "", self.meaning
        return self.label, number(self.count), f"{self.share} {self.base}", self.meaning


@dataclass(frozen=True)
class Step:
    """Users who get to a step, with those who do not, and with some of them that are to be noticed."""

    label: str
    count: int
    share: str
    meaning: str
    branches: tuple[Branch, ...] = ()
    noticed: Branch | None = None

    @property
    def lines(self) -> list[Branch]:
        """What is written beside the step, one line each."""
        return [*self.branches, *([self.noticed] if self.noticed else [])]

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Its line of the table."""
        return self.label, number(self.count), self.share, self.meaning


class _Level(NamedTuple):
    """Where a step is drawn: the top and the bottom of its bar, in pixels from the top of the drawing."""

    step: Step
    top: int
    bottom: int


def show(funnel: Funnel, words: IdWords, *, key: str, beside: Callable[[], None] = lambda: None) -> None:
    """Show the drawing, and below it the same numbers as a table, once a person opens that, and what stands `beside`.

    `words` are safe in Markdown.
    """
    steps = list_steps(funnel, words)
    with st.container(width=_WIDTH):
        # Given to Streamlit, and not said in the drawing: so its room is kept until it is there.
        st.vega_lite_chart(spec=draw(steps), height=height_of(steps), key=f"{key}_flow", alt=_in_words(steps))
    with st.container(horizontal=True, vertical_alignment="center"):
        show = partial(_table, funnel, steps)
        folded.popover("The numbers as a table", show, key=f"{key}_flow_numbers", icon=":material/table_rows:")
        beside()


def list_steps(funnel: Funnel, words: IdWords) -> list[Step]:
    """List the steps from the cohort to the members; each is the one before without its branches."""
    profiles, unmatched, invalid, duplicates = (
        funnel.with_profile,
        _left_out("Unmatched", funnel.unmatched, funnel, words.unmatched),
        _left_out("Invalid", funnel.invalid, funnel, "Profiles whose id cannot be used."),
        _left_out("Duplicates", funnel.duplicates, funnel, "Profiles with an id that another one has too."),
    )
    with_id = _WITH_ID.get(words.code, "Profiles that have the match property, with an id that can be used.")
    steps = [
        _step("Profiles", profiles, funnel, "Users with a profile who were in the cohort when it was read."),
        _step("Usable ids", funnel.valid, funnel, with_id, unmatched, invalid),
        _step("Distinct ids", funnel.distinct, funnel, "Different ids: each counts once.", duplicates),
        replace(_step("Members", funnel.distinct, funnel, words.members), noticed=_no_prefix(funnel)),
    ]
    return steps if funnel.in_cohort is None else [*_from_cohort(funnel.in_cohort, steps[0]), *steps[1:]]


def _step(label: str, count: int, funnel: Funnel, meaning: str, *branches: Branch) -> Step:
    return Step(label, count, f"{_share(count, funnel.with_profile)} {_OF_PROFILES}", meaning, branches)


def _left_out(label: str, count: int, funnel: Funnel, meaning: str) -> Branch:
    return Branch(label, label.lower(), count, _share(count, funnel.with_profile), _OF_PROFILES, meaning)


def _from_cohort(in_cohort: int, profiles: Step) -> Iterator[Step]:
    """Begin with the cohort as Mixpanel last counted it: an earlier moment than that of the read."""
    yield Step("Cohort", in_cohort, "", "As Mixpanel last counted, users without a profile included.")
    missing: int | None = in_cohort - profiles.count
    meaning = "Users without a profile are never exported."
    if missing < 0:
        missing, meaning = None, "More profiles were read than Mixpanel had counted in the cohort before."
    share = _share(missing or 0, in_cohort)
    yield replace(profiles, branches=(Branch("No profile", "plain", missing, share, "of the cohort", meaning),))


def _no_prefix(funnel: Funnel) -> Branch | None:
    if not funnel.unprefixed:
        return None
    meaning = "Members whose id starts with neither i_ nor a_: Apptimize will probably not recognize them."
    share = _share(funnel.unprefixed, funnel.distinct)
    return Branch("Incl. no prefix", "no prefix", funnel.unprefixed, share, "of members", meaning)


def _share(count: int, of: int) -> str:
    return fine_percent(count / of) if of else "–"


# --- for those who cannot see it -------------------------------------------------------------------------------------


def _table(funnel: Funnel, steps: list[Step]) -> None:
    st.table(_rows(funnel, steps), hide_index=True, border="horizontal")


def _in_words(steps: list[Step]) -> str:
    parts = [f"{step.label} {number(step.count)}" + "".join(f", {line.text}" for line in step.lines) for step in steps]
    return f"From cohort to group. {'; '.join(parts)}."


def _rows(funnel: Funnel, steps: list[Step]) -> list[dict[str, str]]:
    """List the steps, each after what branches off before it."""
    rows = [row for step in steps for row in (*(branch.row for branch in step.branches), step.row, *_noticed(step))]
    if funnel.expects_prefix:
        share = f"{_share(funnel.prefixed, funnel.distinct)} of members"
        rows.append(("With a prefix", number(funnel.prefixed), share, "Members whose id starts with i_ or a_."))
    return [dict(zip(("Step", "Users", "Share", "What it counts"), row, strict=True)) for row in rows]


def _noticed(step: Step) -> list[tuple[str, str, str, str]]:
    return [step.noticed.row] if step.noticed else []


# --- the drawing ------------------------------------------------------------------------------------------------------


def draw(steps: list[Step]) -> vega.Spec:
    """Draw the steps below each other, and what branches off before each at its right."""
    levels = list(_levels(steps))
    most = max(step.count for step in steps) or 1
    full = most * (1 + _APART)
    frames = _Frames([], [], [], [])
    for before, level in zip([None, *levels], levels, strict=False):
        _place(frames, before, level, full)
    y = _number("y", {"domain": [0, levels[-1].bottom], "reverse": True, "nice": False})
    span = {"x": _number("x", {"domain": [0, full], "nice": False}), "x2": {"field": "x2"}}
    told = [vega.name(field) for field in ("Step", "Users", "Share")]
    left, right = {"y": y, "x": {"value": 0}}, {"y": y, "x": {"value": "width"}}
    ribbon = {"detail": vega.name("ribbon"), "color": _color("tone")}
    bar = {"y2": {"field": "y2"}, "color": _color("tone"), "tooltip": told}
    return vega.chart(
        _layer(frames.ribbons, {"y": y, **span, **ribbon}, type="area", orient="horizontal", opacity=0.16),
        _layer(frames.bars, {"y": y, **span, **bar}, type="rect", cornerRadius=2),
        _labels(frames.steps, left, align="left", fontSize=14, fontWeight=600),
        _labels(frames.branches, right, align="right", dx=-14, fontSize=13),
        _layer(frames.branches, {**right, "color": _color("tone")}, type="square", size=70, xOffset=-5, opacity=1),
    )


def height_of(steps: list[Step]) -> int:
    """Return how high the drawing is, in pixels."""
    return list(_levels(steps))[-1].bottom + _BELOW


def _layer(rows: list[dict[str, Any]], encoding: vega.Spec, **mark: Any) -> vega.Spec:
    return vega.layer(rows, mark if "tooltip" in encoding else mark | {"tooltip": None}, encoding)


def _labels(rows: list[dict[str, Any]], place: vega.Spec, **look: Any) -> vega.Spec:
    """Draw labels, each on a rim of the page's own background: they lie over bands of any color.

    That the rim lies behind its letters is said in index_page.css.
    """
    rim = {"stroke": {"expr": "background"}, "strokeWidth": _RIM, "strokeJoin": "round"}
    text = {**place, "text": vega.name("text"), "color": _color("ink")}
    return _layer(rows, text, type="text", **rim, **look)


def _number(field: str, scale: vega.Spec) -> vega.Spec:
    return vega.count(field, axis=None, scale=scale)


def _color(field: str) -> vega.Spec:
    """Take the theme's colors, which are given out by the names of all tones, whichever of them are drawn."""
    return vega.name(field, scale={"domain": _TONES}, legend=None)


def _levels(steps: list[Step]) -> Iterator[_Level]:
    top = 0
    for step in steps:
        top += _LINE * max(1, len(step.lines))
        yield _Level(step, top, top + _BAR)
        top += _BAR + _GAP


class _Frames(NamedTuple):
    """What is drawn, as the rows of each kind of mark."""

    ribbons: list[dict[str, Any]]
    bars: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    branches: list[dict[str, Any]]


def _place(frames: _Frames, before: _Level | None, level: _Level, full: float) -> None:
    """Place a step and what leads to it: members go straight down, what branches off ends at the right edge."""
    step, least = level.step, full * _LEAST
    kept = max(step.count, least) if step.count else 0
    if kept:
        frames.bars.append(_bar(level, step, "members", 0, kept))
    if before and kept:
        straight = min(kept, before.step.count)
        frames.ribbons.extend(
            {"ribbon": step.label, "tone": "members", "y": y, "x": 0, "x2": straight}
            for y in (before.bottom, level.top)
        )
    frames.steps.append(_text(level, 1, f"{step.label}  {number(step.count)}", "members"))
    if step.noticed and step.noticed.count:
        frames.bars.append(_bar(level, step.noticed, "no prefix", kept - max(step.noticed.count, least), kept))
    leaves, ends = float(before.step.count if before else 0), full
    for place, line in enumerate(reversed(step.lines), start=1):
        frames.branches.append(_text(level, place, line.text, line.tone))
        if line is step.noticed or not line.count or not before:
            continue
        width = max(line.count, least)
        frames.bars.append(_bar(level, line, line.tone, ends - width, ends))
        frames.ribbons.extend(_curve(line, (leaves - width, ends - width), width, before, level))
        leaves, ends = leaves - line.count, ends - width - least


def _bar(level: _Level, of: Step | Branch, tone: str, x: float, x2: float) -> dict[str, Any]:
    label, users, share, _ = of.row
    place = {"y": level.top, "y2": level.bottom, "x": x, "x2": x2}
    return {"tone": tone, "Step": label, "Users": users, "Share": share, **place}


def _text(level: _Level, line: int, text: str, tone: str) -> dict[str, Any]:
    return {"y": level.top - _LINE * line + _LINE / 2, "text": text, "tone": tone, "ink": "plain"}


def _curve(
    branch: Branch, ways: tuple[float, float], width: float, before: _Level, level: _Level
) -> Iterator[dict[str, Any]]:
    """Lead a branch from where it leaves the bar above to its own end, in a curve."""
    (start, end), fall = ways, level.top - before.bottom
    for place in range(_CURVE + 1):
        part = place / _CURVE
        x = start + (end - start) * part * part * (3 - 2 * part)
        yield {"ribbon": branch.label, "tone": branch.tone, "y": before.bottom + fall * part, "x": x, "x2": x + width}
