"""What people enter in one line: characters that nobody sees are no name, and part of no secret."""

from __future__ import annotations

import pytest

from core.errors import SettingsError
from core.validation import clean_exact_line, clean_line, clean_secret


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
    with pytest.raises(SettingsError, match="begins or ends with a character that nobody sees"):
        clean_exact_line(text, "Match property")

    assert clean_exact_line("نام\u200cکاربر", "Match property") == "نام\u200cکاربر"


@pytest.mark.parametrize("secret", ["s3cret\u200b", "s3\u00adcret", "\ufeffs3cret"])
def test_a_secret_holds_nothing_that_nobody_sees_and_is_not_told(secret: str):
    with pytest.raises(SettingsError, match="nobody sees") as told:
        clean_secret(secret, "Secret", "Copy it again.")

    assert "s3" not in str(told.value)
