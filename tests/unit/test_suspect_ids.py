"""Ids that were ruined before they came here: what gives them away, and what must not be mistaken for them."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.rules import suspect_ids
from core.rules.suspect_ids import find_suspicions, may_be_suspect

RUINED = {
    "exponent": ["1.23457E+15", "1,23457E+15", "1.23457e+15", "-1.2E-05", "1E+15", "1E15", "1.23457E15", "1,2E−05"],
    "thousands": [
        "1,234,567",
        "100,045",
        "1.234.567",
        "1'234'567",
        "1\u00a0234\u00a0567",
        "1\u202f234",
        "1,234.50",
        "12,34,567",
        "1,23,45,678.00",
        "$100,045.00",
        "€ 1.234.567",
        "1,234.00 €",
        "99.50$",
        "(1,234)",
    ],
    "decimal_zero": ["100045.0", "100045,00", "-7.0"],
    "digits_lost": ["1234567890123450000", "1234567890123450", "-1234567890123450000"],
    "spreadsheet_error": [
        *("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#n/a", "#N/A N/A"),
        *("#NV", "#BEZUG!", "#WERT!", "#ZAHL!", "#¡VALOR!", "#¿NOMBRE?", "#N/D", "#Н/Д", "#ССЫЛКА!", "#DEĞER!"),
        *("########", "##", "Err:502", "1.#QNAN", "-1.#IND", "#ERROR", "Error 2042", "-2146826246", "0x2a"),
    ],
    "empty_marker": [
        *(
            "nan",
            "NaN",
            "NAN",
            "-nan",
            "<NA>",
            "NaT",
            "\\N",
            "(null)",
            "[NULL]",
            "<null>",
            "(blank)",
            "inf",
            "-Infinity",
        ),
        *("(not set)", "(Leer)", "(en blanco)"),
        *("[object Object]", "[]", "{}", "-", "—", "?", "...", "n.a.", "void"),
    ],
    "truth_value": ["TRUE", "False", "WAHR", "falsch", "VERDADERO", "Falso", "ONWAAR", "FAŁSZ", "ИСТИНА", "yanlış"],
    "date": [
        *("2026-11-26", "26.11.2026", "11/26/2026 0:00", "26-Nov", "Nov-26", "26. Nov", "26-nov.-26", "Mar-99"),
        *("2026-11-26 00:00:00", "2026-11-26T10:00:00.123Z", "2026-11-26 00:00:00+00:00", "2026/11/26", "1.2.26"),
        *("November 26, 2026", "26 Okt 2026", "26-févr-26", "01-août", "12:30:00", "3:05 PM", "2026年11月26日"),
        *("11/26/2026 3:05 PM", "2026-11-26 00:00:00 UTC"),
        *("Thu Nov 26 2026 00:00:00 GMT+0100 (Central European Standard Time)", "Thu, 26 Nov 2026 00:00:00 GMT"),
        *("Thursday, November 26, 2026", "26 November 2026 10:00", "2026-11-26 00:00:00.123+00", "26-ноя", "26-lis-26"),
    ],
    "quotation_mark": ["'-123", "'=1+1", '"i_1"', "b'i_1'", "'i_1'"],
    "lost_character": ["caf\ufffd", "\ufffd\ufffd"],
    "program_value": [
        *("['i_1']", '["i_1"]', "('i_1',)", "{'id': 1}", "np.int64(100045)", "np.str_('i_1')", "Decimal('1')"),
        *("Timestamp('2026-11-26 00:00:00')", "datetime.date(2026, 11, 26)", "UUID('0f1e')", "ObjectId('0f1e')"),
        *("<object object at 0x7f01>", "System.Object[]", "java.lang.Object@1a2b", "DBNull"),
    ],
    "cut_off": ["0f1e2d3c-4b5a...", "0f1e2d3c…", "a.b..."],
    "table_label": ["distinct_id", "$distinct_id", "Apptimize ID", "apptimize_user_id", "Grand Total", "(1,000 rows)"],
    "invisible_ends": ["u1\u200b", "\ufeffu1", "\u202eu1", "u1\u2069", "u1\u00ad", "u1\U000e0062\U000e007f"],
    "invisible_inside": ["u\u200b1", "a\u200dfriend", "u\U000e00621", "anna\u2764\ufe0f"],
}
FINE = [
    *("user-10045", "i_10045", "100045", "0042", "4815162342", "12345678901234567", "1234567890123456789"),
    *("12345e67", "9e15a2", "1e5", "5e", "e5", "deadbeef", "0e1f2d3c-4b5a-4678-9abc-def012345678"),
    *("nancy", "none-1", "nan-7", "nullable", "true-north", "unknown-soldier", "#1", "#hash", "##1", "a-", "_a"),
    *("maria-90", "marta-12", "12-marta", "5-alpha", "mayor-77", "july-night", "decoy-3", "1-2", "1/2", "10-11"),
    *("192.168.1.1", "10.0.0.1", "1.5", "3.14159", "12:30", "1,2", "2026-11-26-001", "2026-13-01", "20261126"),
    *(
        "total-1",
        "totally",
        "distinct_id_7",
        "user_idle",
        "errors",
        "0x2a7f",
        "0xdead",
        "$5",
        "$user",
        "12,34",
        "(555)",
    ),
    *(
        "thu-nguyen",
        "sat 1",
        "sunny",
        "monday",
        "vero-1",
        "veronica",
        "system",
        "java",
        "string",
        "str",
        "intern",
        "f(x)",
    ),
    *("7-lisa", "12-arad", "ara-12", "[team]", "a.b", "a..b", "u1.", "26 novel", "np.", "(row)"),
    *("O'Brien", "it's", "Käufer-東京", "❤", "José", "user@example.com", "$device:0f1e2d", "urn:x:1", "\u0600"),
]


@pytest.mark.parametrize("kind", RUINED)
def test_a_ruined_id_is_known_for_what_it_is_behind_a_prefix_too(kind: str):
    ids = [prefix + text for text in RUINED[kind] for prefix in ("", "i_", "a_", "$device:")]

    assert {id: list(find_suspicions(id)) for id in ids} == {id: [kind] for id in ids}
    assert all(may_be_suspect("user-1", id) and may_be_suspect(id, "i_1") for id in ids)


def test_an_id_that_only_resembles_a_ruined_one_is_left_alone():
    ids = [prefix + text for text in FINE for prefix in ("", "i_")]

    assert {id: list(find_suspicions(id)) for id in ids} == {id: [] for id in ids}


def test_a_truth_in_turkish_capitals_is_one():
    """Their I has a small letter without a dot, but not to a program."""
    found = {text: list(find_suspicions(text)) for text in ("YANLIŞ", "i_yanlış", "DOĞRU")}
    assert found == {text: list(find_suspicions("FALSE")) for text in found}
    assert found["YANLIŞ"]


def test_all_that_is_odd_of_one_id_is_found():
    assert list(find_suspicions("nan\u200b")) == ["empty_marker", "invisible_ends"]
    assert list(find_suspicions("i_\u200bcaf\ufffd")) == ["lost_character", "invisible_ends"]


@given(
    st.from_regex(
        re.compile("|".join(form for forms in suspect_ids.FORMS.values() for form in forms), re.IGNORECASE),
        fullmatch=True,
    )
)
def test_the_quick_look_misses_nothing_that_the_thorough_one_finds(text: str):
    # Some capitals have other small letters than the ones that they are found by.
    assume(any(re.fullmatch(form, text.lower()) for forms in suspect_ids.FORMS.values() for form in forms))

    assert suspect_ids.MAYBE_RUINED.match(text)
