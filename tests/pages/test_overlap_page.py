"""Overlap: which groups share members, how many, and who."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from core.access.roles import LOCAL, Role
from core.bridge import Bridge
from core.reports import overlap
from data.models import Group
from pages.parts.group_labels import group_labels
from tests.pages.dashboard import GROUPS, OVERLAP, drawn, open_page, shown, sign_in_as
from tests.stage.home import export, group_row
from tests.stage.sandbox import POWER, REFUND, SPENDERS, TRIAL, Sandbox


@pytest.fixture
def two_groups(practising: Bridge, sandbox: Sandbox) -> tuple[set[str], set[str]]:
    """The members of two groups, 1 and 2."""
    export(practising, POWER)
    export(practising, SPENDERS)
    return set(sandbox.answer(POWER).group), set(sandbox.answer(SPENDERS).group)


def test_each_cell_tells_how_many_of_the_group_at_the_left_are_in_the_other_and_opens_who(
    practising: Bridge, two_groups: tuple[set[str], set[str]]
):
    power, spenders = two_groups
    both = len(power & spenders)

    at = open_page(OVERLAP)

    matrix = at.dataframe[0].value
    assert list(matrix["Group"])[0 if len(power) > len(spenders) else 1] == "Power users"
    cells = matrix.set_index("Group").loc["Power users"]
    assert cells["of 1"] == f"{len(power):,}"
    assert cells["of 2"] == f"{both:,} ({round(both / len(power) * 100)}%)"
    assert "1 pair of groups shares members." in shown(at)
    (pair,) = at.dataframe[1].value.to_dict("records")
    assert pair["Shared"] == both

    row = list(matrix["Group"]).index("Power users")
    at.session_state["overlap_matrix"] = {"selection": {"rows": [], "columns": [], "cells": [(row, "of 2")]}}
    at.query_params["pair"] = "1-2"
    drawn(at.run())
    assert "In both Power users and" in shown(at)
    assert f"1–{min(both, 50)} of {both:,} members" in shown(at)
    assert list(at.dataframe[0].value["Apptimize id"]) == sorted(power & spenders)[:50]
    assert len(list(overlap.shared_csv(practising, LOCAL, 1, 2))) == 1 + both
    drawn(at.button(key="overlap_back").click().run())
    assert "pair" not in at.query_params
    assert len(at.dataframe) == 2


def test_the_choice_is_in_the_address(practising: Bridge, two_groups: tuple[set[str], set[str]]):
    export(practising, REFUND)  # an empty group

    at = open_page(OVERLAP)
    drawn(at.multiselect(key="overlap_groups").set_value([1, 3]).run())

    assert len(at.dataframe[0].value) == 2
    assert "No two of these 2 groups share a member." in shown(at)
    at.query_params["pair"] = "1-3"
    assert "The two groups share no member." in shown(drawn(at.run()))
    drawn(at.button(key="overlap_back").click().run())
    assert at.multiselect(key="overlap_groups").value == [1, 3], "what was chosen stays, all of it"
    unknown = shown(open_page(OVERLAP, groups="99"))
    assert "“Groups” cannot be “99”" in unknown
    at.query_params["groups"] = [str(number) for number in range(100, 600)]
    many = shown(drawn(at.run()))
    assert "“104”" in many
    assert "“105”" not in many
    assert "495 others of what it asks for are left out too." in many
    assert "These are not two delivered groups." in shown(open_page(OVERLAP, pair="1-99"))
    assert "1,2 names no two groups: all groups are shown." in shown(open_page(OVERLAP, pair="1,2"))
    assert "The two groups share no member." in shown(open_page(OVERLAP, pair="3-1"))


def test_no_two_groups_have_one_label_whatever_they_are_called():
    common: dict[str, Any] = {
        "destination_id": 7, "project_id": 1, "cohort_name": "", "created_at": datetime(2026, 3, 2, tzinfo=UTC)
    }  # fmt: skip
    groups = [
        # Renamed since it was delivered, and its name given to another.
        Group(id=1, cohort_id=1, name="Other", delivered_name="VIP", **common),
        Group(id=2, cohort_id=2, name="VIP", delivered_name="VIP", **common),
        Group(id=3, cohort_id=3, name="VIP, to csv", delivered_name="VIP, to csv", **common),
    ]

    labels = group_labels(groups, {7: "csv"})

    assert len(set(labels.values())) == 3, labels


def test_groups_of_which_nothing_is_known_say_so_instead_of_a_number(
    practising: Bridge, sandbox: Sandbox, two_groups: tuple[set[str], set[str]]
):
    export(practising, TRIAL)
    sandbox.fault("server_error", target="apptimize")
    export(practising, POWER, full=True)
    practising.snapshots.remove(group_row(practising, SPENDERS).base_snapshot or "")

    text = shown(open_page(OVERLAP))

    assert "What the destination of Power users holds is in doubt, so nothing is counted." in text
    assert "are no longer kept, or their file is damaged, so nothing is counted." in text
    assert "Choose at least two groups whose members are known." in text
    assert "is in doubt, so nothing is counted" in shown(open_page(OVERLAP, pair="1-3"))


def test_a_group_at_a_receiver_that_knows_people_by_another_property_is_not_compared(
    practising: Bridge, two_groups: tuple[set[str], set[str]]
):
    export(practising, TRIAL)
    with practising.engine.begin() as database:
        database.exec_driver_sql("UPDATE group_at_destination SET base_match = 'property:crm id' WHERE id = 3")

    at = open_page(OVERLAP)

    assert "Not all of these groups are comparable" in shown(at)
    assert list(at.dataframe[0].value["of 3"]).count("other ids") == 2
    two = shown(open_page(OVERLAP, pair="1-3"))
    assert "Groups are compared where their destinations know people by the same id." in two
    assert "In both" in two


def test_a_viewer_reads_it_and_one_group_alone_has_nothing_to_compare_with(practising: Bridge):
    export(practising, POWER)
    vera = sign_in_as(practising, Role.VIEWER)

    assert "Two groups are needed." in shown(open_page(OVERLAP, user=vera))
    assert "Overlap with other groups" in shown(open_page(GROUPS, user=vera, group=1))
