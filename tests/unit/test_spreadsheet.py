"""Spreadsheet downloads: no cell is ever taken for a formula, and nothing of a text is lost."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import spreadsheet


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =cmd|' /C calc'!A0", "＝1", "\0=1"]
)
def test_what_would_be_a_formula_is_text(text: str):
    assert spreadsheet.cell(text) == f"'{text}"


def test_numbers_times_and_nothing_stay_what_they_are():
    at = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)

    assert [spreadsheet.cell(value) for value in (-5, 2.5, None, True, at)] == [
        "-5",
        "2.5",
        "",
        "yes",
        "2026-11-24 12:30:00",
    ]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), min_size=1, max_size=4))
def test_what_is_written_can_be_read_again(row: list[str]):
    text = "".join(spreadsheet.lines(["h"] * len(row), [row]))

    assert text.startswith("\ufeff")
    _, read = csv.reader(io.StringIO(text[1:], newline=""))
    assert [cell[1:] if cell != other else cell for cell, other in zip(read, row, strict=True)] == row
