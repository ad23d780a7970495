"""The drawing from cohort to group: its numbers add up, whatever they are, and none of them is drawn as nothing."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.reports.match_funnel import Funnel
from core.rules.id_words import id_words
from pages.parts import flow
from pages.parts.flow import Step
from tests.stage.processes import ROOT

WORDS = id_words("")
COUNTS = st.integers(min_value=0, max_value=2_000_000)


def funnel(
    members: int = 900, *, duplicates: int = 0, unmatched: int = 0, invalid: int = 0, no_profile: int | None = 0,
    unprefixed: int = 0,
) -> Funnel:  # fmt: skip
    """Build a funnel whose cohort has so many users more than profiles; None: nobody counted them."""
    profiles = members + duplicates + unmatched + invalid
    return Funnel(
        in_cohort=None if no_profile is None else profiles + no_profile,
        with_profile=profiles,
        with_id=profiles - unmatched,
        valid=members + duplicates,
        distinct=members,
        prefixed=members - unprefixed,
        unmatched=unmatched,
        invalid=invalid,
        duplicates=duplicates,
        unprefixed=unprefixed,
        identified=members - unprefixed,
        anonymous=0,
    )


def texts(steps: list[Step]) -> list[str]:
    return [line.text for step in steps for line in step.lines]


@settings(max_examples=60)
@given(members=COUNTS, duplicates=COUNTS, unmatched=COUNTS, invalid=COUNTS, no_profile=COUNTS)
def test_each_step_is_the_one_before_without_its_branches(
    members: int, duplicates: int, unmatched: int, invalid: int, no_profile: int
):
    own = funnel(members, duplicates=duplicates, unmatched=unmatched, invalid=invalid, no_profile=no_profile)

    steps = flow.list_steps(own, WORDS)

    assert [step.label for step in steps] == ["Cohort", "Profiles", "Usable ids", "Distinct ids", "Members"]
    for before, step in zip(steps, steps[1:], strict=False):
        assert before.count == step.count + sum(branch.count or 0 for branch in step.branches)


def test_what_is_left_out_has_its_count_and_its_share():
    own = funnel(896, duplicates=4, unmatched=90, invalid=10, no_profile=250, unprefixed=9)

    assert texts(flow.list_steps(own, WORDS)) == [
        "No profile 250 · 20.0%",
        "Unmatched 90 · 9.0%",
        "Invalid 10 · 1.0%",
        "Duplicates 4 · 0.4%",
        "Incl. no prefix 9 · 1.0%",
    ]


def test_none_is_written_and_very_few_are_drawn():
    steps = flow.list_steps(funnel(1_000_000, invalid=1), WORDS)

    rows = [row for layer in flow.draw(steps)["layer"] for row in layer["data"]["values"]]

    assert texts(steps) == ["No profile: none", "Unmatched: none", "Invalid 1 · under 0.1%", "Duplicates: none"]
    bars = {row["Step"]: row["x2"] - row["x"] for row in rows if "Step" in row}
    assert set(bars) == {"Cohort", "Profiles", "Invalid", "Usable ids", "Distinct ids", "Members"}
    assert bars["Invalid"] >= 0.005 * bars["Profiles"]


@pytest.mark.parametrize("empty", [funnel(0), funnel(0, no_profile=None), funnel(0, unmatched=3)])
def test_an_empty_group_is_drawn(empty: Funnel):
    steps = flow.list_steps(empty, WORDS)

    assert flow.draw(steps)["layer"]
    assert steps[-1].count == 0


def test_a_count_of_mixpanel_that_is_older_than_the_read_makes_no_number_of_its_own():
    steps = flow.list_steps(funnel(900, no_profile=-5), WORDS)

    assert [steps[0].count, steps[1].count, *texts(steps)[:1]] == [895, 900, "No profile: not known"]
    assert flow.draw(steps)["layer"]


def test_the_drawing_holds_numbers_and_words_of_ours_alone():
    words = id_words("property:pl<b>an</b>")
    assert "pl<b>an</b>" in words.unmatched

    drawn = flow.draw(flow.list_steps(funnel(unmatched=5), words))

    assert "pl<b>" not in json.dumps(drawn)


def test_every_label_lies_on_the_background_of_the_page_whatever_bands_are_behind_it():
    layers = flow.draw(flow.list_steps(funnel(unmatched=90, invalid=900, duplicates=3, unprefixed=5), WORDS))["layer"]

    labels = [layer["mark"] for layer in layers if layer["mark"]["type"] == "text"]

    assert len(labels) == 2, "those of the steps, and those of what branches off"
    assert all(label["stroke"] == {"expr": "background"} and label["strokeWidth"] > 0 for label in labels)
    style = (ROOT / "pages" / "shell" / "index_page.css").read_text(encoding="utf-8")
    assert re.search(r"\.mark-text text \{\s*paint-order: stroke;", style), "else the rim would lie over the letters"
