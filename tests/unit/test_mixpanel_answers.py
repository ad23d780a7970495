"""What Mixpanel answers is a claim: a success is what is documented as one, a number what it could be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RateLimited, SessionLost, VendorAuthFailed, VendorError, VendorSurprise, VendorUnavailable
from core.rules.matching import MISSING, IdMerge, MatchRule, match_page
from core.vendors.mixpanel_answers import Page, decode_page
from core.vendors.mixpanel_lists import parse_account, parse_cohorts

PAGE = {"results": [], "page": 0, "page_size": 1000, "session_id": "x", "total": 0, "status": "ok"}
TIMED_OUT = {"status": "error", "error": "query timed out"}
# A lone surrogate, or a page that is no object in its list: read by the standard library instead of the fast decoder.
SLOW: list[Any] = [{"$distinct_id": "\ud800"}]


def decode(body: object, **options: Any) -> Page:
    return decode_page(json.dumps(body).encode(), "$user_id", **options)


# --- a success is what is documented as one --------------------------------------------------------------------------


@pytest.mark.parametrize("results", [[], SLOW])
@pytest.mark.parametrize(
    "said",
    [
        TIMED_OUT,
        {"status": "ok", "error": "query timed out"},
        {"status": "error", "error": None},
        {"status": "error"},
        {"status": "failure", "error": ""},
        {"status": None},
        {"status": "ok", "error": {"message": "query timed out", "code": 504}},
        {"status": "ok", "error": ["query timed out"]},
        {"status": "ok", "error": 7},
        {"status": 1},
        {"status": True},
        {"status": ["ok"]},
    ],
)
def test_an_answer_that_does_not_say_that_it_succeeded_is_a_failure_that_may_pass(
    said: dict[str, Any], results: list[Any]
):
    with pytest.raises(VendorUnavailable, match="Mixpanel") as caught:
        decode(PAGE | {"results": results} | said)

    assert (caught.value.code, caught.value.retryable) == ("mixpanel_failed", True)
    assert ("query timed out" in caught.value.message) == ("query timed out" in str(said))


@pytest.mark.parametrize("error", [None, "", [], {}])
def test_an_error_that_is_null_or_empty_is_none(error: object):
    assert decode(PAGE | {"error": error}).total == 0


def test_a_first_page_must_say_that_it_succeeded_and_a_further_one_must_not_say_otherwise():
    silent = {name: value for name, value in PAGE.items() if name != "status"}

    assert decode(silent, is_first=False).page_size == 1000
    with pytest.raises(VendorUnavailable):
        decode(silent)
    with pytest.raises(VendorUnavailable):
        decode(silent | TIMED_OUT, is_first=False)


def test_a_failure_without_any_data_is_the_failure_and_not_an_unreadable_answer():
    for call in (decode_page, parse_account):
        with pytest.raises(VendorUnavailable, match="query timed out"):
            call(json.dumps(TIMED_OUT).encode(), "name")
    with pytest.raises(VendorUnavailable, match="query timed out"):
        parse_cohorts(json.dumps(TIMED_OUT).encode())


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("request for page in uncached query for params", SessionLost),
        ("Unable to authenticate request", VendorAuthFailed),
        ("This request exceeded the rate limit (61/60 queries running in the last hour).", RateLimited),
        ("This request exceeded the concurrency limit (6/5 queries running concurrently).", RateLimited),
    ],
)
def test_a_failure_that_is_known_by_its_words_is_that_whatever_the_status(words: str, kind: type[VendorError]):
    with pytest.raises(VendorError) as caught:
        decode({"status": "error", "error": words}, is_first=False)

    assert type(caught.value) is kind


def test_what_the_vendor_says_of_a_failure_is_one_short_line():
    with pytest.raises(VendorUnavailable) as caught:
        decode(PAGE | {"status": "error", "error": "timed\nout\x1b[2J\u202e " + "x" * 5000})

    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("said", [{"status": "error"}, {}, {"status": "ok", "error": "not now"}])
def test_a_list_of_accounts_that_does_not_say_that_it_succeeded_says_nothing_of_an_account(said: dict[str, Any]):
    with pytest.raises(VendorUnavailable):
        parse_account(json.dumps({"results": []} | said).encode(), "name")


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("results", [[], SLOW])
@pytest.mark.parametrize("field", ["total", "page_size", "page"])
@pytest.mark.parametrize("number", [-1, 10**9 + 1, 10**18, 10**30, 2.5, 1e300, "7", True, [7], {}])
def test_a_number_that_cannot_be_is_a_surprise_that_names_the_field(field: str, number: object, results: list[Any]):
    with pytest.raises(VendorSurprise, match=f"“{field}”"):
        decode(PAGE | {"results": results, field: number})


def test_a_page_size_of_none_is_a_surprise():
    with pytest.raises(VendorSurprise, match="“page_size”"):
        decode(PAGE | {"page_size": 0})


@pytest.mark.parametrize("digits", ["1" + "0" * 6000, "1e999", "-1e999"])
def test_a_number_that_no_language_can_hold_is_a_surprise(digits: str):
    body = json.dumps(PAGE).replace('"total": 0', f'"total": {digits}').encode()

    with pytest.raises(VendorSurprise):
        decode_page(body, "$user_id")


def test_a_number_with_a_fraction_of_nothing_is_that_number():
    assert decode(PAGE | {"total": 3.0}).total == 3


@pytest.mark.parametrize("session_id", ["\ud800", "x" * 5000, "a\nb", ["x"], {"a": 1}, True, 2.5])
def test_a_session_that_cannot_be_asked_for_is_a_surprise(session_id: object):
    with pytest.raises(VendorSurprise, match="“session_id”"):
        decode(PAGE | {"session_id": session_id})


# --- one odd profile -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [None, "u1", 7, [], True])
def test_what_is_no_profile_counts_as_one_without_a_distinct_id(odd: object):
    page = decode(PAGE | {"results": [{"$distinct_id": "u1", "$properties": {"$user_id": "i_1"}}, odd]})

    assert (page.distinct_ids, page.values[0]) == (["u1", None], "i_1")


# --- what is known of a page as it is decoded ------------------------------------------------------------------------

PLAIN_ROW = {"$distinct_id": "u1", "$properties": {"$user_id": "i_1"}}


@pytest.mark.parametrize("value", ["i_1", "", "  ", "x" * 256, None, True, 1, 1.5, 10**30, [1], {"a": "b"}])
def test_a_page_of_texts_in_printable_ascii_is_regular(value: object):
    assert decode(
        PAGE | {"results": [PLAIN_ROW, {"$distinct_id": "u2", "$properties": {"$user_id": value}}]}
    ).is_regular
    assert decode(PAGE | {"results": [PLAIN_ROW, {"$distinct_id": "u2"}]}).is_regular


@pytest.mark.parametrize("text", ["\x01", "\x7f", "é", "\u200b", "\ud800", "\\", '"', "\n", "x" * 257])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_page_with_another_text_in_it_is_looked_at_closely(text: str, is_ascii: bool):
    row = {"$distinct_id": "u2", "$properties": {"$user_id": text}}
    body = json.dumps(PAGE | {"results": [PLAIN_ROW, row]}, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")

    assert not decode_page(body, "$user_id").is_regular


@pytest.mark.parametrize("distinct_id", ["", None, 7, True, ["u1"], "ü", "\x00"])
def test_a_page_with_a_distinct_id_that_is_no_plain_text_is_looked_at_closely(distinct_id: object):
    assert not decode(PAGE | {"results": [PLAIN_ROW, PLAIN_ROW | {"$distinct_id": distinct_id}]}).is_regular


plain = st.text(alphabet="iau_-19 ~", max_size=3)
values = st.one_of(plain, st.text(max_size=2), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
values |= st.one_of(st.sampled_from([None, MISSING, True, [1], {"a": 1}, "x" * 256, "x" * 257, 10**300, "\x7f"]), plain)
ids = st.one_of(
    plain.filter(bool), plain.filter(bool), plain.filter(bool), st.sampled_from(["", 7, None, "é", "\ud800"])
)


@given(st.lists(st.tuples(ids, values)), st.booleans(), st.booleans())
def test_what_is_known_of_a_page_changes_neither_what_is_in_it_nor_who_is_matched(
    rows: list[tuple[Any, Any]], is_ascii: bool, is_simplified: bool
):
    results = [
        {"$distinct_id": id, "$properties": {} if value is MISSING else {"$user_id": value}} for id, value in rows
    ]
    text = json.dumps(PAGE | {"results": results}, ensure_ascii=is_ascii)
    rule = MatchRule(IdMerge.SIMPLIFIED if is_simplified else IdMerge.ORIGINAL, "$user_id")

    page = decode_page(text.encode("utf-8", "surrogatepass"), "$user_id")

    assert [(type(id), id) for id in page.distinct_ids] == [(type(id), id) for id, _ in rows]
    assert [(type(value), value) for value in page.values] == [(type(value), value) for _, value in rows]
    known = match_page(page.distinct_ids, page.values, rule, is_regular=page.is_regular)
    assert known == match_page(page.distinct_ids, page.values, rule)


@pytest.mark.parametrize("body", [[], "x", 7, None, {"status": "ok"}, {"status": "ok", "results": {}}])
def test_what_is_no_page_is_unreadable(body: object):
    with pytest.raises(VendorError):
        decode(body)
