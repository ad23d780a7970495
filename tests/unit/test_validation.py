"""What people enter in one line: invisible characters are no name, and part of no secret."""

from __future__ import annotations

import pytest

from core.cli.common import whole_number as cli_number
from core.errors import SettingsError
from core.hosts import split_address
from core.text import parse_id, whole_of
from core.validation import clean_exact_line, clean_line, clean_secret, whole_number


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\ufeff \u2060", "\u00ad"])
def test_a_name_of_which_nothing_is_seen_is_none(text: str):
    for check in (clean_line, clean_exact_line, lambda text, field: clean_secret(text, field, "It is needed.")):
        with pytest.raises(SettingsError, match="Name: this is needed"):
            check(text, "Name")


def test_a_name_may_hold_what_scripts_and_emoji_need():
    for name in ("نام\u200cکاربر", "👩\u200d🚀 crew", "Team ❤\ufe0f"):
        assert clean_line(f" {name} ", "Name") == name


@pytest.mark.parametrize("text", ["crm_id\u200b", "\ufeffcrm_id", " \u202ecrm_id "])
def test_what_is_another_systems_letter_by_letter_begins_and_ends_with_what_is_seen(text: str):
    with pytest.raises(SettingsError, match="begins or ends with an invisible character"):
        clean_exact_line(text, "Match property")

    assert clean_exact_line("نام\u200cکاربر", "Match property") == "نام\u200cکاربر"


@pytest.mark.parametrize("secret", ["s3cret\u200b", "s3\u00adcret", "\ufeffs3cret"])
def test_a_secret_holds_no_invisible_character_and_is_not_told(secret: str):
    with pytest.raises(SettingsError, match="an invisible character") as told:
        clean_secret(secret, "Secret", "Copy it again.")

    assert "s3" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("1" * 20, 11111111111111111111),
        ("", None),
        ("-1", None),
        ("1 ", None),
        ("\u0661", None),
        ("\u00b2", None),
    ],
)
def test_digits_are_a_number_and_nothing_else_is(text: str, number: int | None):
    assert whole_of(text) == number


@pytest.mark.parametrize("number", [1, 10**18, 2**63 - 1])
def test_a_number_that_64_bits_hold_is_taken_wherever_one_is_entered(number: int):
    text = f"0{number}"

    assert whole_number(text, "Project id") == cli_number(text, "cohort") == parse_id(text) == number


def test_the_first_number_that_64_bits_do_not_hold_is_refused():
    text = str(2**63)

    assert parse_id(text) is None
    with pytest.raises(SettingsError, match="Project id"):
        whole_number(text, "Project id")
    with pytest.raises(SettingsError, match="cohort"):
        cli_number(text, "cohort")


@pytest.mark.parametrize("nines", [30, 5000])
def test_zeros_in_front_let_no_number_through_that_is_too_large(nines: int):
    padded = "0" * 20 + "9" * nines

    assert (whole_of(padded) or 0) > 2**63
    assert split_address(f"localhost:{padded}") is None
    with pytest.raises(SettingsError, match="Project id"):
        whole_number("1" + padded, "Project id")
    with pytest.raises(SettingsError, match="cohort"):
        cli_number(padded, "cohort")
