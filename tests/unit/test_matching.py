"""Who is in a group: every rule of matching, one by one and against a plain second telling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.matching import MISSING, IdMerge, MatchRule, Reason, match, match_page

ORIGINAL = MatchRule()
SIMPLIFIED = MatchRule(IdMerge.SIMPLIFIED, "$user_id")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("i_1", "i_1"),
        (" i_padded ", " i_padded "),
        ("7", "7"),
        ("<b>i_1</b>", "<b>i_1</b>"),
        ("東京", "東京"),
        (7, "7"),
        (-7, "-7"),
        (0, "0"),
        (10**21, "1000000000000000000000"),
        (7.0, "7"),
        (-0.0, "0"),
        (float(2**53 - 1), "9007199254740991"),
        ("x" * 256, "x" * 256),
        (MISSING, Reason.UNMATCHED),
        (None, Reason.UNMATCHED),
        ("", Reason.BLANK),
        (" \u3000", Reason.BLANK),
        ("\u200b", Reason.INVISIBLE),
        ("\ufeff", Reason.INVISIBLE),
        ("\u00ad\u00ad", Reason.INVISIBLE),
        (" \u2060 ", Reason.INVISIBLE),
        ("\u202e\u2066\u200d", Reason.INVISIBLE),
        ("\ufe0f", Reason.INVISIBLE),
        ("\U000e0069\U000e007f", Reason.INVISIBLE),
        ("i_\u200b", "i_\u200b"),
        ("\u200b7", "\u200b7"),
        ("\u0600", "\u0600"),
        ("\u200b" * 257, Reason.TOO_LONG),
        ("\u200b\x00", Reason.CONTROL_CHARACTER),
        (True, Reason.BOOLEAN),
        (False, Reason.BOOLEAN),
        (["i_1"], Reason.LIST),
        ({"id": "i_1"}, Reason.OBJECT),
        (7.5, Reason.NUMBER),
        (float(2**53), Reason.NUMBER),
        (float("inf"), Reason.NUMBER),
        (float("nan"), Reason.NUMBER),
        (10**300, Reason.TOO_LONG),
        ("x" * 257, Reason.TOO_LONG),
        ("i_\x00", Reason.CONTROL_CHARACTER),
        ("i_1\n", Reason.CONTROL_CHARACTER),
        ("i_\x7f", Reason.CONTROL_CHARACTER),
        ("i_\x85x", Reason.CONTROL_CHARACTER),
        ("i_\ud800", Reason.SURROGATE),
    ],
)
def test_an_original_project_matches_by_the_value_of_its_property(value: object, expected: str):
    assert match("user-1", value, ORIGINAL) == expected


@pytest.mark.parametrize(
    ("distinct_id", "value", "expected"),
    [
        ("user-1", "u1", "u1"),
        ("user-1", MISSING, "user-1"),
        ("user-1", None, "user-1"),
        ("$device:abc", MISSING, Reason.UNMATCHED),
        ("$device:abc", "u1", "u1"),
        ("user-1", "", Reason.BLANK),
        ("user-1", "\u200b", Reason.INVISIBLE),
        ("\u200b", MISSING, Reason.INVISIBLE),
        ("x" * 257, MISSING, Reason.TOO_LONG),
    ],
)
def test_a_simplified_project_falls_back_on_the_distinct_id(distinct_id: str, value: object, expected: str):
    assert match(distinct_id, value, SIMPLIFIED) == expected


def test_a_simplified_project_matched_on_another_property_has_no_fallback():
    assert match("user-1", MISSING, MatchRule(IdMerge.SIMPLIFIED, "crm_id")) is Reason.UNMATCHED


def test_prefixes_are_expected_of_original_projects_only():
    assert ORIGINAL.prefixes == ("i_", "a_")
    assert SIMPLIFIED.prefixes == ()


def test_a_page_keeps_usable_and_unusable_profiles_apart_and_in_order():
    matched = match_page(["u1", 4, "u3", None], ["i_1", "i_2", MISSING, "i_4"], ORIGINAL, page=2)

    assert matched.distinct_ids == ["u1", "4"]
    assert matched.apptimize_ids == ["i_1", "i_2"]
    assert matched.unusable_ids == ["u3", "\x002:3"]
    assert matched.reasons == ["unmatched", "distinct_id"]


odd_values = st.one_of(
    st.text(alphabet=st.characters(codec=None), max_size=4),
    st.text(alphabet="ia_19", min_size=1, max_size=4),
    st.sampled_from(["x" * 256, "x" * 257, "i_\x1f", " ", "\u200b", "\ufeff ", "i_\u200b"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.just(MISSING),
    st.lists(st.integers(), max_size=1),
)
odd_ids = st.one_of(st.text(alphabet=st.characters(codec=None), max_size=4), st.integers(), st.none(), st.booleans())


@given(st.lists(st.tuples(odd_ids, odd_values)), st.sampled_from([ORIGINAL, SIMPLIFIED]))
def test_the_quick_way_through_a_page_decides_as_the_single_profile_does(
    profiles: list[tuple[Any, Any]], rule: MatchRule
):
    matched = match_page([distinct_id for distinct_id, _ in profiles], [value for _, value in profiles], rule)

    alone = [match_page([distinct_id, 1], [value, True], rule) for distinct_id, value in profiles]
    assert matched.apptimize_ids == [apptimize_id for page in alone for apptimize_id in page.apptimize_ids]
    assert matched.distinct_ids == [distinct_id for page in alone for distinct_id in page.distinct_ids]
    assert matched.reasons == [page.reasons[0] for page in alone if len(page.reasons) == 2]
