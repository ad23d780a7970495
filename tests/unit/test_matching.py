"""Who is in a group: every rule of matching, one by one and against a plain second telling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.connections.project import match_rule
from core.rules.id_words import id_words
from core.rules.matching import (
    MISSING,
    IdMerge,
    MatchRule,
    Reason,
    by_distinct_id,
    by_property,
    id_kind,
    match,
    match_page,
    read_rule,
)
from data.models import Connection, ConnectionKind, MemberId, Sync, SyncKind

ORIGINAL = MatchRule()
SIMPLIFIED = MatchRule(IdMerge.SIMPLIFIED, "$user_id")
DISTINCT, LOYALTY = by_distinct_id(), by_property("loyalty:no")


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


@given(st.lists(st.tuples(odd_ids, odd_values)), st.sampled_from([ORIGINAL, SIMPLIFIED, DISTINCT, LOYALTY]))
def test_the_quick_way_through_a_page_decides_as_the_single_profile_does(
    profiles: list[tuple[Any, Any]], rule: MatchRule
):
    matched = match_page([distinct_id for distinct_id, _ in profiles], [value for _, value in profiles], rule)

    alone = [match_page([distinct_id, None], [value, "i_1"], rule) for distinct_id, value in profiles]
    assert matched.apptimize_ids == [apptimize_id for page in alone for apptimize_id in page.apptimize_ids]
    assert matched.distinct_ids == [distinct_id for page in alone for distinct_id in page.distinct_ids]
    assert matched.reasons == [page.reasons[0] for page in alone if len(page.reasons) == 2]


# --- destinations that know people by another id ---------------------------------------------------------------------


@pytest.mark.parametrize("value", ["i_1", MISSING, None, "", ["i_1"], True])
@pytest.mark.parametrize(
    "distinct_id", ["user-1", "$device:abc", " ", "\u200b", "x" * 3000, "a\nb\x00\x1f", "\x00", "東京", 'a"b\\']
)
def test_by_distinct_id_every_profile_is_a_member_under_it_as_it_is(distinct_id: str, value: object):
    assert match(distinct_id, value, DISTINCT) == distinct_id

    for ids in ([distinct_id], [distinct_id, 7]):
        matched = match_page(ids, [value] * len(ids), DISTINCT)
        texts = [str(each) for each in ids]
        assert (matched.distinct_ids, matched.apptimize_ids, matched.reasons) == (texts, texts, [])


@pytest.mark.parametrize("distinct_id", [None, "", True, 1.5, ["u"], "u\ud800"])
def test_by_distinct_id_a_profile_without_a_usable_one_is_invalid(distinct_id: object):
    matched = match_page([distinct_id], ["i_1"], DISTINCT, page=3)

    assert (matched.apptimize_ids, matched.unusable_ids, matched.reasons) == ([], ["\x003:0"], ["distinct_id"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("L-1", "L-1"),
        (7, "7"),
        (MISSING, Reason.UNMATCHED),
        (None, Reason.UNMATCHED),
        (" ", Reason.BLANK),
        (True, Reason.BOOLEAN),
        ("x" * 257, Reason.TOO_LONG),
    ],
)
def test_by_another_property_a_profile_is_matched_as_by_the_match_property(value: object, expected: str):
    assert match("user-1", value, LOYALTY) == expected


def test_by_the_user_id_as_another_property_there_is_no_fallback_on_the_distinct_id():
    assert match("user-1", MISSING, by_property("$user_id")) is Reason.UNMATCHED


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (ORIGINAL, "original:$apptimize_user_id"),
        (MatchRule(match_property="a:b"), "original:a:b"),
        (SIMPLIFIED, "simplified:$user_id"),
        (MatchRule(IdMerge.SIMPLIFIED, "crm_id"), "simplified:crm_id"),
        (DISTINCT, "distinct:$distinct_id"),
        (LOYALTY, "property:loyalty:no"),
    ],
)
def test_what_a_run_was_matched_by_is_kept_and_read_again(rule: MatchRule, text: str):
    assert str(rule) == text
    assert read_rule(text) == rule


@pytest.mark.parametrize("text", ["", "original", "other:property", "distinct:"])
def test_what_is_no_rule_is_read_as_none(text: str):
    assert read_rule(text) is None
    assert id_words(text).name == "Apptimize id"


@pytest.mark.parametrize("rule", [DISTINCT, LOYALTY, by_property("$user_id")])
def test_of_another_id_no_prefix_is_expected_and_nothing_is_misattributed(rule: MatchRule):
    assert (rule.prefixes, rule.takes_distinct_id, rule.may_misattribute) == ((), False, False)


@pytest.mark.parametrize(
    ("member_id", "expected"),
    [
        (MemberId.APPTIMIZE, MatchRule(IdMerge.SIMPLIFIED, "own", True)),
        (MemberId.DISTINCT, DISTINCT),
        (MemberId.PROPERTY, LOYALTY),
    ],
)
def test_a_destination_that_names_its_id_decides_over_connection_and_sync(member_id: str, expected: MatchRule):
    mixpanel = Connection(kind=ConnectionKind.MIXPANEL, side="mixpanel", id_merge="simplified", match_property="crm_id")
    destination = Connection(
        kind=ConnectionKind.ENDPOINT, side="destination", member_id=member_id, member_property="loyalty:no"
    )
    sync = Sync(kind=SyncKind.ONE_TIME, match_property="own", expects_prefix=True)

    assert match_rule(mixpanel, sync, destination) == expected


@pytest.mark.parametrize(
    ("rule", "other", "are_alike"),
    [
        (ORIGINAL, None, True),
        (ORIGINAL, SIMPLIFIED, True),
        (ORIGINAL, MatchRule(match_property="crm_id"), True),
        (ORIGINAL, DISTINCT, False),
        (DISTINCT, None, False),
        (DISTINCT, DISTINCT, True),
        (LOYALTY, DISTINCT, False),
        (LOYALTY, by_property("plan"), False),
        (LOYALTY, LOYALTY, True),
        (ORIGINAL, LOYALTY, False),
    ],
)
def test_members_by_another_kind_of_id_are_told_apart(rule: MatchRule, other: MatchRule | None, are_alike: bool):
    assert (id_kind(str(rule)) == id_kind(str(other or ""))) is are_alike


def test_the_words_for_an_id_name_it():
    assert [id_words(str(rule)).title for rule in (ORIGINAL, SIMPLIFIED, DISTINCT, LOYALTY)] == [
        "Apptimize id",
        "Apptimize id",
        "Distinct id",
        "loyalty:no",
    ]
    assert [id_words(str(rule)).column for rule in (ORIGINAL, DISTINCT)] == ["apptimize_id", "member_id"]
