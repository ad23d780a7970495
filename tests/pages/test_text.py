"""How names, numbers and times are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pages.shared.text import age, duration, plain

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("sign", list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"))
def test_every_sign_that_markdown_could_take_is_escaped(sign: str):
    assert plain(f"a{sign}b") in (f"a\\{sign}b", f"a\u2060\\{sign}b")


@pytest.mark.parametrize(
    "text", ["->", "<-", "--", ">=", ":streamlit:", "https://x.example", "www.x.example", "a@b.example"]
)
def test_what_streamlit_rewrites_in_plain_text_is_held_apart_without_a_visible_change(text: str):
    written = plain(text)

    assert "\u2060" in written
    assert written.replace("\u2060", "").replace("\\", "") == text


def test_a_name_stays_on_its_line():
    assert plain("a\n# b\r\n\u2028c") == "a \\# b c"


def test_letters_of_any_script_stay_as_they_are():
    assert plain("Käufer 東京 שלום") == "Käufer 東京 שלום"


@pytest.mark.parametrize(
    ("passed", "written"),
    [
        (timedelta(seconds=3), "just now"),
        (timedelta(seconds=-30), "just now"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=5, minutes=59), "5 hours ago"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(days=40), "14 Oct 2026"),
    ],
)
def test_ages_are_written_in_the_largest_unit_that_fits(passed: timedelta, written: str):
    assert age(NOW - passed, now=NOW) == written


@pytest.mark.parametrize(
    ("seconds", "written"), [(-1, "0.0 s"), (0.84, "0.8 s"), (42.4, "42 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_lengths_of_time(seconds: float, written: str):
    assert duration(seconds) == written
